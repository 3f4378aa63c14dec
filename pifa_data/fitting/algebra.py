"""Arithmetic of the fit on batches of faces."""

from __future__ import annotations

import numpy as np

from pifa_data.boxes import box_size


def inverse_by_halves(matrices: np.ndarray) -> np.ndarray:
    """Inverses of symmetric positive definite ``(F, n, n)`` by halves (Schur's complement).

    Four times as fast as ``np.linalg.inv`` at n = 75, and faster than a solve: the work is in products of matrices.
    """
    n = matrices.shape[-1]
    if n <= 12:
        return np.linalg.inv(matrices)
    half = n // 2
    a, b, d = matrices[:, :half, :half], matrices[:, :half, half:], matrices[:, half:, half:]
    a_inverse = inverse_by_halves(a)
    ab = a_inverse @ b
    s_inverse = inverse_by_halves(d - np.swapaxes(b, 1, 2) @ ab)
    corner = ab @ s_inverse
    out = np.empty_like(matrices)
    out[:, :half, :half] = a_inverse + corner @ np.swapaxes(ab, 1, 2)
    out[:, :half, half:] = -corner
    out[:, half:, :half] = -np.swapaxes(corner, 1, 2)
    out[:, half:, half:] = s_inverse
    return out


def exponential(vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: ``(F, 3)`` rotation vectors to ``(F, 3, 3)`` matrices."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    safe = np.maximum(angle, 1e-12)
    return np.eye(3) + np.sin(safe) / safe * k + (1 - np.cos(safe)) / safe**2 * (k @ k)


def normalised(landmarks: np.ndarray, labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels about their median in units of their mean deviation, which a wild point moves little."""
    count = labelled.sum(1)
    ordered = np.sort(np.where(labelled[..., None], landmarks, np.inf), axis=1)
    centre = ordered[np.arange(len(count)), (count - 1) // 2]
    off = np.where(labelled[..., None], landmarks - centre[:, None], 0.0)
    spread = np.abs(off).sum((1, 2)) / count
    return off / spread[:, None, None], centre, spread


def mean_errors(fitted: np.ndarray, landmarks: np.ndarray, visibility: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of fitted points to visible labels, pixels, and √(w·h) of the tight box: both ``(F,)``."""
    labelled, visible = visibility > 0, visibility == 2
    points = np.where(labelled[..., None], landmarks, np.nan)
    box = np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=1)
    error = np.where(labelled, np.linalg.norm(fitted - points, axis=2), 0.0)
    # Faces with no visible point are measured on what is labelled.
    counted = np.where(visible.any(1, keepdims=True), visible, labelled)
    return (error * counted).sum(1) / counted.sum(1), box_size(box)
