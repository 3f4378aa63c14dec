"""The weak-perspective camera M, its angles, and how it follows a crop or a mirror.

Frames: the model has x to the image's right for a frontal face, y up, z towards the viewer; the image has x right,
y down. With R the head's rotation in the model's frame and s the scale (pixels a model unit),

    M = [ s·R₁  tx ]        R = Rz(−roll) · Rx(−pitch) · Ry(−yaw)
        [ −s·R₂ ty ]

where Rᵢ is R's i-th row and Rx, Ry, Rz are the right-handed rotations about the axes. yaw > 0 turns the nose to the
image's left, pitch > 0 lifts it, roll > 0 tips the top of the head to the image's right. The paper's
r₃ = m₁×m₂ / (‖m₁‖‖m₂‖) is −R₃ in this frame: it points into the scene.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pifa_data.boxes import Square


def rotation(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> np.ndarray:
    """``(..., 3, 3)`` rotation of angles in radians."""
    yaw, pitch, roll = np.broadcast_arrays(*(-np.asarray(a, dtype=np.float64) for a in (yaw, pitch, roll)))
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    ry = np.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).reshape(*yaw.shape, 3, 3)
    rx = np.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1).reshape(*yaw.shape, 3, 3)
    rz = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).reshape(*yaw.shape, 3, 3)
    return rz @ rx @ ry


def camera(scale: np.ndarray, rotations: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """M of scale ``(...,)`` pixels a unit, rotation ``(..., 3, 3)`` and translation ``(..., 2)`` pixels.

    Returns:
        ``(..., 2, 4)`` float64.
    """
    flip = np.array([[1.0], [-1.0]])
    linear = np.asarray(scale)[..., None, None] * rotations[..., :2, :] * flip
    return np.concatenate([linear, np.asarray(translation)[..., None]], axis=-1)


def decompose(cameras: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale, rotation and translation of the scaled rotation nearest to M (exact where M is one).

    Args:
        cameras: ``(..., 2, 4)``.

    Returns:
        scale ``(...,)``, rotation ``(..., 3, 3)``, translation ``(..., 2)``.
    """
    linear = cameras[..., :3] * np.array([[1.0], [-1.0]])
    u, singular, vt = np.linalg.svd(linear, full_matrices=False)
    rows = u @ vt
    third = np.cross(rows[..., 0, :], rows[..., 1, :])
    rotations = np.concatenate([rows, third[..., None, :]], axis=-2)
    return singular.mean(-1), rotations, cameras[..., 3]


def pose_angles(cameras: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of ``(..., 2, 4)`` cameras: ``(..., 3)`` radians; pitch within ±90°."""
    _, r, _ = decompose(cameras)
    # R = Rz(−roll)Rx(−pitch)Ry(−yaw): its third row is (cos p·sin y, −sin(−p)…) written out below.
    pitch = -np.arcsin(np.clip(r[..., 2, 1], -1, 1))
    yaw = -np.arctan2(-r[..., 2, 0], r[..., 2, 2])
    roll = -np.arctan2(-r[..., 0, 1], r[..., 1, 1])
    return np.stack([yaw, pitch, roll], axis=-1)


def project(points: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """Equation 3: ``(..., N, 3)`` model units through ``(..., 2, 4)`` cameras to ``(..., N, 2)`` pixels."""
    return points @ np.swapaxes(cameras[..., :3], -1, -2) + cameras[..., None, :, 3]


def crop_camera(cameras: np.ndarray, square: Square) -> np.ndarray:
    """The camera of the same face in a crop: ``(..., 2, 4)`` image pixels to crop pixels."""
    matrix = square.matrix
    moved = cameras * matrix[0, 0]
    moved[..., 3] += matrix[:, 2]
    return moved


def uncrop_camera(cameras: np.ndarray, square: Square) -> np.ndarray:
    """The inverse of ``crop_camera``."""
    matrix = square.matrix
    moved = np.array(cameras, dtype=np.float64)
    moved[..., 3] -= matrix[:, 2]
    return moved / matrix[0, 0]
