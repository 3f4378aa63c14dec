"""``merl-rav``: MERL-RAV's ``.pts`` labels of AFLW's faces, with the visibility of each point.

The layout is the owner's: five folders by pose, in each ``trainset`` and ``testset``, in these ``labels`` with one
file a face, ``image12345.pts``, or ``image12345_1.pts``, ``image12345_2.pts`` where an image shows several. The form
that the owner's script makes (``merl_rav_organized``: no ``labels`` folder, an image beside each file) is read too.

A row of a file (the table "Format of the Label Files" in the owner's README, github.com/abhi1kumar/MERL-RAV_dataset):

    x y      visible                                            visibility 2
    -x -y    covered by hair, a hand, glasses: (x, y) a guess    visibility 1
    -1 -1    turned away: no place given                        visibility 0

The owner does not say where pixels are counted from. The numbers are taken as they are, the centre of the top-left
pixel at (0, 0), unlike iBUG's ``.pts``: the owner's own code (github.com/abhi1kumar/LUVLi, ``data/face_bbx.py`` and
``plot/show_aflw_ours_samples.py``) uses and draws them unchanged (but iBUG's too, so that this is no proof). Were it
wrong, every point of a face would be off by the same one pixel: the pose and the shape of a fit would stay.

Images need AFLW's licence. ``Face.image`` says where the owner's script would put one, whether it is there or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers.base import IMAGE_SUFFIXES, Format
from pifa_data.readers.pts import read_points

POSES = ("frontal", "lefthalf", "left", "righthalf", "right")
"""The folders. Left and right are the subject's own: in ``left`` noses point to the image's right (yaw < 0)."""

SPLITS = {"trainset": "train", "testset": "test"}


def read(path: Path) -> Iterator[Face | Skipped]:
    """Stream the faces of all poses, or of one where ``path`` is its folder; named ``POSE/image12345_1``."""
    folders = _folders(path)
    if not folders:
        raise AnnotationError(
            f"{path}: expected MERL-RAV's folders {', '.join(POSES)} with trainset and testset in them; "
            "name the folder merl_rav_labels, or one of these"
        )
    for folder in folders:
        seen: set[str] = set()
        for split in SPLITS:
            for found in _read_split(folder, split):
                if found.id in seen:
                    yield Skipped(found.id, "a face of this name is in both trainset and testset")
                else:
                    seen.add(found.id)
                    yield found


def _folders(path: Path) -> list[Path]:
    candidates = [path] if path.name in POSES else [path / pose for pose in POSES]
    return [folder for folder in candidates if any((folder / split).is_dir() for split in SPLITS)]


def _read_split(pose: Path, split: str) -> Iterator[Face | Skipped]:
    folder = pose / split
    if not folder.is_dir():
        return
    beside = {entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)}
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    files = sorted((entry.name, entry.is_file()) for entry in os.scandir(labels) if entry.name.endswith(".pts"))
    for name, is_file in files:
        stem = name.removesuffix(".pts")
        id_ = f"{pose.name}/{stem}"
        if not is_file:  # a pipe would be waited for without end
            yield Skipped(id_, f"{labels / name}: not a regular file")
            continue
        try:
            landmarks, visibility = decode(read_points(labels / name), labels / name)
        except AnnotationError as error:
            yield Skipped(id_, str(error))
            continue
        image = next((stem + suffix for suffix in IMAGE_SUFFIXES if stem + suffix in beside), f"{stem}.jpg")
        yield Face(
            id=id_,
            file=f"{folder}/{image}",
            landmarks=landmarks,
            visibility=visibility,
            scheme="ibug68",
            kind="2d",
            # Who it is isn't known; faces of one photograph stay on one side of a split, background and all.
            subject=stem.partition("_")[0],
            split=SPLITS[split],
        )


def decode(rows: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Signs to visibility.

    Args:
        rows: ``(68, 2)`` as they stand in the file.
        path: for the message.

    Returns:
        landmarks ``(68, 2)`` float64 image pixels, (0, 0) where not labelled; visibility ``(68,)`` uint8.

    Raises:
        AnnotationError: a point with one negative coordinate, which means none of the three.
    """
    x, y = rows.T
    hidden = (x == -1) & (y == -1)
    covered = (x < 0) & (y < 0)
    odd = np.flatnonzero((x < 0) ^ (y < 0))
    if len(odd):
        raise AnnotationError(
            f"{path}: point {odd[0] + 1} has one negative coordinate; expected both (covered: -x -y) or none"
        )
    landmarks = np.abs(rows)
    landmarks[hidden] = 0
    visibility = np.full(len(rows), 2, np.uint8)
    visibility[covered] = 1
    visibility[hidden] = 0
    return landmarks, visibility


FORMAT = Format(
    name="merl-rav",
    layout="MERL-RAV's folder merl_rav_labels, labels alone: {frontal,left,…}/{trainset,testset}/labels/*.pts",
    read=read,
    schemes=("ibug68",),
    tried="originals",
    matches=lambda path: path.is_dir() and bool(_folders(path)),
)
