"""Boxes of one face, found several times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pifa_data.boxes import overlap, shared_area
from pifa_data.detection.base import Detection

OVERLAP = 0.3
"""Intersection over union above which two boxes are of one face. A frontal and a profile box of one face have 0.6 in
the median."""

WITHIN = 0.6
"""Share of the smaller box inside the larger one above which they are of one face: a nose found as a small face."""


def keep_apart(found: Sequence[Detection]) -> list[Detection]:
    """Of detections in the order of preference those that overlap none before them, surest first."""
    kept: list[Detection] = []
    for face in found:
        if not any(same_face(face.box, other.box) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -face.score)


def same_face(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two ``(4,)`` boxes overlap as those of one face do."""
    smaller = min(float((box[2:] - box[:2]).prod()) for box in (a, b))
    return overlap(a, b) > OVERLAP or shared_area(a, b) > WITHIN * smaller
