"""What notebooks show: figures and tables as HTML and as text, saved once."""

import io

import bs4
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from skimage.metrics import structural_similarity

from vq_lib.report import display
from vq_lib.study import Study


def grey(kind="noise"):
    figure = Figure(figsize=(4, 2))
    pixels = np.random.default_rng(0).normal(128, 30, (60, 120)).clip(0, 255)
    figure.subplots().imshow(pixels if kind == "noise" else np.zeros((4, 8)), cmap="gray", vmin=0, vmax=255)
    return figure


def curve():
    figure = Figure(figsize=(4, 2))
    figure.subplots().plot([1, 2])
    return figure


def test_a_picture_is_small_and_its_loss_is_not_seen():
    suffix, content = display.rendered(grey(), "alt")
    buffer = io.BytesIO()
    grey().savefig(buffer, format="png")
    before, after = (np.asarray(Image.open(some).convert("L")) for some in (buffer, io.BytesIO(content)))
    assert suffix == "webp" and structural_similarity(before, after) > 0.97
    assert len(content) < 0.6 * len(buffer.getvalue())
    assert display.rendered(grey(), "alt") == (suffix, content), "the same figure gives the same bytes"
    _, flat = display.rendered(grey("flat"), "alt")
    buffer = io.BytesIO()
    grey("flat").savefig(buffer, format="png")
    np.testing.assert_array_equal(Image.open(io.BytesIO(flat)).convert("L"), Image.open(buffer).convert("L"))


def test_curves_are_svg_with_a_title():
    suffix, content = display.rendered(curve(), "A & <curve>")
    assert suffix == "svg" and content.count(b'role="img"') == 1
    assert b"<title>A &amp; &lt;curve&gt;</title>" in content.replace(b"\n", b"")


def test_a_figure_is_saved_once_and_described(tmp_path, monkeypatch):
    study = Study("demo")
    monkeypatch.setattr(study, "figures", tmp_path)
    show = display.Figures(study)
    show(curve(), "one", "Caption.", "Alt.")
    shown = show(grey(), "one", "Caption <b>.", "Alt & more.")
    assert [path.name for path in tmp_path.iterdir()] == ["one.webp"], "what it was before is gone"
    data, metadata = shown._repr_mimebundle_()
    figure = bs4.BeautifulSoup(data["text/html"], "html.parser").figure
    assert (figure["id"], figure.img["alt"], figure.figcaption.get_text()) == (
        "figure-one",
        "Alt & more.",
        "Caption <b>.",
    )
    assert metadata["vq_lib"] == {"kind": "figure", "name": "one", "alt": "Alt & more."}
    assert data["text/plain"] == "Caption <b>. [Alt & more.]"


def test_a_table_is_one_that_a_screen_reader_can_read():
    frame = pd.DataFrame(
        {"people": [150, 1700], "SSIM": [0.91234, np.nan], "verdict": ["<good>", None]}, index=["a", "b"]
    )
    shown = display.table(frame, "scores", "Scores & more", {"SSIM": "{:.3f}"})
    region = bs4.BeautifulSoup(shown.markup, "html.parser").div
    assert (region["id"], region["role"], region["tabindex"], region["aria-label"]) == (
        "table-scores", "region", "0", "Scores & more")  # fmt: skip
    rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in region.find_all("tr")]
    assert rows == [["", "people", "SSIM", "verdict"], ["a", "150", "0.912", "<good>"], ["b", "1,700", "–", "–"]]
    assert [cell["scope"] for cell in region.find_all("th")] == ["col"] * 4 + ["row"] * 2
    assert region.caption.get_text() == "Scores & more" and "0.912" in shown.text and "1,700" in shown.text


def test_without_names_the_first_column_heads_the_rows():
    shown = display.table(pd.DataFrame({"split": ["train"], "share": [0.5]}), "n", "c", "{:.0%}")
    row = bs4.BeautifulSoup(shown.markup, "html.parser").tbody.tr
    assert (row.th.get_text(), row.td.get_text()) == ("train", "50%")
    named = pd.DataFrame({"x": [1.0]}, index=pd.MultiIndex.from_tuples([("a", "b")], names=["one", "two"]))
    assert display.table(named, "n", "c", lambda value: f"{value} dB").text.split() == [
        "c",
        "one",
        "two",
        "x",
        "a",
        "b",
        "1.0",
        "dB",
    ]


@pytest.mark.parametrize(("score", "digits", "text"), [
    ({"mean": 0.9523, "low": 0.951, "high": 0.9541}, 3, "0.952 (0.951–0.954)"),
    ({"mean": 30.04, "low": None, "high": None}, 1, "30.0"), ({"mean": 0.5}, 2, "0.50"),
    (0.25, 2, "0.25"), (None, 3, "–"),
])  # fmt: skip
def test_an_interval_as_text(score, digits, text):
    assert display.interval(score, digits) == text


def test_settings_warning_and_fold():
    shown = display.settings(Study("demo", overrides="vqvae.epochs=3"))
    soup = bs4.BeautifulSoup(shown.markup, "html.parser")
    rows = {row.th.get_text(): row.td.get_text() for row in soup.tbody.find_all("tr")}
    assert soup.details and rows["vqvae.epochs"] == "3" and rows["report"] == "demo"
    assert shown._repr_mimebundle_()[1]["tags"] == ["settings"], "by which the report shows them once"
    red = display.warning("1 < 2")
    assert bs4.BeautifulSoup(red.markup, "html.parser").get_text() == "Warning. 1 < 2" and red.text == "WARNING: 1 < 2"
    fold = bs4.BeautifulSoup(display.folded("Key", "<1>, 3").markup, "html.parser")
    assert (fold.summary.get_text(), fold.p.get_text()) == ("Key", "<1>, 3")


def test_a_thumbnail_of_a_broken_picture_is_none(tmp_path):
    (tmp_path / "x.webp").write_bytes(b"RIFF")
    assert display.thumbnail(tmp_path / "x.webp", 100) is None
    Image.new("RGB", (400, 200)).save(tmp_path / "y.png")
    assert display.thumbnail(tmp_path / "y.png", 100).startswith("data:image/webp;base64,")
