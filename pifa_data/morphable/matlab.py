"""Named arrays of a model's MATLAB file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pifa_data.errors import AnnotationError, MorphableError
from pifa_data.matfile import read_mat as read_arrays
from pifa_data.morphable.importing import LARGEST_ARRAY


def read_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Those of the arrays ``names`` that a ``.mat`` file has; the others are not read.

    Raises:
        MorphableError: not such a file, a damaged one, or arrays that claim too much.
    """
    try:
        return dict(read_arrays(path, names, largest=8 * LARGEST_ARRAY))
    except AnnotationError as error:
        raise MorphableError(str(error)) from error
