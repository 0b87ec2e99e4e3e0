"""The notebooks headless on a tiny recipe, what a second run repeats, and what a user's mistake looks like."""

import contextlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
from conftest import REPOSITORY, TINY, vq_lib
from nbformat import v4
from PIL import Image

from vq_lib import study
from vq_lib.errors import UserError
from vq_lib.files import lock
from vq_lib.report import build, pipeline
from vq_lib.study import STAGES, Study

SUMMARY = json.dumps({"key": "", "seconds": 1, "epochs": {"done": 1, "planned": 1}})
METRICS = (REPOSITORY / "reports" / "demo" / "metrics.json").read_text("utf-8")
# What each notebook leaves in run/ for the steps around it.
LEAVES = {
    "data": {"slices/slices.json": json.dumps({"layout": "cohort"})},
    "vqvae": {f"vqvae/{name}": text for name, text in
              (("summary.json", SUMMARY), ("model.keras", "OVERRIDES"), ("history.csv", ""))},
    "prior": {f"prior/{kind}/{name}": text for kind in ("pixelcnn", "gated") for name, text in
              (("summary.json", SUMMARY), ("model.keras", "OVERRIDES"), ("history.csv", ""))},
    "evaluation": {"metrics.json": METRICS.replace('"report": "demo"', '"report": "REPORT"')},
    "appendix": {},
}  # fmt: skip


def leave(folder, files, overrides):
    """Write what a notebook leaves into the report in `folder`."""
    for name, text in files.items():
        path = Path(folder) / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("REPORT", Path(folder).name).replace("OVERRIDES", overrides), "utf-8")


def write_stubs(folder):
    """A folder of notebooks that do no work and leave their files, with one cell of each tag."""
    folder.mkdir()
    first = f"from pathlib import Path\n{inspect.getsource(leave)}\nleave(report, FILES, overrides)"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for stage, name in STAGES.items():
        cells = [
            v4.new_code_cell(
                "report: str = ''\ndata: str = ''\noverrides: str = ''", metadata={"tags": ["parameters"]}
            ),
            v4.new_code_cell(first.replace("FILES", repr(LEAVES[stage]))),
            v4.new_code_cell("print('told ' + 'whom')", metadata={"tags": ["conditioned"]}),
            v4.new_code_cell("print('a ' + 'prior')", metadata={"tags": ["prior"]}),
        ]
        nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")
    return folder


@pytest.fixture
def stubs(tmp_path):
    return write_stubs(tmp_path / "notebooks {of} mine")


@pytest.fixture
def quick(monkeypatch):
    """Snakemake without the work: what it is asked to make is there at once."""

    def made(run, snakefile, arguments=()):
        plan = json.loads((run / "pipeline.json").read_text("utf-8"))
        stages = ["data", "vqvae"] if arguments else list(STAGES)
        for stage in stages:
            leave(run.parent, LEAVES[stage], plan["overrides"])
        if not arguments:
            leave(run.parent, {"report.html": json.dumps(plan["triggers"]), "figures/hidden.svg": ""}, "")

    monkeypatch.setattr(build, "snakemake", made)


