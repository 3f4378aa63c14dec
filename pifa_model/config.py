"""Presets: typed configuration of network, losses and training. Unknown keys are errors."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pifa_data.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VisualizationConfig(_Section):
    """The visualization layer (equations 8-11)."""

    vertices: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=3000, description="well-spread vertices drawn; all if the model has fewer"
    )
    radius: Annotated[int, Field(ge=1, le=4)] = Field(
        default=2, description="half-width of the neighbourhood D, pixels"
    )
    sigma: Annotated[float, Field(ge=0.25)] = Field(
        default=1.0, description="sigma of equation 10, pixels of the block's own grid"
    )
    mask: Literal["nose", "parts", "none"] = Field(
        default="nose",
        description="the mask a: equation 11 (`nose`); eyes, nose tip, corners of the mouth (`parts`); or 1 (`none`)",
    )
    mask_sigma: Positive = Field(
        default=0.35, description="sigma_n of equation 11, as a share of the mean face's width; of mask `nose`"
    )

    @model_validator(mode="after")
    def _weights_are_numbers(self) -> VisualizationConfig:
        # At 7 sigma in x and in y a weight of equation 10 is e^-49; further off it and its reciprocal leave float32.
        least = math.ceil(100 * (self.radius + 0.5) / 7) / 100
        if self.sigma < least:
            raise ValueError(f"sigma: expected at least {least:g} for radius {self.radius}, found {self.sigma:g}")
        return self


class NetworkConfig(_Section):
    """Visualization blocks; six of them are table 1's."""

    filters: tuple[tuple[Count, ...], ...] = ((12, 16), (20, 24), (28, 32), (36, 40), (40, 40), (40, 40))
    kernels: tuple[Literal[1, 3, 5, 7], ...] = (5, 3, 3, 3, 3, 3)
    hidden: Count = Field(default=800, description="width of the first fully connected layer")
    inputs: tuple[Literal["image", "features", "map"], ...] = Field(
        default=("image", "features", "map"),
        description="what later blocks see (figure 6); the first one has no features and always sees the image",
    )
    stride: Literal[2, 4] = Field(
        default=2,
        description="crop pixels a pixel of the later blocks' maps; at 4 the first block reads 2x2 pixels as channels",
    )
    trunk: Literal["plain", "depthwise", "residual"] = Field(default="plain", description="kind of convolutions")
    head: Literal["flatten", "pool", "sample"] = Field(
        default="flatten",
        description="what the fully connected layers see: whole maps, their 8x8 means, or their values on the face",
    )
    anchors: Count = Field(default=64, description="vertices at which the head `sample` reads the maps")
    dropout: Share = Field(default=0.5, description="after the first fully connected layer")
    camera: Literal["free", "rotation"] = Field(
        default="free", description="`rotation` replaces M after every block by the nearest scaled rotation"
    )
    uncertainty: bool = Field(default=False, description="every block also estimates how far off its landmarks are")
    visualization: VisualizationConfig = VisualizationConfig()

    @model_validator(mode="after")
    def _same_length(self) -> NetworkConfig:
        if len(self.filters) != len(self.kernels):
            raise ValueError(f"filters has {len(self.filters)} blocks, kernels {len(self.kernels)}")
        if len(set(self.inputs)) != len(self.inputs) or not {"image", "features"} & {*self.inputs}:
            raise ValueError(f"inputs: expected different ones, image or features among them, found {self.inputs}")
        return self


class LossConfig(_Section):
    """Which loss each block has (``parameters``: equation 6, ``landmarks``: equation 7), and its weight."""

    blocks: tuple[Literal["parameters", "landmarks"], ...] = ("parameters",) * 3 + ("landmarks",) * 3
    weights: tuple[Positive, ...] = (1, 2, 3, 4, 5, 6)
    landmark: Literal["squared", "smooth_l1", "wing"] = Field(
        default="squared", description="what the landmark loss takes of a coordinate's error; equation 7: its square"
    )
    prior: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="weight of the mean of p squared, in every block's loss"
    )
    spread: Positive = Field(
        default=0.1, description="weight of the likelihood of each landmark's spread, where the network tells it"
    )


