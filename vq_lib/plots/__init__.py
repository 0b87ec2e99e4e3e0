"""Figures and tables as the report shows them: saved as files, displayed as HTML with caption and alt text."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageChops

from vq_lib.files import whole_file

# Colours of Okabe and Ito (2008), told apart by colour-blind readers.
COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73", "model": "#0072B2", "baseline": "#8A8A8A",
           "warning": "#D55E00", "other": "#CC79A7"}  # fmt: skip

# Legends, colour bars and images that come later follow it too.
matplotlib.rcParams.update(
    {
        "figure.dpi": 100,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 160,
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "legend.frameon": False,
        "svg.hashsalt": "vq_lib",  # equal runs give equal files
        "svg.fonttype": "path",
    }
)


def new(width: float = 8.0, height: float = 3.2, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A matplotlib figure and its axes, outside pyplot's global state."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, **options)


def bare(axes: Axes) -> None:
    """Take ticks, grid and frame off axes that hold an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def image(axes: Axes, pixels: np.ndarray, white: float = 255) -> None:
    """Show one grey or colour image on bare axes, black at 0 and white at `white`, the same for every image."""
    axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=white, interpolation="nearest")
    bare(axes)


class Html:
    """Something that a notebook displays as HTML and a terminal as plain text."""

    def __init__(self, markup: str, text: str):
        self.markup, self.text = markup, text

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.markup, "text/plain": self.text}


def rendered(figure: Figure, alt: str) -> tuple[str, bytes]:
    """`(suffix, bytes)` of a figure: pictures as PNG, pure curves as SVG with `role="img"` and a `<title>`.

    The same figure gives the same bytes.
    """
    buffer = io.BytesIO()
    if any(axes.images for axes in figure.axes):
        figure.savefig(buffer, format="png")
        return "png", _packed(buffer)
    figure.savefig(buffer, format="svg", metadata={"Title": alt, "Date": None})
    return "svg", buffer.getvalue().replace(b"<svg ", b'<svg role="img" ', 1)


def _packed(png):
    """A PNG in half the bytes: grey levels where it has no colour, and else the 256 colours that fit it best."""
    image = Image.open(png).convert("RGB")
    grey = image.convert("L")
    coloured = ImageChops.difference(image, grey.convert("RGB")).getbbox()
    small, packed = image.quantize(256, dither=Image.Dither.NONE) if coloured else grey, io.BytesIO()
    small.save(packed, "png", optimize=True)
    return packed.getvalue()


def show(study, name: str, figure: Figure, caption: str, alt: str) -> Html:
    """Save `figure` under `run/figures/<name>` and return it for display.

    Args:
        study: the `Study` whose report it belongs to.
        name: file name without suffix; unique within the report.
        caption: one or two sentences: what is seen, and what to look for. Plain text.
        alt: what a reader who cannot see the figure must know. Plain text.
    """
    suffix, content = rendered(figure, alt)
    with whole_file(study.figures / f"{name}.{suffix}") as temporary:
        temporary.write_bytes(content)
    kind = {"png": "image/png", "svg": "image/svg+xml"}[suffix]
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return Html(
        f'<figure class="vq-figure" id="figure-{html.escape(name)}" tabindex="0">'
        f'<img alt="{html.escape(alt)}" src="{source}" style="max-width:100%;height:auto;background:white">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>",
        f"{caption} [{alt}]",
    )


def table(header: Sequence[str], rows: Iterable[Iterable], caption: str = "") -> Html:
    """A table for display: numbers with a fixed number of digits are given as text; everything is escaped."""
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [all(_number(row[i]) for row in cells) and bool(cells) for i in range(len(header))]
    style = ['style="text-align:right"' if right else 'style="text-align:left"' for right in numeric]
    head = "".join(f'<th scope="col" {style[i]}>{html.escape(str(name))}</th>' for i, name in enumerate(header))
    body = "".join(
        "<tr>" + "".join(_cell(cell, style[i], len(row) > 1 and i == 0) for i, cell in enumerate(row)) + "</tr>"
        for row in cells
    )
    # A table that is wider than a phone scrolls; the keyboard can reach and scroll what has a tabindex.
    region = f'class="vq-table" role="region" tabindex="0" aria-label="{html.escape(caption or "Table")}"'
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    widths = [max(len(str(name)), *(len(row[i]) for row in cells), 0) for i, name in enumerate(header)]
    lines = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *cells]
    ]
    return Html(
        f"<div {region}><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        "\n".join([caption, *lines] if caption else lines),
    )


def _cell(text, style, heads):
    return f'<th scope="row" {style}>{html.escape(text)}</th>' if heads else f"<td {style}>{html.escape(text)}</td>"


def _number(text):
    try:
        float(text.rstrip("%").replace(",", "").split(" ")[0] or "x")
        return True
    except ValueError:
        return text in {"", "–"}


def folded(summary: str, text: str) -> Html:
    """Text that the reader has to unfold."""
    return Html(f"<details><summary>{html.escape(summary)}</summary><p>{html.escape(text)}</p></details>", text)


def paragraphs(*sentences: str) -> Html | None:
    """What the numbers say in words, a paragraph for each text that is not empty; None where all are."""
    kept = [text for text in sentences if text]
    if not kept:
        return None
    markup = "".join(f"<p>{html.escape(text)}</p>" for text in kept)
    return Html(f'<div class="prose">{markup}</div>', "\n".join(kept))


def points(sentences: Sequence[str | tuple[str, str]], name: str = "", title: str = "") -> Html:
    """A list of sentences, or of (what about, sentence); what stands in backticks is code.

    Args:
        name: a further class of the list: "vq-summary" is shown at the top of the report.
        title: a line above it.
    """
    rows = [row if isinstance(row, tuple) else ("", row) for row in sentences]
    items = ""
    for about, text in rows:
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
        items += f"<li>{f'<strong>{html.escape(about)}.</strong> ' if about else ''}{text}</li>"
    above = f"<p>{html.escape(title)}</p>" if title else ""
    plain = "\n".join([title] * bool(title) + [f"- {about + '. ' if about else ''}{text}" for about, text in rows])
    return Html(f'<div class="{f"prose {name}".strip()}">{above}<ul>{items}</ul></div>', plain)


def warning(text: str) -> Html:
    """A red box: something that the reader of the report must know."""
    style = "border-left:4px solid #b00020;padding:.5em 1em;color:#b00020"
    box = f'<div class="vq-warning" role="alert" style="{style}"><strong>Warning.</strong> {html.escape(text)}</div>'
    return Html(box, f"WARNING: {text}")


def settings(study) -> Html:
    """The recipe's settings, which every notebook shows after its parameters: a hundred rows, so they are folded."""
    rows = [
        ("report", study.name),
        ("data", study.data_folder or "none: the recipe makes its own"),
        *study.recipe.settings(),
    ]
    title = "Settings of this run"
    whole = table(("setting", "value"), rows, title)
    untitled = whole.markup.replace(f"<caption>{title}</caption>", "")
    return Html(f"<details><summary>{title}</summary>{untitled}</details>", whole.text)
