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
from vq_lib.plots.names import LAYOUTS, named
from vq_lib.report import display
from vq_lib.report.metrics import read
from vq_lib.report.pipeline import step
from vq_lib.study import REPOSITORY, Study

FIRST = ("vqvae-panels", "samples")  # figures that stand, made smaller, beside the headline
# What TensorFlow's C++ writes about itself; what Python warns of is kept, and the executed notebooks keep it all.
CHATTER = re.compile(
    r"^([IWE]\d{4} \d\d:\d\d|\d{4}-\d\d-\d\d [\d:.]+: [IWE] |WARNING: All log messages before|To enable the foll).*\n?",
    re.M,
)

REMOVED = TagRemovePreprocessor(
    remove_cell_tags={"remove", "parameters", "injected-parameters"}, remove_input_tags={"hide-input"},
    remove_single_output_tags={"settings"},  # which are shown once, at the end
)  # fmt: skip


def render(study: Study, notebooks: Sequence[Path], appendix: Path | None = None) -> str:
    """The report as text, from the executed `notebooks` in order, and the one to be folded at the end.

    The study's `metrics.json` fills the title block, the summary and the provenance. `UserError` where that, or
    `notes.md`, cannot be read.
    """
    paths = [*notebooks, *([appendix] if appendix else [])]
    executed = [REMOVED.preprocess(nbformat.read(path, as_version=4), {})[0] for path in paths]
    runs = {path.stem: notebook.metadata.get("vq_lib") for path, notebook in zip(paths, executed, strict=True)}
    last = max((datetime.date.fromisoformat(run["date"][:10]) for run in runs.values() if run), default=None)
    metrics = read(study.metrics) if study.metrics.exists() else None
    layout = (metrics.data.checks.layout if metrics else None) or study.recipe.data.layout or ""
    labels, alts = _number(executed)
    sections = [(f"notebook-{number}", *_cells(notebook, f"part-{number}", labels))
                for number, notebook in enumerate(executed, 1)]  # fmt: skip
    small = {name: display.thumbnail(study.figures / f"{name}.webp", 900) for name in FIRST if name in alts}
    notes = _notes(study.folder)
    text = display.templates().get_template("page.html.j2").render(
        recipe=study.recipe, name=study.name, metrics=metrics, runs=runs, trainings=_trainings(study),
        built=f"{last.day} {last:%B %Y}" if last else "",
        pictures=[(f"figure-{name}", source, alts[name]) for name, source in small.items() if source],
        appendix=sections.pop() if appendix else None, sections=sections,
        aim=[part for part in notes if part[0].lower() == "aim"],
        discussion=[part for part in notes if part[0].lower() != "aim"],
        layout=LAYOUTS.get(layout, ""), acknowledgement=acknowledged(layout) if layout else "",
        settings=display.settings(study),
    )  # fmt: skip
    return _without_this_machine(re.sub(r"[ \t]+\n", "\n", text), study)


def _number(notebooks):
    """Number figures and tables in order: `{id: "Figure 3"}`, and the alt texts of figures by name."""
    labels: dict[str, str] = {}
    alts: dict[str, str] = {}
    for output in (output for notebook in notebooks for cell in notebook.cells for output in cell.get("outputs", [])):
        about = output.get("metadata", {}).get("vq_lib", {})
        if (kind := about.get("kind")) in ("figure", "table"):
            label = f"{kind.capitalize()} {1 + sum(name.startswith(kind) for name in labels)}"
            labels[f"{kind}-{about['name']}"] = label
            alts |= {about["name"]: about["alt"]} if "alt" in about else {}
            number = f'<span class="number">{label}. </span>'
            output.data["text/html"] = output.data["text/html"].replace('<span class="number"></span>', number, 1)
    return labels, alts


