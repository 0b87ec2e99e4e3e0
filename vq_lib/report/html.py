"""One HTML file out of the executed notebooks: `python -m vq_lib.report.html`, in the report's `run/`.

The notebooks are joined and rendered in one nbconvert pass with `reports/template`. Maths becomes MathML here and
pictures are data, so that the page needs no script and no host.
"""

import datetime
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from vq_lib.errors import UserError
from vq_lib.files import read_json, whole_file
from vq_lib.plots.names import NAMES
from vq_lib.report.conclusions import COLLAPSED
from vq_lib.study import REPOSITORY, Study

SETTINGS = "Settings of this run</"  # ends the title of the table that `figures.settings` shows in every notebook
SUMMARY = '<div class="prose vq-summary">'  # the list that notebook 04 ends on
# What TensorFlow's C++ writes about itself; what Python warns of is kept, and the executed notebooks keep it all.
CHATTER = re.compile(
    r"^(?:[IWE]\d{4} \d\d:\d\d|\d{4}-\d\d-\d\d [\d:.]+: [IWE] |"
    r"WARNING: All log messages before absl|To enable the foll).*\n?",
    re.M,
)
MATHS = re.compile(  # code comes first, so that a dollar inside it stays a dollar
    r"(?P<code>```.*?```|`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^\s$`](?:[^$\n`]*[^\s$\\`])?)\$(?!\d)"
    r"|(?P<dollar>\$)",  # any other is no maths, whatever nbconvert would think
    re.S,
)


def render(study: Study, notebooks: Sequence[Path]) -> str:
    """The report as text.

    Args:
        study: the `Study` whose `metrics.json` fills the cards at the top and the provenance at the foot.
        notebooks: paths of the executed notebooks, in order.
    """
    import nbformat
    from nbconvert import HTMLExporter

    executed = [nbformat.read(path, as_version=4) for path in notebooks]
    metrics = read_json(study.metrics, "notebook 04") if study.metrics.exists() else {}
    judged = study.evaluation / "memorisation.json"
    verdict = read_json(judged, "notebook 04") if "samples" in metrics and judged.exists() else {}
    contents: list[tuple[int, str, str]] = []
    settings = abstract = ""
    for number, notebook in enumerate(executed, 1):
        # papermill puts the values of this run into a cell of its own after the one with the defaults.
        found = _with_findings(notebook.cells)
        notebook.cells = [cell for cell in found if "parameters" not in cell.metadata.get("tags", [])]
        for cell in notebook.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                values = {
                    "report": study.name,
                    "data": getattr(study.data_folder, "name", ""),
                    "overrides": study.overrides,
                }
                cell.source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
            if cell.cell_type == "markdown":
                cell.metadata["html"] = _markdown(cell.source, number, contents)
            if cell.cell_type == "code":
                _quieten(cell)
            tables = [output.get("data", {}).get("text/html", "") for output in cell.get("outputs", [])]
            if any(SETTINGS in table for table in tables):  # shown once: an early notebook's may be out of date by now
                settings = next(table for table in tables if SETTINGS in table)
                settings = re.sub(r"</?details>|<(summary|caption)>.*?</\1>", "", settings)  # the page folds it anew
                settings = settings.replace("Settings of this run", "Settings of this report")
            abstract = next((table for table in tables if SUMMARY in table), abstract)
            if tables:  # what is shown elsewhere: settings folded away, the summary at the top
                cell.outputs = [
                    output
                    for output, table in zip(cell.outputs, tables, strict=True)
                    if SETTINGS not in table and SUMMARY not in table
                ]
        notebook.cells[0].metadata["opens"] = f"notebook-{number}"
        notebook.cells[-1].metadata["closes"] = True
    whole = executed[0].copy()
    whole.cells = [cell for notebook in executed for cell in notebook.cells]
    exporter = HTMLExporter(template_name="template", extra_template_basedirs=[str(REPOSITORY / "reports")])
    text, _ = exporter.from_notebook_node(whole, resources={"vq": {
        "title": study.recipe.title,
        "name": study.name,
        "built": _built(executed),
        "cards": cards(metrics, study.recipe.vqvae.codes),
        "summary": abstract,
        "warnings": warnings(metrics, verdict),
        "contents": contents,
        "settings": settings,
        "provenance": _provenance(study, metrics.get("provenance", {}), executed, notebooks),
    }})  # fmt: skip
    text = text.replace("<pre>", '<pre tabindex="0">')  # long lines of code scroll, by keyboard too
    return _without_this_machine(re.sub(r"[ \t]+\n", "\n", text), study)


