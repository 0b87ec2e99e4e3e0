"""The report as a reader meets it: self-contained, accessible, readable on a phone and in print."""

import re
import shutil

import bs4
import nbformat
import pytest
from conftest import REPOSITORY

from vq_lib.report import html as report_html

WIDTHS = (390, 820, 1440)


@pytest.fixture(scope="session")
def soup(tiny):
    return bs4.BeautifulSoup((tiny / "report.html").read_text(encoding="utf-8"), "html.parser")


def test_nothing_is_loaded(soup, tiny):
    assert (tiny / "report.html").stat().st_size < 8_000_000
    assert not soup.find_all(["script", "iframe", "object", "embed", "base"])
    assert [link["href"] for link in soup.find_all("link")] == ["data:,"]
    assert all(image["src"].startswith("data:image/") for image in soup.find_all("img"))
    styles = " ".join(
        [style.get_text() for style in soup.find_all("style")] + [tag["style"] for tag in soup.select("[style]")]
    )
    assert "url(" not in styles and "@import" not in styles


def test_no_path_of_this_machine(soup, tiny):
    assert str(tiny) not in str(soup) and str(tiny.parent) not in soup.get_text()


def test_structure(soup):
    assert soup.html["lang"] == "en" and soup.title.get_text() == "A tiny report"
    assert len(soup.find_all("h1")) == 1 and len(soup.find_all("main")) == 1
    identifiers = [tag["id"] for tag in soup.select("[id]")]
    assert len(identifiers) == len(set(identifiers))
    targets = [link["href"][1:] for link in soup.select('a[href^="#"]')]
    assert len(targets) > 8 and set(targets) <= set(identifiers)
    assert [section["id"] for section in soup.find_all("section")] == [f"notebook-{number}" for number in (1, 2, 3, 4)]
    assert all(not image.get("alt", "").strip() == "" for image in soup.find_all("img"))
    assert all(figure.find("figcaption").get_text(strip=True) for figure in soup.select("figure.vq-figure"))
    assert all(code.find_parent("details") for code in soup.select("div.highlight"))
    assert soup.find("math") and "$$" not in soup.main.get_text()
    assert not any("\\" in formula.get_text() for formula in soup.find_all("math")), "a command was not understood"
    cards = [name.get_text() for name in soup.select(".cards dt")]
    assert cards[:3] == ["Test SSIM", "Foreground SSIM", "PSNR"] and cards[-1] == "People"
    footer = " ".join(soup.find("footer").get_text().split())
    dated = re.findall(r"\d of \d epochs; 20", footer)  # the VQ-VAE, the prior, the compared prior
    assert "keras" in footer and len(dated) == 3
    assert re.fullmatch(r"Report tiny .* · built \d+ \w+ 20\d\d", soup.select_one("header .kicker").get_text())
    assert {link["href"] for link in soup.select("nav .level-4 a")} <= {f"#{heading['id']}" for heading in soup("h4")}
    assert len(soup.select("nav.sidebar .level-4")) == len(soup("h4")) > 2
    assert str(soup).count("Settings of this run") == 0 and len(soup.select("details.settings table")) == 1


def test_every_section_of_the_notebooks_is_there(soup):
    cells = [cell for path in (REPOSITORY / "notebooks").glob("*.ipynb") for cell in nbformat.read(path, 4).cells]
    texts = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    headings = re.findall("^#+ ", texts, re.M)
    assert len(headings) == len(soup.main.find_all(re.compile("^h[2-6]$"))) > 40


def test_a_text_whose_code_showed_nothing_is_left_out():
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    shown = [nbformat.v4.new_output("stream", text="a figure")]
    title, found, empty, said = text("# Title"), text("## Found"), text("## Empty"), text("No code")
    setup, figure, nothing = code("import x"), code("draw()", outputs=shown), code("if trained: draw()")
    cells = [title, setup, found, nothing, figure, empty, nothing, nothing, said, empty, nothing]
    assert report_html._with_findings(cells) == [title, setup, found, nothing, figure, said]
    assert report_html._with_findings([setup]) == [setup]


def test_the_keyboard_reaches_what_scrolls(soup):
    scrolls = soup.select("figure, .vq-table, .vq-equation, .highlight pre")
    assert len(scrolls) > 40 and all(tag["tabindex"] == "0" for tag in scrolls)
    assert all(table["aria-label"] and table["role"] == "region" for table in soup.select(".vq-table"))
    assert all(row.find(["th", "td"]).name == "th" for row in soup.select("tbody tr") if len(row("td")) > 1)


def test_published_figures_are_those_shown(soup, tiny):
    shown = {figure["id"].removeprefix("figure-") for figure in soup.select("figure.vq-figure")}
    assert {path.stem for path in (tiny / "figures").iterdir()} == shown


