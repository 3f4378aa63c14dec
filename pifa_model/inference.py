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
        score: 0 to 1, how little the last block still moved the points; not calibrated.
    """

    box: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    pose: np.ndarray
    params: np.ndarray
    score: float


@dataclass(frozen=True)
class CropResult:
    """What the network gives for N crops: for each stage (P⁰, then each block) P and the landmarks in crop pixels."""

    params: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray


class Aligner:
    """A checkpoint ready to align faces. Keeps no state between calls, so threads may share one."""

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.header, self.model = checkpoint.header, checkpoint.model
        self.device = torch.device(device)
        self.network = for_inference(checkpoint.network).to(self.device)
        self.scheme = self.header.scheme
        self.landmarks = Landmarks(self.model, self.scheme).to(self.device).eval()

    @classmethod
    def load(cls, path: str | Path, morphable: str | Path | None = None, device: str = "cpu") -> Aligner:
        """Load a checkpoint's file, with its morphable model's file (by default the one beside it).

        Raises:
            CheckpointError, MorphableError: see ``load_checkpoint``.
        """
        path = Path(path)
        file = Path(morphable) if morphable is not None else path.parent / "morphable.safetensors"
        if not file.is_file():
            raise CheckpointError(f"{path}: its morphable model is not beside it ({file}); name it with `morphable`")
        return cls(load_checkpoint(path, MorphableModel.load(file)), device)

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
        outputs = self.network(images).params
        if not all(bool(torch.isfinite(output).all()) for output in outputs):
            raise CheckpointError("the checkpoint gives parameters that are not finite; its training went wrong")
        stages = [self.network.initial.expand(len(crops), -1), *outputs]
        return CropResult(
            params=torch.stack(stages).cpu().numpy(),
            landmarks=torch.stack([self.landmarks(p, marching) for p in stages]).cpu().numpy(),
            visibility=self.landmarks.visibility(stages[-1], marching).cpu().numpy(),
        )

    def _alignment(self, result: CropResult, i: int, box: np.ndarray, square: Square) -> Alignment:
        before, after = result.landmarks[-2, i], result.landmarks[-1, i]
        moved = 100 * np.linalg.norm(after - before, axis=1).mean() * self.header.grow / square.size
        params = result.params[-1, i].astype(np.float64)
        camera = uncrop_camera(params[:8].reshape(2, 4), square)
        return Alignment(
            box=box,
            landmarks=square.to_image(after.astype(np.float64)),
            visibility=result.visibility[i],
            pose=pose_angles(camera),
            params=np.concatenate([camera.ravel(), params[8:]]),
            score=float(1 / (1 + moved)),
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
