"""``300w-lp``: 300W's photographs turned to large poses by a fitted model, with the points of each picture.

The layout is the owner's (Zhu et al., "Face Alignment Across Large Poses"): folders ``AFW``, ``HELEN``, ``IBUG`` and
``LFPW`` with ``AFW_134212_1_0.jpg`` and ``AFW_134212_1_0.mat`` (the photograph) to ``…_1``, ``…_2`` (turned further and
further), all 450 × 450; the same mirrored in ``AFW_Flip`` and so on; and ``landmarks/AFW/AFW_134212_1_0_pts.mat`` with
the points of each picture that is not mirrored.

    landmarks/…_pts.mat   pts_3d, each point one place on the head (kind ``3d``; some copies have them in landmarks3d/);
                          pts_2d, with the jaw on the silhouette (kind ``2d``). (68, 2) or (68, 3)
    ….mat                 pt2d (2, 68): the points of the photograph, the same in all its turned copies, where they lie
                          off the face (github.com/cleardusk/3DDFA/issues/192); Pose_Para: see aflw2000.py

So ``pt2d`` is used where there are no ``landmarks``, and only for the photographs themselves (``…_0``), kind ``2d``;
turned copies without points of their own are skipped. A mirrored picture's points are those of its original, mirrored.
Numbers count pixels from 1, as in AFLW2000-3D by the same owner.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import read_mat
from pifa_data.readers import aflw2000
from pifa_data.readers.aflw2000 import angles, image_of, mat_files, points
from pifa_data.readers.base import Format, Split, exists
from pifa_data.schemes import get_scheme

SETS = {"AFW": 5207, "HELEN": 37676, "IBUG": 1786, "LFPW": 16556}
"""The folders, and the pictures in each."""

_WIDTH = 450
_ALL_VISIBLE = np.full(68, 2, np.uint8)


def read(path: Path, kind: str | None = None) -> Iterator[Face | Skipped]:
    """Stream the faces of the folders, or of one of them, named ``AFW/AFW_134212_1_0``.

    Args:
        path: the root, one of its folders, or any folder with such files.
        kind: ``2d`` or ``3d``; None for ``3d`` where there is a folder ``landmarks``, else ``2d``.
    """
    if kind not in (None, "2d", "3d"):
        raise AnnotationError(f"300w-lp: expected kind=2d or kind=3d, found kind={kind}")
    folders = _folders(path)
    if not folders:
        raise AnnotationError(f"{path}: expected 300W-LP's folders {', '.join(SETS)}, or one of them")
    for folder in folders:
        yield from _read_folder(folder, kind)


def _folders(path: Path) -> list[Path]:
    names = [name + flip for name in SETS for flip in ("", "_Flip")]
    found = [path / name for name in names if exists(path / name) and (path / name).is_dir()]
    return found or ([path] if mat_files(path) else [])


def _read_folder(folder: Path, kind: str | None) -> Iterator[Face | Skipped]:
    flipped = folder.name.endswith("_Flip")
    name = folder.name.removesuffix("_Flip")
    labels = [f"{folder.parent}/{part}/{name}" for part in ("landmarks", "landmarks3d")]
    labels = [label for label in labels if exists(Path(label))]
    kind = kind or ("3d" if labels else "2d")
    images = {entry.name for entry in os.scandir(folder)}
    for file in mat_files(folder):
        stem = file[:-4]
        id_ = f"{folder.name}/{stem}"
        part = stem.partition("_")[0].lower()
        try:
            pose = angles(read_mat(f"{folder}/{file}", ("Pose_Para",)), f"{folder}/{file}")[0]
            if labels:
                landmarks = _own_points([f"{label}/{stem}_pts.mat" for label in labels], f"pts_{kind}")
            else:
                landmarks = _photograph_points(f"{folder.parent}/{name}" if flipped else str(folder), stem, kind)
        except AnnotationError as error:
            yield Skipped(id_, str(error))
            continue
        if flipped:
            landmarks = landmarks[get_scheme("ibug68").mirror]
            landmarks[:, 0] = _WIDTH - 1 - landmarks[:, 0]
        yield Face(
            id=id_,
            file=f"{folder}/{image_of(stem, images)}",
            landmarks=landmarks,
            visibility=_ALL_VISIBLE,
            scheme="ibug68",
            kind=kind,
            subject=_subject(stem),
            split="train",
            subsets=(f"{part}-flip", "flipped") if flipped else (part, "unflipped"),
            pose=pose,
        )


def _own_points(files: list[str], name: str) -> np.ndarray:
    """``(68, 2)`` pixels of one picture, from the first of the files that has them."""
    for file in files:
        array = read_mat(file, (name,)).get(name) if exists(Path(file)) else None
        if array is not None:
            return points({name: array.T}, name, file, rows=min(max(array.shape[-1], 2), 3))
    raise AnnotationError(f"{files[0]}: expected an array {name} of this picture's points, found none")


def _photograph_points(folder: str, stem: str, kind: str) -> np.ndarray:
    """``(68, 2)`` pixels of an unturned picture, from the file beside it."""
    if kind == "3d" or not stem.endswith("_0"):
        raise AnnotationError(
            f"{folder}/{stem}.mat: its pt2d are the points of the photograph before it was turned, with the jaw on the "
            "silhouette; put the folder landmarks beside this one, which has the points of each picture"
        )
    file = f"{folder}/{stem}.mat"
    arrays = read_mat(file, ("pt2d", "Pose_Para"))
    landmarks = points(arrays, "pt2d", file, rows=2)
    # Some copies are said to have LFPW's points upside down.
    roll = angles(arrays, file)[0][2]
    with np.errstate(invalid="ignore", over="ignore"):
        (x, y) = landmarks[48:68].mean(0) - landmarks[36:48].mean(0)
    if y * math.cos(roll) < x * math.sin(roll):
        raise AnnotationError(f"{file}: expected the mouth below the eyes in pt2d, found them upside down")
    return landmarks


def _subject(stem: str) -> str:
    """The photograph, as the reader of 300W names it: ``HELEN_100032540_1_0`` is a copy of a face of ``100032540``."""
    head, _, rest = stem.partition("_")
    face = (rest if head in SETS else stem).rpartition("_")[0]
    return face if head == "LFPW" else photo_of(face)


def photo_of(face: str) -> str:
    """The photograph of a face of AFW, Helen or iBUG: ``134212_1`` and ``134212_2`` are two faces of ``134212``."""
    return face.rpartition("_")[0].strip() or face


def _is_lp(folder: Path) -> bool:
    return aflw2000.has(folder, "pt2d") and not aflw2000.has(folder, "pt3d_68")


FORMAT = Format(
    name="300w-lp",
    layout="300W-LP's folders AFW, HELEN, IBUG, LFPW, their mirrored …_Flip, and landmarks; .mat beside each .jpg",
    read=read,
    matches=lambda path: bool(folders := _folders(path)) and _is_lp(folders[0]),
    schemes=("ibug68",),
    tried="originals",
    splits={
        "train": Split("all pictures, mirrored ones too; the set has no test part", 122450),
        "unflipped": Split("pictures that are not mirrored", 61225),
        "flipped": Split("mirrored pictures", 61225),
        **{name.lower(): Split(f"of {name}, not mirrored", count) for name, count in SETS.items()},
        **{f"{name.lower()}-flip": Split(f"of {name}, mirrored", count) for name, count in SETS.items()},
    },
    options={"kind": "3d, each point one place on the head (default with landmarks/), or 2d, jaw on the silhouette"},
    licence="Research only, as 300W's images; see the owner's page",
    citation=aflw2000.FORMAT.citation,
    homepage=aflw2000.FORMAT.homepage,
)
