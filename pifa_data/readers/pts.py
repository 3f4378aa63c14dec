"""The text of one ``.pts`` file, as several data sets write it; what its numbers mean is for each reader to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.readers.numbers import parse_rows

_LARGEST = 64 * 1024
"""Bytes of one file; 68 rows take about 2 KB."""


def read_points(path: Path, n_points: int = 68) -> np.ndarray:
    """Read the rows between the braces.

    Returns:
        ``(n_points, 2)`` float64, the numbers as they stand in the file.

    Raises:
        AnnotationError: unreadable, too large, no ``{...}`` block, a bad row, or a wrong number of rows.
    """
    try:
        # One byte more than is allowed, so that a huge file is never read whole.
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise AnnotationError(f"{path}: larger than {_LARGEST} bytes, not a .pts file")
        body = data.decode("ascii").split("{", 1)[1].split("}", 1)[0]
        rows = parse_rows(body)
        if rows.shape != (n_points, 2):
            raise AnnotationError(
                f"{path}: expected {n_points} rows of (x, y), found {len(rows)} rows of {rows.shape[1]} numbers"
            )
        return rows
    except (IndexError, ValueError, OSError) as error:
        if isinstance(error, AnnotationError):
            raise
        why = "no {...} block" if isinstance(error, IndexError) else error
        raise AnnotationError(f"{path}: not a .pts file ({why})") from error
