"""`vq-lib publish`: what was built in `run/`, copied to where others find it, with the models and their card."""

import filecmp
import html
import re
import shutil
import subprocess
from pathlib import Path

from vq_lib import data as datasets
from vq_lib.errors import UserError
from vq_lib.files import lock, read_json, whole_file, whole_folder, write_json
from vq_lib.report import comparison, metrics
from vq_lib.report.card import card
from vq_lib.study import REPOSITORY, Study

STATE = "built.json"  # in run/: whether the report is the user's own, and whether all of it was built
PAGE = REPOSITORY / "reports" / "run" / "index.html"  # the comparison page of whoever builds; git ignores it


def begin(study: Study) -> bool:
    """Note that a building begins; returns whether the report is the user's own, which means that nothing of it is
    committed: it may be copied up at once.
    """
    git = ["git", "-C", str(study.folder), "ls-files", "--error-unmatch", "metrics.json"]
    try:
        status = subprocess.run(git, capture_output=True, check=False).returncode
    except OSError:
        status = 128
    if status not in (0, 1):  # no checkout: what lies there and was not copied by `end` came with the repository
        own = _state(study).get("own", not (study.published / "metrics.json").exists())
    else:
        own = status == 1
    write_json(study.run / STATE, {"own": own, "whole": False})
    return own


def end(study: Study, own: bool) -> bool:
    """Note that all is built, and copy it up where it is the user's own; returns whether that changed anything."""
    write_json(study.run / STATE, {"own": own, "whole": True})
    if not own:
        return False
    news = copy(study)
    if news and study.folder.parent == comparison.REPORTS:  # elsewhere there is nothing to compare it with
        comparison.write(path=PAGE)
    return news


def publish(report: str | Path) -> int:
    """Put what was last built in the place of the published report, and write `reports/index.html` anew.

    Raises:
        UserError: nothing was built, or the last building did not end.
    """
    folder = Study(report).folder
    build = f"run 'make report REPORT={folder.name}' first."
    if not (folder / "run").is_dir():
        raise UserError(f"There is nothing to publish in {folder}: {build}")
    with lock(folder / "run" / ".lock", f"{folder} is being built by another process: wait until it is done."):
        plan = read_json(folder / "run" / "pipeline.json", f"'make report REPORT={folder.name}'")
        study = Study(folder, plan["data"], plan["overrides"])
        if not _state(study).get("whole"):
            raise UserError(f"The last building of {folder} did not end: {build}")
        if plan["recipe_sha256"] != study.recipe.sha256:
            raise UserError(f"The recipe in {folder} has changed since the report was built: {build}")
        copy(study)
    if folder.parent == comparison.REPORTS:
        comparison.write()
    print(f"{study.published / study.html.name} is what was built last.")
    return 0


def copy(study: Study) -> bool:
    """Copy what is finished up to the report's folder; True if any is new.

    That is the report, its metrics, the models and their card, the training's histories, and the figures that the
    report shows. The figures are swapped as a whole folder, so that one that the report no longer shows is gone.
    """
    news = False
    copies = {source: study.published / source.name for source in (study.html, study.metrics)}
    for stage, folder in (("vqvae", study.vqvae), ("prior", study.main_prior)):
        model, history = study.models / f"{stage}.keras", study.published / f"history-{stage}.csv"
        if folder is None:  # a prior of before, which knows the codes of another VQ-VAE
            model.unlink(missing_ok=True)
            history.unlink(missing_ok=True)
        else:
            copies |= {folder / "model.keras": model, folder / "history.csv": history}
    for source, target in copies.items():
        if source.exists() and not (target.exists() and filecmp.cmp(source, target, shallow=False)):
            with whole_file(target) as temporary:
                shutil.copyfile(source, temporary)
            news = True
    with whole_file(study.models / "README.md") as temporary:
        text = card(study, metrics.read(study.metrics), datasets.acknowledgement(study))
        temporary.write_text(text, encoding="utf-8")
    shown = set(map(html.unescape, re.findall(r'<figure[^>]* id="figure-([^"]+)"', study.html.read_text("utf-8"))))
    sources = sorted(path for path in study.figures.glob("*") if path.stem in shown)
    names, target = [path.name for path in sources], study.published / study.figures.name
    _, different, unreadable = filecmp.cmpfiles(study.figures, target, names, shallow=False)
    if sorted(path.name for path in target.glob("*")) != names or different or unreadable:
        with whole_folder(target) as temporary:
            for path in sources:
                shutil.copyfile(path, temporary / path.name)
        news = True
    return news


def _state(study):
    try:
        state = read_json(study.run / STATE, "'vq-lib report'")
    except UserError:
        return {}
    return state if isinstance(state, dict) else {}
