"""A face, or the reason why there is none, as the JSON object that every output is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from pifa_model.results import Alignment

Record = dict[str, Any]


def face_record(face: Alignment, **about: Any) -> Record:
    """One face as in ``pifa align --json``: pose in degrees, pixels of the original image.

    Args:
        face: original pixels.
        about: what stands first: ``image``, and of a video ``frame``, ``time`` and ``track``.
    """
    yaw, pitch, roll = np.degrees(face.pose)
    return {
        **about,
        "box": _rounded(face.box, 2),
        "landmarks": [_rounded(point, 2) for point in face.landmarks],
        "visibility": [int(v) for v in face.visibility],
        "pose": {"yaw": round(float(yaw), 2), "pitch": round(float(pitch), 2), "roll": round(float(roll), 2)},
        "score": round(face.score, 4),
        "camera": [float(f"{v:.7g}") for v in face.params[:8]],
        "coefficients": _rounded(face.params[8:], 4),
    }


def failure_record(reason: str, **about: Any) -> Record:
    """An image, a box or a frame of which nothing came, and why."""
    return {**about, "reason": reason}


def is_face(record: Record) -> bool:
    return "reason" not in record


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(v), digits) for v in values]
