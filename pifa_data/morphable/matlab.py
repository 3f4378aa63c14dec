"""Reading named arrays of a MATLAB file that nobody vouches for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable.importing import LARGEST_ARRAY


def read_mat(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Those of the arrays ``names`` that a ``.mat`` file of version 4 to 7 has; the others are not read.

    Raises:
        MorphableError: not such a file, a damaged one, one of version 7.3, or an array that claims too much.
    """
    from scipy.io import loadmat, whosmat  # 0.2 s, and only here

    try:
        shapes = {name: shape for name, shape, _ in whosmat(str(path)) if name in names}
        for name, shape in shapes.items():
            if math.prod(shape) > LARGEST_ARRAY:
                raise MorphableError(f"{name}: expected at most {LARGEST_ARRAY} numbers, found {shape}")
        found = loadmat(str(path), variable_names=list(shapes)) if shapes else {}
    except MorphableError:
        raise
    except NotImplementedError as error:
        raise MorphableError("expected a .mat file of version 7 or before, found 7.3; save it with -v7") from error
    except Exception as error:
        # SciPy's reader meets damage with whatever fails first: struct, zlib, type, index and memory errors.
        raise MorphableError(f"not a .mat file, or a damaged one ({type(error).__name__})") from error
    return {name: found[name] for name in shapes if isinstance(found.get(name), np.ndarray)}
