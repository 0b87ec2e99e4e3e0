"""The README's figures are those of the published reports."""

import json

from vq_lib import readme
from vq_lib.study import REPOSITORY


def test_the_table_is_what_make_readme_writes():
    assert readme.written() == (REPOSITORY / "README.md").read_text(encoding="utf-8"), "run 'make readme'"


def test_every_published_report_is_in_the_readme():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for recipe in (REPOSITORY / "reports").glob("*/recipe.yaml"):
        if (recipe.parent / "metrics.json").exists():
            assert f"[{recipe.parent.name}](reports/{recipe.parent.name}/report.html)" in text


def test_the_comparison_page_has_every_published_score():
    page = (REPOSITORY / "reports" / "index.html").read_text(encoding="utf-8")
    for path in (REPOSITORY / "reports").glob("*/metrics.json"):
        score = json.loads(path.read_text(encoding="utf-8"))["vqvae"]["ssim"]
        assert "{mean:.3f} ({low:.3f}–{high:.3f})".format(**score) in page, "run 'make readme'"
