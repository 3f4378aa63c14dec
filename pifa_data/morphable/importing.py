"""What every importer shares: checking arrays, turning triangles outwards, and finding the landmarks.

An importer is ``(paths, landmarks) → MorphableModel``: the owner's files in any order, and landmark vertices of the
user's own, which go before the importer's. Every error names the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable.mapping import complete_model, transfer_ibug68
from pifa_data.morphable.model import MorphableModel

LARGEST_FILE = 2**30
"""Bytes. The largest original, Basel 2009 with its texture, has 240 MB."""

LARGEST_ARRAY = 2**28
"""Numbers in one array: eight times as many as the modes of Basel 2009 have."""

LARGEST_COORDINATE = 1e7
"""Model units. A head in micrometres has 2e5; far beyond, squares of distances overflow float32."""


class Importer(Protocol):
    """Makes a model of its owner's files."""

    def __call__(self, paths: Sequence[Path], landmarks: Mapping[int, int] | None = None) -> MorphableModel: ...


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before the message of an error about what it holds."""
    try:
        yield
    except MorphableError as error:
        if str(error).startswith(str(path)):
            raise
        raise MorphableError(f"{path}: {error}") from error


def require_file(path: Path) -> Path:
    """The path, if a file of plausible size is there.

    Raises:
        MorphableError: no file, an empty one, or one of over 1 GiB.
    """
    if not path.is_file():
        raise MorphableError(f"{path}: no such file")
    size = path.stat().st_size
    if not 0 < size <= LARGEST_FILE:
        raise MorphableError(f"{path}: expected a model's file of at most {LARGEST_FILE} bytes, found {size}")
    return path


def one_path(paths: Sequence[Path], what: str) -> Path:
    """The only path.

    Raises:
        MorphableError: none or several.
    """
    if len(paths) != 1:
        raise MorphableError(f"expected one path ({what}), found {len(paths)}")
    return paths[0]


def numbers(value: Any, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """``value`` as float64, if it is an array of real numbers of that shape (None: any length).

    Raises:
        MorphableError: not numbers, another shape, or numbers that are not finite; names ``name``.
    """
    array = np.asarray(value)
    text = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    if array.dtype.kind not in "fiu" or array.ndim != len(shape):
        raise MorphableError(f"{name}: expected numbers of shape {text}, found {array.dtype} {array.shape}")
    if any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise MorphableError(f"{name}: expected shape {text}, found {array.shape}")
    if array.size > LARGEST_ARRAY:
        raise MorphableError(f"{name}: expected at most {LARGEST_ARRAY} numbers, found {array.size}")
    if not np.isfinite(array).all():
        raise MorphableError(f"{name}: holds numbers that are not finite; the file is damaged, get it again")
    return array.astype(np.float64)


def indices(value: Any, name: str, limit: int, first: int = 0) -> np.ndarray:
    """Vertex or triangle numbers as int64 counted from 0, of the shape they have.

    Args:
        limit: how many things there are to number.
        first: the number of the first one in the file: 1 in MATLAB's.

    Raises:
        MorphableError: not whole numbers, or one out of range.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or not (np.isfinite(array) & (array == np.floor(array))).all():
        raise MorphableError(f"{name}: expected whole numbers, found {array.dtype} {array.shape}")
    if array.size and not first <= array.min() <= array.max() < limit + first:
        raise MorphableError(
            f"{name}: expected numbers from {first} to {limit + first - 1}, found {array.min()} to {array.max()}"
        )
    return array.astype(np.int64) - first


def standard_deviations(value: Any, name: str, count: int) -> np.ndarray:
    """``(count,)`` float64 from an array of ``count`` numbers in a row or column.

    Raises:
        MorphableError: another number of them, or a negative one.
    """
    deviations = numbers(np.ravel(np.asarray(value)), name, (None,))
    if len(deviations) != count:
        raise MorphableError(f"{name}: expected {count} numbers, one a mode, found {len(deviations)}")
    if (deviations < 0).any():
        raise MorphableError(f"{name}: expected numbers of at least 0, found negative ones")
    return deviations