def _with_findings(cells):
    """The cells without each text whose code showed nothing, such as what is said of a prior that a recipe has not."""
    starts = [place for place, cell in enumerate(cells) if place and cell.cell_type == "markdown"]
    kept = []
    for start, end in zip([0, *starts], [*starts, len(cells)], strict=True):
        code = [cell for cell in cells[start:end] if cell.cell_type == "code"]
        if not start or not code or any(cell.outputs for cell in code):
            kept += cells[start:end]
    return kept


def _quieten(cell):
    for output in cell.outputs:
        if output.get("name") == "stderr":
            output.text = CHATTER.sub("", output.text)
    cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" or output.text.strip()]


def cards(metrics: dict, codes: int | None = None) -> list[tuple[str, str, str]]:
    """The headline figures that `metrics` has: a list of (name, value, remark).

    Args:
        metrics: `metrics.json`. codes: size of the codebook, where it is known.
    """
    vqvae, prior, data = (metrics.get(name) or {} for name in ("vqvae", "prior", "data"))
    found = []
    for key, name, digits, unit in [("ssim", "Test SSIM", 3, ""), ("ssim_foreground", "Foreground SSIM", 3, ""),
                                    ("psnr", "PSNR", 1, " dB")]:  # fmt: skip
        if score := vqvae.get(key):
            low, high = (f"{score[end]:.{digits}f}" for end in ("low", "high"))
            found.append((name, f"{score['mean']:.{digits}f}{unit}", f"95% interval {low} to {high}"))
    if "codebook_usage" in vqvae:
        found.append(("Codes used", f"{vqvae['codebook_usage']:.0%}", _perplexity(vqvae, codes)))
    if bits := (prior.get("bits_per_code") or {}).get("test"):
        unigram = (prior.get("baselines_bits_per_code") or {}).get("position_unigram")
        found.append(("Bits per code", f"{bits:.2f}", f"per-position unigram: {unigram:.2f}" if unigram else ""))
    samples = metrics.get("samples") or {}
    if auc := samples.get("two_sample_auc"):
        remark = f"95% interval {auc['low']:.2f} to {auc['high']:.2f}; 0.5: this linear classifier cannot tell"
        if plain := samples.get("two_sample_auc_without_grain"):
            remark += f". As the decoder draws them, without grain: {plain['mean']:.2f}"
        found.append(("Two-sample AUC, with grain", f"{auc['mean']:.2f}", remark))
    if "failed_fraction" in samples:
        failed, near = f"{samples['failed_fraction']:.1%}", f"{samples['memorised_fraction']:.1%}"
        chance, copies = samples.get("failed_by_chance") or 0, samples.get("memorised_by_chance") or 0.02
        remark = (
            f"of samples: too far from, or too near to, training slices; by chance {chance:.1%} / up to {copies:.1%}"
        )
        found.append(("Failed / suspected copies", f"{failed} / {near}", remark))
    people = [str(data[split]["people"]) for split in ("train", "validation", "test") if split in data]
    if people:
        found.append(("People", " / ".join(people), "train / validation / test"))
    return found


def _perplexity(vqvae, codes):
    """Perplexity beside the most that it could be: of all cells, and of those that are not background."""
    parts = []
    if "perplexity" in vqvae:
        cap = f" (at most {vqvae['perplexity_cap']:.0f} with one code for black)" if "perplexity_cap" in vqvae else ""
        parts.append(f"perplexity {vqvae['perplexity']:.0f}{cap}")
    if "perplexity_foreground" in vqvae:
        parts.append(f"foreground {vqvae['perplexity_foreground']:.0f}" + (f" of {codes}" if codes else ""))
    return "; ".join(parts)


