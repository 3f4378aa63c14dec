"""What computes an alignment of crops: the network in PyTorch, or another runtime that gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Protocol

import numpy as np
import torch

from pifa_data.errors import CheckpointError, ImageError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Checkpoint, Header
from pifa_model.fusing import for_inference
from pifa_model.results import CropResult
from pifa_model.shape import Landmarks


class Engine(Protocol):
    """Aligns crops. Threads may share one.

    Attributes:
        header: what the checkpoint says of itself.
        model: its morphable model.
        scheme: the landmarks that it gives.
    """

    header: Header
    model: MorphableModel
    scheme: str

    def align_crops(self, crops: np.ndarray, kinds: Sequence[str] | None = None) -> CropResult:
        """Align ``(N, S, S, 3)`` uint8 RGB crops; ``kinds`` are the landmark kinds, by default the one trained with.

        Raises:
            ImageError: crops of another shape or type.
            CheckpointError: the network's output is not finite.
        """
        ...


class TorchEngine:
    """A checkpoint's network on a device. Keeps no state between calls."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", blocks: int | None = None) -> None:
        """Make the network ready.

        Args:
            checkpoint: network and morphable model.
            device: where it computes.
            blocks: stop after so many blocks, for speed; all by default.

        Raises:
            CheckpointError: the network does not have so many.
        """
        most = len(checkpoint.network.blocks)
        if blocks is not None and not 1 <= blocks <= most:
            raise CheckpointError(f"blocks: expected 1 to {most}, as the checkpoint has, found {blocks}")
        self.blocks = blocks
        self.header, self.model = checkpoint.header, checkpoint.model
        self.device = torch.device(device)
        self.network = for_inference(checkpoint.network).to(self.device)
        self.scheme = self.header.scheme
        self.landmarks = Landmarks(self.model, self.scheme).to(self.device).eval()

    def with_scheme(self, scheme: str) -> TorchEngine:
        """The same network giving the landmarks of another scheme, whose places on the head its model knows.

        Raises:
            MorphableError: the model has no vertices for that scheme.
        """
        other = copy(self)
        other.scheme = scheme
        other.landmarks = Landmarks(self.model, scheme).to(self.device).eval()
        return other

    @torch.inference_mode()
    def align_crops(self, crops: np.ndarray, kinds: Sequence[str] | None = None) -> CropResult:
        """See ``Engine``."""
        images = self._on_device(crops)
        kinds = kinds or [self.header.landmark_kind] * len(crops)
        marching = torch.tensor([kind == "2d" for kind in kinds], dtype=torch.bool, device=self.device)
        found = self.network(images, blocks=self.blocks)
        outputs = found.params
        if not all(bool(torch.isfinite(output).all()) for output in outputs):
            raise CheckpointError("the checkpoint gives parameters that are not finite; its training went wrong")
        stages = [self.network.initial.expand(len(crops), -1), *outputs]
        return CropResult(
            params=torch.stack(stages).cpu().numpy(),
            landmarks=torch.stack([self.landmarks(p, marching) for p in stages]).cpu().numpy(),
            visibility=self.landmarks.visibility(stages[-1], marching).cpu().numpy(),
            # Estimated for the points that it was trained on.
            expected=DISTANCE * found.spread[-1].exp().mean(1).cpu().numpy()
            if found.spread
            else np.full(len(crops), np.nan),
        )

    @torch.inference_mode()
    def maps(self, crop: np.ndarray) -> list[np.ndarray]:
        """V that each block is given for one ``(S, S, 3)`` crop: a list of ``(s, s)`` float32, 0 to 1."""
        found = self.network(self._on_device(crop[None]), maps=True, blocks=self.blocks)
        return [v[0, 0].float().cpu().numpy() for v in found.maps]

    def _on_device(self, crops: np.ndarray) -> torch.Tensor:
        check_crops(crops, self.header.input_size)
        return torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).to(self.device)


DISTANCE = 1.148
"""Mean distance of a point whose two coordinates are of Laplace's distribution, in their standard deviations."""


def check_crops(crops: np.ndarray, size: int) -> None:
    """Raises ``ImageError`` unless crops are ``(N, size, size, 3)`` uint8."""
    check_pixels(crops, "crops", ("N", size, size, 3))


def check_pixels(array: np.ndarray, name: str, expected: tuple[int | str, ...]) -> None:
    """Refuse what the network would take for a picture and is none, before anything is computed of it."""
    shape = tuple(array.shape)
    fits = len(shape) == len(expected) and all(
        isinstance(want, str) or want == found for want, found in zip(expected, shape, strict=True)
    )
    wanted = f"({', '.join(map(str, expected))}) uint8 RGB"
    if not fits:
        raise ImageError(f"{name}: expected {wanted}, channels last, found shape {shape}")
    if array.dtype != np.uint8:
        raise ImageError(f"{name}: expected {wanted}, 0-255, found {array.dtype}")
