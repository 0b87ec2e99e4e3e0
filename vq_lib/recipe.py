"""A recipe, `reports/<name>/recipe.yaml`: every setting of a report, checked.

An unknown key, a value of the wrong kind, an impossible combination or a setting without effect stops with one sentence
that names the key and, where there is one, the nearest valid name.
"""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import Field
from pydantic_core import PydanticCustomError

from vq_lib.errors import SHORT, UserError, nearest, sentence
from vq_lib.files import Loader, digest, read_yaml

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
Above = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Layout = Literal["cohort", "oasis", "adni", "volumes", "slices_nifti", "image_folder"]
Kind = Literal["pixelcnn", "gated", "snail"]


class Section(pydantic.BaseModel):
    """A part of a recipe, frozen; a mistake in it is a `ValidationError`, which `load` turns into a `UserError`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _whole(cls, values, build):
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError("unknown", "unknown", {"key": str(key), "hint": _meant(cls, str(key))})
        section = build(values)
        section._check()
        return section

    def _check(self) -> None:
        """Raise `ValueError` where settings do not go together."""

    def _idle(self, names: str, why: str) -> None:
        """Refuse settings of these names that are not at their default: they would change nothing."""
        for name in names.split():
            default = type(self).model_fields[name].default
            if getattr(self, name) not in (default, None):
                raise ValueError(f"{name!r} has no effect {why}: leave it out, or at its default, {default!r}")


class People(Section):
    """Synthetic people for each split."""

    train: Positive = 96
    validation: Positive = 12
    test: Positive = 16


class Augment(Section):
    """Random changes of training images, drawn anew each time; 0 and false: none of this kind."""

    shift: Annotated[float, Field(ge=0, le=0.25)] = Field(0.0, description="at most so much of the side, each way")
    rotation: Annotated[float, Field(ge=0, le=45)] = Field(0.0, description="at most so many degrees")
    flip: bool = Field(False, description="left and right changed, every second time")
    intensity: Annotated[float, Field(ge=0, le=0.5)] = Field(0.0, description="levels times 1 - this to 1 + this")


class Data(Section):
    """What the slices are, how large they become, and who is in which split."""

    layout: Layout | None = Field(None, description="kind of data; none: recognised from the folder")
    size: Annotated[int, Field(ge=16, le=1024)] = Field(128, description="side of the square images, in pixels")
    channels: Literal[1, 3] = Field(1, description="1: grey; 3: colour")
    white: Positive | None = Field(None, description="level of 16-bit images that becomes white; none: 65535")
    subjects: str | None = Field(None, description="table of people; none: subjects.csv where there is one")
    person: str | None = Field(None, description="regular expression; its first group is the person in a file's path")
    files: str | None = Field(None, description='only files whose name or path fits this pattern, such as "*T1w*"')
    people: People | None = Field(None, description="synthetic people per split (cohort only)")
    slices: Annotated[int, Field(ge=1, le=64)] = Field(16, description="slices per synthetic person or volume")
    range: tuple[Share, Share] = Field((0.35, 0.75), description="of the brain's extent, from below (volumes only)")
    plane: Literal["axial", "coronal", "sagittal"] = Field("axial", description="of the slices (volumes only)")
    volume: Annotated[int, Field(ge=0)] | None = Field(None, description="which one of a 4-D file (volumes only)")
    test: Part = Field(0.15, description="share of the people, where no folder says")
    validation: Part = Field(0.1, description="the same for validation")
    skip: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of the files that may be unreadable")
    allow_leaks: bool = Field(False, description="go on, with a warning, where splits share people or pictures")
    augment: Augment | None = Field(None, description="random changes of training images")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the synthetic people, or of the splits that are cut")

    def _check(self):
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range (={list(self.range)}) must go from below to above")
        if self.layout == "cohort":
            self._idle("channels white subjects person files range plane volume test validation skip", "on the cohort")
        elif self.layout not in ("volumes", None):
            self._idle("range plane volume", f"with 'layout: {self.layout}'")
        try:
            if self.person is not None and re.compile(self.person).groups < 1:
                raise ValueError(f"person (={self.person!r}) needs a group in brackets that is the person")
        except re.error as error:
            raise ValueError(f"person (={self.person!r}) is no regular expression: {error}") from None


class Block(Section):
    """`conv` shrinks the grid by `stride`, `transpose` and `subpixel` enlarge it; `residual` has `hidden` channels."""

    layer: Literal["conv", "transpose", "subpixel", "residual"]
    filters: Positive
    kernel: Positive = 3
    stride: Positive = 1
    repeat: Positive = 1
    hidden: Positive | None = None

    def _check(self):
        if self.layer == "residual" and self.stride != 1:
            raise ValueError("a residual block keeps the grid: its stride must be 1")
        self._idle("kernel" if self.layer == "residual" else "repeat hidden", f"on 'layer: {self.layer}'")


class Training(Section):
    """What all trainings share."""

    optimizer: Literal["adam"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine: to zero over the planned epochs")
    warmup: Annotated[int, Field(ge=0)] = Field(0, description="batches of a rising learning rate; at most half of all")
    clip: Above | None = Field(None, description="largest norm of a gradient; none: as it is")
    batch: Positive = 32
    epochs: Positive = 10
    minutes: Above | None = Field(None, description="stop at this budget, after a whole epoch")
    patience: Positive | None = Field(None, description="stop after so many epochs without a better validation loss")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is faster")

    def _check(self):
        if self.warmup and self.schedule != "cosine":
            raise ValueError("warmup belongs to 'schedule: cosine'")


class VQVAE(Training):
    """Encoder, codebook and decoder."""

    encoder: list[Block]
    decoder: list[Block]
    activation: Literal["relu", "silu"] = "relu"
    normalise: Literal["zero", "centred"] = Field("zero", description="black is 0, as the padding; centred: -0.5")
    output: Literal["transpose", "conv", "block"] = Field("transpose", description="block: the decoder's last one")
    final: Literal["linear", "relu"] = Field("linear", description="activation of the last layer")
    quantizer: Literal["vq", "fsq"] = Field("vq", description="vq: nearest of a codebook; fsq: rounding to `levels`")
    levels: list[Annotated[int, Field(ge=2)]] | None = Field(None, description="of each channel (fsq only)")
    codes: Annotated[int, Field(ge=2, le=65536)] = Field(512, description="K, the number of codes")
    code_dim: Positive = Field(8, description="D, the length of a code")
    codebook: Literal["ema", "gradient"] = Field("ema", description="how the codebook learns")
    decay: Part = Field(0.99, description="of the EMA codebook")
    distance: Literal["euclidean", "cosine"] = Field("euclidean", description="what makes a code the nearest")
    gradient: Literal["straight_through", "rotation"] = Field("straight_through", description="past the codebook")
    start: Literal["kmeans", "uniform"] = Field("kmeans", description="the codebook before the first batch")
    spread: Above | None = Field(None, description="half the width of 'start: uniform'; none: 1 / codes")
    restart: Weight | None = Field(0.1, description="of codes below this share of an even use; none: never")
    loss: Literal["mse", "clipped_mse", "l1"] = Field("mse", description="clipped: black may go below, white above")
    structure: Weight = Field(0.0, description="weight of the structural term, mean(1 - SSIM)")
    beta: Weight = Field(0.25, description="weight of the commitment term")

    def _check(self):
        super()._check()
        levels = self.levels or []
        if self.quantizer == "vq":
            self._idle("levels", "with 'quantizer: vq'")
        else:
            if (math.prod(levels), len(levels)) != (self.codes, self.code_dim):
                has = f"codes (={self.codes}) must be the product of levels (={levels}), code_dim (={self.code_dim}) "
                raise ValueError(f"with 'quantizer: fsq', {has}their number")
            self._idle("codebook decay distance gradient start spread restart beta", "with 'quantizer: fsq'")
        for name, layers in {"encoder": ("transpose", "subpixel"), "decoder": ("conv",)}.items():
            for layer in (block.layer for block in getattr(self, name) if block.stride > 1 and block.layer in layers):
                raise ValueError(
                    f"{layer!r} with a stride has no place in the {name}: it changes the grid the wrong way"
                )
        down, up = (math.prod(block.stride for block in blocks) for blocks in (self.encoder, self.decoder))
        if down != up:
            raise ValueError(f"the encoder shrinks images {down} times but the decoder enlarges them {up} times")

    @property
    def factor(self) -> int:
        """How many pixels of a side one code stands for."""
        return math.prod(block.stride for block in self.encoder)


SNAIL = "attention key_dim value_dim"  # what this prior alone has


class PriorModel(Training):
    """One model of the code grid and its training."""

    name: Kind = Field("pixelcnn", description="gated: two stacks, no blind spot; snail: with causal attention")
    embedding: Positive | None = Field(None, description="length of a code's embedding; none: one-hot codes")
    kernel: Annotated[int, Field(ge=3)] = Field(7, description="side of the first layer's mask-A kernel")
    filters: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    blocks: Positive = Field(2, description="residual blocks, or gated layers, after the first layer")
    head: Annotated[int, Field(ge=0)] = Field(2, description="1x1 layers before the logits")
    head_filters: Positive | None = Field(None, description="their width; none: as filters")
    position: bool = Field(False, description="a learned bias for each grid cell")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    attention: Positive = Field(2, description="blocks between two attentions (snail only)")
    key_dim: Positive = Field(16, description="length of an attention's keys (snail only)")
    value_dim: Positive | None = Field(None, description="length of what is looked up; none: filters / 2 (snail only)")
    condition: list[Literal["label", "position"]] = Field([], description="what the prior is told of a slice")

    def _check(self):
        super()._check()
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel (={self.kernel}): a masked kernel has a centre, so its side must be odd")
        if self.name != "snail":
            self._idle(SNAIL, f"with 'name: {self.name}'")


class Prior(PriorModel):
    """The prior that samples are drawn from, and others on the same codes; what these leave out is as in `prior`."""

    compare: dict[Kind, PriorModel] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _inherit(cls, values):
        if not isinstance(values, dict) or not isinstance(others := values.get("compare") or {}, dict):
            return values
        name = values.get("name", "pixelcnn")
        if isinstance(name, str) and others.get(name) is not None:  # what else it may be, its own check names
            raise ValueError(f"compare names {name!r}, which is the prior itself")
        shared = {key: value for key, value in values.items() if key not in ("compare", *SNAIL.split())}
        inherited = {kind: {**shared, **entry, "name": kind} if isinstance(entry, dict) else entry
                     for kind, entry in others.items() if entry is not None}  # fmt: skip
        return {**values, "compare": inherited}

    def models(self) -> dict[str, PriorModel]:
        """Every prior to be trained, `{name: PriorModel}`, the main one first."""
        main = PriorModel(**{key: getattr(self, key) for key in PriorModel.model_fields})
        return {main.name: main, **{kind: self.compare[kind] for kind in get_args(Kind) if kind in self.compare}}


class Evaluation(Section):
    """What notebook 04 draws and counts."""

    samples: Annotated[int, Field(ge=2)] = Field(512, description="images to generate")
    temperature: Above = 1.0
    top_k: Positive | None = Field(None, description="draw only from so many likeliest codes; none: from all")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="from those that reach it together")
    seed: Annotated[int, Field(ge=0)] = 0


class Recipe(Section):
    """Everything that decides what a report says."""

    title: str
    author: str | None = Field(None, description="whose report it is, for its title block")
    data: Data
    vqvae: VQVAE
    prior: Prior | None = None
    evaluation: Evaluation = Evaluation()  # type: ignore[call-arg]  # mypy reads Field's first argument as no default
    appendix: bool = Field(True, description="notebook 05, a closer look")
    devices: Positive = Field(1, description="devices that share each training batch (JAX)")

    def _check(self):
        size, channels, vqvae = self.data.size, self.data.channels, self.vqvae
        for name, part in {"vqvae": vqvae, **(self.prior.models() if self.prior else {})}.items():
            if part.batch % self.devices:
                raise ValueError(f"the batch of {name} (={part.batch}) must be divisible by devices (={self.devices})")
        if size % vqvae.factor:
            raise ValueError(f"data.size (={size}) must be divisible by the encoder's total stride (={vqvae.factor})")
        for name, width in {"encoder": channels, "decoder": vqvae.code_dim}.items():
            for block in getattr(vqvae, name):
                if block.layer == "residual" and block.filters != width:
                    has = f"vqvae.{name} has {block.filters} filters, and is given {width}"
                    raise ValueError(f"a residual block keeps its channels: one in {has}")
                width = block.filters
        if vqvae.output == "block" and (not vqvae.decoder or width != channels):
            raise ValueError(f"with 'output: block' vqvae.decoder's last filters must be data.channels (={channels})")

    @property
    def sha256(self) -> str:
        """Of all settings that are not at their default, so that a key the library learns changes no old recipe's."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    def section(self, name: str, **options: Any) -> Any:
        """All settings of one section as plain values."""
        value = getattr(self, name)
        return value.model_dump(mode="json", **options) if isinstance(value, Section) else value

    def chosen(self, name: str) -> Any:
        """Those that are not at their default, to be hashed: new keys of the library change no old recipe."""
        return self.section(name, exclude_defaults=True)

    def settings(self) -> list[tuple[str, Any]]:
        """`(key, value)` of every setting in dotted form, blocks in one line each."""
        return _flat(self.model_dump(mode="json"), "")