def _cells(notebook, prefix, labels):
    """The cells of a notebook as HTML, and its headings as (level, id, markup)."""
    contents: list[tuple[int, str, str]] = []
    exporter = HTMLExporter(template_name="template", extra_template_basedirs=[str(display.TEMPLATES.parent)], filters={
        "markdown": lambda source: markdown(source, prefix, labels, contents),
        "without_chatter": lambda text: CHATTER.sub("", text),
    })  # fmt: skip
    body, _ = exporter.from_notebook_node(notebook)
    return Markup(re.sub(r"<pre(?=[ >])", '<pre tabindex="0"', body)), contents  # long lines scroll, by keyboard too


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

    def inline_math(self, body, display="inline"):
        try:
            return convert(body.strip(), display=display)
        except Exception:  # whatever its parser stumbles on, a reader can still read the LaTeX
            return f"<code>{html.escape(body)}</code>"

    def block_math(self, body):
        return f'<span class="vq-equation" tabindex="0">{self.inline_math(body, "block")}</span>'

    def link(self, text, url, title=None):
        label = self.labels.get(url[1:]) if re.match("#(figure|table)-", url) else text
        return super().link(label, url, title) if (label or "").strip() else text  # of a badge, or of no figure here

    def image(self, text, url, title=None):
        path = self.folder / url if self.folder and "://" not in url else None
        suffix = Path(url).suffix.lower().lstrip(".").replace("jpg", "jpeg")
        if path is None or suffix not in {"png", "jpeg", "webp", "svg"} or not path.is_file():
            return ""  # a badge is a request to a host
        return f'<img src="{display.source(suffix, path.read_bytes())}" alt="{html.escape(text)}">'

    def inline_html(self, html):
        return "" if re.search("<(img|script|iframe|object|embed|link)", html, re.I) else html

    block_html = inline_html


def markdown(source: str, prefix: str, labels: dict[str, str], contents: list, folder: Path | None = None) -> Markup:
    """Markdown as HTML; its headings down to the second level are appended to `contents` as (level, id, markup).

    `prefix` begins the ids of headings; `labels`: `{"figure-<name>": "Figure 3"}`; `folder`: of pictures to embed.
    """
    renderer = _Renderer(prefix, labels, contents, folder)
    return Markup(MarkdownWithMath(renderer, inline=_Inline(hard_wrap=False)).render(source))


def _notes(folder):
    """The author's own `notes.md`, a list of (title, markup); what stands before the first heading is the aim."""
    path = folder / "notes.md"
    try:
        source = path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}; save it as text in UTF-8.") from None
    before, *pieces = re.split(r"^ {0,3}#{1,2}[ \t]+(.+?)[ \t#]*$", source, flags=re.M)
    parts, contents = [("Aim", before), *zip(pieces[::2], pieces[1::2], strict=True)], list[tuple]()
    return [(title, markdown(text, "notes", {}, contents, folder)) for title, text in parts if text.strip()]


def _trainings(study):
    """`{model: summary.json}` of each: a report may be built anew, by later code, around models trained long before."""
    priors = study.recipe.prior.models() if study.recipe.prior else ()
    places = {"the VQ-VAE": study.vqvae, **{named(name): study.prior / name for name in priors}}
    paths = {name: folder / "summary.json" for name, folder in places.items()}
    return {name: read_json(path, "notebook 02 or 03") for name, path in paths.items() if path.exists()}


def _without_this_machine(text, study):
    """Where things lie on this machine is nobody's business who reads a published report."""
    inside = study.folder.is_relative_to(REPOSITORY)
    places = {study.data_folder: getattr(study.data_folder, "name", ""),
              study.folder: study.folder.relative_to(REPOSITORY).as_posix() if inside else study.name,
              sys.prefix: "environment", REPOSITORY: ".", Path.home(): "~"}  # the innermost first  # fmt: skip
    for place, name in places.items():
        forms = {str(place), html.escape(str(place)), html.escape(str(place), quote=False), str(escape(place))}
        for form in (re.escape(form) for form in forms if place and len(form) > 3):
            text = re.sub(rf"{form}(?![\w.-])", html.escape(name).replace("\\", r"\\"), text)  # no group's number
    return text


if __name__ == "__main__":
    with step("report.html") as plan:
        study = Study(plan["report"], plan["data"], plan["overrides"])
        paths = [study.notebooks / f"{name}.ipynb" for name in plan["stages"]]
        appendix = paths.pop() if study.recipe.appendix else None
        text = render(study, paths, appendix)
        with whole_file(study.html) as temporary:
            temporary.write_text(text, encoding="utf-8")
