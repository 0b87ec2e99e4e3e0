"""A recipe: every setting of a report, checked.

`reports/<name>/recipe.yaml` is read into `Recipe`. An unknown key, a value of the wrong kind or an impossible
combination stops with one sentence that names the key and, where there is one, the nearest valid name.
"""

import math
import re
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from vq_lib.errors import UserError, nearest
from vq_lib.files import digest

_short = reprlib.Repr()  # a few aliases in YAML can stand for gigabytes of text
_short.maxstring, _short.maxother, _short.maxlevel = 100, 100, 2

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(pydantic.BaseModel):
    """A part of a recipe, frozen; an unknown key or an impossible value is a `pydantic.ValidationError`, which `load`
    turns into a `UserError`.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class People(Section):
    """How many synthetic people the embedded cohort makes for each split."""

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

    layout: Literal["cohort", "oasis", "adni", "volumes", "image_folder"] | None = Field(
        None, description="kind of data; none: recognised from the folder"
    )
    size: Annotated[int, Field(ge=16, le=1024)] = Field(128, description="side of the square images, in pixels")
    channels: Literal[1, 3] = Field(1, description="1: grey; 3: colour")
    white: Annotated[int, Field(ge=1)] | None = Field(
        None, description="level of 16-bit images that becomes white; none: 65535"
    )
    subjects: str | None = Field(None, description="table of people; none: subjects.csv where there is one")
    person: str | None = Field(
        None, description="regular expression whose first group is the person in a file's path (image_folder only)"
    )
    people: People | None = Field(None, description="synthetic people per split (cohort only)")
    slices: Annotated[int, Field(ge=1, le=64)] = Field(16, description="slices per synthetic person or volume")
    range: tuple[Share, Share] = Field((0.35, 0.75), description="of the brain's height, from below (volumes only)")
    test: Annotated[float, Field(gt=0, lt=1)] = Field(0.15, description="share of the people, where no folder says")
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(0.1, description="the same for validation")
    skip: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of the files that may be unreadable")
    allow_leaks: bool = Field(False, description="go on, with a warning, where splits share people or pictures")
    augment: Augment | None = Field(None, description="random changes of training images")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of the synthetic people, or of the splits that are cut")

    @pydantic.model_validator(mode="after")
    def _possible(self):
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range (={list(self.range)}) must go from below to above")
        if self.layout == "cohort" and self.channels != 1:
            raise ValueError("the cohort's people are grey: channels must be 1")
        if self.person is not None:
            try:
                groups = re.compile(self.person).groups
            except re.error as error:
                raise ValueError(f"person (={self.person!r}) is no regular expression: {error}") from None
            if groups < 1:
                raise ValueError(f"person (={self.person!r}) needs a group in brackets that is the person")
        return self


class Block(Section):
    """One entry of an encoder or a decoder.

    `conv` shrinks the grid by `stride`; `transpose` (transposed convolution) and `subpixel` (convolution, then
    depth to space) enlarge it by `stride`; `residual` is `repeat` residual blocks of `filters` channels whose
    3x3 convolution has `hidden` channels.
    """

    layer: Literal["conv", "transpose", "subpixel", "residual"]
    filters: Positive
    kernel: Positive = 3
    stride: Positive = 1
    repeat: Positive = 1
    hidden: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _residual_keeps_the_grid(self):
        if self.layer == "residual" and self.stride != 1:
            raise ValueError("a residual block keeps the grid: its stride must be 1")
        return self


class Training(Section):
    """What both trainings share."""

    optimizer: Literal["adam"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: falls to zero over the planned epochs"
    )
    warmup: Annotated[int, Field(ge=0)] = Field(
        0, description="batches over which the learning rate rises from zero; half of all, where they are fewer"
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(None, description="largest norm of a gradient; none: as it is")
    batch: Positive = 32
    epochs: Positive = 10
    minutes: Annotated[float, Field(gt=0)] | None = Field(None, description="stop at this budget, after a whole epoch")
    patience: Positive | None = Field(None, description="stop after so many epochs without a better validation loss")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where the device is faster in it"
    )

    @pydantic.model_validator(mode="after")
    def _warm_up_to_the_cosine(self):
        if self.warmup and self.schedule != "cosine":
            raise ValueError("warmup belongs to 'schedule: cosine'")
        return self


class VQVAE(Training):
    """Encoder, codebook and decoder."""

    encoder: list[Block]
    decoder: list[Block]
    activation: Literal["relu", "silu"] = "relu"
    normalise: Literal["zero", "centred"] = Field(
        "zero", description="zero: black is 0, as the padding of the convolutions; centred: it is -0.5"
    )
    output: Literal["transpose", "conv", "block"] = Field(
        "transpose", description="kind of the last 3x3 layer, to the image's channels; block: the decoder's last block"
    )
    final: Literal["linear", "relu"] = Field("linear", description="activation of the last layer")
    quantizer: Literal["vq", "fsq"] = Field(
        "vq", description="vq: nearest code of a codebook; fsq: rounding to `levels`"
    )
    levels: list[Annotated[int, Field(ge=2)]] | None = Field(None, description="of each channel (fsq only)")
    codes: Annotated[int, Field(ge=2, le=65536)] = Field(512, description="K, the number of codes")
    code_dim: Positive = Field(8, description="D, the length of a code")
    codebook: Literal["ema", "gradient"] = Field("ema", description="how the codebook learns")
    decay: Rate = Field(0.99, description="of the EMA codebook")
    distance: Literal["euclidean", "cosine"] = Field("euclidean", description="what makes a code the nearest")
    gradient: Literal["straight_through", "rotation"] = Field(
        "straight_through", description="how the gradient passes the choice of a code"
    )
    start: Literal["kmeans", "uniform"] = Field("kmeans", description="the codebook before the first batch")
    spread: Annotated[float, Field(gt=0)] | None = Field(
        None, description="half the width of 'start: uniform'; none: one over the number of codes"
    )
    restart: Annotated[float, Field(ge=0)] | None = Field(
        0.1, description="restart a code used less than this share of an even use; none: never"
    )
    loss: Literal["mse", "clipped_mse", "l1"] = Field(
        "mse", description="clipped_mse: black may overshoot below black, white above"
    )
    structure: Annotated[float, Field(ge=0)] = Field(0.0, description="weight of the structural term, mean(1 - SSIM)")
    beta: Annotated[float, Field(ge=0)] = Field(0.25, description="weight of the commitment term")

    @pydantic.model_validator(mode="after")
    def _levels_make_the_codes(self):
        if self.quantizer == "vq" and self.levels:
            raise ValueError("levels belong to 'quantizer: fsq'")
        levels = self.levels or []
        if self.quantizer == "fsq" and (math.prod(levels), len(levels)) != (self.codes, self.code_dim):
            raise ValueError(
                f"with 'quantizer: fsq', codes (={self.codes}) must be the product of levels (={levels}) and "
                f"code_dim (={self.code_dim}) their number"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _decoder_undoes_encoder(self):
        down = factor(self.encoder, "encoder", {"transpose", "subpixel"})
        up = factor(self.decoder, "decoder", set())
        if down != up:
            raise ValueError(f"the encoder shrinks images {down} times but the decoder enlarges them {up} times")
        return self

    @property
    def factor(self) -> int:
        """How many pixels of a side one code stands for."""
        return factor(self.encoder, "encoder", set())


def factor(blocks: list[Block], name: str, banned: set[str]) -> int:
    """Product of the strides of `blocks`; `banned` layers may not have one above 1."""
    product = 1
    for block in blocks:
        if block.stride > 1 and block.layer in banned:
            raise ValueError(f"'{block.layer}' enlarges the grid and has no place in the {name}")
        if block.stride > 1 and name == "decoder" and block.layer == "conv":
            raise ValueError("'conv' with a stride shrinks the grid and has no place in the decoder")
        product *= block.stride
    return product


class PriorModel(Training):
    """One model of the code grid and its training."""

    name: Literal["pixelcnn", "gated", "snail"] = Field(
        "pixelcnn", description="gated: two stacks, no blind spot; snail: with causal attention"
    )
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
    condition: list[Literal["label", "position"]] = Field(
        [], description="what the prior is told of a slice: its label, its position in the volume"
    )

    @pydantic.field_validator("kernel")
    @classmethod
    def _odd(cls, kernel):
        if kernel % 2 == 0:
            raise ValueError("a masked kernel has a centre, so its side must be odd")
        return kernel


class Compared(Section):
    """Other priors, trained on the same codes to be compared; what an entry leaves out is as in `prior`."""

    pixelcnn: PriorModel | None = None
    gated: PriorModel | None = None
    snail: PriorModel | None = None


class Prior(PriorModel):
    """The model of the code grid that samples are drawn from, and those that it is compared with."""

    compare: Compared = Compared()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _inherit(cls, values):
        others = (values.get("compare") or {}) if isinstance(values, dict) else None
        if not isinstance(others, dict):
            return values
        own = {key: value for key, value in values.items() if key != "compare"}
        name = own.get("name", "pixelcnn")
        if isinstance(name, str) and others.get(name) is not None:  # what else it may be, its own check names
            raise ValueError(f"compare names {name!r}, which is the prior itself")
        inherited = {
            kind: {**own, **entry, "name": kind} if isinstance(entry, dict) else entry for kind, entry in others.items()
        }
        return {**values, "compare": inherited}

    def models(self) -> dict[str, PriorModel]:
        """Every prior to be trained, `{name: PriorModel}`, the main one first."""
        main = PriorModel(**{key: getattr(self, key) for key in PriorModel.model_fields})
        others = {kind: getattr(self.compare, kind) for kind in Compared.model_fields}
        return {main.name: main, **{kind: other for kind, other in others.items() if other is not None}}


class Evaluation(Section):
    """What notebook 04 draws and counts."""

    samples: Annotated[int, Field(ge=2)] = Field(128, description="images to generate")
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_k: Positive | None = Field(None, description="draw only from so many most likely codes; none: from all")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="draw only from the likeliest codes that reach this probability together; none: from all"
    )
    seed: Annotated[int, Field(ge=0)] = 0


class Recipe(Section):
    """Everything that decides what a report says."""

    title: str
    data: Data
    vqvae: VQVAE
    prior: Prior | None = None
    evaluation: Evaluation = Evaluation()  # type: ignore[call-arg]  # mypy reads Field's first argument as no default
    devices: Positive = Field(1, description="devices that share each training batch (JAX)")

    @pydantic.model_validator(mode="after")
    def _batches_divide(self):
        for name, part in {"vqvae": self.vqvae, **(self.prior.models() if self.prior else {})}.items():
            if part.batch % self.devices:
                raise ValueError(f"the batch of {name} (={part.batch}) must be divisible by devices (={self.devices})")
        return self

    @pydantic.model_validator(mode="after")
    def _size_fits(self):
        if self.data.size % self.vqvae.factor:
            raise ValueError(
                f"data.size (={self.data.size}) must be divisible by the encoder's total stride (={self.vqvae.factor})"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _channels_fit(self):
        for name, blocks, width in (
            ("encoder", self.vqvae.encoder, self.data.channels),
            ("decoder", self.vqvae.decoder, self.vqvae.code_dim),
        ):
            for block in blocks:
                if block.layer == "residual" and block.filters != width:
                    raise ValueError(
                        f"a residual block keeps its channels: one in vqvae.{name} has {block.filters} filters, and is "
                        f"given {width}"
                    )
                width = block.filters
        if self.vqvae.output == "block" and (not self.vqvae.decoder or width != self.data.channels):
            raise ValueError(
                "with 'output: block' the last block of vqvae.decoder gives the image: its filters must be "
                f"data.channels (={self.data.channels})"
            )
        return self

    @property
    def sha256(self) -> str:
        """Of all settings that are not at their default, so that a key the library learns changes no old recipe's."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    def section(self, name: str) -> Any:
        """All settings of one section as plain values."""
        value = getattr(self, name)
        return None if value is None else value.model_dump(mode="json")

    def chosen(self, name: str) -> Any:
        """The settings of one section that are not at their default, to be hashed: what was made with a recipe stays
        good when the library learns a new key.
        """
        value = getattr(self, name)
        return None if value is None else value.model_dump(mode="json", exclude_defaults=True)

    def settings(self) -> list[tuple[str, Any]]:
        """`(key, value)` of every setting in dotted form, blocks in one line each."""
        rows = []

        def walk(value, key):
            if isinstance(value, dict) and "layer" not in value:
                for name, inner in value.items():
                    walk(inner, f"{key}.{name}" if key else name)
            elif isinstance(value, list):
                for number, inner in enumerate(value):
                    walk(inner, f"{key}[{number}]")
            elif isinstance(value, dict):
                rows.append((key, ", ".join(f"{name} {inner}" for name, inner in value.items() if inner is not None)))
            else:
                rows.append((key, value))

        walk(self.model_dump(mode="json"), "")
        return rows


