"""The README's figures are those of the published reports."""

import json

from conftest import published

from vq_lib.report import comparison
from vq_lib.study import REPOSITORY


def test_the_table_is_what_make_readme_writes():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = {line.split("]")[0].removeprefix("| ["): line for line in text.splitlines() if line.startswith("| [")}
    made = {line.split("]")[0].removeprefix("| ["): line for line in comparison.table().splitlines()}
    ours = {path.parent.name: made.get(path.parent.name) for path in published()}
    assert None not in ours.values(), "a published report without a row"
    assert {name: rows.get(name) for name in ours} == ours, "run 'make readme'"
    assert all((REPOSITORY / "reports" / name / "metrics.json").exists() for name in rows), "a row without a report"


def test_a_row_says_what_the_metrics_say():
    (row,) = (line for line in comparison.table().splitlines() if line.startswith("| [demo]"))
    document = json.loads((REPOSITORY / "reports" / "demo" / "metrics.json").read_text(encoding="utf-8"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == "{mean:.3f} ({low:.3f}–{high:.3f})".format(**document["vqvae"]["ssim"])
    bits = document["prior"]["bits_per_code"]["test"], document["prior"]["baselines_bits_per_code"]["position_unigram"]
    assert "{:.2f} ({:.2f})".format(*bits) in cells
    assert document["provenance"]["device"] in cells[-1]
    assert len(cells) == len(comparison.table().splitlines()[0].strip("|").split("|"))


def test_the_comparison_page_has_every_published_score():
    page = (REPOSITORY / "reports" / "index.html").read_text(encoding="utf-8")
    for path in published():
        score = json.loads(path.read_text(encoding="utf-8"))["vqvae"]["ssim"]
        assert "{mean:.3f} ({low:.3f}–{high:.3f})".format(**score) in page, "run 'make readme'"