def warnings(metrics: dict, verdict: dict) -> list[str]:
    """What a reader must know before believing any figure, as sentences; an empty list where nothing was found.

    Args:
        metrics: `metrics.json`. verdict: `memorisation.json`, {} where nothing was generated.
    """
    found = list(metrics.get("data", {}).get("checks", {}).get("warnings", []))
    if metrics.get("data", {}).get("test", {}).get("people") == 1:
        found.append(
            "All test slices are of one person: no interval says how far another person's would lie from these."
        )
    vqvae, prior = metrics.get("vqvae", {}), metrics.get("prior", {})
    without = [b for b in metrics.get("baselines", {}).values() if "bits_per_pixel" not in b]
    if "ssim_foreground" in vqvae and without:
        best = max(b["ssim_foreground"] for b in without)
        if vqvae["ssim_foreground"]["low"] <= best:
            found.append(
                f"The foreground SSIM is no better than {best:.3f}, which a prediction without a model reaches."
            )
    if vqvae.get("codebook_usage", 1) < COLLAPSED:
        found.append(
            f"Only {vqvae['codebook_usage']:.0%} of the codes are used on test people: the codebook collapsed."
        )
    for name, part in (("VQ-VAE", vqvae), ("prior", prior)):
        epochs = part.get("epochs", {"done": 0, "planned": 0})
        if epochs["done"] < epochs["planned"]:
            found.append(f"The {name} was trained for {epochs['done']} of {epochs['planned']} planned epochs.")
    bits = prior.get("bits_per_code", {})
    unigram = prior.get("baselines_bits_per_code", {}).get("position_unigram")
    if bits and unigram and bits["test"] >= unigram:
        found.append(f"The prior needs {bits['test']:.2f} bits a code and a table of frequencies for each cell "
                     f"{unigram:.2f}: knowing the place in the grid alone is better than this prior.")  # fmt: skip
    if verdict.get("failed", {}).get("beyond_chance"):
        found.append(verdict["failed"]["sentence"])
    if verdict.get("kind", "none") != "none":
        gap = "by heart" in verdict["verdict"] and prior.get("gaps")
        more = " Notebook 3 says how much of that gap the groups' own difference can be." if gap else ""
        found.append(verdict["verdict"] + more)
    return found


def _markdown(source, number, contents):
    """HTML of a markdown cell; its headings, one level down, are appended to `contents` as (level, id, html)."""
    import bs4
    from nbconvert.filters.markdown import markdown2html_mistune

    formulas = []

    def keep(match):
        if match["code"]:
            return match["code"]
        if match["dollar"]:
            return "&#36;"
        formulas.append((match["block"] or match["inline"], bool(match["block"])))
        return f"vqmath{len(formulas) - 1}htamqv"

    def formula(match):
        latex, block = formulas[int(match[1])]
        return _mathml(latex.strip(), block)

    soup = bs4.BeautifulSoup(markdown2html_mistune(MATHS.sub(keep, source)), "html.parser")
    for anchor in soup.select("a.anchor-link"):
        anchor.decompose()
    for image in soup.find_all("img"):  # a badge is a request to a host
        if not str(image.get("src")).startswith("data:"):
            parent = image.find_parent("a") or image
            paragraph = parent.find_parent("p")
            parent.decompose()
            if paragraph is not None and not paragraph.get_text(strip=True) and not paragraph.find("img"):
                paragraph.decompose()
    math = re.compile(r"vqmath(\d+)htamqv")
    for heading in soup.find_all(re.compile(r"^h[1-5]$")):
        level = int(heading.name[1]) + 1
        heading.name = f"h{level}"
        words = re.findall(r"\w+", math.sub("", heading.get_text()).lower())
        place = "-".join([f"part-{number}", *words])
        while any(place == other for _, other, _ in contents):
            place += "-again"
        heading["id"] = place
        contents.append((level, place, math.sub(formula, html.escape(heading.get_text()))))
    return math.sub(formula, re.sub(r"<p>(vqmath(\d+)htamqv)</p>", _block(formulas), str(soup)))


