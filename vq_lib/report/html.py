"""One HTML file out of the executed notebooks: `python -m vq_lib.report.html`, in the report's `run/`.

nbconvert renders each notebook's cells by `reports/template/index.html.j2`, and `page.html.j2` stands around them.
Maths becomes MathML here and pictures are data, so that the page needs no script and no host. Cells tagged `remove` are
left out, and the code of those tagged `hide-input`.
"""

import datetime
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, MathInlineParser
from nbconvert.preprocessors import TagRemovePreprocessor

from vq_lib.data import acknowledged
from vq_lib.errors import UserError
from vq_lib.files import read_json, whole_file
from vq_lib.plots.names import LAYOUTS, NAMES
from vq_lib.report import display
from vq_lib.report.metrics import read
from vq_lib.study import REPOSITORY, STAGES, Study

FIRST = ("vqvae-panels", "samples")  # figures that stand, made smaller, beside the headline
# What TensorFlow's C++ writes about itself; what Python warns of is kept, and the executed notebooks keep it all.
CHATTER = re.compile(
    r"^([IWE]\d{4} \d\d:\d\d|\d{4}-\d\d-\d\d [\d:.]+: [IWE] |WARNING: All log messages before|To enable the foll).*\n?",
    re.M,
)


def render(study: Study, notebooks: Sequence[Path], appendix: Path | None = None) -> str:
    """The report as text.

    Args:
        study: whose `metrics.json` fills the title block, the summary and the provenance.
        notebooks: paths of the executed notebooks, in order. appendix: of the one to be folded at the end.

    Raises:
        UserError: `metrics.json` or `notes.md` cannot be read.
    """
    paths = [*notebooks, *([appendix] if appendix else [])]
    executed = [_cleaned(nbformat.read(path, as_version=4)) for path in paths]
    metrics = read(study.metrics) if study.metrics.exists() else None
    layout = (metrics.data.checks.layout if metrics else None) or study.recipe.data.layout
    labels, alts = _number(executed)
    sections = []
    for number, notebook in enumerate(executed, 1):
        contents: list[tuple[int, str, str]] = []
        sections.append((f"notebook-{number}", _cells(notebook, f"part-{number}", labels, contents), contents))
    folded = sections.pop() if appendix else None
    aim, discussion = _notes(study.folder)
    text = display.templates().get_template("page.html.j2").render(
        recipe=study.recipe, name=study.name, author=study.recipe.author, built=_built(executed),
        css=(display.TEMPLATES / "report.css").read_text(encoding="utf-8"), metrics=metrics,
        pictures=_pictures(study, alts), layout=LAYOUTS.get(layout or "", ""),
        aim=aim, sections=sections, discussion=discussion, appendix=folded,
        acknowledgement=acknowledged(layout) if layout else "", settings=Markup(display.settings(study).markup),
        trainings=_trainings(study),
        runs={path.stem: notebook.metadata.get("vq_lib") for path, notebook in zip(paths, executed, strict=True)},
    )  # fmt: skip
    return _without_this_machine(re.sub(r"[ \t]+\n", "\n", text), study)


def _cleaned(notebook):
    """The notebook without parameters, tagged cells and TensorFlow's chatter; settings are shown once, at the end."""
    TagRemovePreprocessor(
        remove_cell_tags={"remove", "parameters", "injected-parameters"}, remove_input_tags={"hide-input"},
        remove_single_output_tags={"settings"},
    ).preprocess(notebook, {})  # fmt: skip
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                output.text = CHATTER.sub("", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("text", "-").strip()]
    return notebook


def _number(notebooks):
    """Number figures and tables in order: `{id: "Figure 3"}`, and the alt texts of figures by name."""
    labels, alts, counts = {}, {}, {"figure": 0, "table": 0}
    for output in (output for notebook in notebooks for cell in notebook.cells for output in cell.get("outputs", [])):
        about = output.get("metadata", {}).get("vq_lib", {})
        if about.get("kind") in counts:
            counts[about["kind"]] += 1
            label = f"{about['kind'].capitalize()} {counts[about['kind']]}"
            labels[f"{about['kind']}-{about['name']}"] = label
            if "alt" in about:
                alts[about["name"]] = about["alt"]
            number = f'<span class="number">{label}. </span>'
            output.data["text/html"] = output.data["text/html"].replace('<span class="number"></span>', number, 1)
    return labels, alts


