"""Importer of the Surrey face model as eos hands it out (``surrey``): a shape file and expression blendshapes.

Both are written by the C++ library cereal, little-endian, without padding:

    matrix      int32 rows, int32 columns, rows·columns float32, column by column
    shape file  uint32 class version; matrix mean (3V, 1); matrix basis (3V, K), columns of length 1;
                matrix variances (K, 1); uint64 T; T × 3 int32 triangles; colour model and texture follow
    blendshapes uint64 count; each: uint64 length, name; matrix offsets (3V, 1)

Coordinates are x₀y₀z₀x₁… in millimetres, x to the image's right, y up, z towards the viewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable import importing
from pifa_data.morphable.model import MorphableModel

BLENDSHAPE_DEVIATION = 1 / np.sqrt(3)
"""A blendshape's weight runs from 0 to 1 and has no standard deviation of its own. Uniform over that range its root
mean square is 1/√3, so that is what one standard deviation of p means: the full expression is p = 1.73."""

# ibug68 from 0 → vertex, from the mapping published with eos; its comments in brackets. Vertices up to 845 are those
# of the reference shape, which every resolution of the model has; the others hold for the 3448-vertex one.
_REFERENCE_VERTICES = 845
_VERTICES = 3448
ANCHORS = {
    **{8: 33},  # chin bottom
    **{17: 225, 18: 229, 19: 233, 20: 2086, 21: 157},  # right brow, outer to inner end
    **{22: 590, 23: 2091, 24: 666, 25: 662, 26: 658},  # left brow, inner to outer end
    **{27: 2842, 28: 379, 29: 272, 30: 114},  # bridge of the nose, down to its tip
    **{31: 100, 32: 2794, 33: 270, 34: 2797, 35: 537},  # where nose and lip meet, right to left
    **{36: 177, 37: 172, 38: 191, 39: 181, 40: 173, 41: 174},  # right eye: outer corner, lid, inner corner, lid
    **{42: 614, 43: 624, 44: 605, 45: 610, 46: 607, 47: 606},  # left eye: inner corner, lid, outer corner, lid
    **{48: 398, 49: 315, 50: 413, 51: 329, 52: 825, 53: 736, 54: 812},  # upper lip's outer line, right to left
    **{55: 841, 56: 693, 57: 411, 58: 264, 59: 431},  # lower lip's outer line, left to right
    **{61: 416, 62: 423, 63: 828, 65: 817, 66: 442, 67: 404},  # inner lines; the corners 60 and 64 are not published
}


def import_surrey(paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel:
    """Read the Surrey model: ``sfm_shape_3448.bin`` and, if it is given, ``expression_blendshapes_3448.bin``.

    Raises:
        MorphableError: not such files, cut or damaged ones, or files of two different models.
    """
    if not 1 <= len(paths) <= 2:
        raise MorphableError(f"expected sfm_shape_3448.bin and its expression blendshapes, found {len(paths)} paths")
    # A blendshape file starts with a 64-bit count, so its second word is 0; the shape file's is its number of rows.
    shape, *others = sorted(paths, key=lambda path: _words(path)[1] == 0)
    with importing.naming(shape):
        mean, basis, variances, triangles = _read_shape(shape)
    expression = np.zeros((0, *mean.shape), np.float32)
    names: tuple[str, ...] = ()
    for path in others:
        with importing.naming(path):
            expression, names = _read_blendshapes(path, len(mean))
    anchors = ANCHORS
    if len(mean) != _VERTICES:
        anchors = {landmark: vertex for landmark, vertex in ANCHORS.items() if vertex < _REFERENCE_VERTICES}
    with importing.naming(shape):
        return importing.finish(
            name="surrey",
            mean=mean,
            identity=importing.modes(basis, np.sqrt(variances)),
            expression=expression,
            triangles=triangles,
            anchors=anchors,
            landmarks=landmarks,
            units="millimetre",
            licence="Surrey Face Model: research only, see cvssp.org/faceweb; files from eos",
            source="https://github.com/patrikhuber/eos, share/",
            expression_names=names,
        )


def _words(path: Path) -> tuple[int, int]:
    with importing.require_file(path).open("rb") as file:
        data = file.read(8)
    first, second = np.frombuffer(data.ljust(8, b"\0"), dtype="<u4").tolist()
    return first, second


class _Reader:
    """Reads one file from its start; whatever it claims to hold must be there."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.at = 0

    def take(self, count: int, kind: str, what: str) -> np.ndarray:
        width = np.dtype(kind).itemsize
        left = len(self.data) - self.at
        if count < 0 or count * width > left:
            raise MorphableError(f"{what}: expected {count * width} bytes, found {left}; not an eos file, or a cut one")
        array = np.frombuffer(self.data, dtype=kind, count=count, offset=self.at)
        self.at += count * width
        return array

    def matrix(self, what: str) -> np.ndarray:
        rows, columns = self.take(2, "<i4", what).tolist()
        if rows < 0 or columns < 0:
            raise MorphableError(f"{what}: expected a matrix, found {rows} × {columns}; not an eos file")
        return self.take(rows * columns, "<f4", what).reshape(columns, rows).T


def _read_shape(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    reader = _Reader(path)
    reader.take(1, "<u4", "class version")
    mean = reader.matrix("mean")
    if mean.shape[1] != 1 or len(mean) % 3 or not len(mean):
        raise MorphableError(f"mean: expected a column of 3·V numbers, found {mean.shape}; not an eos shape file")
    basis = importing.numbers(reader.matrix("basis"), "basis", (len(mean), None))
    variances = importing.standard_deviations(reader.matrix("variances"), "variances", basis.shape[1])
    count = int(reader.take(1, "<u8", "number of triangles")[0])
    triangles = reader.take(3 * count, "<i4", "triangles").reshape(-1, 3)
    vertices = importing.numbers(mean, "mean", (None, 1)).reshape(-1, 3)
    return vertices, basis, variances, importing.indices(triangles, "triangles", len(vertices))


def _read_blendshapes(path: Path, vertices: int) -> tuple[np.ndarray, tuple[str, ...]]:
    reader = _Reader(path)
    count = int(reader.take(1, "<u8", "number of blendshapes")[0])
    offsets, names = [], []
    for number in range(min(count, len(reader.data))):
        length = int(reader.take(1, "<u8", "name")[0])
        names.append(reader.take(length, "<u1", "name").tobytes().decode("utf-8", "replace"))
        offsets.append(importing.numbers(reader.matrix("offsets"), f"blendshape {number}", (3 * vertices, 1)))
    if not offsets:
        raise MorphableError("expected expression blendshapes, found none")
    columns = np.concatenate(offsets, axis=1)
    return importing.modes(columns, np.full(len(offsets), BLENDSHAPE_DEVIATION)), tuple(names)
