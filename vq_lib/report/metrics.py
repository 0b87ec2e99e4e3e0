"""`metrics.json`: one schema for the notebooks that write it and for everything that reads it.

All scores are of test people unless named otherwise. A stage that a recipe leaves out leaves its section out.
"""

import json
import platform
import subprocess
from collections.abc import Collection
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from vq_lib.errors import UserError
from vq_lib.files import digest, read_json, write_json
from vq_lib.recipe import Recipe
from vq_lib.study import REPOSITORY, Study

PACKAGES = ("keras", "tensorflow", "jax", "torch", "tensorflow-probability", "numpy", "pandas", "scikit-image",
            "scikit-learn", "papermill", "nilearn")  # fmt: skip
CODE = ("vq_lib", "notebooks", "pyproject.toml", "constraints.txt")


Count = Annotated[dict[Literal["images", "people"], int], pydantic.Field(min_length=2)]  # how large a split is
Epochs = Annotated[dict[Literal["done", "planned"], int], pydantic.Field(min_length=2)]


class Part(pydantic.BaseModel, extra="forbid", allow_inf_nan=False):
    """A part of `metrics.json`; what is no finite number is a mistake, and so is an unknown key unless `extra` says."""


class Score(Part):
    """A mean with its 95% interval over people; without the latter where there is one person."""

    mean: float
    low: float | None = None
    high: float | None = None


class Checks(Part, extra="allow"):
    """What was found in the data; also `{check: {"count", "examples"}}`."""

    layout: str | None = None
    warnings: list[str] = []


class Data(Part):
    """How many people and images each split has."""

    train: Count | None = None
    validation: Count | None = None
    test: Count
    checks: Checks = Checks()


class VQVAE(Part):
    """What the codes and reconstructions of test people are worth."""

    ssim: Score
    ssim_foreground: Score
    psnr: Score
    codebook_usage: float | None = None
    perplexity: float | None = None
    perplexity_foreground: float | None = None
    perplexity_cap: float | None = None
    bits_per_pixel: float  # of codes of fixed length
    parameters: dict[str, int]
    images_per_second: float
    epochs: Epochs


class Rival(Part, extra="allow"):
    """A prediction without a model; or, where it has rates, an image codec."""

    ssim: float
    ssim_foreground: float
    psnr: float | None = None
    bits_per_pixel: float | None = None
    bits_per_pixel_payload: float | None = None  # without the container
    lead: dict[str, Score] = {}  # how far the model is ahead of it, on the same `slices`
    slices: int | None = None


class Prior(Part, extra="allow"):
    """The main prior; `models` has all."""

    name: str
    bits_per_code: dict[str, float]  # on each split
    models: dict[str, dict[str, float]] = {}
    baselines_bits_per_code: dict[str, float] = {}  # what tables of frequencies need on the test split
    bits_per_pixel: float
    parameters: int
    epochs: Epochs
    membership_auc: dict[str, Score] = {}


class Samples(Part, extra="allow"):
    """What the samples are like, beside people."""

    count: int
    seconds: float
    two_sample_auc: Score | None = None  # of samples with grain; against training people where there is a floor
    two_sample_auc_without_grain: Score | None = None
    two_sample_floor: Score | None = None  # that of two halves of these people
    two_sample_people: int | None = None
    pair_ms_ssim: dict[str, float] | None = None
    failed_fraction: float | None = None
    failed_by_chance: float | None = None
    failed_beyond_chance: bool | None = None
    memorised_fraction: float | None = None
    memorised_by_chance: float | None = None  # the most that the rule finds among other people's slices


class Provenance(Part):
    """What everything was made with."""

    versions: dict[str, str] = {}
    backend: str
    device: str  # that trained; several where the trainings ran on different ones
    precision: str  # of the training, a dtype policy
    repeatable: bool | None = None
    recipe_sha256: str
    overrides: str = ""
    data_fingerprint: str
    commit: str | None = None
    seconds: dict[str, float] = {}  # of each stage, "prior snail" among them
    keys: dict[str, str | None] | None = None  # see `stage_keys`


