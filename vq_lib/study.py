"""Where everything of one report lies: the only module that knows the paths."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from vq_lib import files
from vq_lib import recipe as recipes
from vq_lib.errors import UserError, nearest

REPOSITORY = Path(__file__).resolve().parent.parent
STAGES = {"data": "01_data_exploration", "vqvae": "02_vqvae_training", "prior": "03_pixelcnn_prior",
          "evaluation": "04_evaluation", "appendix": "05_closer_look"}  # fmt: skip


def report_folder(report: str | Path) -> Path:
    """The folder of a report given by name (`"demo"`) or path (`"somewhere/mine"`); `UserError` where there is none."""
    if not str(report).strip() or len(str(report)) > 1000 or "\0" in str(report):  # what the system would complain of
        raise UserError("The report must be a name such as 'demo', or a folder that holds a recipe.yaml.")
    for place in (Path(os.path.expanduser(report)), Path("reports") / report, REPOSITORY / "reports" / report):
        if (place / "recipe.yaml").is_file():
            return place.resolve()
    names = [path.parent.name for path in sorted((REPOSITORY / "reports").glob("*/recipe.yaml"))]
    known = f" There are: {', '.join(names)}." if names else " vq_lib is installed here without its repository, in " \
        "which the reports lie: clone it, or name a folder that holds a recipe.yaml."  # fmt: skip
    raise UserError(f"There is no report {str(report)!r}: neither it nor reports/{report} holds a recipe.yaml."
                    f"{nearest(report, names) or known}")  # fmt: skip


class Study:
    """One report: its recipe, its data folder and the files of its `run/`.

    `report` is its name or folder, `data` the folder of the images, empty where the recipe makes its own, `overrides`
    are changes to the recipe, `"vqvae.epochs=2 prior.epochs=2"`.
    """

    def __init__(self, report: str | Path = "demo", data: str | Path = "", overrides: str = ""):
        self.folder = self.published = report_folder(report)  # where report.html, metrics.json and figures/ end up
        self.name, self.models = self.folder.name, self.folder / "models"  # vqvae.keras and prior.keras, published
        self.data_folder = Path(os.path.expanduser(data)).resolve() if str(data).strip() else None
        self.overrides, self.recipe = overrides, recipes.load(self.folder / "recipe.yaml", overrides)

        self.run = self.folder / "run"
        self.slices = self.run / "slices"  # the decoded images: images.npy, slices.csv, slices.json
        self.vqvae = self.run / "vqvae"  # model.keras, codes.npz, history.csv, summary.json, checkpoint/
        self.prior = self.run / "prior"  # a folder a prior, `prior/gated`, with the same
        self.evaluation = self.run / "evaluation"  # what notebooks 04 and 05 measured: .npz, .json, .csv
        self.notebooks = self.run / "notebooks"  # executed notebooks
        self.figures, self.metrics = self.run / "figures", self.run / "metrics.json"
        self.html = self.run / "report.html"

    @property
    def main_prior(self) -> Path | None:
        """The folder of the prior that samples are drawn from; None where the recipe has none."""
        return self.prior / self.recipe.prior.name if self.recipe.prior else None

    def save(self, name: str, **arrays: Any) -> None:
        """Keep arrays as `run/evaluation/<name>.npz`, whole or not at all."""
        files.write_arrays(self.evaluation / f"{name}.npz", **arrays)

    def saved(self, name: str) -> dict[str, np.ndarray]:
        """What `save` has kept under this name; `UserError` where there is nothing, or it is broken."""
        return files.read_arrays(self.evaluation / f"{name}.npz", f"notebook {STAGES['evaluation']}")

    def record(self, name: str, values: dict[str, Any]) -> None:
        """Keep numbers and names as `run/evaluation/<name>.json`, whole or not at all."""
        files.write_json(self.evaluation / f"{name}.json", values)

    def recorded(self, name: str) -> dict[str, Any]:
        """What `record` has kept under this name; `UserError` as `saved`."""
        return files.read_json(self.evaluation / f"{name}.json", f"notebook {STAGES['evaluation']}")
