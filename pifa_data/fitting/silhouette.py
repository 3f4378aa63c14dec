"""Which candidate of each contour line is outermost in the image: where a ``2d`` jaw label lies."""

from __future__ import annotations

import numpy as np


def silhouette(candidates: np.ndarray, cameras: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Which candidate of each contour line is outermost in the image.

    Outward is at right angles to the head's projected vertical axis, to the line's own side.

    Args:
        candidates: ``(F, J, C, 2)`` projected candidates, pixels.
        cameras: ``(F, 2, 4)``.
        sides: ``(J,)`` −1, 0 or 1.

    Returns:
        ``(F, J)`` position in the line; 0 (the landmark's own vertex) for lines of side 0.
    """
    up = cameras[:, :, 1]
    across = np.stack([-up[:, 1], up[:, 0]], axis=1)  # image right where up is (0, −1)
    outward = (candidates @ across[:, None, :, None])[..., 0] * sides[None, :, None]
    return outward.argmax(axis=2)


def outermost(vertices: np.ndarray, lines: np.ndarray, rotations: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """As ``silhouette``, of vertices before the camera, for which outward is one direction of the model's frame.

    Args:
        vertices: ``(F, N, 3)`` model units.
        lines: ``(J, C)`` vertex numbers.
        rotations: ``(F, 3, 3)``.
        sides: ``(J,)``.

    Returns:
        ``(F, J)`` position in the line.
    """
    # across·(R₁, −R₂) with across = (R₂₂, R₁₂), the image direction above.
    direction = rotations[:, 1, 1, None] * rotations[:, 0] - rotations[:, 0, 1, None] * rotations[:, 1]
    outward = (vertices @ direction[..., None])[:, lines, 0]
    return (outward * sides[:, None].astype(outward.dtype)).argmax(axis=2)