class Metrics(Part):
    """The whole document."""

    report: str
    provenance: Provenance
    data: Data
    vqvae: VQVAE
    baselines: dict[str, Rival]
    codecs: dict[str, dict[str, Rival | None]] = {}  # at each of the model's `rates`
    prior: Prior | None = None
    samples: Samples | None = None
    likelihood: dict[str, Any] | None = None

    @property
    def rates(self) -> dict[str, float]:
        """Bits per pixel: `fixed_length`, and `prior` where there is one."""
        parts = {"fixed_length": self.vqvae, "prior": self.prior}
        return {name: part.bits_per_pixel for name, part in parts.items() if part}

    def best_guess(self, score: str = "ssim") -> tuple[str, Rival] | None:
        """`(name, scores)` of the best prediction without a model; None where none was scored."""
        guesses = [item for item in self.baselines.items() if item[1].bits_per_pixel is None]
        return max(guesses, key=lambda item: (getattr(item[1], score), item[0]), default=None)

    def best_codec(self, rate: str, score: str = "ssim") -> tuple[str, Rival] | None:
        """`(name, scores)` of the best codec within 10% of one of the model's `rates`; None: there is none."""
        near = [(name, codec) for name, codec in self.codecs.get(rate, {}).items()
                if codec and abs((codec.bits_per_pixel_payload or 0) / self.rates[rate] - 1) <= 0.1]  # fmt: skip
        return max(near, key=lambda item: getattr(item[1], score), default=None)

    @property
    def minutes(self) -> dict[str, float]:
        """Minutes of the trainings: "VQ-VAE", "prior" and "compared priors"."""
        seconds = self.provenance.seconds
        compared = sum(value for name, value in seconds.items() if name.startswith("prior "))
        parts = {"VQ-VAE": seconds.get("vqvae", 0), "prior": seconds.get("prior", 0), "compared priors": compared}
        return {name: value / 60 for name, value in parts.items()}


def stage_keys(recipe: Recipe) -> dict[str, str | None]:
    """What identifies each stage of a recipe, `{"data", "vqvae", "prior"}`: its title or evaluation change none, nor do
    the priors that are compared with the main one.
    """
    chosen = {stage: recipe.chosen(stage) for stage in ("data", "vqvae")}
    main = recipe.prior.models()[recipe.prior.name] if recipe.prior else None
    chosen["prior"] = main and main.model_dump(mode="json", exclude_defaults=True)
    return {stage: None if settings is None else digest(settings) for stage, settings in chosen.items()}


def fits(recipe: Recipe, made: Provenance, stages: Collection[str] = ("data", "vqvae", "prior")) -> bool:
    """Whether what these stages made with this provenance is of `recipe`, whatever its title or evaluation."""
    if made.keys is None:  # written before stages had keys
        return recipe.sha256 == made.recipe_sha256
    keys = stage_keys(recipe)
    return all(keys[stage] == made.keys.get(stage) for stage in stages)


def git(*arguments: str, folder: Path = REPOSITORY) -> tuple[int, str]:
    """Exit status and output of a git command in `folder`; 128 where there is no git."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return 128, ""
    return done.returncode, done.stdout.strip()


def commit() -> str | None:
    """The commit of this repository, with "+" where code has changed since; None where there is no git."""
    status, found = git("rev-parse", "--short=12", "HEAD")
    _, changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return None if status else found + "+" * bool(changed)


def provenance(study: Study, fingerprint: str, trainings: dict[str, dict], evaluation: float) -> dict[str, Any]:
    """`metrics.json`'s `provenance` of what is evaluated here and now, in `evaluation` seconds; `trainings` are the
    summaries of the VQ-VAE, "vqvae", the main prior, "prior", and those compared with it, "prior snail".
    """
    import keras

    from vq_lib.training.device import device, repeatable

    installed = {found.name: found.version for found in distributions()}
    versions = {name: installed[name] for name in PACKAGES if name in installed}
    devices = [made["made"].get("device", device()) for made in trainings.values()]  # old ones do not say
    seconds = {name: made["seconds"] for name, made in trainings.items()}
    return {
        "versions": {"python": platform.python_version(), **versions}, "backend": keras.backend.backend(),
        "device": " and ".join(dict.fromkeys(devices)), "precision": trainings["vqvae"]["precision"],
        "repeatable": repeatable(), "seconds": {**seconds, "evaluation": evaluation},
        "recipe_sha256": study.recipe.sha256, "keys": stage_keys(study.recipe), "overrides": study.overrides,
        "data_fingerprint": fingerprint, "commit": commit(),
    }  # fmt: skip


def write(study: Study, **sections: dict[str, Any] | None) -> Metrics:
    """Add sections to `run/metrics.json`, whole or not at all, and return all of it; None is left out.

    A section that is there already gains the new keys. With `provenance` the document begins anew, so that nothing of
    an earlier evaluation stays. `pydantic.ValidationError` where it would not be what the schema says.
    """
    plain = json.loads(json.dumps(sections, default=lambda scalar: scalar.item()))  # NumPy's numbers become Python's
    document = {} if "provenance" in plain else read_json(study.metrics, "notebook 04")
    document["report"] = study.name
    for name, section in plain.items():
        if section is not None:
            document[name] = {**document.get(name, {}), **section}
    metrics = Metrics.model_validate(document)
    write_json(study.metrics, document)
    return metrics


def read(path: str | Path) -> Metrics:
    """The metrics in the file `path`; `UserError` where it is missing, no JSON, or not what the schema says."""
    try:
        return Metrics.model_validate(read_json(path, "'vq-lib report'"))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{path} is not as 'vq-lib report' writes it: {where}: {first['msg']}.") from None
