"""What aligning a face gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pifa_data.boxes import tight_box


@dataclass(frozen=True)
class Alignment:
    """One aligned face, source-image pixels.

    Attributes:
        box: ``(4,)`` the box it was aligned from.
        landmarks: ``(L, 2)``.
        visibility: ``(L,)`` bool, the point faces the viewer.
        pose: ``(3,)`` yaw, pitch, roll in radians.
        params: ``(8 + K,)`` P: M row-major in source-image pixels, then p.
        score: 0 to 1. Of a checkpoint with a calibration (``pifa calibrate``, ``header.calibration``) the probability
            that the mean error over the visible points is below 5 % of √(w·h) of the tight box. Else not calibrated: of
            a network with `uncertainty` 1 − e/8, at least 0, where e is the mean error that it expects of the points it
            was trained on, hidden ones too, in percent of √(w·h) of its box; of another 1/(1 + m), where m is how far
            the last block still moved the points, in the same unit.
    """

    box: np.ndarray
    landmarks: np.ndarray
    visibility: np.ndarray
    pose: np.ndarray
    params: np.ndarray
    score: float

    @property
    def tight(self) -> np.ndarray:
        """``(4,)`` the box around all of its landmarks, hidden ones too."""
        return tight_box(self.landmarks, np.ones(len(self.landmarks)))

    def enlarged(self, factor: float, shift: np.ndarray) -> Alignment:
        """The same face in pixels x′ = factor · x + shift, as of the photo that a smaller one was made from."""
        camera = self.params[:8].reshape(2, 4) * factor
        camera[:, 3] += shift
        return replace(
            self,
            box=self.box * factor + np.tile(shift, 2),
            landmarks=self.landmarks * factor + shift,
            params=np.concatenate([camera.ravel(), self.params[8:]]),
        )


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
