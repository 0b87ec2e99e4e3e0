"""The page `reports/index.html`: all reports side by side, written anew whenever a report is built.

It is drawn from what reports publish (`metrics.json`, `history-*.csv`, `sweep.csv`, `recipe.yaml`) and from
`published.yaml`, and from nothing else: the same files give the same bytes.
"""

import base64
import csv
import functools
import io
import json
import math
from pathlib import Path
from typing import Any

import yaml

from vq_lib import recipe as recipes
from vq_lib.errors import UserError
from vq_lib.files import read_columns, whole_file
from vq_lib.plots.names import LAYOUTS, NAMES, rated
from vq_lib.study import REPOSITORY

REPORTS = REPOSITORY / "reports"
TEMPLATE = "comparison.html.j2"
DRAWN = {"vqvae": ("seconds", "val_ssim", "val_ssim_foreground"), "prior": ("epoch", "val_loss")}
SWEPT = {
    "ssim": "SSIM",
    "ssim_foreground": "foreground SSIM",
    "images_per_second": "images/s",
}  # as a reader knows them
LEVEL = 0.85  # a validation SSIM that most systems reach: the time that each takes to it is a measure of its speed


class Report:
    """What one finished report has published; `metrics` is its `metrics.json`.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, OSError: `metrics.json` is not as `vq-lib report` writes it.
    """

    def __init__(self, folder: Path):
        self.folder, self.name = folder, folder.name
        self.metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        self.vqvae, self.prior = self.metrics["vqvae"], self.metrics.get("prior") or {}
        self.provenance = self.metrics["provenance"]
        self.title, self.settings = self.name, None
        try:
            recipe = recipes.load(folder / "recipe.yaml", self.provenance.get("overrides", ""))
            self.title = recipe.title
            if recipe.sha256 == self.provenance["recipe_sha256"]:  # else the recipe has changed since
                self.settings = recipe
        except UserError:
            pass
        self.histories = {stage: _columns(folder / f"history-{stage}.csv", drawn) for stage, drawn in DRAWN.items()}
        recognised = self.metrics["data"].get("checks", {}).get("layout")  # reports of before have none
        self.layout = recognised or (self.settings.data.layout if self.settings else None)
        # What the figures draw is looked up now, while it can still be said which report lacks it.
        for needed in ("ssim", "ssim_foreground"):
            float(self.vqvae[needed]["mean"] + self.vqvae[needed]["low"] + self.vqvae[needed]["high"])
        for codec in (entry for codecs in self.metrics.get("codecs", {}).values() for entry in codecs.values()):
            float(codec["bits_per_pixel_payload"] + codec["ssim"] + codec["ssim_foreground"])
        float(sum(self.rates) + sum(trainings(self.metrics).values()) + self.prior.get("parameters", 0))
        hash(self.provenance["data_fingerprint"])

    @functools.cached_property
    def rows(self) -> dict[str, Any]:
        """The report's rows of the page's tables, by table."""
        return {
            "quality": _quality(self), "generation": _generation(self) if self.prior else None,
            "cost": _cost(self), "provenance": _made(self),
        }  # fmt: skip

    @property
    def data(self) -> str:
        """The data in words, such as "OASIS-1, 128×128"; "" where the recipe has changed since."""
        return _in_words(self.layout, self.settings.data) if self.settings else ""

    @property
    def rates(self) -> list[float]:
        """Bits per pixel: fixed-length codes, and with the prior's code length where there is one.

        Raises:
            KeyError: `metrics.json` lacks a rate.
        """
        return [self.vqvae["bits_per_pixel"], *([self.prior["bits_per_pixel"]] if self.prior else [])]


def read(folder: Path) -> tuple[list[Report], list[str]]:
    """The reports below `folder`, by name, and a sentence on each `metrics.json` that cannot be used."""
    found, complaints = [], []
    for path in sorted(folder.glob("*/metrics.json")):
        name = path.parent.name
        try:
            report = Report(path.parent)
            if report.metrics["report"] == name:
                report.rows  # noqa: B018 - a document of another shape is found out here, not in the middle of the page
                found.append(report)
                continue
            problem = f"is that of the report '{report.metrics['report']}'"  # its folder was copied or renamed
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
            problem = "could not be read"
        complaints.append(f"reports/{name}/metrics.json {problem}: 'vq-lib report {name}' writes it anew.")
    return found, complaints


