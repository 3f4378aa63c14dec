"""Where fitted faces have the landmarks of any scheme, not just of the one they were fitted to."""

from __future__ import annotations

import numpy as np

from pifa_data.camera import project
from pifa_data.fitting.fitter import LandmarkFitter
from pifa_data.fitting.silhouette import silhouette
from pifa_data.morphable.model import MorphableModel
from pifa_data.morphable.points import contour_of, landmark_vertices


class Fitters:
    """The fitter of each landmark scheme, made when it is first asked for, and the model that they share."""

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        self._made: dict[str, LandmarkFitter] = {}

    def __call__(self, scheme: str) -> LandmarkFitter:
        """Raises MorphableError if the model has no vertices for the scheme."""
        if scheme not in self._made:
            self._made[scheme] = LandmarkFitter(self.model, scheme)
        return self._made[scheme]


def landmarks_of(model: MorphableModel, scheme: str, params: np.ndarray, kind: str) -> np.ndarray:
    """f(P), equation 3: landmarks of a scheme, the contour's on the silhouette for ``2d``.

    Args:
        params: ``(F, 8 + K)``, M row-major in any image's pixels, then p.
        kind: ``2d`` or ``3d``, of all the faces.

    Returns:
        ``(F, L, 2)`` float64, the pixels of M.

    Raises:
        MorphableError: the model has no vertices for the scheme.
    """
    fixed = landmark_vertices(model, scheme)
    contour = contour_of(model, scheme) if kind == "2d" else None
    lines = contour.vertices if contour is not None else np.empty((0, 1), np.int32)
    needed, where = np.unique(np.concatenate([fixed, lines.ravel()]), return_inverse=True)
    cameras = params[:, :8].astype(np.float64).reshape(-1, 2, 4)
    points = project(model.vertices(params[:, 8:], needed), cameras)
    found = points[:, where[: len(fixed)]]
    if contour is not None:
        candidates = points[:, where[len(fixed) :]].reshape(len(points), *lines.shape, 2)
        chosen = silhouette(candidates, cameras, contour.side)
        found[:, contour.points] = np.take_along_axis(candidates, chosen[..., None, None], axis=2)[:, :, 0]
    return found
