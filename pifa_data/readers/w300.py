"""``300w``: folders of images with an iBUG ``.pts`` file of 68 points beside each (300W, Helen, LFPW, AFW, iBUG)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import merl_rav
from pifa_data.readers.base import IMAGE_SUFFIXES, Format
from pifa_data.readers.pts import read_points


def read_pts(path: Path, n_points: int = 68) -> np.ndarray:
    """Read one iBUG ``.pts`` file.

    Returns:
        ``(n_points, 2)`` float64, image pixels (x, y), the centre of the top-left pixel is (0, 0).

    Raises:
        AnnotationError: no ``{...}`` block, a bad row, or a wrong number of rows.
    """
    # iBUG counts pixels from 1, as MATLAB does.
    return read_points(path, n_points) - 1.0


def read(path: Path) -> Iterator[Face | Skipped]:
    """Stream the faces of one folder and the folders below it, sorted by name."""
    if not path.is_dir():
        raise AnnotationError(f"{path}: expected a folder of images with .pts files beside them")
    for folder, folders, files in os.walk(path):
        folders.sort()
        names = set(files)
        for name in sorted(name for name in files if name.endswith(".pts")):
            stem = name.removesuffix(".pts")
            id_ = (Path(folder) / stem).relative_to(path).as_posix()
            image = next(
                (stem + s for s in (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES)) if stem + s in names),
                None,
            )
            if image is None:
                yield Skipped(id_, f"{name}: no image of that name beside it")
                continue
            try:
                landmarks = read_pts(Path(folder) / name)
            except AnnotationError as error:
                yield Skipped(id_, str(error))
                continue
            yield Face(
                id=id_,
                file=f"{folder}/{image}",
                landmarks=landmarks,
                visibility=np.full(68, 2, np.uint8),
                scheme="ibug68",
                kind="2d",
                # Helen's and LFPW's photographs are of different people each, as far as their owners say. The file's
                # name alone, so that a photo keeps its subject whichever folder of the data set is given.
                subject=stem,
                split=next((part for part in Path(id_).parts if part in ("trainset", "testset")), ""),
            )


FORMAT = Format(
    name="300w",
    layout="a folder (and folders below it) of images with a 68-point .pts file beside each",
    read=read,
    schemes=("ibug68",),
    tried="originals",
    matches=lambda path: path.is_dir() and not merl_rav.FORMAT.matches(path) and any(path.glob("**/*.pts")),
)
