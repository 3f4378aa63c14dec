"""Labels with known poses: MERL-RAV's points of AFLW's faces, joined with the poses of AFLW's own database."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.readers.base import read_faces
from pifa_data.readers.merl_rav import FORMAT

NEAR = 0.5
"""A face is the database's whose box's middle is nearest to its points', and nearer than this share of the box."""
_COLUMNS = ("image", "x", "y", "w", "h", "yaw", "pitch", "roll")


@dataclass(frozen=True)
class Labels:
    """Labelled faces of kind ``2d``.

    Attributes:
        names: ``POSE/image12345``, the reader's.
        points: ``(F, 68, 2)`` pixels.
        visibility: ``(F, 68)`` uint8.
        poses: ``(F, 3)`` yaw, pitch, roll in radians and the project's signs, NaN where unknown.
    """

    names: list[str]
    points: np.ndarray
    visibility: np.ndarray
    poses: np.ndarray

    def take(self, rows: np.ndarray) -> Labels:
        """The labels of some faces."""
        names = [self.names[row] for row in rows]
        return Labels(names, self.points[rows], self.visibility[rows], self.poses[rows])


def read_labels(labels: Path, poses: Path) -> Labels:
    """Read MERL-RAV's folder and a table of AFLW's poses.

    Args:
        poses: CSV with the columns image, x, y, w, h (box, pixels), yaw, pitch, roll (AFLW's, radians).

    Raises:
        AnnotationError: not such files, no usable face, or no pose of any.
    """
    source = f"{FORMAT.name}:{labels},aflw=none"  # poses come from the table, whatever lies beside
    faces = [face for face in read_faces(source, {FORMAT.name: FORMAT}) if isinstance(face, Face)]
    if not faces:
        raise AnnotationError(f"{labels}: no usable face")
    known = _read_poses(poses)
    found = np.stack([_pose(face, known) for face in faces])
    if not np.isfinite(found).any():
        raise AnnotationError(f"{poses}: expected poses of the faces of {labels}, found that of none")
    return Labels(
        names=[face.id for face in faces],
        points=np.stack([face.landmarks for face in faces]),
        visibility=np.stack([face.visibility for face in faces]),
        poses=found,
    )


def _read_poses(path: Path) -> dict[str, np.ndarray]:
    """Image number → ``(n, 7)`` box and pose of its faces."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                (Path(row["image"]).stem, [float(row[name]) for name in _COLUMNS[1:]]) for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise AnnotationError(
            f"{path}: expected a CSV table with the columns {', '.join(_COLUMNS)} ({error})"
        ) from error
    bad = next((i for i, (_, numbers) in enumerate(rows) if not np.isfinite(numbers).all()), None)
    if bad is not None or not rows:
        where = "none" if bad is None else f"others in row {bad + 1}"
        raise AnnotationError(f"{path}: expected rows of an image and finite numbers, found {where}")
    found: dict[str, list[list[float]]] = {}
    for name, numbers in rows:
        found.setdefault(name, []).append(numbers)
    return {name: np.array(faces) for name, faces in found.items()}


def _pose(face: Face, known: dict[str, np.ndarray]) -> np.ndarray:
    image = face.id.rpartition("/")[2].partition("_")[0]
    faces = known.get(image)
    if faces is None:
        return np.full(3, np.nan)
    middle = np.median(face.landmarks[face.visibility > 0], axis=0)
    away = np.linalg.norm(faces[:, :2] + faces[:, 2:4] / 2 - middle, axis=1) / np.maximum(faces[:, 2], 1e-9)
    best = int(away.argmin())
    # Angle by angle, roll turned round, as builtin was estimated. `readers.aflw.project_poses` is nearer to the truth;
    # yaw, which alone is used, would be another by 0.6° (median), in one face of ten by more than 3.8°.
    return faces[best, 4:] * [1.0, 1.0, -1.0] if away[best] < NEAR else np.full(3, np.nan)