def _in_words(layout, data):
    return f"{LAYOUTS.get(layout, 'images')}, {data.size}×{data.size}{'×3' * (data.channels == 3)}"


def _columns(path, needed):
    """The columns of a CSV of numbers; None where there is none, or where it lacks one of the `needed`."""
    try:
        found = read_columns(path, "'vq-lib report'")
    except UserError:
        return None
    return found if set(needed) <= set(found) else None


def sweep(folder: Path) -> dict | None:
    """The sweep of the report in `folder`, `{"name", "header", "rows", "conclusion"}`; None where there is none.

    Points that `sweep.yaml` no longer names are left out; where it names others, `conclusion` says how many.
    """
    try:
        with open(folder / "sweep.csv", newline="", encoding="utf-8") as file:
            header, *rows = [row for row in csv.reader(file) if row]
        about = yaml.safe_load((folder / "sweep.yaml").read_text(encoding="utf-8"))
        points, conclusion = about["points"], str(about.get("conclusion", ""))
        rows = [row for row in rows if row[0] in points and len(row) == len(header)]
        for row in rows:
            float(row[header.index("ssim_foreground")] or "nan")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error, yaml.YAMLError):
        return None
    if len(rows) < len(points):
        conclusion += (f" {len(rows)} of {len(points)} points of sweep.yaml are in this table: "
                       f"'vq-lib sweep {folder.name}' trains the others.")  # fmt: skip
    header = [SWEPT.get(name, name) for name in header]
    return {"name": folder.name, "header": header, "rows": rows, "conclusion": conclusion.strip()} if rows else None


def sweeps(folder: Path) -> list[dict]:
    """The sweeps of all reports below `folder`, by name, of points that have a score; see `sweep`."""
    swept = []
    for path in sorted(folder.glob("*/sweep.csv")):
        if found := sweep(path.parent):
            score = found["header"].index(SWEPT["ssim_foreground"])
            found["rows"] = [row for row in found["rows"] if math.isfinite(float(row[score] or "nan"))]
            swept += [found] if found["rows"] else []
    return swept


def published(folder: Path) -> list[dict]:
    """The published systems' own figures, a list of dicts."""
    path = folder / "published.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []


def write(folder: Path = REPORTS) -> bool:
    """Write `folder/index.html`, whole or not at all and only where it changes; True if it did."""
    text, path = page(folder), folder / "index.html"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return True


def page(folder: Path = REPORTS) -> str:
    """The page as text."""
    import jinja2

    from vq_lib.plots import comparison as draw

    reports, complaints = read(folder)
    systems, swept = published(folder), sweeps(folder)
    figures = {}

    def add(name, figure, caption, alt):
        if figure is not None:
            figures[name] = _figure(name, figure, caption, alt)

    if reports:
        names = ", ".join(report.name for report in reports)
        add("rate-distortion", draw.rate_distortion(groups(reports), reports, _crosses(folder, systems)),
            "SSIM and foreground SSIM on test people, over bits per pixel; a row for each data set, since only within "
            "one are scores comparable. A line joins a report's two rates: fixed-length codes (dot) and the prior's "
            "code length (star). Open marks: image codecs on the same slices, at the settings nearest to both, "
            "without the container's bytes. Crosses: what published systems reported of other splits of such "
            "data.",
            "; ".join(f"{r.name}: SSIM {r.vqvae['ssim']['mean']:.3f} at {rated(min(r.rates))} bits per pixel"
                      for r in reports))  # fmt: skip
        add("training", draw.training(reports, LEVEL),
            "Validation scores while the VQ-VAEs train, over minutes of training (logarithmic; the dashed line is the "
            f"SSIM of {LEVEL} to which the table below gives the time), and the priors' bits per code over the epochs. "
            "Heights are comparable between reports on the same data only.",
            f"Curves of validation SSIM and of validation bits per code of {names}.")  # fmt: skip
        add("cost", draw.cost(reports, [trainings(r.metrics) for r in reports]),
            "What each report cost: minutes of training on the device that the table names, and parameters of its "
            "VQ-VAE and of its prior.",
            "; ".join(f"{r.name}: {minutes(r):.0f} minutes on {r.provenance['device']}" for r in reports))  # fmt: skip
    for tried in swept:
        figure = draw.sweep(tried)
        add(f"sweep-{tried['name']}", figure,
            f"The sweep of {tried['name']}: foreground SSIM on validation people, with what each point changes; the "
            "dashed line is the recipe.",
            f"{len(tried['rows'])} points, foreground SSIM of each as in the table.")  # fmt: skip
    template = REPOSITORY / "reports" / "template"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(template), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    return environment.get_template(TEMPLATE).render(
        css=(template / "report.css").read_text(encoding="utf-8"),
        figures=figures, complaints=complaints, sweeps=swept, systems=_systems(reports, systems),
        samples=[picture for picture in map(_samples, reports) if picture],
        acknowledgements=_acknowledgements(reports),
        reports=[{"name": r.name, "title": r.title, "url": f"{r.name}/report.html"} for r in reports],
        quality=[r.rows["quality"] for r in reports],
        generation=[r.rows["generation"] for r in reports if r.prior],
        cost=[r.rows["cost"] for r in reports], level=LEVEL,
        provenance=[(r.name, r.rows["provenance"]) for r in reports],
    )  # fmt: skip


