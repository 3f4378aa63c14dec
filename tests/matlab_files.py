"""MATLAB files of version 7.3 for tests: numbers, text and cells as MATLAB lays them out in HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np


def write_mat73(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays of numbers, strings, and object arrays of these (cells)."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in arrays.items():
            _put(file, name, value, [0])
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _put(file: h5py.File, name: str, value: Any, count: list[int]) -> h5py.Dataset:
    if isinstance(value, str):
        codes = np.array([[ord(sign)] for sign in value], np.uint16)  # transposed, as all of MATLAB's arrays
        dataset = file.create_dataset(name, data=codes)
        dataset.attrs["MATLAB_class"] = np.bytes_("char")
    elif value.dtype == object:
        references = np.empty(value.shape, h5py.ref_dtype)
        for at in np.ndindex(value.shape):
            count[0] += 1
            references[at] = _put(file, f"#refs#/c{count[0]}", value[at], count).ref
        dataset = file.create_dataset(name, data=references.T, dtype=h5py.ref_dtype)
        dataset.attrs["MATLAB_class"] = np.bytes_("cell")
    else:
        dataset = file.create_dataset(name, data=value.T)
        dataset.attrs["MATLAB_class"] = np.bytes_("double")
    return dataset


def cell(*values: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A cell array of values, one row unless ``shape`` says otherwise."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape or (1, len(values)))
