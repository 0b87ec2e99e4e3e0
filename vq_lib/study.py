"""Where everything of one report lies: the only module that knows the paths."""

import os
from pathlib import Path

from vq_lib import recipe as recipes
from vq_lib.errors import UserError, nearest

REPOSITORY = Path(__file__).resolve().parent.parent


def report_folder(report: str | Path) -> Path:
    """The folder of a report given by name (`"demo"`) or by path (`"somewhere/mine"`).

    Raises:
        UserError: there is none; the sentence names the nearest one that exists.
    """
    if not str(report).strip():
        raise UserError("The report has no name: give one such as 'demo', or a folder that holds a recipe.yaml.")
    if len(str(report)) > 1000 or "\0" in str(report):  # the operating system would complain
        raise UserError("The report's name must be a name such as 'demo', or a folder that holds a recipe.yaml.")
    places = [Path(os.path.expanduser(report)), Path("reports") / report, REPOSITORY / "reports" / report]
    for place in places:
        if (place / "recipe.yaml").is_file():
            return place.resolve()
    names = [path.parent.name for path in sorted((REPOSITORY / "reports").glob("*/recipe.yaml"))]
    raise UserError(
        f"There is no report {str(report)!r}: neither it nor reports/{report} holds a recipe.yaml."
        f"{nearest(report, names) or ' There are: ' + ', '.join(names) + '.'}"
    )


class Study:
    """One report: its recipe, its data folder and the files of its `run/`.

    Args:
        report: name or folder of the report.
        data: folder of the images; empty where the recipe makes its own.
        overrides: changes to the recipe, `"vqvae.epochs=2 prior.epochs=2"`.
    """

    def __init__(self, report: str | Path = "demo", data: str | Path = "", overrides: str = ""):
        self.folder = report_folder(report)
        self.name = self.folder.name
        self.data_folder = Path(os.path.expanduser(data)).resolve() if str(data).strip() else None
        self.overrides = overrides
        self.recipe = recipes.load(self.folder / "recipe.yaml", overrides)
        self.run = self.folder / "run"

        self.slices = self.run / "slices"  # the decoded images: images.npy, slices.csv, slices.json
        self.vqvae = self.run / "vqvae"  # model.keras, codes.npz, history.csv, summary.json, checkpoint/
        self.prior = self.run / "prior"  # the same for the prior
        self.evaluation = self.run / "evaluation"  # samples.npz, scores.csv
        self.notebooks = self.run / "notebooks"  # executed notebooks
        self.figures = self.run / "figures"
        self.metrics = self.run / "metrics.json"
        self.html = self.run / "report.html"

        self.published = self.folder  # where report.html, metrics.json and figures/ end up
        self.models = self.folder / "models"  # and vqvae.keras and prior.keras
