"""Open the five notebooks in JupyterLab, in a browser, and run each to its end as a reader would.

    .venv/bin/python tests/lab.py [--pictures DIR]

In a temporary folder, a copy of the repository gets a tiny report, and JupyterLab starts there as `make lab` starts it,
without any settings of yours. Headless Chromium opens each notebook, types the report's name into the parameters,
chooses Run All Cells, looks at every figure and saves. The exit status is 1 where a dialog comes up, a kernel other
than the notebook's starts, a cell does not run or shows anything in red, a figure is missing, empty or without caption,
or the browser reports an error. `--pictures` keeps a screenshot of each notebook's top and of every figure. It takes
three minutes on two free cores and wants a browser, so pytest does not collect this file.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import REPOSITORY, TINY
from playwright.sync_api import Error, sync_playwright

from vq_lib.study import STAGES

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
RED = ", ".join(f'.jp-Cell [data-mime-type="application/vnd.jupyter.{kind}"]' for kind in ("error", "stderr"))


def copied(base):
    """A copy of the repository, with `reports/tiny` for its only report."""
    left_out = shutil.ignore_patterns(".*", "reports", "__pycache__", "*.egg-info", "build", "dist")
    place = shutil.copytree(REPOSITORY, base / "repository", ignore=left_out)
    (place / "reports" / "tiny").mkdir(parents=True)
    (place / "reports" / "tiny" / "recipe.yaml").write_text(TINY, encoding="utf-8")
    return place


@contextlib.contextmanager
def jupyterlab(place, base, patience=120):
    """The running server, as it describes itself: its `url` and `token`."""
    own = {name: str(base / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    command = [sys.executable, "-m", "jupyterlab", "notebooks", "--no-browser", "--allow-root"]
    with open(base / "server.log", "wb") as log:
        server = subprocess.Popen(command, cwd=place, env={**os.environ, **own, "PYTHONPATH": str(place)}, stdout=log,
                                  stderr=subprocess.STDOUT)  # fmt: skip
    description = base / "JUPYTER_DATA_DIR" / "runtime" / f"jpserver-{server.pid}.json"
    try:
        ends = time.monotonic() + patience
        while not (description.exists() and description.read_text(encoding="utf-8").endswith("}")):
            if server.poll() is not None or time.monotonic() > ends:
                sys.exit((base / "server.log").read_text(encoding="utf-8"))
            time.sleep(0.2)
        yield json.loads(description.read_text(encoding="utf-8"))
    finally:
        server.terminate()
        server.wait()


def run(page, server, path, pictures, figures, faults, patience=900):
    """Run one notebook; adds the figures that are seen and what is wrong, and returns how many cells have run."""
    source = json.loads(path.read_text(encoding="utf-8"))
    page.goto(f"{server['url']}lab/tree/{path.name}?reset&token={server['token']}")
    page.get_by_text("| Idle").wait_for()  # what the status bar says of the kernel
    for button in page.get_by_role("button", name="No", exact=True).all():  # no news about Jupyter
        button.click()
    page.locator(".cm-line", has_text='report: str = "demo"').click()
    for key in ("Home", "Shift+End"):
        page.keyboard.press(key)
    page.keyboard.type('report: str = "tiny"')
    for item in ("Run", "Run All Cells"):
        page.get_by_role("menuitem", name=item, exact=True).click()
    ends, prompts = time.monotonic() + patience, ["[*]:"]
    while any("*" in prompt for prompt in prompts) and time.monotonic() < ends:
        page.wait_for_timeout(1000)
        prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
    count = sum(cell["cell_type"] == "code" for cell in source["cells"])
    if prompts != [f"[{number}]:" for number in range(1, count + 1)]:
        faults.append(f"the {count} cells of code are numbered {' '.join(prompts)}")
    faults.extend(page.locator(RED).all_text_contents())
    for figure in page.locator("figure.vq-figure").all():
        figure.scroll_into_view_if_needed()
        figures.append(figure.get_attribute("id").removeprefix("figure-"))
        if pictures:
            page.screenshot(path=pictures / f"{path.stem}-{figures[-1]}.png")
        if not figure.locator("img").evaluate("image => image.complete && image.naturalWidth && image.clientWidth"):
            faults.append(f"the figure {figures[-1]} is empty")
        if not figure.locator("figcaption").inner_text().strip():
            faults.append(f"the figure {figures[-1]} has no caption")
    page.locator(".jp-Notebook .jp-Cell").first.scroll_into_view_if_needed()
    page.keyboard.press("Control+s")
    page.locator(".lm-mod-current.jp-mod-dirty").wait_for(state="detached")
    if pictures:
        page.screenshot(path=pictures / f"{path.stem}-top.png")
    sessions = page.request.get(f"{server['url']}api/sessions").json()
    kernels = [session["kernel"]["name"] for session in sessions if session["path"] == path.name]
    if kernels != [source["metadata"]["kernelspec"]["name"]]:
        faults.append(f"the kernels are {kernels}")
    return sum(prompt.strip("[]:").isdigit() for prompt in prompts)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--pictures", type=Path, help="a folder for screenshots")
    pictures = arguments.parse_args().pictures
    browser = next(filter(None, map(shutil.which, BROWSERS)), None) or sys.exit("No Chromium is installed.")
    base, began, cells, figures, faults = Path(tempfile.mkdtemp(prefix="lab-")), time.monotonic(), 0, [], []
    place = copied(base)
    with jupyterlab(place, base) as server, sync_playwright() as driver:
        window = {"width": 1400, "height": 1000}
        page = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(viewport=window)
        page.set_default_timeout(180_000)
        page.on("pageerror", lambda error: faults.append(f"the browser: {error}"))
        page.on("console", lambda said: faults.append(f"the browser: {said.text}") if said.type == "error" else None)
        for name in STAGES.values():
            started, drawn, known, ran = time.monotonic(), len(figures), len(faults), 0
            try:
                ran = run(page, server, place / "notebooks" / f"{name}.ipynb", pictures, figures, faults)
            except Error as error:  # something is not where it should be, such as behind a dialog
                faults.append(str(error))
            faults += [f"a dialog: {text}" for text in page.locator(".jp-Dialog").all_inner_texts()]
            print(f"{name:20} {ran:3} cells {len(figures) - drawn:3} figures {time.monotonic() - started:4.0f} s "
                  f"{len(faults) - known:3} faults", *faults[known:], sep="\n    ", flush=True)  # fmt: skip
            cells += ran
    missing = {path.stem for path in (place / "reports" / "tiny" / "run" / "figures").glob("*")} - set(figures)
    faults += [f"the figure {name} was drawn and not shown" for name in sorted(missing)]
    print(f"{f'{len(STAGES)} notebooks':20} {cells:3} cells {len(figures):3} figures {time.monotonic() - began:4.0f} s "
          f"{len(faults):3} faults", *faults[len(faults) - len(missing):], sep="\n    ")  # fmt: skip
    if faults:
        print(f"What the server wrote is in {base}.")
        return 1
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
