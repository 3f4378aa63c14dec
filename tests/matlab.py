"""MATLAB files for tests: version 7.3 as MATLAB lays it out, with h5py; the others SciPy writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Tue Dec 10 17:00:00 2013 HDF5 schema 1.00 ."
_CLASSES = {"f8": "double", "f4": "single", "b1": "logical", "u1": "uint8", "i2": "int16"}


def write_mat73(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Numbers, strings, and object arrays of these (cells): 512 bytes of MATLAB's own, then HDF5, all turned over."""
    with h5py.File(path, "w", userblock_size=512, libver=("earliest", "v108")) as file:
        references = file.create_group("#refs#")
        for name, value in arrays.items():
            _put(file, name, value, references)
    with path.open("r+b") as raw:
        raw.write(_HEAD.ljust(116) + bytes(8) + b"\x00\x02IM")
    return path


def _put(group: h5py.Group, name: str, value: Any, references: h5py.Group) -> h5py.Dataset:
    options: dict[str, Any] = {}
    if isinstance(value, str):
        kind, stored = "char", np.array([[ord(sign) for sign in value]], np.uint16)
    elif value.dtype == object:
        kind, stored, options = "cell", np.empty(value.shape, object), {"dtype": h5py.ref_dtype}
        for at in np.ndindex(value.shape):
            stored[at] = _put(references, "_".join([name, *map(str, at)]), value[at], references).ref
    else:
        kind, stored = _CLASSES[value.dtype.str[1:]], value.astype(np.uint8) if value.dtype == bool else value
        if value.size > 100:  # MATLAB deflates all but the smallest arrays
            options = {"chunks": value.T.shape, "compression": "gzip"}
    node = group.create_dataset(name, data=stored.T, **options)
    node.attrs["MATLAB_class"] = np.bytes_(kind)
    return node


def cell(*values: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A cell array of values, one row unless ``shape`` says otherwise."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape or (1, len(values)))
