"""Where a fit starts: the mean face in a grid of poses, each laid over the labels by the best 2D similarity.

A similarity between two sets of 2D points has a closed form, which in complex numbers is a handful of sums:
with labels z, template t and weights w, both centred, a = Σ w z t̄ / Σ w |t|² turns, scales and places the template,
and Σ w |z|² − |Σ w z t̄|² / Σ w |t|² is what it leaves. So every face against every pose is a few matrix products,
and no pose, profile included, is out of reach of the Gauss-Newton steps that follow. The jaw of each template stands
on the silhouette of its pose.
"""

from __future__ import annotations

import numpy as np

from pifa_data.camera import camera, rotation
from pifa_data.fitting.silhouette import silhouette

YAWS = np.radians(np.arange(-90.0, 91.0, 15.0))
PITCHES = np.radians(np.array([-40.0, -20.0, 0.0, 20.0, 40.0]))
CONTOUR_WEIGHT = 0.3
"""Jaw points depend most on the shape, which the templates do not have."""
ROUNDS = 3
"""Rounds of reweighting, for labels with wild points among them."""


Start = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Cameras to start from: rotation ``(F, 3, 3)``, scale ``(F,)``, translation ``(F, 2)``."""


class PoseGrid:
    """The templates of one model and scheme."""

    def __init__(self, mean: np.ndarray, lines: np.ndarray, points: np.ndarray, sides: np.ndarray) -> None:
        """Project the mean face in every pose.

        Args:
            mean: ``(L, 3)`` landmark vertices of the mean face.
            lines: ``(J, C, 3)`` vertices of the contour lines; J = 0 where none march.
            points: ``(J,)`` their landmarks.
            sides: ``(J,)``.
        """
        yaw, pitch = (a.ravel() for a in np.meshgrid(YAWS, PITCHES, indexing="ij"))
        self.rotations = rotation(yaw, pitch, 0.0)
        cameras = camera(np.ones(len(yaw)), self.rotations, np.zeros((len(yaw), 2)))
        vertices = np.tile(mean, (len(yaw), 1, 1))
        if len(points):
            flat = lines.reshape(-1, 3) @ np.swapaxes(cameras[..., :3], 1, 2)
            chosen = silhouette(flat.reshape(len(yaw), *lines.shape[:2], 2), cameras, sides)
            vertices[:, points] = lines[np.arange(len(points)), chosen]
        flat = vertices @ np.swapaxes(cameras[..., :3], 1, 2)
        self.templates = flat[..., 0] + 1j * flat[..., 1]  # (G, L)
        self.weight = np.ones(len(mean))
        self.weight[points] = CONTOUR_WEIGHT
        self.yaw = yaw

    def starts(self, z: np.ndarray, weights: np.ndarray, apart: float) -> tuple[Start, Start]:
        """The best pose of each face, and the best of those at least ``apart`` radians of yaw away from it.

        Args:
            z: ``(F, L)`` complex labels; whatever where the weight is 0.
            weights: ``(F, L)``.
        """
        w = weights * self.weight
        robust = w
        for _ in range(ROUNDS):
            cost, a, b = self._similarities(z, robust)
            best = cost.argmin(1)
            rows = np.arange(len(z))
            off = np.abs(z - a[rows, best, None] * self.templates[best] - b[rows, best, None])
            # L1 by reweighting; points closer than the median count fully.
            middle = _masked_median(off, weights > 0)
            robust = w * np.minimum(1.0, 1.5 * middle[:, None] / np.maximum(off, 1e-12))
        far = np.abs(self.yaw[None] - self.yaw[best][:, None]) < apart
        second = np.where(far, np.inf, cost).argmin(1)
        return self._take(a, b, best), self._take(a, b, second)

    def _similarities(self, z: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        t = self.templates
        n = w.sum(1)[:, None]
        wz = w * z
        sz, st = wz.sum(1)[:, None], w @ t.T
        szt = wz @ t.conj().T - sz * st.conj() / n
        stt = w @ (np.abs(t) ** 2).T - np.abs(st) ** 2 / n
        szz = (w * np.abs(z) ** 2).sum(1)[:, None] - np.abs(sz) ** 2 / n
        a = szt / np.maximum(stt, 1e-12)
        return szz - np.abs(szt) ** 2 / np.maximum(stt, 1e-12), a, (sz - a * st) / n

    def _take(self, a: np.ndarray, b: np.ndarray, which: np.ndarray) -> Start:
        rows = np.arange(len(which))
        a, b = a[rows, which], b[rows, which]
        scale = np.abs(a)
        c, s = a.real / scale, a.imag / scale
        # A turn of the image by θ (y down) is a turn of the head by −θ about z (y up).
        zero, one = np.zeros_like(c), np.ones_like(c)
        roll = np.stack([c, s, zero, -s, c, zero, zero, zero, one], -1).reshape(-1, 3, 3)
        return roll @ self.rotations[which], scale, np.stack([b.real, b.imag], -1)


def _masked_median(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median of each row where the mask is true."""
    ordered = np.sort(np.where(mask, values, np.inf), axis=1)
    return ordered[np.arange(len(values)), (mask.sum(1) - 1) // 2]
