"""What was found, drawn into a video's frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from pifa_data.drawing import YELLOW
from pifa_model import Alignment
from pipelines.align.pictures import draw_faces


def draw_frame(
    image: np.ndarray,
    faces: Sequence[tuple[int, Alignment]],
) -> np.ndarray:
    """Box, axes and landmarks as on images, and each face's number.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        faces: number and alignment, pixels of ``image``.
    """
    # The box of its landmarks, not the one it was aligned from, which is that of the frame before.
    drawn = [(number, _at_landmarks(face)) for number, face in faces]
    picture = draw_faces(image, [face for _, face in drawn]).copy()
    for number, face in drawn:
        _write(picture, str(number), face.box)
    return picture


def _at_landmarks(face: Alignment) -> Alignment:
    return replace(face, box=face.tight)


def _write(picture: np.ndarray, text: str, box: np.ndarray) -> None:
    """Write a number above the box's corner, or inside it where the picture ends; changes ``picture``."""
    scale = float(np.clip((box[2] - box[0]) / 200, 0.4, 2.0))
    width = max(1, round(2 * scale))
    (_, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, width)
    top = box[1] - 4 if box[1] - 4 - height >= 0 else box[1] + 4 + height
    place = (int(np.clip(box[0], 0, picture.shape[1] - 1)), int(np.clip(top, 0, picture.shape[0] - 1)))
    for colour, thickness in (((0, 0, 0), width + 2), (YELLOW, width)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
