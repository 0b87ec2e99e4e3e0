"""A recipe, `reports/<name>/recipe.yaml`: every setting of a report. A mistake in it stops with one sentence."""

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
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Part = Annotated[float, Field(gt=0, lt=1)]
Above = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Layout = Literal["cohort", "oasis", "adni", "volumes", "slices_nifti", "image_folder"]
OWN = ("oasis", "adni", "volumes", "slices_nifti", "image_folder", None)  # all but the cohort, which the recipe makes
VOLUMES = ("volumes", None)
Kind = Literal["pixelcnn", "gated", "snail"]


class Section(pydantic.BaseModel):
    """A part of a recipe: unknown keys, wrong values, settings without effect and broken rules are refused by name."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _whole(cls, values, build):
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                raise PydanticCustomError("unknown", "unknown", {"key": str(key), "hint": _meant(cls, str(key))})
        section = build(values)
        fields: dict[str, Any] = cls.model_fields
        for name, field in fields.items():
            for other, allowed in (field.json_schema_extra or {}).items():
                if getattr(section, other) not in allowed and getattr(section, name) not in (field.default, None):
                    raise ValueError(f"{name!r} has no effect with '{other}: {getattr(section, other)}': leave it out, "
                                     f"or at its default, {field.default!r}")  # fmt: skip
        for broken, rule in section._rules():
            if broken:
                raise ValueError(rule)
        return section

    def _rules(self):
        """What settings must heed together: `(whether it is broken, the rule)`, looked at one after another."""
        return ()


def only(default: Any, description: str | None = None, **where: Any) -> Any:
    """A key that must stay at its default but where another one of its section has one of these values."""
    return Field(default, description=description, json_schema_extra=where)


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
    channels: Literal[1, 3] = only(1, "1: grey; 3: colour", layout=OWN)
    white: Positive | None = only(None, "level of 16-bit images that becomes white; none: 65535", layout=OWN)
    subjects: str | None = only(None, "table of people; none: subjects.csv where there is one", layout=OWN)
    person: str | None = only(None, "regular expression; its first group is the person in a file's path", layout=OWN)
    files: str | None = only(None, 'only files whose name or path fits this pattern, such as "*T1w*"', layout=OWN)
    people: People | None = Field(None, description="synthetic people per split (cohort only)")
    slices: Annotated[int, Field(ge=1, le=64)] = Field(16, description="slices per synthetic person or volume")
    range: tuple[Share, Share] = only((0.35, 0.75), "of the brain's extent, from below", layout=VOLUMES)
    plane: Literal["axial", "coronal", "sagittal"] = only("axial", "of the slices", layout=VOLUMES)
    volume: Count | None = only(None, "which one of a 4-D file", layout=VOLUMES)
    test: Part = only(0.15, "share of the people, where no folder says", layout=OWN)
    validation: Part = only(0.1, "the same for validation", layout=OWN)
    skip: Annotated[float, Field(ge=0, lt=1)] = only(0.0, "share of the files that may be unreadable", layout=OWN)
    allow_leaks: bool = Field(False, description="go on, with a warning, where splits share people or pictures")
    augment: Augment | None = Field(None, description="random changes of training images")
    seed: Count = Field(0, description="of the synthetic people, or of the splits that are cut")

    def _rules(self):
        yield self.range[0] >= self.range[1], f"range (={list(self.range)}) must go from below to above"
        try:
            groups = re.compile(self.person or "()").groups
            yield groups < 1, f"person (={self.person!r}) needs a group in brackets that is the person"
        except re.error as error:
            yield True, f"person (={self.person!r}) is no regular expression: {error}"


class Block(Section):
    """`conv` shrinks the grid by `stride`, `transpose` and `subpixel` enlarge it; `residual` has `hidden` channels."""

    layer: Literal["conv", "transpose", "subpixel", "residual"]
    filters: Positive
    kernel: Positive = only(3, layer=("conv", "transpose", "subpixel"))
    stride: Positive = only(1, layer=("conv", "transpose", "subpixel"))
    repeat: Positive = only(1, layer=("residual",))
    hidden: Positive | None = only(None, layer=("residual",))


class Coarse(Section):
    """A coarser level of codes: from what the encoder gives to a smaller grid, and back."""

    encoder: list[Block]
    decoder: list[Block]

    def _rules(self):
        up = math.prod(block.stride for block in self.decoder)
        rule = f"coarse.encoder shrinks the grid {self.factor} times and coarse.decoder enlarges it {up} times"
        yield self.factor != up or up < 2, f"{rule}: both must do so equally often, twice at least"

    @property
    def factor(self) -> int:
        """How many fine codes of a side one coarse code stands for."""
        return math.prod(block.stride for block in self.encoder)


class Training(Section):
    """What all trainings share."""

    optimizer: Literal["adam"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine: to zero over the planned epochs")
    warmup: Count = only(0, "batches of a rising learning rate; at most half of all", schedule=("cosine",))
    clip: Above | None = Field(None, description="largest norm of a gradient; none: as it is")
    batch: Positive = 32
    epochs: Positive = 10
    minutes: Above | None = Field(None, description="stop at this budget, after a whole epoch")
    patience: Positive | None = Field(None, description="stop after so many epochs without a better validation loss")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is faster")


class VQVAE(Training):
    """Encoder, codebook and decoder."""

    encoder: list[Block]
    decoder: list[Block]
    coarse: Coarse | None = Field(None, description="a second, coarser level of codes, and its blocks")
    activation: Literal["relu", "silu"] = "relu"
    normalise: Literal["zero", "centred"] = Field("zero", description="black is 0, as the padding; centred: -0.5")
    output: Literal["transpose", "conv", "block"] = Field("transpose", description="block: the decoder's last one")
    final: Literal["linear", "relu"] = Field("linear", description="activation of the last layer")
    quantizer: Literal["vq", "fsq"] = Field("vq", description="vq: nearest of a codebook; fsq: rounding to `levels`")
    levels: list[Annotated[int, Field(ge=2)]] | None = only(None, "of each channel", quantizer=("fsq",))
    codes: Annotated[int, Field(ge=2, le=65536)] = Field(512, description="K, the number of codes")
    code_dim: Positive = Field(8, description="D, the length of a code")
    codebook: Literal["ema", "gradient"] = only("ema", "how the codebook learns", quantizer=("vq",))
    decay: Part = only(0.99, "of the EMA codebook", quantizer=("vq",), codebook=("ema",))
    distance: Literal["euclidean", "cosine"] = only("euclidean", "what makes a code the nearest", quantizer=("vq",))
    gradient: Literal["straight_through", "rotation"] = only("straight_through", "past the codebook", quantizer=("vq",))
    start: Literal["kmeans", "uniform"] = only("kmeans", "the codebook before the first batch", quantizer=("vq",))
    spread: Above | None = only(None, "half its width; none: 1 / codes", quantizer=("vq",), start=("uniform",))
    restart: Weight | None = only(0.1, "of codes below this share of an even use; none: never", quantizer=("vq",))
    loss: Literal["mse", "clipped_mse", "l1"] = Field("mse", description="clipped: black may go below, white above")
    structure: Weight = Field(0.0, description="weight of the structural term, mean(1 - SSIM)")
    beta: Weight = only(0.25, "weight of the commitment term", quantizer=("vq",))

    def _rules(self):
        levels = self.levels or []
        sizes = f"codes (={self.codes}) must be the product of levels (={levels}), code_dim (={self.code_dim})"
        other = (math.prod(levels), len(levels)) != (self.codes, self.code_dim)
        yield self.quantizer == "fsq" and other, f"with 'quantizer: fsq', {sizes} their number"
        down, up = self.factor, math.prod(block.stride for block in self.decoder)
        yield down != up, f"the encoder shrinks images {down} times but the decoder enlarges them {up} times"

    @property
    def factor(self) -> int:
        """How many pixels of a side one code stands for."""
        return math.prod(block.stride for block in self.encoder)


class Prior(Training):
    """The prior that samples are drawn from, and others on the same codes; what these leave out is as in `prior`."""

    name: Kind = Field("pixelcnn", description="gated: two stacks, no blind spot; snail: with causal attention")
    embedding: Positive | None = Field(None, description="length of a code's embedding; none: one-hot codes")
    kernel: Annotated[int, Field(ge=3)] = Field(7, description="side of the first layer's mask-A kernel")
    filters: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    blocks: Positive = Field(2, description="residual blocks, or gated layers, after the first layer")
    head: Count = Field(2, description="1x1 layers before the logits")
    head_filters: Positive | None = Field(None, description="their width; none: as filters")
    position: bool = Field(False, description="a learned bias for each grid cell")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    attention: Positive = only(2, "blocks between two attentions", name=("snail",))
    key_dim: Positive = only(16, "length of an attention's keys", name=("snail",))
    value_dim: Positive | None = only(None, "length of what is looked up; none: filters / 2", name=("snail",))
    condition: list[Literal["label", "position"]] = Field([], description="what the prior is told of a slice")
    compare: dict[Kind, "Prior"] = {}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _inherit(cls, values):
        if not isinstance(values, dict) or not isinstance(others := values.get("compare") or {}, dict):
            return values
        of_one = ("compare", "attention", "key_dim", "value_dim")
        shared = {key: value for key, value in values.items() if key not in of_one}
        inherited = {kind: {**shared, **entry, "name": kind} if isinstance(entry, dict) else entry
                     for kind, entry in others.items() if entry is not None}  # fmt: skip
        return {**values, "compare": inherited}

    def _rules(self):
        yield self.kernel % 2 == 0, f"kernel (={self.kernel}): a masked kernel has a centre, so its side must be odd"
        yield self.name in self.compare, f"compare names {self.name!r}, which is the prior itself"
        yield not self.head and self.head_filters, "'head_filters' has no effect with 'head: 0': leave it out"
        yield any(other.compare for other in self.compare.values()), "compare must not stand in compare"

    def models(self) -> dict[str, "Prior"]:
        """Every prior to be trained, `{name: its settings}`, the main one first."""
        others = {kind: self.compare[kind] for kind in get_args(Kind) if kind in self.compare}
        return {self.name: self.model_copy(update={"compare": {}}), **others}


class Evaluation(Section):
    """What notebook 04 draws and counts."""

    samples: Annotated[int, Field(ge=2)] = Field(512, description="images to generate")
    temperature: Above = 1.0
    top_k: Positive | None = Field(None, description="draw only from so many likeliest codes; none: from all")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="from those that reach it together")
    seed: Count = 0


class Recipe(Section):
    """Everything that decides what a report says."""

    title: str
    author: str | None = Field(None, description="whose report it is, for its title block")
    data: Data
    vqvae: VQVAE
    prior: Prior | None = None
    evaluation: Evaluation = Evaluation()  # type: ignore[call-arg]  # mypy reads Field's first argument as no default
    appendix: bool = Field(True, description="notebook 05, a closer look, and its figures and warning of membership")
    devices: Positive = Field(1, description="devices that share each training batch (JAX)")

    def _rules(self):
        size, channels, vqvae, devices = self.data.size, self.data.channels, self.vqvae, self.devices
        for name, part in {"vqvae": vqvae, **(self.prior.models() if self.prior else {})}.items():
            yield part.batch % devices, f"the batch of {name} (={part.batch}) must be divisible by devices (={devices})"
        stride, coarse = vqvae.factor, vqvae.coarse
        yield size % stride, f"data.size (={size}) must be divisible by the encoder's total stride (={stride})"
        last = lambda blocks, width: blocks[-1].filters if blocks else width  # noqa: E731
        parts = [("encoder", vqvae.encoder, channels), ("decoder", vqvae.decoder, vqvae.code_dim)]
        if coarse:
            side, factor, deep = size // stride, coarse.factor, last(coarse.decoder, vqvae.code_dim)
            rule = (
                f"vqvae.coarse: the encoder's grid (={side}) must be divisible by the square of its stride (={factor})"
            )
            yield side % factor**2, rule
            parts[1:] = [("coarse.encoder", coarse.encoder, last(vqvae.encoder, channels)),
                         ("coarse.decoder", coarse.decoder, vqvae.code_dim),
                         ("decoder", vqvae.decoder, vqvae.code_dim + deep)]  # fmt: skip
            yield self.appendix, "with vqvae.coarse, set 'appendix: false': notebook 05 looks at one level of codes"
        for name, blocks, width in parts:
            wrong = ("conv",) if name.endswith("decoder") else ("transpose", "subpixel")
            for block in blocks:
                rule = f"{block.layer!r} with a stride has no place in vqvae.{name}: it changes the grid the wrong way"
                yield block.stride > 1 and block.layer in wrong, rule
                rule = f"residual blocks keep channels: vqvae.{name} has {block.filters} filters, and is given {width}"
                yield block.layer == "residual" and block.filters != width, rule
                width = block.filters
        rule = f"with 'output: block' vqvae.decoder's last filters must be data.channels (={channels})"
        yield vqvae.output == "block" and last(vqvae.decoder, 0) != channels, rule

    @property
    def sha256(self) -> str:
        """Of all settings that are not at their default, so that a key the library learns changes no old recipe's."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    def chosen(self, name: str) -> Any:
        """The settings of a section that are not at their default, to be hashed as `sha256`."""
        value = getattr(self, name)
        return value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, Section) else value

    def settings(self) -> list[tuple[str, Any]]:
        """`(key, value)` of every setting in dotted form, blocks in one line each."""
        return _flat(self.model_dump(mode="json"))


