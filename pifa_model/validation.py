"""Held-out crops, kept in memory, and the error of a network on each of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pifa_model.batches import to_tensors
from pifa_model.losses import relative_error
from pifa_model.network import Network
from pifa_model.rows import Rows
from pifa_model.shape import Landmarks


class HeldOut:
    """Rows of a store that a network is measured on."""

    def __init__(self, data: Rows, rows: np.ndarray) -> None:
        self._data, self.rows = data, rows
        self._pictures = data.read_pictures(rows)

    def batches(self, device: torch.device, size: int = 64) -> Iterator[dict[str, Tensor]]:
        """The rows in their order, as ``to_tensors`` gives them."""
        for start in range(0, len(self.rows), size):
            rows = self.rows[start : start + size]
            batch = self._data.batch(rows, self._pictures[start : start + size], np.zeros(len(rows), bool))
            yield to_tensors(batch, self._data.size, device)

    @torch.no_grad()
    def errors(self, network: Network, landmarks: Landmarks, blocks: int | None = None) -> np.ndarray:
        """NME (tight) of each row after each block, percent: ``(blocks, N)``, NaN without a visible point.

        Args:
            network: in evaluation mode, on the device that ``landmarks`` is on.
            landmarks: f(P).
            blocks: stop after so many; all if None.
        """
        found = [torch.zeros(blocks or len(network.blocks), 0, device=network.initial.device)]  # there may be no rows
        for tensors in self.batches(network.initial.device):
            outputs = network(tensors["images"], blocks=blocks).params
            labels, marching = (tensors["landmarks"], tensors["visibility"]), tensors["marching"]
            found.append(torch.stack([relative_error(landmarks(p, marching), *labels) for p in outputs]))
        return torch.cat(found, dim=1).cpu().numpy()
