"""`make readme`: the README's table of results and `reports/index.html`, from the published `metrics.json` files."""

import json
import re

from vq_lib.files import whole_file
from vq_lib.plots.names import NAMES, rated
from vq_lib.report import comparison, conclusions
from vq_lib.study import REPOSITORY

BEGIN, END = "<!-- results: written by make readme -->", "<!-- end of results -->"


def _row(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    vqvae, prior = document["vqvae"], document.get("prior")
    best = max((b["ssim"], name) for name, b in document["baselines"].items() if "bits_per_pixel" not in b)
    bits = "–"
    if prior:
        bits = f"{prior['bits_per_code']['test']:.2f} ({prior['baselines_bits_per_code']['position_unigram']:.2f})"
    score = "{mean:.3f} ({low:.3f}–{high:.3f})".format
    test = document["data"]["test"]
    return [
        f"[{document['report']}](reports/{path.parent.name}/report.html)"
        + comparison.elsewhere(comparison.Report(path.parent)),
        f"{test['images']} slices of {test['people']} people",
        score(**vqvae["ssim"]),
        score(**vqvae["ssim_foreground"]),
        f"{best[0]:.3f}, {NAMES[best[1]]}",
        " / ".join(rated(part["bits_per_pixel"]) for part in (vqvae, prior) if part),
        " / ".join(_codec(document, name) for name in document["codecs"]),
        bits,
        f"{sum(comparison.trainings(document).values()):.0f} min, {document['provenance']['device']}",
    ]


def _codec(document, where):
    """The best codec's SSIM near a rate of the model, a key of `conclusions.RATES`; "–" where none comes near."""
    name = conclusions.best_codec(document, where, "ssim")
    return f"{document['codecs'][where][name]['ssim']:.3f}, {NAMES[name]}" if name else "–"


def table() -> str:
    """The table in Markdown: a row for each published report."""
    header = ["report", "test", "SSIM (95%)", "foreground SSIM (95%)", "best SSIM without a model",
              "bits per pixel, fixed / prior", "best codec's SSIM there",
              "bits per code (position unigram)", "training, all priors"]  # fmt: skip
    rows = [_row(path) for path in sorted((REPOSITORY / "reports").glob("*/metrics.json")) if _published(path)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def _published(path):
    """Whether the README names the report: a user's own reports stay out of it."""
    return f"`{path.parent.name}`" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def written() -> str:
    """The README as it should be."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.sub(f"(?<={BEGIN}\n).*?(?={END})", lambda _: table() + "\n", text, flags=re.S)


if __name__ == "__main__":
    with whole_file(REPOSITORY / "README.md") as temporary:
        temporary.write_text(written(), encoding="utf-8", newline="\n")
    comparison.write()
