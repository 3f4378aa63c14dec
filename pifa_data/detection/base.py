"""What a face detector is: pixels in, boxes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Detection:
    """One face that a detector found.

    Attributes:
        box: ``(4,)`` x0, y0, x1, y1 pixels, as the detector draws it.
        tight: ``(4,)`` where the tight box of its 68 landmarks (brows to chin) is expected; the network is given that
            one where it was trained with tight or a data set's boxes.
        score: 0 to 1, larger is surer; comparable only within one detector.
    """

    box: np.ndarray
    tight: np.ndarray
    score: float


class Detector(Protocol):
    """Finds the faces of an image; threads may share one."""

    name: str

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """The faces of ``(H, W, 3)`` uint8 RGB, surest first, each once."""
        ...


def input_box(found: Detection, boxes: str) -> np.ndarray:
    """The box of a detection that a network is given which was trained with boxes of a kind (``header.boxes``)."""
    return found.box if boxes == "detector" else found.tight