def _cells(notebook, prefix, labels, contents):
    """The cells of a notebook as HTML; its headings are appended to `contents` as (level, id, markup)."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.metadata["html"] = markdown(cell.source, prefix, labels, contents)
    exporter = HTMLExporter(template_name="template", extra_template_basedirs=[str(display.TEMPLATES.parent)])
    body, _ = exporter.from_notebook_node(notebook)
    return Markup(re.sub(r"<pre(?=[ >])", '<pre tabindex="0"', body))  # long lines scroll, by keyboard too


class _Inline(MathInlineParser):
    """Maths in a line as a reader means it: the dollars of a price, or inside code, stay dollars."""

    SPECIFICATION = {
        **MathInlineParser.SPECIFICATION,
        "inline_math_tex": r"(?<![\\$\w])\$(?P<math_inline_tex>[^\s$`](?:[^$`]*[^\s$\\`])?)\$(?!\d)",
    }


class _Renderer(IPythonRenderer):
    """Markdown to HTML: maths as MathML, headings one level down, links to figures by number, nothing from a host."""

    def __init__(self, prefix, labels, contents, folder):
        super().__init__(escape=False, exclude_anchor_links=True)
        self.prefix, self.labels, self.contents, self.folder = prefix, labels, contents, folder

    def heading(self, text, level, **attrs):
        place = "-".join([self.prefix, *re.findall(r"\w+", re.sub(r"<math.*?</math>|<[^>]+>", "", text).lower())])
        while any(place == other for _, other, _ in self.contents):
            place += "-again"
        if level < 3:
            self.contents.append((level + 1, place, Markup(text)))
        return f'<h{level + 1} id="{place}">{text}</h{level + 1}>\n'

    def inline_math(self, body):
        return _mathml(body, "inline")

    def block_math(self, body):
        return f'<span class="vq-equation" tabindex="0">{_mathml(body, "block")}</span>'

    def link(self, text, url, title=None):
        label = self.labels.get(url[1:]) if re.match("#(figure|table)-", url) else text
        if not (label or "").strip():  # of a badge, or of a figure that this report has not
            return text
        return super().link(label, url, title)

    def image(self, text, url, title=None):
        path = self.folder / url if self.folder and "://" not in url else None
        suffix = Path(url).suffix.lower().lstrip(".").replace("jpg", "jpeg")
        if path is None or suffix not in {"png", "jpeg", "webp", "svg"} or not path.is_file():
            return ""  # a badge is a request to a host
        return f'<img src="{display.source(suffix, path.read_bytes())}" alt="{html.escape(text)}">'

    def inline_html(self, html):
        return "" if re.search("<(img|script|iframe|object|embed|link)", html, re.I) else html

    block_html = inline_html

    def paragraph(self, text):
        return super().paragraph(text) if text.strip() else ""


def markdown(source: str, prefix: str, labels: dict[str, str], contents: list, folder: Path | None = None) -> Markup:
    """Markdown as HTML; its headings down to the second level are appended to `contents` as (level, id, markup).

    Args:
        prefix: begins the ids of headings. labels: `{"figure-<name>": "Figure 3"}`. folder: of pictures to embed.
    """
    renderer = _Renderer(prefix, labels, contents, folder)
    return Markup(MarkdownWithMath(renderer, inline=_Inline(hard_wrap=False)).render(source))


def _mathml(latex, display):
    try:
        return convert(latex.strip(), display=display)
    except Exception:  # whatever its parser stumbles on, a reader can still read the LaTeX
        return f"<code>{html.escape(latex)}</code>"


def _notes(folder):
    """The author's own `notes.md`: what stands under "Aim", and all other parts, each a list of (title, markup)."""
    path = folder / "notes.md"
    try:
        source = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}; save it as text in UTF-8.") from None
    before, *pieces = re.split(r"^ {0,3}#{1,2}[ \t]+(.+?)[ \t#]*$", source, flags=re.M)
    parts = [*([("Aim", before)] if before.strip() else []), *zip(pieces[::2], pieces[1::2], strict=True)]
    parts = [(title, markdown(text, "notes", {}, [], folder)) for title, text in parts if text.strip()]
    aim = [part for part in parts if part[0].lower() == "aim"]
    return aim, [part for part in parts if part not in aim]


def _pictures(study, alts):
    """The first pictures, reduced: a list of (id of the figure, source, alt text)."""
    found = [(name, display.thumbnail(study.figures / f"{name}.webp", 900)) for name in FIRST if name in alts]
    return [(f"figure-{name}", small, alts[name]) for name, small in found if small]


def _built(executed):
    """The day on which the last of the notebooks was run, such as "21 November 2026"; "" where none says."""
    dates = [notebook.metadata["vq_lib"]["date"][:10] for notebook in executed if "vq_lib" in notebook.metadata]
    last = datetime.date.fromisoformat(max(dates)) if dates else None
    return f"{last.day} {last:%B %Y}" if last else ""


def _trainings(study):
    """`{model: summary.json}` of each: a report may be built anew, by later code, around models trained long before."""
    places = {"the VQ-VAE": study.vqvae}
    if study.recipe.prior is not None:
        places |= {NAMES.get(name, name): study.prior / name for name in study.recipe.prior.models()}
    paths = {name: folder / "summary.json" for name, folder in places.items()}
    return {name: read_json(path, "notebook 02 or 03") for name, path in paths.items() if path.exists()}


def _without_this_machine(text, study):
    """Where things lie on this machine is nobody's business who reads a published report."""
    places = [(study.data_folder, study.data_folder.name)] if study.data_folder else []
    inside = study.folder.is_relative_to(REPOSITORY)
    places += [(study.folder, study.folder.relative_to(REPOSITORY).as_posix() if inside else study.name),
               (sys.prefix, "environment"), (REPOSITORY, "."), (Path.home(), "~")]  # fmt: skip
    for place, name in places:
        for form in {str(place), html.escape(str(place)), html.escape(str(place), quote=False), str(escape(place))}:
            if len(form) > 3:
                shown = html.escape(name).replace("\\", r"\\")  # taken as it is, not as a reference to a group
                text = re.sub(re.escape(form) + r"(?![\w.-])", shown, text)
    return text


def main() -> None:
    """Write `report.html` of the plan in the current folder."""
    from vq_lib.report.build import fail, read_plan

    try:
        plan = read_plan()
        study = Study(plan["report"], plan["data"], plan["overrides"])
        paths = {stage: study.notebooks / f"{name}.ipynb" for stage, name in STAGES.items()}
        appendix = (
            paths.pop("appendix", None) if getattr(study.recipe, "appendix", True) else paths.pop("appendix") and None
        )
        text = render(study, list(paths.values()), appendix)
        with whole_file(study.html) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except UserError as error:
        fail(str(error), status=2)


if __name__ == "__main__":
    main()
