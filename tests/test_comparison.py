"""The page that sets reports side by side: what it is written from, and that no report can break it."""

import base64
import io
import json
import shutil

import bs4
import pytest
from PIL import Image

from vq_lib import recipe
from vq_lib.report import comparison
from vq_lib.report.metrics import stage_keys
from vq_lib.study import REPOSITORY


def score(mean):
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def metrics(name, ssim, prior=True):
    document = {
        "report": name,
        "provenance": {
            "recipe_sha256": "0" * 64, "data_fingerprint": "1" * 64, "commit": "abc", "backend": "tensorflow",
            "device": "CPU, 2 cores", "precision": "float32", "seconds": {"vqvae": 90.0, "prior": 30.0},
        },
        "data": {"test": {"images": 32, "people": 2}},
        "vqvae": {
            "ssim": score(ssim), "ssim_foreground": score(ssim - 0.05), "psnr": score(30), "bits_per_pixel": 0.5,
            "parameters": {"encoder": 10, "decoder": 20}, "images_per_second": 9.0, "epochs": {"done": 2, "planned": 3},
        },
        "baselines": {
            "mean_image": {"ssim": 0.6, "ssim_foreground": 0.4, "psnr": 20.0},
            "webp": {"ssim": 0.8, "ssim_foreground": 0.7, "psnr": 25.0, "bits_per_pixel": 0.4},
        },
        "codecs": {"fixed_length": {"webp": {"ssim": 0.8, "ssim_foreground": 0.7, "bits_per_pixel_payload": 0.4}}},
    }  # fmt: skip
    if prior:
        document["prior"] = {
            "name": "pixelcnn", "bits_per_pixel": 0.2, "parameters": 5,
            "bits_per_code": {"train": 3.0, "validation": 3.1, "test": 3.3},
            "baselines_bits_per_code": {"position_unigram": 4.0}, "epochs": {"done": 2, "planned": 2},
        }  # fmt: skip
        document["samples"] = {
            "count": 4, "seconds": 2.0, "two_sample_auc": score(0.9), "memorised_fraction": 0.015,
            "pair_ms_ssim": {"generated": 0.4, "real": 0.35},
        }  # fmt: skip
    return document


