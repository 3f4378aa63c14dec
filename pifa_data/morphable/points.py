"""The vertices of a scheme's landmarks, of a single scheme as of a union."""

from __future__ import annotations

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable.model import Contour, MorphableModel
from pifa_data.schemes import members
from pifa_data.schemes.composite import SIGN


def landmark_vertices(model: MorphableModel, scheme: str) -> np.ndarray:
    """Vertex of each landmark: ``(L,)`` int32.

    Raises:
        MorphableError: the model has none for that scheme, or for one of a union.
    """
    for part in scheme.split(SIGN):
        if part not in model.landmarks:
            raise MorphableError(
                f"the morphable model {model.name} has no landmark vertices for the scheme {part}; it has "
                f"{', '.join(sorted(model.landmarks))}"
            )
    if SIGN not in scheme:
        return model.landmarks[scheme]
    return np.array([model.landmarks[part][i] for part, i in members(scheme)], dtype=np.int32)


def contour_of(model: MorphableModel, scheme: str) -> Contour | None:
    """The lines along which the ``2d`` contour landmarks of a scheme march; None if it has no such landmarks.

    Raises:
        MorphableError: the model has no vertices for that scheme, or for one of a union.
    """
    if SIGN not in scheme:
        landmark_vertices(model, scheme)
        return model.contours.get(scheme)
    where = {(part, i): at for at, (part, i) in enumerate(members(scheme))}
    found: list[Contour] = []
    for part in scheme.split(SIGN):
        contour = contour_of(model, part)
        if contour is not None:
            # A landmark that an earlier scheme gave marches, or not, as that one says.
            own = np.flatnonzero([(part, int(i)) in where for i in contour.points])
            points = np.array([where[part, int(i)] for i in contour.points[own]], dtype=contour.points.dtype)
            found.append(Contour(points, contour.vertices[own], contour.side[own]))
    if not found:
        return None
    width = max(contour.vertices.shape[1] for contour in found)
    return Contour(
        points=np.concatenate([contour.points for contour in found]),
        # Shorter lines end with their last candidate again: the outermost stays the outermost.
        vertices=np.concatenate(
            [np.pad(c.vertices, ((0, 0), (0, width - c.vertices.shape[1])), mode="edge") for c in found]
        ),
        side=np.concatenate([contour.side for contour in found]),
    )