def _flat(value, key=""):
    if isinstance(value, dict) and "layer" not in value:
        return [row for name, inner in value.items() for row in _flat(inner, f"{key}.{name}".lstrip("."))]
    if isinstance(value, list):
        return [row for number, inner in enumerate(value) for row in _flat(inner, f"{key}[{number}]")]
    if isinstance(value, dict):
        value = ", ".join(f"{name} {inner}" for name, inner in value.items() if inner is not None)
    return [(key, value)]


def load(path: str | Path, overrides: str = "") -> Recipe:
    """The recipe in the file `path`, changed by `overrides` such as `"vqvae.epochs=2 prior.epochs=2"`.

    A `UserError` says where the file is missing or no YAML, a key unknown, or a value impossible.
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
    try:
        for parent in parents:
            values[parent] = values = {} if values.get(parent) is None else values[parent]
        values[last] = yaml.load(text, Loader)
    except (AttributeError, TypeError):
        raise UserError(f"The override {shown} goes too deep: it names a part of a value, not of a section.") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"The value of the override {shown} is not valid YAML.") from None


def _meant(model, key):
    """What an unknown key was meant to be: the same key of another section, the nearest here, or all there are."""
    sections: dict[str, type[Section]] = {"data": Data, "vqvae": VQVAE, "prior": Prior, "evaluation": Evaluation}
    homes = [f"'{name}.{key}'" for name, one in sections.items() if one is not model and key in one.model_fields]
    meant = f" Did you mean {' or '.join(homes)}?" if homes else nearest(key, model.model_fields)
    return meant or f" Known here: {', '.join(model.model_fields)}."
