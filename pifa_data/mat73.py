"""MATLAB files of version 7.3: HDF5 with MATLAB's own attributes, and every array turned over.

libhdf5 does the work. What it would do on a hostile file's word is asked first: how large arrays and chunks are, what a
deflated chunk inflates to (libhdf5 doubles its memory until the stream ends), whether a chunk is too short (it gives
what lies behind it in memory), links and data in other files. 40,000 mutated files, read in processes of their own,
brought neither a crash nor a hang of libhdf5 2.0. ``member`` and ``read_array`` serve other HDF5 files as well.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.matfile import DEEPEST, Damaged, Limit

_NUMBERS = {"double": "f8", "single": "f4", "logical": "?"}
_NUMBERS.update({f"{sign}int{8 * size}": f"{sign or 'i'}{size}" for sign in ("", "u") for size in (1, 2, 4, 8)})

MOST_VALUES = 2**16
"""Arrays, cells, fields, and chunks in one file together; each costs 0.1 ms."""

_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3


def read_hdf5(path: str, names: Collection[str], limit: Limit) -> dict[str, np.ndarray]:
    """Those of the top-level arrays ``names`` that the file has, as ``read_mat`` gives them."""
    with _open(path) as file:
        return {name: _value(file, member(file, name), limit, 0) for name in names if name in file}


@contextmanager
def open_cell(path: str, name: str, number: int) -> Iterator[Any]:
    """The h5py data set of one cell, counted from 0 in MATLAB's order, of a top-level cell array; not yet read."""
    import h5py

    with _open(path) as file:
        node = member(file, name) if name in file else None
        if not isinstance(node, h5py.Dataset) or not _of_references(node):
            raise Damaged(f"expected a cell array {name}")
        cells = read_array(node, Limit())
        if not 0 <= number < cells.size:
            raise Damaged(f"{name} has {cells.size} cells, numbered from 1")
        cell = file[cells.ravel()[number]]
        if not isinstance(cell, h5py.Dataset):
            raise Damaged("expected an array, found a group")
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


def read_array(node: Any, limit: Limit) -> Any:
    """What a data set (h5py) holds, if it is of numbers or references, in this file, and as large as it says.

    Raises:
        Damaged: it is not.
    """
    if node.shape is None or node.external is not None or node.is_virtual:  # others may name any file
        raise Damaged("expected an array in this file, found something else; refused")
    if node.dtype.kind not in "fiu" and not _of_references(node):
        raise Damaged(f"expected numbers, text, a cell or a struct, found {node.dtype}")
    limit.take(node.size * node.dtype.itemsize)
    if node.chunks:
        _check_chunks(node, math.prod(node.chunks) * node.dtype.itemsize, limit)
    return np.atleast_2d(node[()])  # as all of MATLAB's are


def _of_references(node: Any) -> bool:
    """Whether a data set is what MATLAB makes of a cell. Types of objects are all equal to NumPy."""
    import h5py

    return h5py.check_ref_dtype(node.dtype) is h5py.Reference


def _check_chunks(node: Any, size: int, limit: Limit) -> None:
    """Refuse chunks that are, or inflate to, anything but ``size`` bytes."""
    starts = [range(0, length, step) for length, step in zip(node.shape, node.chunks, strict=True)]
    limit.take(size, max(math.prod(map(len, starts)) - 1, 0))
    pipeline = node.id.get_create_plist()
    filters = [pipeline.get_filter(i)[0] for i in range(pipeline.get_nfilters())]
    if len(set(filters)) != len(filters) or not {*filters} <= {_DEFLATE, _SHUFFLE, _CHECKSUM}:
        raise Damaged(f"compressed otherwise than by gzip (HDF5's filters {filters})")
    # By place and not by number: libhdf5 counts from the first chunk for each number.
    for start in itertools.product(*starts):
        chunk = node.id.get_chunk_info_by_coord(start)
        if chunk.byte_offset is None:  # never written, all zeros
            continue
        used = {one for i, one in enumerate(filters) if not chunk.filter_mask >> i & 1}
        if _DEFLATE not in used:
            if chunk.size != size + 4 * (_CHECKSUM in used):
                raise Damaged(f"damaged: a chunk of {size} bytes takes {chunk.size}")
            continue
        if chunk.size > size + size // 64 + 1000:
            raise Damaged(f"damaged: a chunk of {size} bytes takes {chunk.size}")
        _, data = node.id.read_direct_chunk(start)
        if len(zlib.decompressobj().decompress(data, size + 1)) != size:
            raise Damaged(f"damaged: a chunk does not inflate to {size} bytes")


def member(group: Any, name: str) -> Any:
    """A member of the file itself: links to other files, and to such links, would read what they please."""
    import h5py

    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise Damaged(f"{name}: expected an array, found a link; refused")
    return group[name]


def _class(node: Any) -> str:
    """MATLAB's name of a type, from a text of fixed and little length."""
    if "MATLAB_class" not in node.attrs:
        return ""
    attribute = node.attrs.get_id("MATLAB_class")
    if attribute.shape != () or attribute.dtype.kind != "S" or attribute.dtype.itemsize > 64:
        return ""
    return bytes(node.attrs["MATLAB_class"]).decode("latin-1")


def _value(file: Any, node: Any, limit: Limit, depth: int) -> np.ndarray:
    import h5py

    if depth > DEEPEST:
        raise Damaged(f"cells lie within each other more than {DEEPEST} deep; refused")
    if isinstance(node, h5py.Group):
        return _struct(file, node, limit, depth)
    if not isinstance(node, h5py.Dataset):
        raise Damaged("expected an array, found a type")
    kind = _class(node)
    array = read_array(node, limit)
    if "MATLAB_empty" in node.attrs:  # the numbers are its shape
        shape = [int(n) for n in np.ravel(array)[:8]]
        if kind == "char":
            return np.array([], dtype="U1")
        if 0 not in shape or min(shape) < 0 or max(shape) > 2**31:
            raise Damaged(f"damaged: an empty array of shape {shape}")
        return np.zeros(shape, object if kind == "cell" else _NUMBERS.get(kind, "f8"))
    if _of_references(node):
        cells = np.empty(array.size, object)
        for i, reference in enumerate(array.ravel()):
            cells[i] = _value(file, file[reference], limit, depth + 1)
        return cells.reshape(array.shape).T
    array = array.T
    if kind == "char":
        if not array.size:
            return np.array([], dtype="U1")
        rows = [row.astype(np.uint16).tobytes().decode("utf-16", errors="replace") for row in array]
        return np.array(rows)
    with np.errstate(invalid="ignore", over="ignore"):  # damage may be anything
        return array.astype(_NUMBERS.get(kind, array.dtype), copy=False)


def _struct(file: Any, group: Any, limit: Limit, depth: int) -> np.ndarray:
    """A struct of one element: a group with a member a field."""
    if len(group) > 1000:
        raise Damaged(f"a struct of {len(group)} fields; refused")
    value = np.empty((1, 1), object)
    value[0, 0] = {name: _value(file, member(group, name), limit, depth + 1) for name in group}
    return value