def modes(basis: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """``(3V, K)`` columns x₀y₀z₀x₁… times ``(K,)``: ``(K, V, 3)`` float32 offsets for one standard deviation."""
    with np.errstate(over="ignore"):  # what overflows is refused as not finite
        scaled = np.ascontiguousarray((np.asarray(basis, np.float64) * scale).T.astype(np.float32))
    return scaled.reshape(len(scale), -1, 3)


def finish(
    *,
    name: str,
    mean: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    triangles: np.ndarray,
    anchors: Mapping[int, int],
    landmarks: Mapping[int, int] | None,
    units: str,
    licence: str,
    source: str,
    expression_names: tuple[str, ...] = (),
) -> MorphableModel:
    """The model from checked arrays: triangles turned outwards, landmarks completed, contour lines found.

    Args:
        mean: ``(V, 3)``, model units, x to the image's right, y up, z towards the viewer.
        identity, expression: ``(K, V, 3)``, model units for one standard deviation.
        triangles: ``(T, 3)``, all wound alike, either way.
        anchors: the importer's own landmark vertices: ibug68 number from 0 → vertex.
        landmarks: the user's, which replace the importer's.

    Raises:
        MorphableError: arrays that do not fit together, or too few landmarks.
    """
    with np.errstate(over="ignore"):
        mean, identity, expression = (
            np.ascontiguousarray(array, dtype=np.float32) for array in (mean, identity, expression)
        )
    for what, array in (("mean", mean), ("identity", identity), ("expression", expression)):
        if not np.isfinite(array).all() or np.abs(array).max(initial=0) > LARGEST_COORDINATE:
            raise MorphableError(
                f"{what}: expected coordinates of a face, found some beyond {LARGEST_COORDINATE:g} or not finite; "
                "the file is damaged, get it again"
            )
    if not len(identity):
        raise MorphableError("identity: expected at least one mode, found none; the file is cut, get it again")
    known = merge(anchors, landmarks)
    out_of_range = [vertex for vertex in known.values() if not 0 <= vertex < len(mean)]
    if out_of_range:
        raise MorphableError(
            f"landmark vertices: expected numbers from 0 to {len(mean) - 1}, found {out_of_range[0]}; "
            "for a model of other vertices give its own landmarks with --landmarks"
        )
    wound = _outwards(mean, np.ascontiguousarray(triangles, dtype=np.int32), list(known.values()))
    # Built without landmarks first: this checks the arrays, and gives the normals.
    bare = MorphableModel(
        name=name,
        mean=mean,
        identity=identity,
        expression=expression,
        triangles=wound,
        landmarks={},
        contours={},
        nose_tip=0,
        units=units,
    )
    try:
        ibug68 = transfer_ibug68(bare.mean, bare.normals, known)
    except MorphableError as error:
        raise MorphableError(f"{error}; give landmarks of your own with --landmarks") from error
    return complete_model(
        name=name,
        mean=mean,
        identity=identity,
        expression=expression,
        triangles=wound,
        ibug68=ibug68,
        units=units,
        licence=licence,
        source=source,
        expression_names=expression_names,
    )


def merge(anchors: Mapping[int, int], landmarks: Mapping[int, int] | None) -> dict[int, int]:
    """The importer's anchors with the user's in their place; a vertex that the user gives away is theirs alone."""
    own = dict(landmarks or {})
    taken = set(own.values())
    return {i: v for i, v in anchors.items() if i not in own and v not in taken} | own


def _outwards(mean: np.ndarray, triangles: np.ndarray, known: list[int]) -> np.ndarray:
    """The triangles, all turned round if the landmarks' normals point into the head: landmarks face the viewer."""
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not known:
        return triangles  # refused later, with its name
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(mean)):
        return triangles
    near = triangles[np.isin(triangles, known).any(axis=1)]
    corners = mean[near].astype(np.float64)
    towards_viewer = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum()
    return np.ascontiguousarray(triangles[:, ::-1]) if towards_viewer < 0 else triangles