def test_cards_do_without_missing_figures():
    assert report_html.cards({}) == []
    one = {"vqvae": {"ssim": {"mean": 0.93449, "low": 0.9, "high": 0.95}}}
    assert report_html.cards(one) == [("Test SSIM", "0.934", "95% interval 0.900 to 0.950")]
    vqvae = {"codebook_usage": 1.0, "perplexity": 115.8, "perplexity_cap": 244.1, "perplexity_foreground": 458.2}
    auc = {"mean": 0.653, "low": 0.562, "high": 0.742}
    used, found = report_html.cards({"vqvae": vqvae, "samples": {"two_sample_auc": auc}}, 512)
    assert used == ("Codes used", "100%", "perplexity 116 (at most 244 with one code for black); foreground 458 of 512")
    remark = "95% interval 0.56 to 0.74; 0.5: this linear classifier cannot tell"
    assert found == ("Two-sample AUC, with grain", "0.65", remark)


def test_warnings_are_honest_or_absent():
    score = {"mean": 0.9, "low": 0.89, "high": 0.91}
    good = {
        "vqvae": {"ssim_foreground": score, "codebook_usage": 0.9, "epochs": {"done": 3, "planned": 3}},
        "baselines": {"mean_image": {"ssim_foreground": 0.5}, "webp": {"ssim_foreground": 0.99, "bits_per_pixel": 1}},
        "prior": {"bits_per_code": {"test": 3.0}, "baselines_bits_per_code": {"position_unigram": 4.0}},
    }
    assert report_html.warnings(good, {"kind": "none", "verdict": "fine"}) == [] == report_html.warnings({}, {})
    bad = {
        "data": {"checks": {"warnings": ["people in two splits"]}},
        "vqvae": {"ssim_foreground": score, "codebook_usage": 0.1, "epochs": {"done": 2, "planned": 9}},
        "baselines": {"mean_image": {"ssim_foreground": 0.895}},
        "prior": {"bits_per_code": {"test": 5.0}, "baselines_bits_per_code": {"position_unigram": 4.0}},
    }
    found = report_html.warnings(bad, {"kind": "copies", "verdict": "It copies."})
    for part in ("two splits", "0.895", "10%", "2 of 9", "5.00 bits", "It copies."):
        assert sum(part in sentence for sentence in found) == 1
    assert len(found) == 6


def test_markdown_maths_headings_and_badges():
    contents = []
    text = report_html._markdown(
        "# 1 · A & B\n\n[![badge](https://host/badge.svg)](https://host)\n\nCosts $5 or `$x$`, but $x_i^2$ is maths."
        "\n\n$$\\sum_i x_i$$\n\n## A & B of $K$\n\n## A & B of $K$\n", 1, contents)  # fmt: skip
    soup = bs4.BeautifulSoup(text, "html.parser")
    assert [formula["display"] for formula in soup.find_all("math")] == ["inline", "block", "inline", "inline"]
    assert soup.code.get_text() == "$x$" and "Costs $5 or" in soup.get_text()
    assert not soup.find("img") and "host" not in text
    assert [level for level, _, _ in contents] == [2, 3, 3] and len({name for _, name, _ in contents}) == 3
    assert contents[0][2] == "1 · A &amp; B" and contents[1][2].startswith("A &amp; B of <math")


def test_output_kinds(tiny, tmp_path):
    """Streams are escaped and folded, bare pictures get an alt text, nothing of the data becomes markup."""
    from vq_lib.study import Study

    output = nbformat.v4.new_output
    cell = nbformat.v4.new_code_cell("x", outputs=[
        output("stream", name="stdout", text="<b>one</b>\n" * 9),
        output("stream", name="stderr", text="I0000 00:00:1795 28059 port.cc:153] a\nE0000 00:00:1795 2 b.cc:52] c\n"),
        output("stream", name="stderr", text="W0000 00:00:1795 28059 d.cc:1] e\n\x1b[31m<i>\x1b[0m"),
        output("display_data", data={"image/png": "iVBORw0KGgo=\n"}),
        output("execute_result", data={"text/plain": "<u>"}),
        output("display_data", data={"image/svg+xml": "<svg/>"}),
    ])  # fmt: skip
    path = tmp_path / "01.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# One"), cell]), path)
    soup = bs4.BeautifulSoup(report_html.render(Study(str(tiny)), [path]), "html.parser")
    main = soup.main
    assert not main.find_all(["b", "i", "u"])
    assert [tag.get_text() for tag in main.select("details.log summary")] == ["Log, 9 lines", "Messages"]
    assert main.select("details.log pre")[1].get_text() == "<i>"  # and nothing of TensorFlow's own log
    assert "\x1b" not in str(main) and len(main.find_all("img", alt=True)) == 2


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
def test_in_a_browser(chromium, tiny, width):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = (tiny / "report.html").as_uri()
    page.goto(address)
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert complaints == []
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    widths = page.evaluate("[...document.querySelectorAll('figure.vq-figure img')].map(image => image.clientWidth)")
    assert width > 700 or min(widths) >= 600, "on a phone a figure scrolls, and its labels can still be read"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.locator("nav:visible").count() >= 1
    page.close()


def test_prints(chromium, tiny):
    page = chromium.new_page()
    page.goto((tiny / "report.html").as_uri())
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.locator("nav:visible").count() == 1
    assert page.locator("details.code:visible").count() == 0
    shown = "[...document.querySelectorAll('details.settings td, details:not([class]) p')].map(tag => tag.clientHeight)"
    assert min(page.evaluate(shown)) > 0, "settings and key are printed"
    page.close()
