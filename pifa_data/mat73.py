"""MATLAB files of version 7.3: HDF5 with MATLAB's own attributes, and every array turned over."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.matfile import DEEPEST, MOST_VALUES, Damaged, Limit

_NUMBERS = {"double": "f8", "single": "f4", "logical": "?"}
_NUMBERS.update({f"{sign}int{8 * size}": f"{sign or 'i'}{size}" for sign in ("", "u") for size in (1, 2, 4, 8)})


def read_hdf5(path: str, names: Collection[str], limit: Limit) -> dict[str, np.ndarray]:
    """Those of the top-level arrays ``names`` that the file has, as ``read_mat`` gives them."""
    with _open(path) as file:
        return {name: _value(file, _member(file, name), limit, 0) for name in names if name in file}


@contextmanager
def open_cell(path: str, name: str, number: int) -> Iterator[Any]:
    """The h5py data set of one cell, counted from 0 in MATLAB's order, of a top-level cell array; not yet read."""
    import h5py

    with _open(path) as file:
        node = _member(file, name) if name in file else None
        if not isinstance(node, h5py.Dataset) or node.dtype != h5py.ref_dtype or not _own(node):
            raise Damaged(f"expected a cell array {name}")
        if not 0 <= number < node.size <= MOST_VALUES:
            raise Damaged(f"{name} has {node.size} cells, numbered from 1")
        cell = file[node[()].ravel()[number]]
        if not isinstance(cell, h5py.Dataset) or not _own(cell):
            raise Damaged("expected an array in this file, found something else; refused")
        yield cell


@contextmanager
def _open(path: str) -> Iterator[Any]:
    import h5py  # 0.1 s, and only here

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (PifaError, Damaged):
        raise
    except Exception as error:
        # HDF5 meets damage with errors of many kinds, most of them RuntimeError, KeyError and OSError.
        raise Damaged(f"not a .mat file of version 7.3, or a damaged one ({error})") from error


def _own(node: Any) -> bool:
    """Whether a data set's numbers stand in this file: others may name any file."""
    return node.shape is not None and node.external is None and not node.is_virtual


def _member(group: Any, name: str) -> Any:
    """A member of the file itself: links to other files would read what they please."""
    import h5py

    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise Damaged(f"{name}: expected an array, found a link; refused")
    return group[name]


def _value(file: Any, node: Any, limit: Limit, depth: int) -> np.ndarray:
    import h5py

    if depth > DEEPEST:
        raise Damaged(f"cells lie within each other more than {DEEPEST} deep; refused")
    kind = node.attrs.get("MATLAB_class", b"")
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else ""
    if isinstance(node, h5py.Group):
        return _struct(file, node, limit, depth)
    if not isinstance(node, h5py.Dataset) or not _own(node):
        raise Damaged("expected an array in this file, found something else; refused")
    limit.take(node.size * 8)
    if node.attrs.get("MATLAB_empty", 0):
        shape = tuple(int(n) for n in np.ravel(node[()])[:8])
        if kind == "char":
            return np.array([], dtype="U1")
        if math.prod(shape):
            raise Damaged(f"damaged: an empty array of shape {shape}")
        return np.zeros(shape, object if kind == "cell" else _NUMBERS.get(kind, "f8"))
    array = node[()]
    if array.dtype == object and array.size and isinstance(array.ravel()[0], h5py.Reference):
        cells = np.empty(array.size, object)
        for i, reference in enumerate(array.ravel()):
            cells[i] = _value(file, file[reference], limit, depth + 1)
        return cells.reshape(array.shape).T
    if array.dtype.kind not in "fiu":
        raise Damaged(f"expected numbers, text, a cell or a struct, found {array.dtype}")
    array = np.asarray(array).T
    if kind == "char":
        rows = [row.astype(np.uint16).tobytes().decode("utf-16", errors="replace") for row in np.atleast_2d(array)]
        return np.array(rows)
    return array.astype(_NUMBERS.get(kind, array.dtype), copy=False)


def _struct(file: Any, group: Any, limit: Limit, depth: int) -> np.ndarray:
    """A struct of one element: a group with a member a field."""
    if len(group) > 1000:
        raise Damaged(f"a struct of {len(group)} fields; refused")
    value = np.empty((1, 1), object)
    value[0, 0] = {name: _value(file, _member(group, name), limit, depth + 1) for name in group}
    return value
