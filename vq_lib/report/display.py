"""What a notebook shows: figures and tables with caption and alt text, saved and numbered as the report needs them.

The report's HTML step (`vq_lib.report.html`) knows them by the metadata of the output: `{"vq_lib": {"kind", "name"}}`.
"""

import base64
import io
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image, ImageChops

from vq_lib.files import whole_file
from vq_lib.plots.names import named, rated
from vq_lib.study import REPOSITORY, Study

TEMPLATES = REPOSITORY / "reports" / "template"
QUALITY = 85  # of a lossy WebP: on this library's figures its SSIM to the picture was 0.985 to 0.998
Format = str | Callable[[Any], str]


class Shown:
    """What a notebook displays as HTML, and a terminal as plain text.

    `kind`: "figure", "table" or "settings", by which the report's HTML knows it; `about`: its name and alt text.
    """

    def __init__(self, markup: str, text: str, kind: str = "", **about: str):
        self.markup, self.text = str(markup), text
        self.metadata = {"vq_lib": {"kind": kind, **about}, "tags": [kind]} if kind else {}

    def __html__(self) -> str:  # which a template inserts as it is
        return self.markup

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.markup, "text/plain": self.text}, self.metadata


def rendered(figure: Figure, alt: str) -> tuple[str, bytes]:
    """`(suffix, bytes)` of a figure, always the same: pure curves as SVG with `role="img"` and a `<title>`, pictures as
    WebP, lossless where that is smaller, and lossy, in a quality at which the loss is not seen, where it is not.
    """
    buffer = io.BytesIO()
    if not any(axes.images for axes in figure.axes):
        figure.savefig(buffer, format="svg", metadata={"Title": alt, "Date": None})
        return "svg", buffer.getvalue().replace(b"<svg ", b'<svg role="img" ', 1)
    figure.savefig(buffer, format="png")
    with Image.open(buffer) as image:
        colour = image.convert("RGB")
    grey = colour.convert("L")
    picture = colour if ImageChops.difference(colour, grey.convert("RGB")).getbbox() else grey
    return "webp", min((_webp(picture, lossless=True), _webp(picture, quality=QUALITY)), key=len)


def _webp(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "webp", method=6, **options)
    return buffer.getvalue()


def thumbnail(path: Path, side: int) -> str | None:
    """A picture made smaller, at most `side` pixels wide, as the `src` of an `<img>`; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            small = image.convert("L" if image.mode == "L" else "RGB")
    except OSError:
        return None
    small.thumbnail((side, 2 * side), Image.Resampling.LANCZOS)
    return source("webp", _webp(small, quality=80))


def source(suffix: str, content: bytes) -> str:
    """A picture as the `src` of an `<img>`, so that a page loads nothing."""
    return f"data:image/{'svg+xml' if suffix == 'svg' else suffix};base64,{base64.b64encode(content).decode()}"


class Figures:
    """Shows figures of one report: `show = Figures(study)`, then `show(figure, name, caption, alt)`."""

    def __init__(self, study: Study):
        self.folder: Path = study.figures

    def __call__(self, figure: Figure, name: str, caption: str, alt: str) -> Shown:
        """Save `figure` as `run/figures/<name>.svg` or `.webp` and return it for display.

        `name` is unique within the report; a text refers to it by the link `[figure](#figure-<name>)`. `caption`, one
        or two sentences: what is seen. `alt`: what a reader who cannot see the figure must know. Both are plain text.
        """
        suffix, content = rendered(figure, alt)
        with whole_file(self.folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)
        for other in {"png", "svg", "webp"} - {suffix}:  # what it was in an earlier run
            (self.folder / f"{name}.{other}").unlink(missing_ok=True)
        markup = macro("figure")(name, source(suffix, content), caption, alt)
        return Shown(markup, f"{caption} [{alt}]", "figure", name=name, alt=alt)


def table(frame: pd.DataFrame, name: str, caption: str, formats: Mapping[str, Format] | Format | None = None) -> Shown:
    """A data frame as a table that a screen reader can read and that scrolls where it is too wide.

    The index heads the rows, or the first column where the index only counts. `name` is unique within the report; a
    text refers to it by the link `[table](#table-<name>)`. `caption`, plain text: what the rows are, and of whom.
    `formats`: of a column, such as `"{:.3f}"` or a function, or one for all columns of numbers; what is missing is –.
    """
    if not isinstance(formats, Mapping):
        formats = {} if formats is None else dict.fromkeys(frame.select_dtypes("number").columns, formats)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.rename_axis([level or "" for level in frame.index.names]).reset_index()
    forms = {column: form.format if isinstance(form, str) else form for column, form in formats.items()}
    text = pd.concat([cells.map(forms.get(column, _plain), na_action="ignore")
                      for column, cells in frame.astype(object).items()], axis=1)  # fmt: skip
    text = text.where(text.notna() & (text != ""), "–")
    markup = macro("table")(name, caption, list(text.columns), text.to_numpy().tolist())
    return Shown(markup, f"{caption}\n{text.to_string(index=False)}", "table", name=name)


def _plain(cell):
    return f"{cell:,}" if isinstance(cell, numbers.Integral) and not isinstance(cell, bool) else str(cell)


def interval(score: Any, digits: int = 3) -> str:
    """A score as text, "0.952 (0.951–0.954)"; the mean alone where there is no interval, and – where there is none.

    `score`: `{"mean", "low", "high"}`, a `metrics.Score`, or a number.
    """
    ends = {"mean": score} if score is None or isinstance(score, numbers.Real) else dict(score)
    mean, low, high = (ends.get(name) for name in ("mean", "low", "high"))
    if mean is None:
        return "–"
    return f"{mean:.{digits}f}" + ("" if None in (low, high) else f" ({low:.{digits}f}–{high:.{digits}f})")


def settings(study: Study) -> Shown:
    """The recipe's settings, which every notebook may show: many rows, so they are folded; the report has them once."""
    data = getattr(study.data_folder, "name", "none: the recipe makes its own")
    rows = [("report", study.name), ("data", data), *study.recipe.settings()]
    frame = pd.DataFrame(rows, columns=["setting", "value"], dtype=object)
    whole = table(frame, "settings", "Settings of this report")
    return Shown(macro("folded")("Settings", whole), whole.text, "settings")


def folded(summary: str, text: str) -> Shown:
    """Text that the reader has to unfold."""
    return Shown(macro("folded")(summary, text), text)


def warning(text: str) -> Shown:
    """A red box: something that the reader must know."""
    return Shown(macro("warning")(text), f"WARNING: {text}")


def templates(autoescape: bool = True) -> jinja2.Environment:
    """The templates of `reports/template`, with the filters that turn numbers into text."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=autoescape, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    environment.filters |= {
        "interval": interval, "rated": rated, "named": named,
        "decimals": lambda number, digits: "–" if number is None else f"{number:.{digits}f}",
        "percent": lambda share: "–" if share is None else f"{share:.1%}",
        "epochs": "{0[done]} of {0[planned]}".format,
    }  # fmt: skip
    return environment


def macro(name: str) -> Callable[..., Markup]:
    """One of the macros in `reports/template/macros.html.j2`."""
    return getattr(templates().get_template("macros.html.j2").module, name)
