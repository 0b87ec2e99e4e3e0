"""The page `reports/index.html`: all reports side by side.

It is drawn from what reports have (`metrics.json`, `history-*.csv`, `sweep.csv`, `recipe.yaml`) and from
`published.yaml`, and from nothing else: the same files give the same bytes. Words and tables are the template's.
"""

import contextlib
import functools
import math
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from vq_lib import files
from vq_lib import recipe as recipes
from vq_lib.data import acknowledged
from vq_lib.errors import UserError
from vq_lib.plots import comparison as draw
from vq_lib.plots.names import LAYOUTS
from vq_lib.report import display, metrics
from vq_lib.report import sweep as sweeps
from vq_lib.study import REPOSITORY

REPORTS = REPOSITORY / "reports"
OWN = REPORTS / "run" / "index.html"  # the page of whoever builds; git ignores it
DRAWN = {"vqvae": ("seconds", "val_ssim", "val_ssim_foreground"), "prior": ("epoch", "val_loss")}
SWEPT = {"ssim": "SSIM", "ssim_foreground": "foreground SSIM", "images_per_second": "images/s"}
LEVEL = 0.85  # a validation SSIM that most systems reach: the time that each takes to it is a measure of its speed


class Report:
    """What one finished report has: `metrics`, histories, and `settings`, None where the recipe has changed since.

    `data` names the data, "" where the recipe has changed; `elsewhere` those that the recipe is not written for, or "".
    `UserError` where its `metrics.json` is missing, broken, or of another report.
    """

    def __init__(self, folder: Path):
        self.folder, self.name = folder, folder.name
        self.metrics = metrics.read(folder / "metrics.json")
        if self.metrics.report != self.name:
            raise UserError(f"{folder / 'metrics.json'} is that of the report {self.metrics.report!r}.")
        recipe, planned = _recipe(folder, self.metrics.provenance.overrides), _recipe(folder)
        self.title = recipe.title if recipe else self.name
        self.settings = recipe if recipe and metrics.fits(recipe, self.metrics.provenance) else None
        self.histories = {stage: _history(folder / f"history-{stage}.csv", drawn) for stage, drawn in DRAWN.items()}
        self.layout = self.metrics.data.checks.layout or (self.settings.data.layout if self.settings else None)
        self.data = _in_words(self.layout, self.settings.data) if self.settings else ""
        other = planned and planned.data.layout not in (None, self.layout)
        self.elsewhere = LAYOUTS.get(self.layout or "", "") if other else ""

    @property
    def minutes_to_level(self) -> str:
        """Minutes until the end of the first epoch whose validation SSIM is at least `LEVEL`, as text."""
        history = self.histories["vqvae"]
        if history is None:
            return "–"
        reached = history["seconds"][history["val_ssim"] >= LEVEL] / 60
        return f"over {history['seconds'].iloc[-1] / 60:.1f}" if reached.empty else f"{reached.iloc[0]:.1f}"

    @property
    def drawn(self) -> dict[str, Any]:
        """What `plots.comparison` takes."""
        codecs = [(name, codec.bits_per_pixel_payload, codec.ssim, codec.ssim_foreground)
                  for some in self.metrics.codecs.values() for name, codec in some.items()
                  if codec and codec.bits_per_pixel_payload and name in draw.CODECS]  # fmt: skip
        scores, rates = self.metrics.vqvae.model_dump(include={"ssim", "ssim_foreground"}), self.metrics.rates
        return {"name": self.name, **scores, "rates": list(rates.values()), "codecs": codecs, **self.histories}

    @functools.cached_property
    def samples(self) -> str | None:
        """Real and generated slices, small enough for a page that holds those of all reports."""
        paths = [self.folder / "figures" / f"samples.{suffix}" for suffix in ("webp", "png")]
        return next((display.thumbnail(path, 1120) for path in paths if path.exists()), None)


def read(folder: Path) -> tuple[list[Report], list[str]]:
    """The reports below `folder`, by name, and a sentence on each `metrics.json` that cannot be used."""
    found, complaints = [], []
    for path in sorted(folder.glob("*/metrics.json")):
        try:
            found.append(Report(path.parent))
        except UserError as error:
            name = path.parent.name
            sentence = str(error).replace(str(path), f"reports/{name}/metrics.json").rstrip(".")
            complaints.append(f"{sentence}: 'vq-lib report {name}' writes it anew.")
    return found, complaints


def _recipe(folder, overrides=""):
    with contextlib.suppress(UserError):
        return recipes.load(folder / "recipe.yaml", overrides)


def _in_words(layout, data):
    return f"{LAYOUTS.get(layout, 'images')}, {data.size}×{data.size}{'×3' * (data.channels == 3)}"