@pytest.fixture
def reports(tmp_path):
    """Three reports, one of them without a prior; one that is broken, and one that is a copy of another."""
    for name, ssim, prior in (("one", 0.9, True), ("mine & <more>", 0.8, False), ("two", 0.93, True)):
        (tmp_path / name).mkdir()
        text = json.dumps(metrics(name, ssim, prior))
        (tmp_path / name / "metrics.json").write_text(text, encoding="utf-8")
    (tmp_path / "one" / "history-vqvae.csv").write_text(
        "epoch,seconds,val_ssim,val_ssim_foreground\n1,30,0.8,0.7\n2,60,0.9,0.8\n"
    )
    (tmp_path / "one" / "history-prior.csv").write_text("epoch,seconds,loss,val_loss\n1,9,3,3\n2,18,2.5,2.6\n")
    (tmp_path / "one" / "sweep.csv").write_text("change,ssim,ssim_foreground\nthe recipe,0.8,0.7\nsilu,0.81,0.72\n")
    (tmp_path / "one" / "sweep.yaml").write_text(
        "points: {the recipe: '', silu: vqvae.activation=silu}\nconclusion: silu helps\n"
    )
    (tmp_path / "copied").mkdir()
    shutil.copy(tmp_path / "one" / "metrics.json", tmp_path / "copied")
    (tmp_path / "one" / "figures").mkdir()
    Image.new("L", (2000, 1000)).save(tmp_path / "one" / "figures" / "samples.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text('{"report": "broken"')
    shutil.copy(REPOSITORY / "reports" / "published.yaml", tmp_path)
    return tmp_path


def comparison_text(folder):
    return bs4.BeautifulSoup(comparison.page(folder), "html.parser").get_text()


def test_all_reports_are_on_the_page(reports):
    assert comparison.write(reports)
    text = (reports / "index.html").read_text(encoding="utf-8")
    soup = bs4.BeautifulSoup(text, "html.parser")
    assert [link["href"] for link in soup.select("ul.reports a")] == [
        "mine%20%26%20%3Cmore%3E/report.html", "one/report.html", "two/report.html"
    ]  # fmt: skip
    first = soup.find("table").find_all("tr")[1:]
    assert [row.th.get_text() for row in first] == ["mine & <more>", "one", "two"]
    assert "0.900 (0.890–0.910)" in first[1].get_text() and "0.500 / 0.200" in first[1].get_text()
    assert "0.90 (0.89–0.91)" in soup.find(id="generation").get_text()
    assert "reports/broken/metrics.json is not valid JSON" in soup.header.get_text()
    assert "reports/copied/metrics.json is that of the report 'one'" in soup.header.get_text()
    assert "silu helps" in soup.find(id="sweeps").get_text()
    assert "SSIM 0.8575" in soup.find(id="systems").get_text()
    cost = [[cell.get_text() for cell in row.find_all("td")] for row in soup.find(id="cost").find_all("tr")[1:]]
    assert [row[2] for row in cost] == ["–", "1.0", "–"]  # minutes to SSIM 0.85: the second epoch ends after 60 s
    one = comparison.Report(reports / "one")
    one.histories["vqvae"]["val_ssim"] -= 0.06
    assert one.minutes_to_level == "over 1.0"
    assert one.settings is None and one.title == "one"  # without its recipe
    shown = [figure["id"] for figure in soup.select("figure")]
    assert shown == ["figure-rate-distortion", "samples-one", "figure-training"]
    picture = Image.open(io.BytesIO(base64.b64decode(soup.find(id="samples-one").img["src"].split(",")[1])))
    assert picture.size == (1120, 560)


def test_a_sweep_shows_the_points_that_are_planned_and_counts_those_that_are_not_trained(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert comparison.sweep(folder) is None
    table = "change,ssim_foreground\nthe recipe,0.8\ndropped,0.9\nsilu,0.7\n"
    (folder / "sweep.csv").write_text(table, encoding="utf-8")
    assert comparison.sweep(folder) is None, "without sweep.yaml nobody knows what the rows are"
    (folder / "sweep.yaml").write_text("points: {the recipe: '', silu: a, new: b}\nconclusion: None.\n")
    found = comparison.sweep(folder)
    assert found["table"].to_numpy().tolist() == [["the recipe", 0.8], ["silu", 0.7]]
    assert (found["conclusion"], found["missing"]) == ("None.", 1)
    assert "Not trained yet: 1 of its points; vq-lib sweep mine" in comparison_text(tmp_path)
    (folder / "sweep.csv").write_text(table.replace("0.7", "nan"), encoding="utf-8")
    assert len(comparison.sweep(folder)["table"]) == 2, "one was trained on slices without any foreground"
    assert "silu–" in comparison_text(tmp_path)
    (folder / "sweep.csv").write_text(table.replace("0.7", "?"), encoding="utf-8")
    assert comparison.sweep(folder) is None
    (folder / "sweep.csv").write_text(table + '"' + "x" * 200_000, encoding="utf-8")
    assert comparison.sweep(folder) is None
    (folder / "sweep.csv").write_text(table, encoding="utf-8")
    for broken in ("points: 3", "[", "- a", "[" * 50_000):
        (folder / "sweep.yaml").write_text(broken)
        assert comparison.sweep(folder) is None


def test_published_systems_are_trained_or_named_apart(reports):
    def systems():
        soup = bs4.BeautifulSoup(comparison.page(reports), "html.parser")
        return soup.find(id="systems")

    assert [row("td")[1].get_text() for row in systems().select("tbody tr")] == ["–"] * 5
    assert "Not trained here yet: oasis-128-generative, oasisvq, oasis-256, image-folder, adni." in systems().get_text()
    (reports / "oasisvq").mkdir()
    document = metrics("oasisvq", 0.71)
    document["vqvae"]["epochs"] = {"done": 12, "planned": 75}
    (reports / "oasisvq" / "metrics.json").write_text(json.dumps(document))
    assert "0.710, after 12 of 75 epochs" in systems().get_text()
    assert "Not trained here yet: oasis-128-generative, oasis-256, image-folder, adni." in systems().get_text()


def test_only_reports_on_the_same_data_share_axes(reports):
    from vq_lib.plots import comparison as draw

    other = metrics("two", 0.93)
    other["provenance"]["data_fingerprint"] = "2" * 64
    (reports / "two" / "metrics.json").write_text(json.dumps(other))
    found, _ = comparison.read(reports)
    groups = comparison.groups(found)
    assert [[report.name for report in group] for _, group in groups] == [["mine & <more>", "one"], ["two"]]
    drawn = {report.name: report.drawn for report in found}
    by_data = [(data, [drawn[report.name] for report in group]) for data, group in groups]
    figure = draw.rate_distortion(by_data, list(drawn.values()), {groups[1][0]: [("published", 0.39, 0.8)]})
    marks = [[line.get_marker() for line in axes.lines if len(line.get_xdata())] for axes in figure.axes]
    assert [mark.count("x") for mark in marks] == [0, 0, 1, 0]
    assert [mark.count("^") for mark in marks] == [1, 1, 1, 1], "two reports' codec at one setting is one mark"
    figure.draw_without_rendering()
    (name,) = figure.axes[2].texts
    assert not name.get_window_extent().contains(*figure.axes[2].transData.transform((0.4, 0.8))), "WebP is beside it"


def test_a_page_elsewhere_leads_to_the_reports(reports):
    (reports / "run").mkdir()
    assert comparison.write(reports, reports / "run" / "index.html")
    text = (reports / "run" / "index.html").read_text(encoding="utf-8")
    links = [link["href"] for link in bs4.BeautifulSoup(text, "html.parser").select("ul.reports a")]
    assert "../one/report.html" in links and len(links) == 3 and str(reports) not in text
    assert not (reports / "index.html").exists()


def test_settings_are_those_that_the_report_was_built_with(reports):
    path = reports / "one" / "recipe.yaml"
    shutil.copy(REPOSITORY / "reports" / "demo" / "recipe.yaml", path)
    overrides = "vqvae.codes=32"
    document = metrics("one", 0.9, True)
    document["provenance"] |= {"recipe_sha256": recipe.load(path, overrides).sha256, "overrides": overrides}
    (reports / "one" / "metrics.json").write_text(json.dumps(document))
    assert comparison.Report(reports / "one").settings.vqvae.codes == 32
    assert "MNI152" in comparison.page(reports), "the pictures of synthetic people say where they come from"
    document["provenance"]["overrides"] = ""
    (reports / "one" / "metrics.json").write_text(json.dumps(document))
    assert comparison.Report(reports / "one").settings is None


def test_a_new_title_or_number_of_samples_drops_no_settings(reports):
    """A report is known by its stages."""
    path = reports / "one" / "recipe.yaml"
    text = (REPOSITORY / "reports" / "demo" / "recipe.yaml").read_text(encoding="utf-8")
    document = metrics("one", 0.9)
    path.write_text(text, encoding="utf-8")
    document["provenance"]["keys"] = stage_keys(recipe.load(path))
    (reports / "one" / "metrics.json").write_text(json.dumps(document))
    path.write_text(text.replace("title: ", "title: My ") + "evaluation: {samples: 9}\n", encoding="utf-8")
    report = comparison.Report(reports / "one")
    assert report.title.startswith("My ") and report.settings.evaluation.samples == 9
    path.write_text(text.replace("codes: 256", "codes: 128"), encoding="utf-8")
    assert comparison.Report(reports / "one").settings is None


def test_slices_are_acknowledged_as_what_they_were_recognised_as(reports):
    """Also where the recipe names no layout, or was edited since."""
    assert "OASIS-1: Cross-Sectional" not in comparison.page(reports)
    document = metrics("one", 0.9)
    document["data"]["checks"] = {"layout": "oasis", "warnings": []}
    (reports / "one" / "metrics.json").write_text(json.dumps(document))
    assert comparison.Report(reports / "one").settings is None
    assert "OASIS-1: Cross-Sectional" in comparison.page(reports)


def test_checks_of_another_kind_are_told_as_unreadable(reports):
    document = metrics("one", 0.9)
    document["data"]["checks"] = []
    (reports / "one" / "metrics.json").write_text(json.dumps(document))
    assert "reports/one/metrics.json is not as 'vq-lib report' writes it: data.checks" in comparison_text(reports)


@pytest.mark.parametrize(("part", "key"), [("vqvae", "psnr"), ("vqvae", "epochs"), ("provenance", "device"),
                                           ("provenance", "precision"), ("samples", "seconds")])  # fmt: skip
def test_a_report_without_what_a_table_needs_is_told_as_unreadable(reports, part, key):
    document = metrics("one", 0.9)
    del document[part][key]
    (reports / "one" / "metrics.json").write_text(json.dumps(document))
    text = comparison_text(reports)
    assert f"reports/one/metrics.json is not as 'vq-lib report' writes it: {part}" in text
    assert "two/report.html" in comparison.page(reports)


@pytest.mark.parametrize(("part", "value"), [
    ("codecs", [1]), ("codecs", {"prior": {"webp": {"ssim": 0.9}}}),
    ("provenance", {**metrics("one", 0.9)["provenance"], "data_fingerprint": []}),
    ("prior", {**metrics("one", 0.9)["prior"], "bits_per_code": [1, 2]}),
])  # fmt: skip
def test_a_report_without_what_a_figure_needs_is_told_as_unreadable(reports, part, value):
    (reports / "one" / "metrics.json").write_text(json.dumps({**metrics("one", 0.9), part: value}))
    text = comparison_text(reports)
    assert f"reports/one/metrics.json is not as 'vq-lib report' writes it: {part}" in text
    assert "two/report.html" in comparison.page(reports)


def test_strange_tables_of_a_report_are_left_out(reports):
    (reports / "one" / "history-vqvae.csv").write_text("epoch,seconds\n1,2\n")
    (reports / "one" / "history-prior.csv").write_text("epoch,val_loss\n1,often\n")
    (reports / "one" / "sweep.csv").write_text("change,ssim_foreground\nthe recipe,\n")
    soup = bs4.BeautifulSoup(comparison.page(reports), "html.parser")
    assert [figure["id"] for figure in soup.select("figure")] == ["figure-rate-distortion", "samples-one"]


def test_a_report_of_other_data_than_its_recipes_says_so(reports):
    shutil.copy(REPOSITORY / "reports" / "adni" / "recipe.yaml", reports / "two")
    document = metrics("two", 0.93)
    for layout, name in (("oasis", "OASIS-1"), ("adni", ""), (None, "")):
        document["data"]["checks"] = {"layout": layout}
        (reports / "two" / "metrics.json").write_text(json.dumps(document))
        assert comparison.Report(reports / "two").elsewhere == name


def test_the_page_loads_nothing_and_says_everything_twice(reports):
    comparison.write(reports)
    text = (reports / "index.html").read_text(encoding="utf-8")
    soup = bs4.BeautifulSoup(text, "html.parser")
    assert len(text) < 8_000_000 and not soup.find_all(["script", "iframe", "object"])
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in soup.find_all("img"))
    assert "url(" not in soup.style.get_text() and "@import" not in soup.style.get_text()
    identifiers = [tag["id"] for tag in soup.select("[id]")]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"][1:] for link in soup.select('nav a[href^="#"]')} <= set(identifiers)
    assert str(reports) not in text and soup.html["lang"] == "en"


def test_the_same_files_give_the_same_bytes_and_no_second_write(reports):
    assert comparison.write(reports)
    first = (reports / "index.html").read_bytes()
    assert not comparison.write(reports)
    assert comparison.page(reports).encode() == first
    one = json.loads((reports / "one" / "metrics.json").read_text())
    one["vqvae"]["ssim"] = score(0.5)
    (reports / "one" / "metrics.json").write_text(json.dumps(one))
    assert comparison.write(reports) and (reports / "index.html").read_bytes() != first


def test_a_folder_without_reports_has_a_page_that_says_so(tmp_path):
    comparison.write(tmp_path)
    assert "No report is finished yet" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_published_systems_have_a_recipe_here():
    systems = comparison.published(REPOSITORY / "reports")
    assert len(systems) == 5
    assert all((REPOSITORY / "reports" / system["recipe"] / "recipe.yaml").exists() for system in systems)