def _figure(name, figure, caption, alt):
    from vq_lib.plots import rendered

    suffix, content = rendered(figure, alt)
    kind = {"png": "image/png", "svg": "image/svg+xml"}[suffix]
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return {"name": name, "source": source, "caption": caption, "alt": alt}


def trainings(metrics: dict) -> dict[str, float]:
    """Minutes of the trainings that a `metrics.json` names: "VQ-VAE", "prior", and "compared priors" if any."""
    seconds = metrics["provenance"].get("seconds", {})
    compared = sum(value for name, value in seconds.items() if name.startswith("prior "))
    parts = {"VQ-VAE": seconds.get("vqvae", 0), "prior": seconds.get("prior", 0), "compared priors": compared}
    return {name: value / 60 for name, value in parts.items()}


def minutes(report: Report) -> float:
    """Minutes that all trainings of a report took."""
    return sum(trainings(report.metrics).values())


def groups(reports: list[Report]) -> list[tuple[str, list[Report]]]:
    """Reports on the same slices together, with the name of their data: only within a group are scores comparable."""
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report.provenance["data_fingerprint"], []).append(report)
    return [(next((r.data for r in group if r.data), ", ".join(r.name for r in group)), group)
            for group in found.values()]  # fmt: skip


def _crosses(folder, systems):
    """Published systems that gave an SSIM: `{data as in `Report.data`: [(name, bits per pixel, SSIM)]}`."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for system in systems:
        try:
            data = recipes.load(folder / system["recipe"] / "recipe.yaml").data
        except UserError:
            continue
        if "ssim" in system:
            rate = math.log2(system["codes"]) * (system["grid"] / system["size"]) ** 2
            found.setdefault(_in_words(data.layout, data), []).append((system["name"], rate, system["ssim"]))
    return found


def _systems(reports, systems):
    """Rows on the published systems, with the score here of those that were trained, and the recipes of the others."""
    own = {report.name: report for report in reports}
    rows, missing = [], [system["recipe"] for system in systems if system["recipe"] not in own]
    for system in systems:
        score = "–"
        if report := own.get(system["recipe"]):
            score = f"{report.vqvae['ssim']['mean']:.3f}{elsewhere(report)}, after {_epochs(report.vqvae)} epochs"
        cells = [system["name"], system["reported"], score, system["caution"]]
        rows.append(cells if len(missing) < len(systems) else [*cells[:2], cells[3]])
    return {"rows": rows, "missing": missing, "any": len(missing) < len(systems)}


def _acknowledgements(reports):
    """What must be said where real slices of these data sets are shown, each once."""
    from vq_lib.data import acknowledged

    return [acknowledged(layout) for layout in dict.fromkeys(report.layout for report in reports) if layout in LAYOUTS]


def _samples(report):
    """A report's picture of real and generated slices, small enough for a page that holds those of all reports."""
    from PIL import Image

    try:
        with Image.open(report.folder / "figures" / "samples.png") as file:
            picture = file.convert("L" if file.mode == "L" else "RGB")
    except OSError:
        return None
    picture.thumbnail((1120, 2000), Image.Resampling.LANCZOS)
    small = io.BytesIO()
    picture.save(small, "jpeg", quality=80, optimize=True)
    return {"name": report.name, "data": report.data, "count": report.metrics.get("samples", {}).get("count"),
            "source": f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"}  # fmt: skip


def minutes_to(report, level=LEVEL):
    """Minutes until the end of the first epoch whose validation SSIM is at least `level`, as text."""
    history = report.histories["vqvae"]
    if not history:
        return "–"
    ends = zip(history["seconds"], history["val_ssim"], strict=True)
    reached = next((seconds / 60 for seconds, ssim in ends if ssim >= level), None)
    return f"over {history['seconds'][-1] / 60:.1f}" if reached is None else f"{reached:.1f}"


def _interval(score, digits=3):
    return "{mean:.{d}f} ({low:.{d}f}–{high:.{d}f})".format(d=digits, **score)


def _quality(report):
    test, settings, base = report.metrics["data"]["test"], report.settings, report.metrics.get("baselines", {})
    codes = "–"
    if settings:
        side = settings.data.size // settings.vqvae.factor
        codes = f"{settings.data.size}² to {side}×{side} of {settings.vqvae.codes}"
    without = max((b["ssim"] for b in base.values() if "bits_per_pixel" not in b), default=math.nan)
    return [f"{test['images']} of {test['people']}", codes, _interval(report.vqvae["ssim"]),
            _interval(report.vqvae["ssim_foreground"]), _interval(report.vqvae["psnr"], 1),
            "–" if math.isnan(without) else f"{without:.3f}",
            " / ".join(f"{rate:.3f}" for rate in report.rates)]  # fmt: skip


def _generation(report):
    samples, bits = report.metrics.get("samples", {}), report.prior["bits_per_code"]
    name = report.prior["name"]
    auc, plain, pairs = (
        samples.get(name) for name in ("two_sample_auc", "two_sample_auc_without_grain", "pair_ms_ssim")
    )
    shares = [samples.get(name) for name in ("memorised_fraction", "failed_fraction")]
    unigram = report.prior.get("baselines_bits_per_code", {}).get("position_unigram")
    return [report.name, NAMES.get(name, name), f"{bits['test']:.2f}", f"{unigram:.2f}" if unigram else "–",
            " / ".join(f"{bits[split] / bits['train'] - 1:+.1%}" for split in ("test", "validation") if split in bits),
            _interval(auc, 2) + (f" / {plain['mean']:.2f}" if plain else "") if auc else "–",
            f"{pairs['generated']:.3f} / {pairs['real']:.3f}" if pairs else "–",
            *("–" if share is None else f"{share:.1%}" for share in shares)]  # fmt: skip


def elsewhere(report: Report) -> str:
    """ ", on OASIS-1" where the report is of other data than its recipe is written for, else ""."""
    try:
        planned = recipes.load(report.folder / "recipe.yaml").data.layout
    except UserError:
        return ""
    name = LAYOUTS.get(report.layout or "")
    return f", on {name}" if name and planned not in (None, report.layout) else ""


def _epochs(stage):
    return "{done} of {planned}".format(**stage["epochs"])


def _cost(report):
    parts = report.vqvae["parameters"]
    done = ", ".join(_epochs(stage) for stage in (report.vqvae, report.prior) if stage)
    samples = report.metrics.get("samples")
    return [report.name, report.provenance["device"], f"{minutes(report):.0f}", minutes_to(report), done,
            f"{sum(parts.values()):,}",
            f"{report.prior['parameters']:,}" if report.prior else "–", f"{report.vqvae['images_per_second']:.0f}",
            f"{samples['seconds']:.1f} for {samples['count']}" if samples else "–"]  # fmt: skip


def _made(report):
    made = report.provenance
    fingerprint, recipe = made["data_fingerprint"][:12], made["recipe_sha256"][:12]
    return f"settings {recipe}, data {fingerprint}, commit {made['commit']}, {made['backend']}, {made['precision']}"
