"""The one-euro filter (Casiez, Roussel and Vogel, 2012) on a face: steady at rest, quick in motion.

The filter is a low pass x̂ ← x̂ + α (x − x̂), α = 1/(1 + f/(2π f_c)) at f frames a second, whose cutoff grows with the
speed, f_c = F + β·|v|, and v is itself low-passed. Casiez et al. filter each number by its own speed. Here one α is
taken for a whole face, from the speed of its landmarks: landmarks, M and p then are the same weighted mean of those of
the frames before, and still belong together. With an α each, an M that follows fast would meet a p that follows slowly,
though the network errs in both at once and the errors cancel in the landmarks. v is in face sizes a second, so that a
face near the camera is filtered as one far from it.

A face that moves steadily at v lags 1/(2π f_c) seconds: by less than 1/(2πβ) of its size, however fast it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pifa_data.boxes import box_size
from pifa_data.camera import pose_angles
from pifa_model.results import Alignment

CUTOFF = 1.0
"""F, Hz: at 25 frames a second α is 0.2 at rest, and noise goes down to a third."""

BETA = 16.0
"""β, Hz a face size a second: a lag of 1 % of the face at most."""

SPEED_CUTOFF = 1.0
"""Hz, of the speed; the paper's."""

PAUSE = 0.5
"""Seconds without a face after which it begins anew."""


class OneEuroFilter:
    """Filters one face's landmarks and P."""

    def __init__(self, cutoff: float = CUTOFF, beta: float = BETA) -> None:
        self._cutoff, self._beta = cutoff, beta
        self._time = -np.inf
        self._last = self._speed = self._values = np.empty(0)

    def __call__(self, face: Alignment, time: float) -> Alignment:
        """The face at ``time``, seconds, steadied: landmarks, M, p and the pose of M. The rest stays as it is."""
        values = np.concatenate([face.landmarks.ravel(), face.params])
        size = max(float(box_size(face.tight)), 1e-6)
        step = time - self._time
        if not 0 < step <= PAUSE:
            self._speed = np.zeros_like(face.landmarks)
        else:
            # Against the last input, as in the authors' code: the filtered one lags and would seem slow.
            speed = (face.landmarks - self._last) / (size * step)
            self._speed = self._speed + _share(SPEED_CUTOFF, step) * (speed - self._speed)
            moving = float(np.sqrt((self._speed**2).sum(1).mean()))
            share = _share(self._cutoff + self._beta * moving, step)
            values = self._values + share * (values - self._values)
        self._time, self._last, self._values = time, face.landmarks, values
        landmarks, params = np.split(values, [face.landmarks.size])
        return replace(
            face,
            landmarks=landmarks.reshape(-1, 2),
            params=params,
            pose=pose_angles(params[:8].reshape(2, 4)),
        )


def _share(cutoff: float, step: float) -> float:
    """α of a cutoff, Hz, and the seconds since the frame before."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))
