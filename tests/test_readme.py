"""The README's figures are those of the published reports."""

from vq_lib import readme
from vq_lib.study import REPOSITORY


def test_the_table_is_what_make_readme_writes():
    assert readme.written() == (REPOSITORY / "README.md").read_text(encoding="utf-8"), "run 'make readme'"


def test_every_published_report_is_in_the_readme():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for recipe in (REPOSITORY / "reports").glob("*/recipe.yaml"):
        if (recipe.parent / "metrics.json").exists():
            assert f"[{recipe.parent.name}](reports/{recipe.parent.name}/report.html)" in text
