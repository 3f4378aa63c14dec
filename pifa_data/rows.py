"""A store's row from its face: P, labels and window follow from the face table and the row's box.

In the layout ``crops`` the store holds P and labels of each row as well; in ``faces`` this is where they come from. All
arrays hold N rows at once. The flipped crop of a box is the crop, in the image flipped about x = 0, of the flipped box.
"""

from __future__ import annotations

import numpy as np

from pifa_data.boxes import box_size


def crop_params(params: np.ndarray, boxes: np.ndarray, grow: float, size: int) -> np.ndarray:
    """P in crop pixels, of each row's own crop; ``crop_camera`` of many.

    Args:
        params: ``(N, 8 + K)``, M in the pixels of the image that ``boxes`` lie in.
        boxes: ``(N, 4)``.

    Returns:
        ``(N, 8 + K)`` float32.
    """
    out = params.astype(np.float64)
    cameras = out[:, :8].reshape(-1, 2, 4)
    centres, k = _squares(boxes, grow, size)
    cameras *= k[:, None, None]
    cameras[..., 3] += (size - 1) / 2 - k[:, None] * centres
    out[:, :8] = cameras.reshape(-1, 8)
    return out.astype(np.float32)


def crop_landmarks(
    landmarks: np.ndarray, visibility: np.ndarray, boxes: np.ndarray, grow: float, size: int
) -> np.ndarray:
    """Labels in crop pixels, of each row's own crop; ``Square.to_crop`` of many.

    Args:
        landmarks: ``(N, L, 2)`` pixels of the image that ``boxes`` lie in.
        visibility: ``(N, L)``; points of 0 become (0, 0).
        boxes: ``(N, 4)``.

    Returns:
        ``(N, L, 2)`` float32.
    """
    centres, k = _squares(boxes, grow, size)
    points = (landmarks.astype(np.float64) - centres[:, None]) * k[:, None, None] + (size - 1) / 2
    return np.where(visibility[..., None] > 0, points, 0).astype(np.float32)


def flip_boxes(boxes: np.ndarray) -> np.ndarray:
    """``(N, 4)`` boxes in the image flipped about x = 0."""
    return boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], boxes.dtype)


def crop_windows(
    boxes: np.ndarray, mirrored: np.ndarray, face_boxes: np.ndarray, grow: float, share: float
) -> np.ndarray:
    """Where each row's crop lies in the larger picture of its face.

    Args:
        boxes: ``(N, 4)`` the rows' boxes, image pixels.
        mirrored: ``(N,)`` bool, the crop is flipped.
        face_boxes: ``(N, 4)`` the unjittered box of each row's face.
        share: side of the larger picture over that of the crop of the unjittered box.

    Returns:
        ``(N, 4)`` float32, edges x0, y0, x1, y1 in units of the picture, whose edges are −1 and 1; x0 and x1 change
        places in a flipped row.
    """
    (centres, k), (origins, scale) = _squares(boxes, grow, 1), _squares(face_boxes, grow * share, 1)
    middle = 2 * (centres - origins) * scale[:, None]
    half = (scale / k)[:, None]
    windows = np.concatenate([middle - half, middle + half], axis=1)
    windows[mirrored] = windows[mirrored][:, [2, 1, 0, 3]]
    return windows.astype(np.float32)


def _squares(boxes: np.ndarray, grow: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres ``(N, 2)`` and scales k ``(N,)`` (crop pixels an image pixel) of ``square_of`` of many boxes."""
    boxes = boxes.astype(np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2, size / (box_size(boxes) * grow)
