"""Aligning images with a trained checkpoint.

from pifa_model import Aligner
aligner = Aligner.load("run/best.safetensors")
faces = aligner(image, boxes)          # image (H, W, 3) uint8 RGB, boxes (N, 4)
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pifa_data.boxes import Square, check_box, square_of
from pifa_data.camera import pose_angles, uncrop_camera
from pifa_data.errors import CheckpointError, ImageError
from pifa_data.images import crop_image
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Checkpoint, load_checkpoint
from pifa_model.fusing import for_inference
from pifa_model.shape import Landmarks


@dataclass(frozen=True)
class Alignment:
    """One aligned face, source-image pixels.

    Attributes:
        box: ``(4,)`` the box it was aligned from.
        landmarks: ``(L, 2)``.
        visibility: ``(L,)`` bool, the point faces the viewer.
        pose: ``(3,)`` yaw, pitch, roll in radians.
        params: ``(8 + K,)`` P: M row-major in source-image pixels, then p.
        score: 0 to 1. Of a network with `uncertainty` 1 − e/8, at least 0, where e is the mean error that it expects of
            the points it was trained on, hidden ones too, in percent of √(w·h) of its box. Of another 1/(1 + m), where
            m is how far the last block still moved the points, in the same unit; not calibrated.
    """

    box: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    pose: np.ndarray
    params: np.ndarray
    score: float


DISTANCE = 1.148
"""Mean distance of a point whose two coordinates are of Laplace's distribution, in their standard deviations."""

FAILURE = 8.0
"""Percent of √(w·h) of the box: the expected error at which the score is 0."""


@dataclass(frozen=True)
class CropResult:
    """What the network gives for N crops.

    Attributes:
        params, landmarks: ``(stages, N, ...)``, P and the landmarks in crop pixels at P⁰ and after each block.
        visibility: ``(N, L)`` bool, after the last block.
        expected: ``(N,)`` mean error of the landmarks that the network expects, crop pixels; NaN where it can't tell.
    """

    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    expected: np.ndarray


class Aligner:
    """A checkpoint ready to align faces. Keeps no state between calls, so threads may share one."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", blocks: int | None = None) -> None:
        """An aligner on a device.

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

    @classmethod
    def load(
        cls, path: str | Path, morphable: str | Path | None = None, device: str = "cpu", blocks: int | None = None
    ) -> Aligner:
        """Load a checkpoint's file, with its morphable model's file (by default the one beside it), to stop after
        ``blocks`` blocks.

        Raises:
            CheckpointError, MorphableError: see ``load_checkpoint``.
        """
        path = Path(path)
        file = Path(morphable) if morphable is not None else path.parent / "morphable.safetensors"
        if not file.is_file():
            raise CheckpointError(f"{path}: its morphable model is not beside it ({file}); name it with `morphable`")
        return cls(load_checkpoint(path, MorphableModel.load(file)), device, blocks)

    def with_scheme(self, scheme: str) -> Aligner:
        """The same network giving the landmarks of another scheme, whose places on the head its model knows.

        Raises:
            MorphableError: the model has no vertices for that scheme.
        """
        other = copy(self)
        other.scheme = scheme
        other.landmarks = Landmarks(self.model, scheme).to(self.device).eval()
        return other

    def __call__(
        self,
        image: np.ndarray,
        boxes: np.ndarray | Sequence[Sequence[float]] | Sequence[np.ndarray],
        kind: str | None = None,
    ) -> list[Alignment]:
        """Align the faces of one image.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            boxes: ``(N, 4)`` x0, y0, x1, y1 pixels, by the checkpoint's box convention (``header.boxes``).
            kind: landmark kind, by default the one trained with.

        Raises:
            PifaError: a box without area; an image of another shape or type.
        """
        _check_pixels(image, "image", ("H", "W", 3))
        checked = [check_box(np.asarray(box), f"box {i}") for i, box in enumerate(boxes)]
        if not checked:
            return []
        squares = [square_of(box, self.header.grow, self.header.input_size) for box in checked]
        crops = np.stack([crop_image(image, square) for square in squares])
        result = self.align_crops(crops, [kind] * len(crops) if kind else None)
        return [
            self._alignment(result, i, box, square)
            for i, (box, square) in enumerate(zip(checked, squares, strict=True))
        ]

    @torch.inference_mode()
    def align_crops(self, crops: np.ndarray, kinds: Sequence[str] | None = None) -> CropResult:
        """Align crops.

        Args:
            crops: ``(N, S, S, 3)`` uint8.
            kinds: landmark kind of each, by default the one trained with.

        Raises:
            ImageError: crops of another shape or type.
            CheckpointError: the network's output is not finite.
        """
        size = self.header.input_size
        _check_pixels(crops, "crops", ("N", size, size, 3))
        images = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).to(self.device)
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

    def _alignment(self, result: CropResult, i: int, box: np.ndarray, square: Square) -> Alignment:
        before, after = result.landmarks[-2, i], result.landmarks[-1, i]
        to_percent = 100 * self.header.grow / self.header.input_size
        moved = to_percent * np.linalg.norm(after - before, axis=1).mean()
        expected = to_percent * result.expected[i]
        score = 1 / (1 + moved) if np.isnan(expected) else max(0.0, 1 - expected / FAILURE)
        params = result.params[-1, i].astype(np.float64)
        camera = uncrop_camera(params[:8].reshape(2, 4), square)
        return Alignment(
            box=box,
            landmarks=square.to_image(after.astype(np.float64)),
            visibility=result.visibility[i],
            pose=pose_angles(camera),
            params=np.concatenate([camera.ravel(), params[8:]]),
            score=float(score),
        )


def _check_pixels(array: np.ndarray, name: str, expected: tuple[int | str, ...]) -> None:
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
