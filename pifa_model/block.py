"""One visualization block (figure 3): visualization layer, convolutions, two fully connected layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pifa_model.config import NetworkConfig

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
        kernel = config.kernels[index]
        layers: list[nn.Module] = []
        for position, filters in enumerate(config.filters[index]):
            layers += [
                nn.Conv2d(channels, filters, kernel, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
            ]
            if index == 0 and position == 0:
                layers.append(nn.MaxPool2d(2))
            channels = filters
        self.features = nn.Sequential(*layers)
        self.reduce = _Pool(size) if config.head == "pool" else nn.Identity()
        width = channels * (POOLED if config.head == "pool" else size) ** 2
        self.update = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, params),
        )
        self.spread = nn.Linear(config.hidden, points) if points else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features, update and spread.

        Args:
            inputs: ``(B, C, H, W)``.

        Returns:
            features ``(B, F, size, size)``, ΔP ``(B, 8 + K)`` in the network's own scale, and the log standard
            deviation of each landmark ``(B, L)`` in crop pixels, or None.
        """
        features = self.features(inputs)
        hidden = self.update[:-1](self.reduce(features).flatten(1))
        # Learning how far off a block is must not change what it does.
        spread = self.spread(hidden.detach()) if self.spread is not None else None
        return features, self.update[-1](hidden), spread


class _Pool(nn.Module):
    """Average pooling to ``POOLED`` cells a side; cells overlap where the size is no multiple."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.stride = max(1, size // POOLED)
        self.kernel = size - (POOLED - 1) * self.stride

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel, self.stride)


def half_size(image: Tensor) -> Tensor:
    """2x2 means: the image on the grid of later blocks, u₅₇ = (u₁₁₄ + 0.5)/2 − 0.5."""
    return F.avg_pool2d(image, 2)


def join(*maps: Tensor) -> Tensor:
    """Concatenate inputs of a block along the channels, in the memory order that convolutions are fast in."""
    return torch.cat(maps, dim=1).contiguous(memory_format=torch.channels_last)
