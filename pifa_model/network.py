"""The whole network (figure 2): visualization blocks in a row, each updating P from the image, features and V."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pifa_data.errors import CheckpointError
from pifa_data.morphable import MorphableModel
from pifa_model.block import VisualizationBlock, half_size, join
from pifa_model.config import NetworkConfig
from pifa_model.visualization import VisualizationLayer


class Network(nn.Module):
    """PIFA's network.

    P⁰ (``initial``) and the scale of its updates (``step``) are the mean and deviation of the training rows' P;
    they are part of the weights. The fully connected layers put out ΔP / step, so that all outputs are of order one.
    """

    initial: Tensor
    step: Tensor

    def __init__(self, config: NetworkConfig, model: MorphableModel, size: int = 114) -> None:
        """Build with random weights.

        Args:
            config: blocks and visualization.
            model: the morphable model; not part of the weights.
            size: side of the crop, even, pixels.
        """
        super().__init__()
        if size % 2 or size < 32:
            raise CheckpointError(f"crop size: expected an even number of at least 32 pixels, found {size}")
        self.size = size
        params = 8 + model.n_coefficients
        self.visualization = VisualizationLayer(model, config.visualization)
        blocks: list[VisualizationBlock] = []
        features = 0
        for index in range(len(config.filters)):
            channels = 3 + 1 + features
            blocks.append(VisualizationBlock(config, index, channels, size // 2, params))
            features = config.filters[index][-1]
        self.blocks = nn.ModuleList(blocks)
        self.register_buffer("initial", torch.zeros(params))
        self.register_buffer("step", torch.ones(params))
        self._initialise(blocks)

    def forward(self, images: Tensor, *, maps: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        """Align a batch.

        Args:
            images: ``(B, 3, S, S)`` uint8 or float, 0-255, RGB.
            maps: also give V of each block.

        Returns:
            P after each block, each ``(B, 8 + K)`` float32 in crop pixels, and V before each block (or nothing).

        Raises:
            ValueError: images of another shape.
        """
        if images.ndim != 4 or images.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"images: expected (B, 3, {self.size}, {self.size}), found {tuple(images.shape)}")
        x = (images.float() - 127.5) / 64.0
        small = half_size(x)
        params = self.initial.expand(len(x), -1)
        # Every face starts from P⁰, so the first map is drawn once.
        first = self.visualization(self.initial[None], self.size, 1).expand(len(x), -1, -1, -1)
        out, drawn, features = [], [], None
        for block in self.blocks:
            if features is None:
                v = first
                inputs = join(x, v)
            else:
                v = self.visualization(params, self.size // 2, 2)
                inputs = join(small, features, v)
            features, update = block(inputs)
            params = params + update.float() * self.step
            out.append(params)
            if maps:
                drawn.append(v)
        return out, drawn

    def _initialise(self, blocks: list[VisualizationBlock]) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, nn.Conv2d):
                # The memory order in which convolutions are fast; `join` puts the maps into the same.
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        for block in blocks:
            last = block.update[-1]
            assert isinstance(last, nn.Linear)  # for the type checker; set in VisualizationBlock
            # Blocks begin by changing little, so that later ones see the face near P⁰ and not at random places.
            nn.init.normal_(last.weight, std=1e-3)