class OptimizerConfig(_Section):
    """Optimiser and learning rate."""

    name: Literal["sgd", "adamw"] = "adamw"
    learning_rate: Positive = 1e-3
    momentum: Share = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["cosine", "steps"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 200
    steps: tuple[tuple[Positive, Positive], ...] = Field(
        default=(), description="(epoch, learning rate) pairs for `steps`"
    )


class TrainingConfig(_Section):
    """How long, in what batches, with what augmentation."""

    epochs: Positive = 2.0
    batch_size: Count = 32
    precision: Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(str)] = Field(
        default="32",
        description="arithmetic of the convolutions; `auto` is bf16 where the device computes in it, else 32",
    )
    clip: Positive = Field(default=1.0, description="largest norm of the gradient")
    mirror: Share = Field(
        default=0.5,
        description="probability that a crop is flipped, with the fit of its mirrored labels; one that the store holds "
        "mirrored is flipped back",
    )
    mirror_shift: Annotated[float, Field(ge=-0.1, le=0.1)] = Field(
        default=0.0,
        description="how far the labels lie to the right of the face, as a share of the crop's side: minus `offset` of "
        "`pifa eval`. Mirrored labels, which lie to the left, are moved back by twice as much; of all stores alike",
    )
    brightness: Share = Field(default=0.2, description="largest shift, as a share of the range of values")
    contrast: Share = Field(default=0.3, description="largest change of contrast")
    val_fraction: Share = 0.1
    round_steps: Count = Field(default=200, description="optimiser steps between validations, each with a checkpoint")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        default=None, description="which people are held out; `seed` if none"
    )
    ema: Share = Field(
        default=0.0, description="share that the moving average of the weights keeps a step; 0 keeps none"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0, description="stop after so many rounds without a better validation error; 0 never"
    )
    keep_rounds: Annotated[int, Field(ge=0)] = Field(
        default=0, description="also keep the checkpoint of every so many rounds; 0 only the best and the last"
    )
    compile: bool = Field(default=False, description="compile the network: minutes at first, for long runs on a GPU")
    cascade: bool = Field(
        default=False, description="train the blocks one after another, with no gradient between; end to end if false"
    )


class AugmentationConfig(_Section):
    """What is drawn anew whenever a crop is seen, beside ``training``'s mirror, brightness and contrast; 0 is off.

    Numbers are uniform between nothing and the largest, in either direction.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = Field(default=0.0, description="largest turn, degrees")
    scale: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="largest change of size: 0.2 makes a face up to 1.2 times as large or as small"
    )
    shift: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0, description="largest shift in x and in y, as a share of the crop's side"
    )
    saturation: Probability = Field(default=0.0, description="largest change of the saturation")
    tint: Share = Field(default=0.0, description="largest change of each colour's brightness, as a share of it")
    blur: Probability = Field(default=0.0, description="probability that a crop is blurred")
    blur_sigma: Annotated[float, Field(gt=0, le=8)] = Field(
        default=1.5, description="largest sigma of the blur's Gaussian, pixels"
    )
    occlusion: Probability = Field(default=0.0, description="probability that a rectangle covers part of a crop")
    occlusion_size: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.4, description="largest side of the rectangle, as a share of the crop's"
    )


class Config(_Section):
    """A whole preset."""

    preset: str = ""
    network: NetworkConfig = NetworkConfig()
    losses: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    @model_validator(mode="after")
    def _a_loss_a_block(self) -> Config:
        blocks = len(self.network.filters)
        for name, values in (("blocks", self.losses.blocks), ("weights", self.losses.weights)):
            if len(values) != blocks:
                raise ValueError(f"losses.{name} has {len(values)} entries, the network {blocks} blocks")
        return self


def preset_names() -> list[str]:
    """Presets that ship with the package."""
    folder = resources.files("pifa_model") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_config(preset: str, settings: tuple[str, ...] = ()) -> Config:
    """A preset by name or TOML file, with ``SECTION.KEY=VALUE`` settings over it.

    Raises:
        ConfigError: no such preset, not TOML, or a key or value that does not exist.
    """
    if preset in preset_names():
        text = (resources.files("pifa_model") / "presets" / f"{preset}.toml").read_text(encoding="utf-8")
    elif preset.endswith(".toml") and Path(preset).is_file():
        text = Path(preset).read_text(encoding="utf-8")
    else:
        known = ", ".join(preset_names())
        raise ConfigError(f"preset {preset!r}: expected one of {known}, or a .toml file that exists")
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{preset}: not a TOML file ({error})") from error
    values["preset"] = Path(preset).stem
    for setting in settings:
        _apply(values, setting)
    return parse_config(values, preset)


def parse_config(values: dict[str, Any], name: str) -> Config:
    """Check a configuration read from ``name``.

    Raises:
        ConfigError: unknown keys or values out of range, each named.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'preset'}: {item['msg']}" for item in error.errors()
        )
        raise ConfigError(f"{name}: {problems}") from error


def _apply(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {setting}: expected KEY=VALUE, as in training.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {setting}: {section} is not a section")
    values[last] = value