def _flat(value, key):
    if isinstance(value, dict) and "layer" not in value:
        return [row for name, inner in value.items() for row in _flat(inner, f"{key}.{name}".lstrip("."))]
    if isinstance(value, list):
        return [row for number, inner in enumerate(value) for row in _flat(inner, f"{key}[{number}]")]
    if isinstance(value, dict):
        value = ", ".join(f"{name} {inner}" for name, inner in value.items() if inner is not None)
    return [(key, value)]


def load(path: str | Path, overrides: str = "") -> Recipe:
    """The recipe in the file `path`, changed by `overrides` such as `"vqvae.epochs=2 prior.epochs=2"`.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown, or a value is impossible.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold sections such as data: and vqvae:, as reports/demo/recipe.yaml does.")
    for item in overrides.split():
        _override(values, item)
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: {sentence(error.errors()[0])}") from None


def _override(values, item):
    (key, _, text), shown = item.partition("="), SHORT.repr(item)
    if not key or not text:
        raise UserError(f"The override {shown} must have the form section.key=value, such as vqvae.epochs=2.")
    *parents, last = key.split(".")
    for parent in parents:
        values[parent] = {} if values.get(parent) is None else values[parent]
        values = values[parent]
        if not isinstance(values, dict):
            raise UserError(f"The override {shown} goes too deep: {parent!r} is a value, not a section.")
    try:
        values[last] = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"The value of the override {shown} is not valid YAML.") from None


def _meant(model, key):
    """What an unknown key was meant to be: the same key of another section, the nearest here, or all there are."""
    sections: dict[str, type[Section]] = {"data": Data, "vqvae": VQVAE, "prior": Prior, "evaluation": Evaluation}
    homes = [f"'{name}.{key}'" for name, one in sections.items() if one is not model and key in one.model_fields]
    meant = f" Did you mean {' or '.join(homes)}?" if homes else nearest(key, model.model_fields)
    return meant or f" Known here: {', '.join(model.model_fields)}."
