"""Faces that a data set has twice: exactly the same labels under two names, as a copied image or frame has them."""

from __future__ import annotations

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pipelines.inspect_survey import Selection, Survey


def add_duplicates(surveys: list[Survey], selection: Selection) -> None:
    """Find faces with exactly the labels of another; sources that have some are read again for their names."""
    keys = np.concatenate([result.columns["key"] for result in surveys])
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    if not same.any():
        return
    # The first of each group stands for it.
    starts = np.r_[True, ~same]
    first_of = np.empty(len(keys), np.int64)
    first_of[order] = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    copies = np.flatnonzero(first_of != np.arange(len(keys)))
    names = _names(surveys, selection, {int(i) for i in (*copies, *first_of[copies])})
    ends = np.cumsum([result.faces for result in surveys])
    for i in copies.tolist():
        other = names.get(int(first_of[i]), "another face")
        result = surveys[int(np.searchsorted(ends, i, side="right"))]
        result.problems.add("duplicate", names.get(i, "a face"), f"has exactly the labels of {other}")


def _names(surveys: list[Survey], selection: Selection, wanted: set[int]) -> dict[int, str]:
    """Names of faces by their number, counted over all sources."""
    names: dict[int, str] = {}
    start = 0
    for result in surveys:
        if any(start <= number < start + result.faces for number in wanted):
            try:
                faces = (face for face in selection.stream(result.source) if isinstance(face, Face))
                for number, face in enumerate(faces, start):
                    if number in wanted:
                        names[number] = face.id
            except AnnotationError:
                pass  # told by the first reading
        start += result.faces
    return names
