"""``aflw2000``: AFLW2000-3D: beside each of 2,000 images a ``.mat`` with 68 points in 3D and the head's pose.

The layout is the owner's (Zhu et al., "Face Alignment Across Large Poses"): ``image00002.jpg`` and ``image00002.mat``,
450 × 450 pixels each. Of the ``.mat`` two arrays are read:

    pt3d_68     (3, 68): x and y of iBUG's points, each one place on the head (kind ``3d``), and depth, which is left
    Pose_Para   (1, 7): pitch, yaw and roll in radians, translation, scale

The owner's demo draws ``pt3d_68`` over MATLAB's ``imshow``, which counts pixels from 1, so 1 is subtracted. Points of
the far side of the head are given like all others; the protocol counts all 68, and so all are visible (2).

The pose is that of the fitted model; the rotation is Rx(pitch)·Ry(yaw)·Rz(roll) (``RotationMatrix.m`` of the owner's
code), in our order other numbers, with the same signs. The subsets by yaw are made of ``Pose_Para``'s own, as
github.com/cleardusk/3DDFA does since 2019 (1,312, 383 and 305 faces). The paper's counts, 1,306, 462 and 232, come from
AFLW's own poses, which these files have not.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.matfile import numbers, read_mat
from pifa_data.readers.base import IMAGE_SUFFIXES, Format, Split

YAWS = (("yaw-0-30", 30.0), ("yaw-30-60", 60.0), ("yaw-60-90", math.inf))

_ALL_VISIBLE = np.full(68, 2, np.uint8)


def read(path: Path) -> Iterator[Face | Skipped]:
    """Stream the faces of the folder, named as their files without suffix; none of folders below it."""
    names = mat_files(path)
    if not names:
        raise AnnotationError(f"{path}: expected AFLW2000-3D's folder, with image00002.mat and its like")
    images = {entry.name for entry in os.scandir(path)}
    for name in names:
        stem = name[:-4]
        try:
            arrays = read_mat(f"{path}/{name}", ("pt3d_68", "Pose_Para"))
            landmarks = points(arrays, "pt3d_68", f"{path}/{name}", rows=3)
            pose, yaw = angles(arrays, f"{path}/{name}")
        except AnnotationError as error:
            yield Skipped(stem, str(error))
            continue
        yield Face(
            id=stem,
            file=f"{path}/{image_of(stem, images)}",
            landmarks=landmarks,
            visibility=_ALL_VISIBLE,
            scheme="ibug68",
            kind="3d",
            # AFLW's photograph: faces of MERL-RAV and AFLW from it stay on the same side of a split.
            subject=stem,
            split="test",
            subsets=(next(name for name, most in YAWS if abs(math.degrees(yaw)) <= most),),
            pose=pose,
        )


def mat_files(path: Path) -> list[str]:
    """Names of the ``.mat`` files of a folder, sorted; empty where it is none."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(".mat"))
    except (OSError, ValueError):
        return []


def image_of(stem: str, names: set[str]) -> str:
    """The name of a face's image among a folder's names; where it would be if there is none."""
    return next((stem + suffix for suffix in IMAGE_SUFFIXES if stem + suffix in names), f"{stem}.jpg")


def points(arrays: dict[str, np.ndarray], name: str, file: str, rows: int) -> np.ndarray:
    """``(68, 2)`` float64 image pixels from a ``(rows, 68)`` array of MATLAB's.

    Raises:
        AnnotationError: no such array, or of another shape.
    """
    return numbers(arrays.get(name), f"{file}: {name}", (rows, 68))[:2].T - 1  # MATLAB counts pixels from 1


def angles(arrays: dict[str, np.ndarray], file: str) -> tuple[np.ndarray, float]:
    """Our yaw, pitch and roll, ``(3,)`` radians, and the file's own yaw, from ``Pose_Para``.

    Raises:
        AnnotationError: no such array, too short, or not finite.
    """
    array = arrays.get("Pose_Para")
    if array is None or array.dtype.kind not in "fiu" or array.size < 3:
        found = "none" if array is None else f"{array.dtype} {array.shape}"
        raise AnnotationError(f"{file}: expected seven numbers Pose_Para, found {found}")
    a, b, c = array.ravel()[:3].tolist()
    if not math.isfinite(a + b + c) or max(abs(a), abs(b), abs(c)) > 100:
        raise AnnotationError(f"{file}: expected pitch, yaw and roll in radians, found {a}, {b}, {c}")
    return np.array(turn(a, b, c)), b


def turn(a: float, b: float, c: float) -> tuple[float, float, float]:
    """Our yaw, pitch and roll of the rotation Rx(−a)·Ry(−b)·Rz(−c), right-handed, of a frame with y up."""
    sa, ca, sb, cb, sc, cc = math.sin(a), math.cos(a), math.sin(b), math.cos(b), math.sin(c), math.cos(c)
    # Three entries of the product, and two columns of ours: R = Rz(−roll)·Rx(−pitch)·Ry(−yaw).
    yaw = math.atan2(sa * sc + ca * sb * cc, ca * cb)
    pitch = math.asin(max(-1.0, min(1.0, sa * cc - ca * sb * sc)))
    return yaw, pitch, math.atan2(cb * sc, ca * cc + sa * sb * sc)


def has(path: Path, name: str) -> bool:
    """Whether the first ``.mat`` file of a folder has an array of that name."""
    try:
        names = mat_files(path)
        return bool(names) and name in read_mat(f"{path}/{names[0]}", (name,))
    except AnnotationError:
        return False


FORMAT = Format(
    name="aflw2000",
    layout="AFLW2000-3D's folder: image00002.jpg with image00002.mat beside it, and so on",
    read=read,
    matches=lambda path: has(path, "pt3d_68"),
    schemes=("ibug68",),
    tried="originals",
    splits={
        "test": Split("all faces; the set has no training part", 2000),
        "yaw-0-30": Split("faces turned by at most 30°, by the fitted pose", 1312),
        "yaw-30-60": Split("by more than 30° and at most 60°", 383),
        "yaw-60-90": Split("by more than 60°", 305),
    },
    licence="Research only: AFLW's images; see the owner's page",
    citation="""@inproceedings{zhu2016face,
  title = {Face Alignment Across Large Poses: A {3D} Solution},
  author = {Zhu, Xiangyu and Lei, Zhen and Liu, Xiaoming and Shi, Hailin and Li, Stan Z.},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {146--155},
  year = {2016}
}""",
    homepage="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
    normaliser="tight",
)
