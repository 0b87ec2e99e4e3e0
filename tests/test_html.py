"""The report as a reader meets it: self-contained, accessible, readable on a phone and in print."""

import base64
import io
import json
import re
import shutil

import bs4
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, TINY
from matplotlib.figure import Figure
from PIL import Image

from vq_lib.errors import UserError
from vq_lib.report import display
from vq_lib.report import html as report_html
from vq_lib.study import Study

WIDTHS = (390, 820, 1440)
text, code, output = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell, nbformat.v4.new_output
PARAMETERS = code("report = 'here'", metadata={"tags": ["parameters"]})
NOTES = (
    "Why.\n\n# Discussion\n\nCosts \\$5.\n\n![mine](mine.png)\n![badge](https://host/x.png)\n\n## Limitations\n\nFew.\n"
)
HIDDEN = {"tags": ["hide-input"]}
DATE = {"vq_lib": {"seconds": 7.0, "date": "2031-11-21 10:00 UTC"}}


def shown(thing):
    data, metadata = thing._repr_mimebundle_()
    return output("display_data", data=data, metadata=metadata)


def curve(end=2):
    figure = Figure(figsize=(9, 3))
    figure.subplots().plot([1, 3, end])
    return figure


def picture(seed=0):
    figure = Figure(figsize=(9, 3))
    figure.subplots().imshow(np.random.default_rng(seed).integers(0, 256, (24, 64), dtype=np.uint8), cmap="gray")
    return figure