def _block(formulas):
    def replace(match):
        _, block = formulas[int(match[2])]
        return f'<div class="vq-equation" tabindex="0">{match[1]}</div>' if block else match[0]

    return replace


def _mathml(latex, block):
    from latex2mathml.converter import convert

    try:
        return convert(latex, display="block" if block else "inline")
    except Exception:  # whatever its parser stumbles on, a reader can still read the LaTeX
        return f"<code>{html.escape(latex)}</code>"


def _built(executed):
    """The day on which the last of the notebooks was run, such as "21 November 2026"; "" where none says."""
    dates = [notebook.metadata["vq_lib"]["date"][:10] for notebook in executed if "vq_lib" in notebook.metadata]
    if not dates:
        return ""
    last = datetime.date.fromisoformat(max(dates))
    return f"{last.day} {last:%B %Y}"


def _provenance(study, provenance, executed, notebooks):
    """Rows (name, text) for the foot of the report: what trained the models, what evaluated them, and with what."""
    rows = [(f"training of {NAMES.get(name, name)}", text) for name, text in _trainings(study)]
    for key, value in provenance.items():
        if key == "seconds":  # of the trainings above, and of the notebooks below
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{name} {inner}" for name, inner in value.items())
        if key == "repeatable":
            value = "yes, bit for bit on one machine" if value else "to rounding only"
        name = {"commit": "commit of this evaluation", "recipe_sha256": "settings, SHA-256",
                "repeatable": "evaluation repeatable"}.get(key, key)  # fmt: skip
        rows.append((name.replace("_", " "), value))
    for notebook, path in zip(executed, notebooks, strict=True):
        made = notebook.metadata.get("vq_lib", {})
        if made:
            rows.append((Path(path).stem, f"run in {made['seconds']:,.0f} s, {made['date']}"))
    return [(name, str(value)) for name, value in rows if value not in ("", None)]


def _trainings(study):
    """`(model, text)` of each: a report may be built anew, by later code, around models trained long before."""
    places = {"the VQ-VAE": study.vqvae}
    if study.recipe.prior is not None:
        places |= {name: study.prior / name for name in study.recipe.prior.models()}
    for name, folder in places.items():
        try:
            summary = read_json(folder / "summary.json", "notebook 02 or 03")
            made, done = summary.get("made"), "{done} of {planned}".format(**summary["epochs"])
            when = "date and commit were not written down"  # by an earlier version
            if made:
                when = f"{made['date']}, commit {made['commit'] or 'unknown'}"
            yield name, f"{summary['seconds']:,.0f} s, {done} epochs; {when}"
        except (UserError, AttributeError, KeyError, TypeError):
            continue


def _without_this_machine(text, study):
    """Where things lie on this machine is nobody's business who reads a published report."""
    places = [(study.data_folder, study.data_folder.name)] if study.data_folder else []
    inside = study.folder.is_relative_to(REPOSITORY)
    places += [(study.folder, study.folder.relative_to(REPOSITORY).as_posix() if inside else study.name),
               (sys.prefix, "environment"), (REPOSITORY, "."), (Path.home(), "~")]  # fmt: skip
    for place, name in places:
        for form in {str(place), html.escape(str(place))}:
            if len(form) > 3:
                shown = html.escape(name).replace("\\", r"\\")  # taken as it is, not as a reference to a group
                text = re.sub(re.escape(form) + r"(?![\w.-])", shown, text)
    return text


def main() -> None:
    """Write `report.html` of the plan in the current folder."""
    from vq_lib.report.pipeline import STAGES, fail, read_plan

    try:
        plan = read_plan()
        study = Study(plan["report"], plan["data"], plan["overrides"])
        text = render(study, [study.notebooks / f"{name}.ipynb" for name in STAGES.values()])
        with whole_file(study.html) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        fail(str(error), status=2)


if __name__ == "__main__":
    main()
