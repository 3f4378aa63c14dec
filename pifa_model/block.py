"""One visualization block (figure 3): convolutions and two fully connected layers.

What the fully connected layers see of the feature maps (``network.head``):

- ``flatten``: all of them, as in the paper.
- ``pool``: their means over a grid of 8x8 cells that lies on the crop.
- ``sample``: their values at vertices of the face so far, projected into the maps. Cells on the crop tell where things
  are in the crop; these tell what is at each part of the face, which is what an update of P answers to. Known as
  shape-indexed features (Cao et al., CVPR 2012, the paper's [8]).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_data.errors import ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.config import NetworkConfig
from pifa_model.masks import spread_vertices
from pifa_model.shape import ShapeBasis, exact_coordinates, project, split_params

POOLED = 8
"""Side of the grid that the `pool` head reduces the maps to."""


class VisualizationBlock(nn.Module):
    """From the image, the features of the block before and V, to deeper features and the update ΔP."""

    def __init__(self, config: NetworkConfig, index: int, channels: int, size: int, params: int, points: int) -> None:
        """One block.

        Args:
            config: the network's configuration.
            index: number of the block, 0 the first; only the first one pools its maps to half their side.
            channels: channels of what goes in.
            size: side of the maps that come out, pixels.
            params: 8 + K.
            points: landmarks whose spread is estimated too; 0 for none.
        """
        super().__init__()
        layers: list[nn.Module] = []
        for position, filters in enumerate(config.filters[index]):
            layers.append(convolution(config.trunk, channels, filters, config.kernels[index]))
            if index == 0 and position == 0:
                layers.append(nn.MaxPool2d(2))
            channels = filters
        self.features = nn.Sequential(*layers)
        self.head, self.size = config.head, size
        width = channels * {"flatten": size**2, "pool": POOLED**2, "sample": config.anchors}[config.head]
        self.update = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, params),
        )
        self.spread = nn.Linear(config.hidden, points) if points else None

    def forward(self, inputs: Tensor, places: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features, update and spread.

        Args:
            inputs: ``(B, C, H, W)``.
            places: what ``Anchors`` gives; used by the `sample` head.

        Returns:
            features ``(B, F, size, size)``, ΔP ``(B, 8 + K)`` in the network's own scale, and the log standard
            deviation of each landmark ``(B, L)`` in crop pixels, or None.
        """
        features = self.features(inputs)
        if self.head == "sample":
            assert places is not None  # for the type checker
            seen = sample(features, places)
        elif self.head == "pool":
            # Cells overlap where the size is no multiple of their number.
            stride = max(1, self.size // POOLED)
            seen = F.avg_pool2d(features, self.size - (POOLED - 1) * stride, stride)
        else:
            seen = features
        hidden = self.update[:-1](seen.flatten(1))
        # Learning how far off a block is must not change what it does.
        spread = self.spread(hidden.detach()) if self.spread is not None else None
        return features, self.update[-1](hidden), spread


class Anchors(nn.Module):
    """Where well-spread vertices of the front of the face are in the maps; no weights."""

    def __init__(self, model: MorphableModel, count: int) -> None:
        """Raises ConfigError if the model has not so many vertices there."""
        super().__init__()
        front = (model.normals[:, 2] > 0).nonzero()[0]
        if count > len(front):
            raise ConfigError(
                f"network.anchors: expected at most {len(front)}, the vertices on the front of {model.name}, found "
                f"{count}"
            )
        self.shape = ShapeBasis(model, front[spread_vertices(model.mean[front], count)])

    def forward(self, params: Tensor, extent: float) -> Tensor:
        """Places of P's vertices (equations 1 and 3).

        Args:
            params: ``(B, 8 + K)`` float32, crop pixels.
            extent: crop pixels that the maps cover from the crop's edge on.

        Returns:
            ``(B, A, 2)`` float32 as ``grid_sample`` takes them: −1 and 1 are the edges of the maps.
        """
        with exact_coordinates(params):
            camera, coefficients = split_params(params)
            return ((project(self.shape(coefficients), camera) + 0.5) * (2 / extent) - 1).transpose(1, 2)


def sample(features: Tensor, places: Tensor) -> Tensor:
    """Bilinear values of ``(B, C, H, W)`` maps at ``(B, A, 2)`` places, 0 beyond the edges: ``(B, C, A)`` float32."""
    with exact_coordinates(places):
        grid = places[:, :, None]
        return F.grid_sample(features.float(), grid, padding_mode="zeros", align_corners=False)[..., 0]


def convolution(trunk: str, channels: int, filters: int, kernel: int) -> nn.Module:
    """A convolution with batch norm and ReLU, of the kind that ``network.trunk`` names."""
    if trunk == "plain":
        return _normalised(channels, filters, kernel)
    if trunk == "depthwise":
        return nn.Sequential(
            _normalised(channels, channels, kernel, groups=channels, relu=False), _normalised(channels, filters, 1)
        )
    return _Residual(channels, filters, kernel)


def _normalised(channels: int, filters: int, kernel: int, groups: int = 1, *, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, filters, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class _Residual(nn.Module):
    """x + conv(x), x brought to the number of filters by a 1x1 convolution where it has another."""

    def __init__(self, channels: int, filters: int, kernel: int) -> None:
        super().__init__()
        self.change = _normalised(channels, filters, kernel, relu=False)
        self.keep = _normalised(channels, filters, 1, relu=False) if channels != filters else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.change(x) + self.keep(x), inplace=True)


def join(*maps: Tensor) -> Tensor:
    """Concatenate inputs of a block along the channels, in the memory order that convolutions are fast in."""
    return torch.cat(maps, dim=1).contiguous(memory_format=torch.channels_last)
