"""The text of one ``.pts`` file, as several data sets write it; what its numbers mean is for each reader to say."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydantic_core import from_json

from pifa_data.errors import AnnotationError
from pifa_data.readers.numbers import parse_rows

_LARGEST = 64 * 1024
"""Bytes of one file; 68 rows take about 2 KB."""

# Not waiting for a writer: a pipe of that name is an empty file.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_points(path: str | Path, n_points: int = 68) -> np.ndarray:
    """Read the rows between the braces.

    Returns:
        ``(n_points, 2)`` float64, the numbers as they stand in the file.

    Raises:
        AnnotationError: unreadable, too large, no ``{...}`` block, a bad row, or a wrong number of rows.
    """
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            # One byte more than is allowed, so that a huge file is never read whole.
            data = os.read(descriptor, _LARGEST + 1)
        finally:
            os.close(descriptor)
        if len(data) > _LARGEST:
            raise AnnotationError(f"{path}: larger than {_LARGEST} bytes, not a .pts file")
        if not data.isascii():
            raise AnnotationError(f"{path}: not a .pts file (expected plain ASCII text)")
        start = data.find(b"{") + 1
        end = data.find(b"}", start)
        if not start:
            raise AnnotationError(f"{path}: not a .pts file (no {{...}} block)")
        body = data[start : end if end >= 0 else len(data)]
        rows = _pairs(body, n_points)
        if rows is None:
            rows = parse_rows(body.decode("ascii"))
        if rows.shape != (n_points, 2):
            raise AnnotationError(
                f"{path}: expected {n_points} rows of (x, y), found {len(rows)} rows of {rows.shape[1]} numbers"
            )
        if end < 0 and data[-1:] != b"\n":  # then its last number may be cut, too
            raise AnnotationError(f"{path}: expected a }} behind the rows, found the file's end; copy it again")
        return rows
    except (ValueError, OSError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path}: not a .pts file ({error})") from error


def _pairs(body: bytes, count: int) -> np.ndarray | None:
    """So many lines of two plain numbers, or None for whatever else ``parse_rows`` may make of the text.

    One list of numbers becomes an array twice as fast as a list of rows.
    """
    body = body.strip()
    if body.translate(None, b"0123456789.-+eE\r") != (b" \n" * count)[:-1]:
        return None
    try:
        array = np.array(from_json(b"[" + body.replace(b"\n", b",").replace(b" ", b",") + b"]"))
    except ValueError:
        return None
    return array.astype(np.float64, copy=False).reshape(-1, 2) if array.dtype.kind in "fi" else None
