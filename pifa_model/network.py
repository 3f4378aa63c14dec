"""The whole network (figure 2): visualization blocks in a row, each updating P from the image, features and V."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_data.errors import CheckpointError, ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.block import Anchors, VisualizationBlock, join
from pifa_model.config import NetworkConfig
from pifa_model.shape import nearest_rotation
from pifa_model.visualization import VisualizationLayer


@dataclass(frozen=True)
class Outputs:
    """What the network gives for a batch, a block after the other.

    Attributes:
        params: P after each block, each ``(B, 8 + K)`` float32, crop pixels.
        maps: V that each block was given, ``(B, 1, S, S)``, the later ones on their own grid; empty unless asked for.
        spread: log standard deviation of each landmark after each block, ``(B, L)``, crop pixels; empty unless the
            network was made with `uncertainty`.
    """

    params: list[Tensor]
    maps: list[Tensor]
    spread: list[Tensor]


class Network(nn.Module):
    """PIFA's network.

    P⁰ (``initial``) and the scale of its updates (``step``) are the mean and deviation of the training rows' P;
    they are part of the weights. The fully connected layers put out ΔP / step, so that all outputs are of order one.
    """

    initial: Tensor
    step: Tensor
    first_map: Tensor | None
    """V of P⁰ where that no longer changes (``for_inference``)."""

    def __init__(self, config: NetworkConfig, model: MorphableModel, size: int = 114, points: int = 0) -> None:
        """Build with random weights.

        Args:
            config: blocks and visualization.
            model: the morphable model; not part of the weights.
            size: side of the crop, even, pixels.
            points: landmarks of the scheme, whose spread a network with `uncertainty` estimates; others need none.
        """
        super().__init__()
        if size % 2 or size < 32:
            raise CheckpointError(f"crop size: expected an even number of at least 32 pixels, found {size}")
        self.size = size
        params = 8 + model.n_coefficients
        self.visualization = VisualizationLayer(model, config.visualization)
        blocks: list[VisualizationBlock] = []
        if config.uncertainty and not points:
            raise ConfigError("network.uncertainty: the number of landmarks is needed")
        self.inputs, self.camera, self.stride = config.inputs, config.camera, config.stride
        self.anchors = Anchors(model, config.anchors) if config.head == "sample" else None
        self._filters, points = config.filters, points if config.uncertainty else 0
        for index in range(len(config.filters)):
            channels = sum(self.channels_of(index).values())
            blocks.append(VisualizationBlock(config, index, channels, size // config.stride, params, points))
        self.blocks = nn.ModuleList(blocks)
        self.register_buffer("initial", torch.zeros(params))
        self.register_buffer("step", torch.ones(params))
        self.register_buffer("first_map", None, persistent=False)
        self._initialise(blocks)

    def forward(self, images: Tensor, *, maps: bool = False, blocks: int | None = None) -> Outputs:
        """Align a batch.

        Args:
            images: ``(B, 3, S, S)`` uint8 or float, 0-255, RGB.
            maps: also give V of each block.
            blocks: stop after so many; all by default.

        Raises:
            ValueError: images of another shape, channel order or type; more blocks than there are, or none.
        """
        _check_images(images, self.size)
        if blocks is not None and not 1 <= blocks <= len(self.blocks):
            raise ValueError(f"blocks: expected 1 to {len(self.blocks)}, found {blocks}")
        x = (images.float() - 127.5) / 64.0
        out = Outputs([], [], [])
        params = self.initial.expand(len(x), -1)
        features = x[:, :0]
        side = self.size // self.stride
        for index in range(len(self.blocks) if blocks is None else blocks):
            v = self._map(params, index) if maps or "map" in self.inputs else x[:, :0]
            if index == 0:
                inputs = [x, v] if "map" in self.inputs else [x]
                if self.stride > 2:
                    inputs = [_unshuffled(one, self.stride // 2) for one in inputs]
            else:
                # The image on the grid of later blocks, where u = (u₁₁₄ + 0.5) / stride − 0.5.
                x = F.avg_pool2d(x, self.stride) if index == 1 else x
                seen = {"image": x, "features": features, "map": v}
                inputs = [seen[name] for name in self.inputs]
            places = self.anchors(params, side * self.stride) if self.anchors is not None else None
            features, update, spread = self.blocks[index](join(*inputs), places)
            params = params + update.float() * self.step
            if self.camera == "rotation":
                params = nearest_rotation(params)
            out.params.append(params)
            if spread is not None:
                out.spread.append(spread.float())
            if maps:
                out.maps.append(v)
        return out

    def channels_of(self, index: int) -> dict[str, int]:
        """Channels of each input of block ``index``, in their order."""
        if index:
            seen = {"image": 3, "features": self._filters[index - 1][-1], "map": 1}
            return {name: seen[name] for name in self.inputs}
        # The first block has no features to see; without the image it would see nothing.
        share = (self.stride // 2) ** 2
        return {"image": 3 * share} | ({"map": share} if "map" in self.inputs else {})

    def draw(self, params: Tensor, index: int) -> Tensor:
        """V as block ``index`` is given it: ``(B, 1, S, S)`` for the first, on the grid of later blocks for others."""
        if index:
            return self.visualization(params, self.size // self.stride, self.stride)
        return self.visualization(params, self.size, 1)

    def _map(self, params: Tensor, index: int) -> Tensor:
        if index:
            return self.draw(params, index)
        # Every face starts from P⁰, so the first map is drawn once.
        first = self.draw(self.initial[None], 0) if self.first_map is None else self.first_map
        return first.expand(len(params), -1, -1, -1)

    def _initialise(self, blocks: list[VisualizationBlock]) -> None:
        if self.initial.is_meta:
            return  # nothing to fill; the first random number there imports 800 modules, 3 seconds
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, nn.Conv2d):
                # The memory order in which convolutions are fast; `join` puts the maps into the same.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        for block in blocks:
            # Blocks begin by changing little, so that later ones see the face near P⁰ and not at random places.
            last = block.update[-1]
            assert isinstance(last, nn.Linear)  # for the type checker; set in VisualizationBlock
            nn.init.normal_(last.weight, std=1e-3)
            if block.spread is not None:  # begins at e⁰ = 1 pixel
                nn.init.normal_(block.spread.weight, std=1e-3)


def _unshuffled(images: Tensor, factor: int) -> Tensor:
    """``F.pixel_unshuffle``, which gives a batch of nothing back as it is: with the channels of before."""
    batch, channels, height, width = images.shape
    return F.pixel_unshuffle(images, factor).view(batch, channels * factor**2, height // factor, width // factor)


def _check_images(images: Tensor, size: int) -> None:
    if images.ndim != 4 or images.shape[1:] != (3, size, size):
        last = images.ndim == 4 and images.shape[1:] == (size, size, 3)
        cure = ", channels last: give images.permute(0, 3, 1, 2)" if last else ""
        raise ValueError(f"images: expected (B, 3, {size}, {size}), found {tuple(images.shape)}{cure}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise ValueError(f"images: expected uint8 or a floating-point type, values 0-255, found {images.dtype}")