def metrics():
    source = json.loads((REPOSITORY / "reports" / "demo" / "metrics.json").read_text(encoding="utf-8"))
    return {**source, "report": "mine"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of five small notebooks that were executed by hand; its name and title are hostile."""
    folder = tmp_path_factory.mktemp("reports") / "mine & <yours> 'ré'"
    (folder / "run" / "notebooks").mkdir(parents=True)
    recipe = TINY.replace("A tiny report", "A <b>tiny</b> report") + "author: A. Student & Co\n"
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "notes.md").write_text(NOTES, encoding="utf-8")
    Image.new("L", (4, 4)).save(folder / "mine.png")
    study = Study(folder)
    show = display.Figures(study)
    wide = pd.DataFrame(np.eye(3, 12), columns=[f"a long column {number}" for number in range(12)])
    table = shown(display.table(wide, "wide", "A wide table", "{:.3f}"))
    refers = "See [figure](#figure-samples), [table](#table-wide) and [figure](#figure-none)."
    panels, samples = (shown(show(picture(seed), name, caption, alt)) for seed, name, caption, alt in (
        (0, "vqvae-panels", "Panels <of> it.", "Alt & one."), (1, "samples", "Samples.", "Grid.")))  # fmt: skip
    early, late = (shown(show(curve(len(name)), name, f"A curve, {name}.", "Up.")) for name in ("early", "late"))
    parts = [
        [PARAMETERS, code("settings", outputs=[shown(display.settings(study))]),
         text(f"# 1 · One\n\n{refers}\n\n$$x^2$$"), text("## Part $K$"), code("t = 1", outputs=[table])],
        [text("# 2 · Two"), code("p", outputs=[panels]), code("hidden()", metadata=HIDDEN, outputs=[early])],
        [text("# 3 · Three"), code("secret()", metadata={"tags": ["remove"]}), code(f"path = {str(folder)!r}")],
        [text("# 4 · Four"), code("s", outputs=[samples])],
        [text("# 5 · Five\n\n[figure](#figure-samples)"), code("c", outputs=[late])],
    ]  # fmt: skip
    paths = [study.notebooks / f"0{number}.ipynb" for number in range(1, 6)]
    for cells, path in zip(parts, paths, strict=True):
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=DATE), path)
    study.metrics.write_text(json.dumps({**metrics(), "report": study.name}), encoding="utf-8")
    for stage, name in (("vqvae", "vqvae"), ("prior/pixelcnn", "prior")):
        (study.run / stage).mkdir(parents=True)
        summary = {"seconds": 5, "epochs": {"done": 1, "planned": 1}, "made": {"date": "2031-11-20", "commit": name}}
        (study.run / stage / "summary.json").write_text(json.dumps(summary))
    (folder / "report.html").write_text(report_html.render(study, paths[:4], paths[4]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def soup(folder):
    return bs4.BeautifulSoup((folder / "report.html").read_text(encoding="utf-8"), "html.parser")


def rendered(tmp_path, cells, notes="", appendix=False):
    """The main part of a report of one notebook with these cells."""
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    if notes:
        (tmp_path / "notes.md").write_text(notes, encoding="utf-8")
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "01.ipynb")
    return bs4.BeautifulSoup(report_html.render(Study(tmp_path), [tmp_path / "01.ipynb"]), "html.parser").main


def test_nothing_is_loaded(soup):
    assert not soup.find_all(["script", "iframe", "object", "embed", "base"])
    assert [link["href"] for link in soup.find_all("link")] == ["data:,"]
    assert all(image["src"].startswith("data:image/") for image in soup.find_all("img"))
    styles = " ".join(
        [tag.get_text() for tag in soup.find_all("style")] + [tag["style"] for tag in soup.select("[style]")]
    )
    assert "url(" not in styles and "@import" not in styles


def test_no_path_of_this_machine(soup, folder):
    assert str(folder) not in str(soup) and str(folder.parent) not in soup.get_text()
    assert "path = " in soup.main.get_text()


def test_order_of_the_parts(soup):
    assert soup.title.get_text() == "A <b>tiny</b> report" == soup.h1.get_text() and not soup.h1.find("b")
    assert soup.select_one(".author").get_text() == "A. Student & Co"
    assert soup.select_one(".kicker").get_text().endswith("· built 21 November 2031")
    sections = [section["id"] for section in soup.find_all("section")]
    assert sections == ["notes-0-0", "summary", *(f"notebook-{number}" for number in (1, 2, 3, 4)), "notes-1-0",
                        "notes-1-1", "references", "appendix", "notebook-5", "settings"]  # fmt: skip
    assert soup.find(id="notebook-5").find_parent("details") and not soup.find(id="notebook-4").find_parent("details")
    contents = [link.get_text() for link in soup.select("nav.sidebar a")]
    assert contents == ["Aim", "Summary", "1 · One", "Part K", "2 · Two", "3 · Three", "4 · Four", "Discussion",
                        "Limitations", "References", "Appendix", "5 · Five", "Settings", "Provenance"]  # fmt: skip
    identifiers = [tag["id"] for tag in soup.select("[id]")]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"][1:] for link in soup.select('a[href^="#"]')} <= set(identifiers)


def test_figures_and_tables_are_numbered_and_referred_to(soup):
    captions = [figure.figcaption.get_text() for figure in soup.select("figure.vq-figure")]
    assert captions == ["Figure 1. Panels <of> it.", "Figure 2. A curve, early.", "Figure 3. Samples.",
                        "Figure 4. A curve, late."]  # fmt: skip
    assert soup.find(id="table-wide").caption.get_text() == "Table 1. A wide table"
    paragraph = soup.find(id="notebook-1").p
    assert paragraph.get_text() == "See Figure 3, Table 1 and figure." and len(paragraph.find_all("a")) == 2
    assert soup.find(id="notebook-5").p.get_text() == "Figure 3"


def test_the_first_screen_shows_figures_and_pictures(soup):
    cards = [name.get_text() for name in soup.select(".cards dt")]
    assert cards[:3] == ["Test SSIM", "Foreground SSIM", "PSNR"] and cards[-1] == "People" and len(cards) == 8
    assert [value.get_text() for value in soup.select(".cards .value")][:2] == ["0.952", "0.931"]
    pictures = soup.select("header .pictures a")
    assert [link["href"] for link in pictures] == ["#figure-vqvae-panels", "#figure-samples"]
    assert [link.img["alt"] for link in pictures] == ["Alt & one.", "Grid."]
    small = Image.open(io.BytesIO(base64.b64decode(pictures[0].img["src"].split(",")[1])))
    assert small.format == "WEBP" and small.width <= 900
    large = [image["src"] for image in soup.main.find_all("img")]
    assert len(large) == len(set(large)) == 5, "each picture is stored once"


def test_summary_and_references(soup):
    captions = [table.caption.get_text() for table in soup.find(id="summary").find_all("table")]
    assert len(captions) == 4 and not any("Table" in caption for caption in captions)
    numbers = soup.find(id="summary").get_text(" ")
    for part in ("0.952 (0.951–0.954)", "nearest training slice", "AVIF", "4.79", "96 / 12 / 16"):
        assert part in numbers
    references = soup.find(id="references")
    assert {"arXiv 1711.00937", "arXiv 1606.05328"} <= {link.get_text() for link in references.find_all("a")}
    assert "arXiv 2309.15505" not in references.get_text(), "no finite scalar quantisation here"
    assert "MNI152" in references.get_text() and "keras 3" in references.get_text()


def test_settings_stand_once_and_last(soup):
    assert (
        len(soup.select("#table-settings")) == 1
        and soup.find(id="table-settings").find_parent("section")["id"] == "settings"
    )
    assert "report = 'here'" not in str(soup) and "secret()" not in str(soup) and "hidden()" not in str(soup)
    rows = {row.th.get_text(): row.td.get_text() for row in soup.find(id="table-settings").tbody.find_all("tr")}
    assert rows["vqvae.codes"] == "16" and rows["data"] == "none: the recipe makes its own"


def test_provenance_names_trainings_and_runs(soup):
    footer = " ".join(soup.footer.get_text(" ").split())
    assert "training of the VQ-VAE 5 s, 1 of 1 epochs; 2031-11-20, commit vqvae" in footer
    assert "training of PixelCNN 5 s, 1 of 1 epochs; 2031-11-20, commit prior" in footer
    assert "05 run in 7 s, 2031-11-21 10:00 UTC" in footer and "data fingerprint" in footer


def test_the_authors_notes_are_set_at_their_places(soup, tmp_path):
    aim, discussion, limitations = (soup.find(id=f"notes-{place}") for place in ("0-0", "1-0", "1-1"))
    assert (aim.h2.get_text(), aim.p.get_text()) == ("Aim", "Why.")
    assert "Costs $5." in discussion.get_text() and [image["alt"] for image in discussion.find_all("img")] == ["mine"]
    assert limitations.get_text().split() == ["Limitations", "Few."]
    assert [tag["id"] for tag in rendered(tmp_path, [text("# One")]).find_all("section")] == [
        "notebook-1",
        "references",
        "settings",
    ]
    (tmp_path / "notes.md").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="notes.md cannot be read.*UTF-8"):
        rendered(tmp_path, [text("# One")])


def test_the_keyboard_reaches_what_scrolls(soup):
    scrolls = soup.select("figure, .vq-table, .vq-equation, pre")
    assert len(scrolls) > 10 and all(tag["tabindex"] == "0" for tag in scrolls)
    assert all(table["aria-label"] and table["role"] == "region" for table in soup.select(".vq-table"))
    assert all(image.get("alt", "").strip() for image in soup.find_all("img"))
    assert all(row.find(["th", "td"]).name == "th" for row in soup.select("tbody tr"))
    assert all(block.find_parent("details") for block in soup.select("div.highlight"))


def test_markdown_maths_headings_and_badges():
    contents = []
    markup = report_html.markdown(
        "# 1 · A & B\n\n[![badge](https://host/badge.svg)](https://host)\n\nCosts $5 or `$x$`, but $x_i^2$ is maths."
        "\n\n$$\\sum_i x_i$$\n\n## A & B of $K$\n\n## A & B of $K$\n\n### Third\n\n<img src='https://host/x'>\n",
        "part-1", {}, contents)  # fmt: skip
    soup = bs4.BeautifulSoup(markup, "html.parser")
    assert [formula["display"] for formula in soup.find_all("math")] == ["inline", "block", "inline", "inline"]
    assert soup.code.get_text() == "$x$" and "Costs $5 or" in soup.get_text()
    assert not soup.find("img") and "host" not in markup
    assert [level for level, _, _ in contents] == [2, 3, 3] and len({name for _, name, _ in contents}) == 3
    assert contents[0][2] == "1 · A &amp; B" and contents[1][2].startswith("A &amp; B of <math")
    assert [heading.name for heading in soup.find_all(re.compile("h[1-6]"))] == ["h2", "h3", "h3", "h4"]


def test_output_kinds(tmp_path):
    """Streams are escaped and folded, bare pictures get an alt text, nothing of the data becomes markup."""
    main = rendered(tmp_path, [text("# One"), code("x", outputs=[
        output("stream", name="stdout", text="<b>one</b>\n" * 9),
        output("stream", name="stdout", text="short\n"),
        output("stream", name="stderr", text="I0000 00:00:1795 28059 port.cc:153] a\nE0000 00:00:1795 2 b.cc:52] c\n"),
        output("stream", name="stderr", text="W0000 00:00:1795 28059 d.cc:1] e\n\x1b[31m<i>\x1b[0m"),
        output("display_data", data={"image/png": "iVBORw0KGgo=\n"}),
        output("execute_result", data={"text/plain": "<u>"}),
        output("display_data", data={"image/svg+xml": "<svg/>"}),
    ])])  # fmt: skip
    assert not main.find_all(["b", "i", "u"])
    assert [tag.get_text() for tag in main.select("details.log summary")] == ["Log, 9 lines", "Messages"]
    assert main.select("details.log pre")[1].get_text() == "<i>"  # and nothing of TensorFlow's own log
    assert "\x1b" not in str(main) and len(main.find_all("img", alt=True)) == 2


def warnings_of(document):
    from vq_lib.report.metrics import Metrics

    parts = display.templates().get_template("summary.html.j2").module
    soup = bs4.BeautifulSoup(parts.warnings(Metrics.model_validate(document)), "html.parser")
    return [tag.get_text().removeprefix("Warning. ") for tag in soup.select(".vq-warning")]


def test_warnings_are_honest_or_absent():
    good = metrics()
    for auc in good["prior"]["membership_auc"].values():
        auc["low"] = 0.4
    assert warnings_of(good) == []
    bad = metrics()
    bad["data"]["checks"]["warnings"] = ["people in two splits"]
    bad["data"]["test"]["people"] = 4
    bad["vqvae"] |= {"codebook_usage": 0.1, "epochs": {"done": 2, "planned": 9}}
    bad["baselines"]["mean_image"]["ssim_foreground"] = bad["vqvae"]["ssim_foreground"]["low"] + 0.001
    bad["prior"]["bits_per_code"]["test"], known = 5.0, bad["prior"].pop("membership_auc")
    bad["samples"] |= {"failed_beyond_chance": True, "failed_fraction": 0.75, "memorised_fraction": 0.33}
    found = warnings_of(bad)
    for part in ("two splits", "4 test people", "mean image", "10.0%", "2 of 9", "5.00", "75.0%", "33.0%"):
        assert sum(part in sentence for sentence in found) == 1
    assert len(found) == 8
    bad["prior"]["membership_auc"] = known | {"test": {"mean": 0.8, "low": 0.6, "high": 0.9}}
    found = warnings_of(bad)
    assert len(found) == 8 and any("told from test people" in one for one in found), "before a training that was short"
    bad["data"]["test"]["people"] = 1
    assert "One test person: there are no intervals." in warnings_of(bad)
    told = {**good, "prior": {**good["prior"], "membership_auc": {"test": {"mean": 0.8, "low": 0.6, "high": 0.9}}}}
    assert warnings_of(told) == ["Training people told from test people by the prior: AUC 0.80 (0.60–0.90)."]


def test_cards_do_without_what_is_not_there():
    from vq_lib.report.metrics import Metrics

    parts, document = display.templates().get_template("summary.html.j2").module, metrics()
    for section in ("prior", "samples", "codecs"):
        del document[section]
    document["data"] = {"test": {"images": 3, "people": 1}}
    for score in ("ssim", "ssim_foreground", "psnr"):
        document["vqvae"][score] = {"mean": 0.5, "low": None, "high": None}
    few = Metrics.model_validate(document)
    soup = bs4.BeautifulSoup(parts.cards(few, 256), "html.parser")
    assert [name.get_text() for name in soup.find_all("dt")] == [
        "Test SSIM",
        "Foreground SSIM",
        "PSNR",
        "Codes used",
        "People",
    ]
    assert "None" not in soup.get_text() and "None" not in parts.summary(few, Study("demo").recipe, "")
    floor = {"two_sample_floor": {"mean": 0.44}, "two_sample_people": 250}
    document = {**metrics(), "samples": {**metrics()["samples"], **floor}}
    text = bs4.BeautifulSoup(parts.cards(Metrics.model_validate(document), 256), "html.parser").get_text()
    assert "against halves of 250 training people; the halves: 0.44" in text


def test_a_whole_report(tiny):
    """What only the real notebooks can show."""
    page = bs4.BeautifulSoup((tiny / "report.html").read_text(encoding="utf-8"), "html.parser")
    assert (tiny / "report.html").stat().st_size < 5_000_000
    assert str(tiny) not in str(page) and str(tiny.parent) not in page.get_text()
    assert page.find("math") and "$$" not in page.main.get_text()
    assert not any("\\" in formula.get_text() for formula in page.find_all("math")), "a command was not understood"
    figures = page.select("figure.vq-figure")
    assert {path.stem for path in (tiny / "figures").iterdir()} == {
        tag["id"].removeprefix("figure-") for tag in figures
    }
    before = [
        tag for tag in figures + page.select(".vq-table") if not tag.find_parent(id=("appendix", "settings", "summary"))
    ]
    assert sum(tag.name == "figure" for tag in before) <= 20 and sum(tag.name == "div" for tag in before) <= 10
    assert all(tag.select_one(".number").get_text() for tag in before)
    dated = re.findall(r"\d of \d epochs; 20", " ".join(page.footer.get_text().split()))
    assert len(dated) == 3  # the VQ-VAE, the prior, the compared prior
    assert len(page.select("header .pictures img")) == 2


def _browser():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra 'dev')")
    if _browser() is None:
        pytest.skip("no Chromium is installed, so the HTML is not opened in a browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])  # root needs it
        yield browser
        browser.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser(chromium, folder, width):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = (folder / "report.html").as_uri()
    page.goto(address)
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert complaints == []
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator("nav:visible").count() >= 1
    widths = page.evaluate("[...document.querySelectorAll('figure.vq-figure img')].map(image => image.clientWidth)")
    assert width > 700 or min(widths) >= 600, "on a phone a figure scrolls, and its labels can still be read"
    sign = page.evaluate("getComputedStyle(document.querySelector('.vq-figure figcaption'), '::after').content")
    assert ("scrolls sideways" in sign) == (width <= 700), "and says so"
    table = "document.querySelector('#table-wide')"
    assert width > 390 or page.evaluate(f"{table}.scrollWidth > {table}.clientWidth")
    assert "gradient" in page.evaluate(f"getComputedStyle({table}).backgroundImage"), "a shadow where more is hidden"
    page.close()


def test_the_first_screen(chromium, folder):
    page = chromium.new_page(viewport={"width": 1200, "height": 960})
    page.goto((folder / "report.html").as_uri())
    ends = "[...document.querySelectorAll('.cards, .pictures img')].map(tag => tag.getBoundingClientRect().bottom)"
    assert max(page.evaluate(ends)) <= 960
    page.close()


def test_prints(chromium, folder):
    page = chromium.new_page()
    page.goto((folder / "report.html").as_uri())
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.locator("nav:visible").count() == 1
    assert page.locator("details.code:visible").count() == 0
    shown = "[...document.querySelectorAll('#settings td, .appendix figcaption')].map(tag => tag.clientHeight)"
    assert min(page.evaluate(shown)) > 0, "settings and appendix are printed"
    top = "[...document.querySelectorAll('#settings, #notebook-1')].map(tag => tag.getBoundingClientRect().top)"
    first, settings = page.evaluate(top)
    assert first < settings, "a print begins with content"
    page.close()
