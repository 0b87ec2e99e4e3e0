"""The README's figures are those of the published reports."""

import json

from conftest import published

from vq_lib.report import readme
from vq_lib.study import REPOSITORY


def test_the_table_is_what_make_readme_writes():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = {line.split("]")[0].removeprefix("| ["): line for line in text.splitlines() if line.startswith("| [")}
    ours = {path.parent.name: "| " + " | ".join(readme._row(path)) + " |" for path in published()}
    assert {name: rows.get(name) for name in ours} == ours, "run 'make readme'"
    assert all((REPOSITORY / "reports" / name / "metrics.json").exists() for name in rows), "a row without a report"


def test_the_comparison_page_has_every_published_score():
    page = (REPOSITORY / "reports" / "index.html").read_text(encoding="utf-8")
    for path in (REPOSITORY / "reports").glob("*/metrics.json"):
        score = json.loads(path.read_text(encoding="utf-8"))["vqvae"]["ssim"]
        assert "{mean:.3f} ({low:.3f}–{high:.3f})".format(**score) in page, "run 'make readme'"
