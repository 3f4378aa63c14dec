"""What readers of text with a face a line share: options, names that are unique, visibility of fully labelled faces."""

from __future__ import annotations

from functools import cache

import numpy as np

from pifa_data.errors import AnnotationError, PifaError
from pifa_data.readers.base import flag
from pifa_data.readers.names import Names
from pifa_data.schemes import Scheme, get_scheme

KIND = {"kind": "2d (jaw labels lie on the visible silhouette) or 3d (each is one place on the head); 2d if not given"}
SCHEME = {"scheme": "the landmark scheme, where the number of points does not tell it"}


def chosen_kind(kind: str) -> str:
    """The option ``kind=``.

    Raises:
        AnnotationError: neither ``2d`` nor ``3d``.
    """
    if kind not in ("2d", "3d"):
        raise AnnotationError(f"kind={flag(kind)}: expected 2d or 3d")
    return kind


def chosen_scheme(name: str) -> Scheme | None:
    """The option ``scheme=``; None for ``""``, which stands for an option that was not given.

    Raises:
        AnnotationError: no scheme has that name.
    """
    try:
        return get_scheme(name) if name else None
    except PifaError as error:
        raise AnnotationError(f"scheme={flag(name)}: {error}") from error


@cache
def all_visible(count: int) -> np.ndarray:
    """``(count,)`` uint8, all 2: one array for all faces, that nobody can change."""
    visibility = np.full(count, 2, np.uint8)
    visibility.flags.writeable = False
    return visibility


def unique(names: Names, name: str, line: int) -> str:
    """The name, with the number of its line behind it if another face had it before: one image may show several."""
    while not names.add(name):
        name = f"{name}#{line}"
    return name
