"""What the boxes of crops make of a face's fit and labels, many rows at once.

The square of a box with centre c and side L becomes S pixels: u = k (x − c) + (S − 1)/2, k = S/L (``boxes.py``). The
crop that is flipped left to right is the crop of the flipped image, whose fit is that of the mirrored labels.
"""

from __future__ import annotations

import numpy as np

from pifa_data.boxes import box_size


def crop_params(params: np.ndarray, boxes: np.ndarray, grow: float, size: int) -> np.ndarray:
    """P in the pixels of crops.

    Args:
        params: ``(N, 8 + K)``, M in image pixels.
        boxes: ``(N, 4)`` the crops' boxes in the image.
        grow: side of the crop over √(w·h) of the box.
        size: side of the crop, pixels.

    Returns:
        ``(N, 8 + K)`` float64.
    """
    out = np.array(params, dtype=np.float64)
    m = out[:, :8].reshape(-1, 2, 4)
    k, centre = _scale(boxes, grow, size)
    m *= k[:, None, None]
    m[..., 3] += (size - 1) / 2 - k[:, None] * centre
    return out


def mirror_params(params_mirrored: np.ndarray, boxes: np.ndarray, grow: float, size: int) -> np.ndarray:
    """P of left-right flipped crops, from the fit of the mirrored labels.

    Args:
        params_mirrored: ``(N, 8 + K)`` in the frame flipped about x = 0 (image pixels).
        boxes: ``(N, 4)`` the crops' boxes in the unflipped image.
        grow, size: as the crops were made.

    Returns:
        ``(N, 8 + K)`` float64, crop pixels of the flipped crop.
    """
    # The flipped crop is the crop of the flipped box: x0, x1 → −x1, −x0.
    return crop_params(params_mirrored, boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1], grow, size)


def crop_landmarks(landmarks: np.ndarray, boxes: np.ndarray, grow: float, size: int) -> np.ndarray:
    """``(N, L, 2)`` image pixels to the pixels of N crops, float64."""
    k, centre = _scale(boxes, grow, size)
    return (landmarks - centre[:, None]) * k[:, None, None] + (size - 1) / 2


def flip_landmarks(landmarks: np.ndarray, mirror: np.ndarray, size: int) -> np.ndarray:
    """``(N, L, 2)`` landmarks of the left-right flipped crops; ``mirror`` is the scheme's permutation."""
    return landmarks[:, mirror] * [-1, 1] + [size - 1, 0]


def crop_windows(
    boxes: np.ndarray, mirrored: np.ndarray, face_boxes: np.ndarray, grow: float, share: float
) -> np.ndarray:
    """Where crops lie in the larger pictures of their faces.

    Args:
        boxes: ``(N, 4)`` the crops' boxes in the image.
        mirrored: ``(N,)`` bool, the crop is flipped left to right.
        face_boxes: ``(N, 4)`` the unjittered box of each crop's face.
        grow: side of the crop over √(w·h) of the box.
        share: side of the picture over that of the crop of the unjittered box.

    Returns:
        ``(N, 4)`` float32, edges x0, y0, x1, y1 in units of the picture, whose edges are −1 and 1; x0 and x1 change
        places where the crop is flipped.
    """
    (k, centre), (k_face, centre_face) = _scale(boxes, grow, 1), _scale(face_boxes, grow * share, 1)
    middle = 2 * k_face[:, None] * (centre - centre_face)
    half = (k_face / k)[:, None]
    windows = np.concatenate([middle - half, middle + half], axis=1)
    windows[mirrored] = windows[mirrored][:, [2, 1, 0, 3]]
    return windows.astype(np.float32)


def _scale(boxes: np.ndarray, grow: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """k ``(N,)`` and c ``(N, 2)`` of each box, float64."""
    boxes = np.asarray(boxes, dtype=np.float64)
    return size / (box_size(boxes) * grow), (boxes[:, :2] + boxes[:, 2:]) / 2