def _history(path, needed):
    """A history as a data frame of numbers; None where there is none, or where it lacks one of the `needed`."""
    try:
        frame = pd.read_csv(path)
        return frame.astype(float) if set(needed) <= set(frame) and len(frame) else None
    except (OSError, ValueError):
        return None


def sweep(folder: Path) -> dict[str, Any] | None:
    """The sweep of the report in `folder`, `{"name", "table", "conclusion", "missing"}`; None where there is none.

    Points that `sweep.yaml` no longer names are left out of the table, whose first column is `change`; `missing` is how
    many of those that it names are not trained yet.
    """
    try:
        about, table = sweeps.load(folder), pd.read_csv(folder / "sweep.csv")
        table = table[table["change"].isin(list(about.points))].astype({"ssim_foreground": float})
    except (UserError, OSError, ValueError, KeyError):
        return None
    found = {"name": folder.name, "table": table, "conclusion": about.conclusion.strip()}
    return {**found, "missing": len(about.points) - len(table)} if len(table) else None


def published(folder: Path) -> list[dict[str, Any]]:
    """The published systems' own figures, a list of dicts."""
    path = folder / "published.yaml"
    return files.read_yaml(path) if path.exists() else []


def groups(reports: list[Report]) -> list[tuple[str, list[Report]]]:
    """Reports on the same slices together, with the name of their data: only within a group are scores comparable."""
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report.metrics.provenance.data_fingerprint, []).append(report)
    return [(next((r.data for r in group if r.data), ", ".join(r.name for r in group)), group)
            for group in found.values()]  # fmt: skip


def _crosses(folder, systems):
    """Published systems that gave an SSIM: `{data as in `Report.data`: [(name, bits per pixel, SSIM)]}`."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for system in systems:
        if "ssim" in system and (recipe := _recipe(folder / system["recipe"])):
            rate = math.log2(system["codes"]) * (system["grid"] / system["size"]) ** 2
            data = _in_words(recipe.data.layout, recipe.data)
            found.setdefault(data, []).append((system["name"], rate, system["ssim"]))
    return found


def write(folder: Path = REPORTS, path: Path | None = None) -> bool:
    """Write the page of the reports below `folder`, whole or not at all and only where it changes; True if it did.

    `path` is that of the page, None: `folder/index.html`. Links to reports lead there from wherever it lies.
    """
    path = path or folder / "index.html"
    text = page(folder, path.parent)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    with files.whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return True


def page(folder: Path = REPORTS, start: Path | None = None) -> str:
    """The page as text; `start` is the folder that it will lie in, None: `folder`."""
    reports, complaints = read(folder)
    systems, drawn, figures = published(folder), {report.name: report.drawn for report in reports}, {}
    swept = [found for path in sorted(folder.glob("*/sweep.csv")) if (found := sweep(path.parent))]
    if reports:
        by_data = [(data, [drawn[report.name] for report in group]) for data, group in groups(reports)]
        figures["rate-distortion"] = draw.rate_distortion(by_data, list(drawn.values()), _crosses(folder, systems))
        figures["training"] = draw.training(list(drawn.values()), LEVEL)
    return display.templates().get_template("comparison.html.j2").render(
        level=LEVEL, reports=reports, complaints=complaints, systems=systems,
        pictures={name: display.source(*display.rendered(figure, name)) for name, figure in figures.items() if figure},
        prefix="" if start in (None, folder) else f"{Path(os.path.relpath(folder, start)).as_posix()}/",
        sweeps=[(found, display.table(found["table"].rename(columns=SWEPT), f"sweep-{found['name']}",
                                      f"Sweep of {found['name']}")) for found in swept],
        acknowledgements=[acknowledged(layout) for layout in dict.fromkeys(report.layout for report in reports)
                          if layout in LAYOUTS],
    )  # fmt: skip


def table() -> str:
    """The README's table of results in Markdown: a row for each report that is committed, and none for a user's own."""
    status, listed = metrics.git("ls-files", "reports/*/metrics.json")
    if status:
        raise UserError("Only git can say which reports are committed, and this is no checkout.")
    names = {Path(path).parent.name for path in listed.splitlines()}
    reports = [report for report in read(REPORTS)[0] if report.name in names]
    return display.templates(autoescape=False).get_template("results.md.j2").render(reports=reports)


if __name__ == "__main__":  # `make readme`
    readme = REPOSITORY / "README.md"
    place = "(?<=<!-- results: written by make readme -->\n).*?(?=<!-- end of results -->)"
    text = re.sub(place, lambda _: table(), readme.read_text(encoding="utf-8"), flags=re.S)
    with files.whole_file(readme) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    write()
