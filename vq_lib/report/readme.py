"""`make readme`: the README's table of results and `reports/index.html`, from the published `metrics.json` files."""

import re
import subprocess
from pathlib import Path

from vq_lib.files import whole_file
from vq_lib.report import comparison, display
from vq_lib.study import REPOSITORY

BEGIN, END = "<!-- results: written by make readme -->", "<!-- end of results -->"


def table() -> str:
    """The table in Markdown: a row for each report that is committed; a user's own stay out of it."""
    git = ["git", "-C", str(REPOSITORY), "ls-files", "reports/*/metrics.json"]
    committed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {Path(path).parent.name for path in committed}
    reports = [report for report in comparison.read(comparison.REPORTS)[0] if report.name in names]
    return display.templates(autoescape=False).get_template("results.md.j2").render(reports=reports)


def written() -> str:
    """The README as it should be."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.sub(f"(?<={BEGIN}\n).*?(?={END})", lambda _: table(), text, flags=re.S)


if __name__ == "__main__":
    with whole_file(REPOSITORY / "README.md") as temporary:
        temporary.write_text(written(), encoding="utf-8", newline="\n")
    comparison.write()
