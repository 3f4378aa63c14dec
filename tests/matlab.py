"""MATLAB files as their owners have them, for tests: version 7.3 as MATLAB lays it out, with h5py; others by SciPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Tue Dec 10 17:00:00 2013 HDF5 schema 1.00 ."


def write_mat73(
    path: Path, arrays: Mapping[str, np.ndarray], cells: Mapping[str, Sequence[np.ndarray]] | None = None
) -> Path:
    """Arrays and columns of cells: 512 bytes of MATLAB's own, arrays turned over, cells as references to ``#refs#``."""
    with h5py.File(path, "w", userblock_size=512, libver=("earliest", "v108")) as file:
        references = file.create_group("#refs#")
        for name, array in arrays.items():
            _put(file, name, array)
        for name, column in (cells or {}).items():
            members = [_put(references, f"{name}{i}", array).ref for i, array in enumerate(column)]
            node = file.create_dataset(name, data=np.array([members], dtype=object), dtype=h5py.ref_dtype)
            node.attrs["MATLAB_class"] = np.bytes_("cell")
    data = bytearray(path.read_bytes())
    data[:128] = _HEAD.ljust(116) + bytes(8) + b"\x00\x02IM"
    path.write_bytes(data)
    return path


def _put(group: Any, name: str, array: np.ndarray) -> Any:
    kind = {"f8": "double", "f4": "single", "b1": "logical", "u1": "uint8", "i2": "int16", "u2": "char"}
    stored = array.astype(np.uint8) if array.dtype == bool else array
    # MATLAB deflates all but the smallest arrays.
    large = {"chunks": stored.T.shape, "compression": "gzip"} if array.size > 100 else {}
    node = group.create_dataset(name, data=stored.T, **large)
    node.attrs["MATLAB_class"] = np.bytes_(kind[array.dtype.str[1:]])
    return node