def load(path: str | Path, overrides: str = "") -> Recipe:
    """The recipe in the file `path`, changed by `overrides` such as `"vqvae.epochs=2 prior.epochs=2"`.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown, or a value is impossible.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no recipe {path}: copy one, for example reports/demo/recipe.yaml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The recipe {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}{place}: not valid YAML ({problem}).") from None
    except RecursionError:
        raise UserError(f"{path}: brackets are nested too deeply.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold sections such as data: and vqvae:, as reports/demo/recipe.yaml does.")
    for item in overrides.split():
        _override(values, item)
    try:
        return Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: {_sentence(error.errors()[0])}") from None


def _override(values, item):
    shown = _short.repr(item)
    key, equals, text = item.partition("=")
    if not equals or not key or not text:
        raise UserError(f"The override {shown} must have the form section.key=value, such as vqvae.epochs=2.")
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise UserError(f"The override {shown} goes too deep: {parent!r} is a value, not a section.")
    try:
        values[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"The value of the override {shown} is not valid YAML.") from None


def _section_at(location):
    """The model class that holds the last key of a pydantic error location, or None."""
    model: type[Section] | None = Recipe
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model else None
        if field is None:
            return None
        found = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((kind for kind in found if isinstance(kind, type) and issubclass(kind, Section)), None)
    return model


def _sentence(error):
    location = error["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if error["type"] == "extra_forbidden":
        model = _section_at(location)
        names = list(model.model_fields) if model else []
        known = f" Known here: {', '.join(names)}." if names and not nearest(location[-1], names) else ""
        return f"unknown key '{key}'.{nearest(location[-1], names)}{known}"
    if error["type"] == "missing":
        return f"the key '{key}' is missing."
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "literal_error":
        message = message[0].lower() + message[1:]
        choices = error["ctx"]["expected"].split("'")
        given = _short.repr(error["input"])
        return f"'{key}' is {given}: {message}.{nearest(given[1:-1], choices)}"
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{message}."
    return f"'{key}' is {_short.repr(error['input'])}: {message[0].lower() + message[1:]}."