def report(folder, recipe=TINY):
    """A report's folder with a recipe."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder


def git(folder, *arguments):
    """Run git in a folder; what it printed."""
    who = ["-c", "user.name=x", "-c", "user.email=x@x"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def stamps(folder):
    """When each notebook was executed, by name."""
    made = (folder / "run" / "notebooks").glob("*.ipynb")
    return {path.stem: path.stat().st_mtime_ns for path in sorted(made)}


def text_of(folder, stage):
    """An executed notebook as text."""
    return (folder / "run" / "notebooks" / f"{STAGES[stage]}.ipynb").read_text(encoding="utf-8")


def one_sentence(done):
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("vq-lib: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_report_is_whole(tiny):
    metrics = json.loads((tiny / "metrics.json").read_text(encoding="utf-8"))
    assert {"report", "provenance", "data", "vqvae", "baselines", "prior", "samples"} <= set(metrics)
    assert metrics["data"]["test"] == {"images": 6, "people": 2} and metrics["data"]["checks"]["layout"] == "cohort"
    for key in ("ssim", "ssim_foreground", "psnr"):
        score = metrics["vqvae"][key]
        assert score["low"] <= score["mean"] <= score["high"]
    assert metrics["provenance"]["recipe_sha256"] == Study(str(tiny)).recipe.sha256
    assert any((tiny / "figures").glob("*.webp")) and any((tiny / "figures").glob("*.svg"))
    assert not [path.name for path in tiny.iterdir() if path.name.startswith(".")], "a temporary file was left"


def test_executed_notebooks_carry_their_provenance(tiny):
    for name in STAGES.values():
        made = json.loads((tiny / "run" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["metadata"][
            "vq_lib"
        ]
        assert made["seconds"] > 0 and made["recipe_sha256"] == Study(str(tiny)).recipe.sha256


def test_a_whole_report_is_left_as_it_is(tiny, tmp_path, command):
    folder = shutil.copytree(tiny, tmp_path / tiny.name)
    done = command("report", folder)
    assert done.returncode == 0 and "nothing had changed" in done.stdout, done.stdout + done.stderr
    assert stamps(folder) == stamps(tiny)


BRACES = """title: "OASIS {128}, β = {beta}"
author: "{config} {{x}}"
data:
  layout: cohort
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A report built from stubs, with braces wherever there is room for them, and the stubs."""
    base = tmp_path_factory.mktemp("built")
    recipe = TINY.replace("title: A tiny report\ndata: {layout: cohort, ", f"{BRACES}  ")
    recipe = recipe.replace("  size: 32, slices: 3, people: {train: 4, validation: 2, test: 2}}",
                            "  size: 32\n  slices: 3\n  people: {train: 4, validation: 2, test: 2}")  # fmt: skip
    folder, notebooks = report(base / "re{port} {0}", recipe), write_stubs(base / "notebooks {of} mine")
    assert build.build(folder, notebooks=notebooks) == 0
    return folder, notebooks


def test_braces_mean_nothing_wherever_they_stand(built, tmp_path):
    """Snakemake expands `{4}` in strings, papermill in paths, and str.format everywhere."""
    folder, notebooks = shutil.copytree(built[0], tmp_path / built[0].name), built[1]
    assert "OASIS {128}, β = {beta}" in (folder / "report.html").read_text("utf-8")
    assert all("told whom" in text_of(folder, stage) and "a prior" in text_of(folder, stage) for stage in STAGES)
    assert json.loads((folder / "metrics.json").read_text("utf-8"))["report"] == "re{port} {0}"
    recipe = (folder / "recipe.yaml").read_text("utf-8")
    (folder / "recipe.yaml").write_text(recipe.replace("{beta}", "{gamma}"), encoding="utf-8")
    first = stamps(folder)
    assert build.build(folder, notebooks=notebooks) == 0 and stamps(folder) == first, "a title runs no notebook again"
    assert "β = {gamma}" in (folder / "report.html").read_text("utf-8")


def test_only_what_changed_runs_again(built, tmp_path, capfd):
    folder, notebooks = shutil.copytree(built[0], tmp_path / built[0].name), built[1]
    capfd.readouterr()
    times, again = [stamps(folder)], []
    for overrides in ("", "prior.epochs=2"):
        assert build.build(folder, overrides=overrides, notebooks=notebooks) == 0
        assert ("nothing had changed" in capfd.readouterr().out) == (not overrides)
        times.append(stamps(folder))
        again.append([times[-1][name] > times[-2][name] for name in STAGES.values()])
    assert again == [5 * [False], [False, False, True, True, True]]
    models = [folder / "run" / name / "model.keras" for name in ("vqvae", "prior/pixelcnn")]
    assert [path.read_text("utf-8") for path in models] == ["", "prior.epochs=2"], "what the notebooks were told"


def test_cells_for_what_a_recipe_has_not_are_dropped_and_the_appendix_too(tmp_path, stubs):
    folder = report(tmp_path / "mine")
    plans = [build._plan(Study(folder, overrides=overrides), "", stubs)
             for overrides in ("", "prior.condition=[]", "prior=null", "appendix=false")]  # fmt: skip
    assert [plan["without"] for plan in plans] == [[], ["conditioned"], ["prior", "conditioned"], []]
    assert [plan["stages"] for plan in plans] == 3 * [list(STAGES.values())] + [list(STAGES.values())[:4]]
    first, unconditioned, without, _ = (plan["triggers"] for plan in plans)
    assert all(first[stage] != unconditioned[stage] != without[stage] for stage in STAGES), (
        "every notebook has such cells"
    )
    path = stubs / f"{STAGES['data']}.ipynb"
    said = [["".join(cell["source"]) for cell in pipeline.source(path, plan["without"])["cells"][2:]]
            for plan in plans[:3]]  # fmt: skip
    assert said == [["print('told ' + 'whom')", "print('a ' + 'prior')"], ["print('a ' + 'prior')"], []]


def test_what_is_committed_stays_until_it_is_published(tmp_path, quick, capfd):
    folder = report(tmp_path / "clone" / "reports" / "theirs")
    (folder / "metrics.json").write_text("{}", encoding="utf-8")
    (folder / "report.html").write_text("as it came", encoding="utf-8")
    (tmp_path / "clone" / ".gitignore").write_text("/reports/*/run/\n", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        git(folder.parent.parent, *arguments)
    assert build.build(folder) == 0
    printed = capfd.readouterr().out.splitlines()
    assert "run/report.html is ready" in printed[-1] and "make publish REPORT=theirs" in printed[-2]
    assert git(folder, "status", "--porcelain") == ""
    assert build.publish(folder) == 0
    assert (folder / "report.html").read_bytes() == (folder / "run" / "report.html").read_bytes()
    assert (folder / "models" / "vqvae.keras").exists() and (folder / "history-prior.csv").exists()

    own = report(folder.parent / "mine")  # nothing of it is committed
    assert build.build(own) == 0 and (own / "report.html").exists()
    assert "mine/report.html is ready" in capfd.readouterr().out.splitlines()[-1]


def test_without_git_what_came_with_a_report_stays_and_what_was_built_is_followed(tmp_path, quick):
    came = report(tmp_path / "came")
    (came / "metrics.json").write_text("{}", encoding="utf-8")
    assert build.build(came) == 0 and (came / "metrics.json").read_text("utf-8") == "{}"
    own = report(tmp_path / "own")
    for overrides in ("", "vqvae.epochs=2"):
        assert build.build(own, overrides=overrides) == 0
        assert (own / "models" / "vqvae.keras").read_text("utf-8") == overrides


def test_half_a_report_is_not_published(tmp_path, quick):
    folder = report(tmp_path / "mine")
    with pytest.raises(UserError, match="nothing to publish"):
        build.publish(folder)
    assert build.build(folder, until="vqvae") == 0
    with pytest.raises(UserError, match="did not end"):
        build.publish(folder)
    assert build.build(folder) == 0 and build.publish(folder) == 0
    (folder / "recipe.yaml").write_text(TINY.replace("codes: 16", "codes: 8"), encoding="utf-8")
    with pytest.raises(UserError, match="has changed since"):
        build.publish(folder)


def test_a_report_without_prior_publishes_none(tmp_path, quick):
    folder = report(tmp_path / "mine")
    assert build.build(folder) == 0 and (folder / "models" / "prior.keras").exists()
    assert build.build(folder, overrides="prior=null") == 0
    assert sorted(path.name for path in folder.glob("models/*.keras")) == ["vqvae.keras"]
    assert sorted(path.name for path in folder.glob("history-*")) == ["history-vqvae.csv"]


def test_a_stop_that_cannot_be_continued_does_not_say_that_it_can(tmp_path, stubs, capfd):
    folder = report(tmp_path / "mine")
    path = stubs / f"{STAGES['data']}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(v4.new_code_cell("1 / 0"))
    nbformat.write(notebook, path)
    assert build.build(folder, notebooks=stubs, until="data") == 1
    told = capfd.readouterr().err
    assert "stopped in cell" in told and "ZeroDivisionError: division by zero." in told and "goes on" not in told
    command = "Command 'set -euo pipefail;  python -m vq_lib.report.execute 02_x'"
    for log, status, goes_on in (
        ("WorkflowError:\nNo executor x", 1, False),
        (f"jinja2.exceptions.UndefinedError: no x\n{command} returned non-zero exit status 1.", 1, False),
        (f"{command} returned non-zero exit status 137.", 1, True),
        (f"{command} died with <Signals.SIGKILL: 9>.", 1, True),
        ("", -9, True),
    ):
        (folder / "run" / pipeline.LOG).write_text(log, encoding="utf-8")
        assert ("goes on" in pipeline._reason(folder / "run", status)) == goes_on


def test_a_notebook_without_the_parameters_is_named(tmp_path, stubs, capfd):
    path = stubs / f"{STAGES['data']}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = "report: str = ''"
    nbformat.write(notebook, path)
    assert build.build(report(tmp_path / "mine"), notebooks=stubs) == 2
    assert "has no parameter 'data'" in capfd.readouterr().err
    path.unlink()
    with pytest.raises(UserError, match=r"There is no notebook .*01_data"):
        build.build(tmp_path / "mine", notebooks=stubs)


def test_the_table_of_a_sweep_is_set_into_a_finished_report(tmp_path, stubs):
    report(tmp_path / "mine")
    found = []
    for name, text in (("", ""), ("sweep.yaml", "points: {a: vqvae.codes=4}"), ("sweep.csv", "a,0.8"),
                       ("sweep.csv", "a,0.9")):  # fmt: skip
        if name:
            (tmp_path / "mine" / name).write_text(text, encoding="utf-8")
        found.append(build._plan(Study(tmp_path / "mine"), "", stubs)["triggers"])
    assert len({triggers.pop("vqvae") for triggers in found}) == 4, "notebook 02 runs again"
    assert found[0] == found[1] == found[2] == found[3]


def test_second_build_says_so_and_leaves(tmp_path):
    with lock(report(tmp_path / "mine") / "run" / ".lock", "the test itself should hold it"):
        assert "is being built by another process" in one_sentence(vq_lib("report", tmp_path / "mine"))


def _descendants(pid):
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.info = process.as_dict(["cmdline"])
            found.append(process)
    return found


def test_nothing_is_left_after_the_command_was_killed(tmp_path):
    (tmp_path / "recipe.yaml").write_text(TINY, encoding="utf-8")
    command = subprocess.Popen(
        [sys.executable, "-m", "vq_lib", "report", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert command.stdout.readline().startswith("1/5")
    started = []
    while not any("ipykernel_launcher" in process.info["cmdline"] for process in started):
        assert command.poll() is None, "the report ended before its first notebook began"
        time.sleep(0.1)
        started = _descendants(command.pid)
    command.kill()
    command.wait()
    command.stdout.close()
    assert len(started) >= 3  # Snakemake, execute, kernel
    assert psutil.wait_procs(started, timeout=100)[1] == []


@pytest.mark.parametrize(("arguments", "named"), [
    (["report", "demmo"], "'demo'"),
    (["report", "demo", "--set", "vqvae.epoch=2"], "'epochs'"),
    (["report", "oasis-best", "--data", "no such folder"], "no such folder"),
    (["report", "demo", "--dta", "x"], "--dta"),
    (["reprot", "demo"], "reprot"),
    (["generate", "--model", "x.keras"], "--prior"),
    (["generate", "--report", "demo", "-n", "0"], "'0' is not a whole number from 1 on"),
    (["generate", "--report", "demo", "--temperature", "0"], "'0' is not a number above 0"),
    (["generate", "--report", "demo", "--top-p", "1.5"], "'1.5' is not a number above 0 to 1"),
    (["generate", "--report", "oasis-256"], "has no prior"),
    (["publish", "oasisvq"], "nothing to publish"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_it(command, arguments, named):
    assert named in one_sentence(command(*arguments))


def test_without_data_three_lines_say_where_they_are_had_and_what_to_type(command):
    done = command("report", "oasis-best")
    assert done.returncode == 2 and done.stdout == ""
    first, where, then = done.stderr.splitlines()
    assert first.startswith("vq-lib: ") and "--data" in first
    assert "OASIS-1" in where and "ADNI" in where and "make report REPORT=oasis-best DATA=" in then


def test_a_leak_stops_the_report_and_names_the_pair(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        TINY.replace("{layout: cohort, size: 32, slices: 3, people: {train: 4, validation: 2, test: 2}}", "{size: 32}"),
        encoding="utf-8",
    )
    for number in range(8):
        path = tmp_path / "data" / ("Testing" if number > 5 else "Training") / "a" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(number % 7).integers(0, 256, (48, 40)).astype(np.uint8)
        Image.fromarray(image).save(path)
    done = vq_lib("report", tmp_path, "--data", tmp_path / "data", "--set", "prior=null")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Testing/a/7.png = Training/a/0.png" in done.stdout and "allow_leaks: true" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr and not (tmp_path / "report.html").exists()


def test_unknown_recipe_key(tmp_path, command):
    (tmp_path / "recipe.yaml").write_text(TINY.replace("code_dim", "code_dims"), encoding="utf-8")
    sentence = one_sentence(command("report", tmp_path))
    assert "'vqvae.code_dims'" in sentence and "'code_dim'" in sentence
    assert not (tmp_path / "run").exists(), "something was built before the recipe was checked"


@pytest.mark.parametrize("command", [[], ["report"], ["publish"], ["sweep"], ["reconstruct"], ["generate"], ["score"]])
def test_help_shows_an_example_and_loads_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "vq_lib", *command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert not re.search(r"\| +(keras|tensorflow|matplotlib|snakemake|papermill)$", done.stderr, re.M)
    assert not command or f"example: vq-lib {command[0]} " in done.stdout


def test_an_installed_wheel_says_where_the_reports_are(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "REPOSITORY", tmp_path)
    with pytest.raises(UserError, match="installed here without its repository, .*clone it, or name a folder"):
        study.report_folder("nonesuch")


def test_what_a_notebook_keeps_is_found_by_its_name(tmp_path):
    kept = Study(report(tmp_path / "mine"))
    kept.save("samples", codes=np.arange(3))
    kept.record("prior", {"bits": 1.5})
    assert kept.saved("samples")["codes"].tolist() == [0, 1, 2] and kept.recorded("prior") == {"bits": 1.5}
    (kept.evaluation / "samples.npz").write_bytes(b"x")
    with pytest.raises(UserError, match="samples.npz is missing or broken: run notebook 04_evaluation"):
        kept.saved("samples")
    with pytest.raises(UserError, match="none.json is missing: notebook 04_evaluation makes it"):
        kept.recorded("none")
