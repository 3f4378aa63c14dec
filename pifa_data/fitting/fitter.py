"""Fitting camera and coefficients to 2D landmarks (the labels P̄ of the network), batches of faces at once.

A label is the projection of its vertex plus noise. The fit is the most probable camera and coefficients under

* the prior p ~ N(0, I);
* noise of standard deviation σ·s in each coordinate, s the camera's scale (so σ is a share of the face's size, however
  few of its points are labelled), with Student's heavy tails of ν degrees of freedom, which lets wrong points go.

It minimises, over rotation, scale, translation and coefficients,

    (ν + 2) Σ_i log(1 + d_i²/ν) + ‖p‖²,        d_i = ‖u_i − f_i(P)‖ · √w_i / (σ s)

by Gauss-Newton with weights w_i (ν + 2)/(ν + d_i²) (the usual reweighting of a t distribution; Lange, Little, Taylor
1989). M is a scaled rotation throughout.

**The modes cost nothing.** The landmark vertices and all their contour candidates, C of them, have the prior
covariance Σ = BᵀB (3C × 3C), whatever the number of modes K. Its eigenvectors give coordinates q = V p in which
the part of p that no label can tell (it moves the candidates by less than ``RESOLUTION`` σ) is left out and stays at
the prior's mean; V has orthonormal rows, so ‖q‖² = ‖p‖² and p = Vᵀq at the optimum. Of 157 modes about 50 remain, and a
step solves for 6 + 50 numbers.

**Coarse to fine.** ``PoseGrid`` gives each face two starts. A few steps with the largest modes decide between them,
some more settle the pose, then all modes take part until the face stands still. Before each step the contour points of
``2d`` labels march to the silhouette; at the end they stay, so that two candidates equally far out do not keep a face
from converging.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from threadpoolctl import threadpool_limits

from pifa_data.boxes import box_size
from pifa_data.camera import decompose
from pifa_data.fitting.algebra import exponential, inverse_by_halves, mean_errors, normalised
from pifa_data.fitting.silhouette import outermost
from pifa_data.fitting.start import PoseGrid
from pifa_data.morphable.model import MorphableModel
from pifa_data.morphable.points import contour_of, landmark_vertices
from pifa_data.schemes import get_scheme

WEIGHT_OF_OCCLUDED = 0.5
"""Labelled but hidden points are guesses of an annotator: on MERL-RAV √2 times the standard deviation and more."""
FREEDOM = 5.0
"""ν of the noise."""
RESOLUTION = 0.1
"""Modes that move the candidates by less than this share of σ (root mean square) stay at the prior's mean."""
COARSE, COARSE_STEPS = 12, 2
"""Modes that take part, and steps, while two starts compete."""
MIDDLE, MIDDLE_STEPS = 32, 2
"""Modes and steps that settle the pose."""
STEPS, MARCHING_STEPS = 14, 3
"""Steps with all modes, at most; and those of them in which the contour marches."""
STILL_TURN, STILL_MODE = 8e-3, 0.08
"""A face has converged when a step turns it by less (radians) and changes no coefficient by more."""
RIDGE = 1e-6
"""Share of the camera's curvature added to it: labels on a line would leave a turn about that line undetermined."""
MISFIT = 5.0
"""Flag of the mean distance of visible labels over σ; good labels have about 1."""
APART = np.radians(30.0)
"""The second start's yaw is at least so far from the first's."""
IMPLAUSIBLE = 3.0
"""Flag of p̂ᵀp̂ over the effective degrees of freedom."""
BLOCK = 96
"""Faces worked on at once: their Jacobians stay in a core's cache."""

_FLIP = np.array([1.0, -1.0], np.float32)


@dataclass(frozen=True)
class Fits:
    """Fits of F faces.

    Attributes:
        params: ``(F, 8 + K)`` float64: M row-major in image pixels, then p in standard deviations.
        landmarks: ``(F, L, 2)`` float64 fitted points, image pixels.
        nme: ``(F,)`` mean distance of fitted points to visible labels, percent of the tight box's √(w·h).
        converged: ``(F,)`` bool, whether the last step was negligible.
        plausible: ``(F,)`` bool, false where the shape is far less probable than the model's faces are, or the labels
            lie far from any face.
        plausibility: ``(F,)`` p̂ᵀp̂ over ``dof``: 1 where the shapes vary as the prior says.
        dof: ``(F,)`` effective degrees of freedom, the trace of (prior − posterior covariance of p): how many
            coefficients the labels determine.
    """

    params: np.ndarray
    landmarks: np.ndarray
    nme: np.ndarray
    converged: np.ndarray
    plausible: np.ndarray
    plausibility: np.ndarray
    dof: np.ndarray

    @property
    def cameras(self) -> np.ndarray:
        """M of each face: ``(F, 2, 4)``."""
        return self.params[:, :8].reshape(-1, 2, 4)

    def take(self, rows: slice) -> Fits:
        """The fits of some faces."""
        return Fits(*(getattr(self, f.name)[rows] for f in fields(self)))


def label_weights(visibility: np.ndarray) -> np.ndarray:
    """Weight of each label by its ``(F, L)`` visibility: ``(F, L)`` float64."""
    return np.choose(visibility, [0.0, WEIGHT_OF_OCCLUDED, 1.0])


@dataclass
class _State:
    """Where each face stands: its row in the batch, rotation, scale, translation, q, the vertex of each landmark."""

    row: np.ndarray
    rotation: np.ndarray
    scale: np.ndarray
    translation: np.ndarray
    q: np.ndarray
    selection: np.ndarray

    def take(self, rows: np.ndarray) -> _State:
        return _State(*(getattr(self, f.name)[rows] for f in fields(self)))

    def put(self, rows: np.ndarray, other: _State) -> None:
        for f in fields(self):
            getattr(self, f.name)[rows] = getattr(other, f.name)


@dataclass
class _Sight:
    """The labels against a state: residual ``(F, L, 2)``, turned vertices ``(F, L, 3)``, weights ``(F, L)``, cost."""

    residual: np.ndarray
    turned: np.ndarray
    weights: np.ndarray
    cost: np.ndarray


class LandmarkFitter:
    """Everything about one model and scheme that all faces share."""

    def __init__(self, model: MorphableModel, scheme: str, *, noise: float | None = None) -> None:
        """Gather the landmark vertices, their contour candidates and the prior.

        Args:
            noise: σ as a share of the mean face's tight box; the scheme's own if None.

        Raises:
            PifaError: the model has no vertices for this scheme.
        """
        self.scheme = get_scheme(scheme)
        self.modes = model.n_coefficients
        landmarks = landmark_vertices(model, scheme)
        contour = contour_of(model, scheme)
        lines = contour.vertices if contour else np.empty((0, 1), np.int32)
        vertices, where = np.unique(np.concatenate([landmarks, lines.ravel()]), return_inverse=True)
        self.fixed = where[: len(landmarks)]
        self.lines = where[len(landmarks) :].reshape(lines.shape)
        self.line_points = contour.points if contour else np.empty(0, np.int32)
        self.line_sides = contour.side if contour else np.empty(0, np.int32)
        mean = model.mean[vertices].astype(np.float64)
        # Turns are about the middle of the landmarks: about a far origin they would look like shifts, in float32.
        self.centre = mean[self.fixed].mean(0)
        mean = mean - self.centre
        basis = model.modes[:, vertices].astype(np.float64).reshape(self.modes, 3 * len(vertices))

        size = box_size(np.concatenate([mean[self.fixed, :2].min(0), mean[self.fixed, :2].max(0)])[None])[0]
        self.size = size
        share = self.scheme.noise if noise is None else noise
        self.sigma = np.float32(share * size)
        _, singular, directions = np.linalg.svd(basis.T, full_matrices=False)
        told = singular / np.sqrt(len(vertices)) > RESOLUTION * self.sigma
        self.directions = directions[told]  # V (r, K)
        self.rank = len(self.directions)
        self.mean = mean.astype(np.float32)
        self.basis = (self.directions @ basis).astype(np.float32)  # (r, 3C)
        by_vertex = self.basis.reshape(self.rank, len(vertices), 3)
        self.per_vertex = np.ascontiguousarray(by_vertex.transpose(1, 2, 0))  # (C, 3, r)
        # Inside, marching points come first, so that each kind is a slice.
        self.order = np.concatenate([self.line_points, np.setdiff1d(np.arange(len(landmarks)), self.line_points)])
        self.moving = {"2d": len(self.line_points), "3d": 0}
        self.shared = {kind: self._shared(count) for kind, count in self.moving.items()}
        no_lines = np.empty((0, 1, 3))
        self.starts = {
            "2d": PoseGrid(mean[self.fixed], mean[self.lines], self.line_points, self.line_sides),
            "3d": PoseGrid(mean[self.fixed], no_lines, np.empty(0, int), np.empty(0)),
        }

    def _shared(self, moving: int) -> np.ndarray:
        """``(3, S, r)`` modes of the S points that never march: of all faces the same."""
        still = self.fixed[self.order[moving:]]
        return np.ascontiguousarray(self.per_vertex[still].transpose(1, 0, 2))

    def fit(self, landmarks: np.ndarray, visibility: np.ndarray, kind: str) -> Fits:
        """Fit every face of a batch.

        Args:
            landmarks: ``(F, L, 2)`` image pixels; rows of visibility 0 are ignored, whatever they hold.
            visibility: ``(F, L)`` uint8, 0 not labelled, 1 occluded, 2 visible.
            kind: ``2d`` (contour points march) or ``3d`` (they stay).
        """
        if not len(landmarks):
            return self.no_fits(0)
        # Matrices of 75 rows are far too small to share between threads: with two, BLAS takes three times as long.
        with threadpool_limits(1, "blas"):
            blocks = [
                self._fit_block(landmarks[i : i + BLOCK], visibility[i : i + BLOCK], kind, i)
                for i in range(0, len(landmarks), BLOCK)
            ]
        return Fits(*(np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Fits)))

    def no_fits(self, faces: int) -> Fits:
        """NaN for faces that have no fit."""
        none, no = np.full(faces, np.nan), np.zeros(faces, bool)
        params, landmarks = np.full((faces, 8 + self.modes), np.nan), np.full((faces, len(self.fixed), 2), np.nan)
        return Fits(params, landmarks, none.copy(), no, no.copy(), none.copy(), none.copy())

    def posterior(
        self, landmarks: np.ndarray, visibility: np.ndarray, kind: str, fits: Fits
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the labels tell of the coefficients, about the fits.

        Returns:
            Means ``(F, r)`` and covariances ``(F, r, r)`` float32 of q = V p (see the top of the file), the camera's
            uncertainty in them. What of p is not in q has the prior's.
        """
        centred, centre, spread = normalised(landmarks, visibility > 0)
        scale, rotation, translation = decompose(fits.cameras)
        q = fits.params[:, 8:] @ self.directions.T
        selection = np.tile(self.fixed[self.order], (len(q), 1))
        moved = (translation + fits.cameras[..., :3] @ self.centre - centre) / spread[:, None]
        state = _State(np.arange(len(q)), rotation, scale / spread, moved, q.copy(), selection)
        weights = label_weights(visibility).astype(np.float32)[:, self.order]
        with threadpool_limits(1, "blas"):
            sight = self._look(state, centred[:, self.order].astype(np.float32), weights, kind)
            _, inverse = self._step(state, sight, kind, self.rank)
        return q, inverse[:, 6:, 6:]

    def noise_moments(self, landmarks: np.ndarray, visibility: np.ndarray, fits: Fits) -> tuple[float, float]:
        """Weighted squares of the residuals, and how many of their coordinates the fits left free.

        The root of their ratio, over many faces, estimates σ (as ``noise`` has it), some 10 % too large: the weighted
        squares of a t distribution have the mean σ² a coordinate, but a fit takes fewer of them than it has degrees of
        freedom, since far points count less. ``benchmarks/noise.py --check`` measures by how much.
        """
        labelled = visibility > 0
        scale, _, _ = decompose(fits.cameras)
        away = np.where(labelled[..., None], landmarks - fits.landmarks, 0.0) / scale[:, None, None]
        squared = label_weights(visibility) * (away**2).sum(2)
        weighted = squared * (FREEDOM + 2) / (FREEDOM + squared / float(self.sigma) ** 2)
        return float(weighted.sum()) / self.size**2, float(2 * labelled.sum() - fits.dof.sum() - 6 * len(scale))

    def _fit_block(self, landmarks: np.ndarray, visibility: np.ndarray, kind: str, first: int) -> Fits:
        labelled = visibility > 0
        centred, centre, spread = normalised(landmarks, labelled)
        weights = label_weights(visibility).astype(np.float32)
        starts = self.starts[kind].starts(centred[..., 0] + 1j * centred[..., 1], weights, APART)

        u, weights = centred[:, self.order].astype(np.float32), weights[:, self.order]
        rows = first + np.arange(len(u))
        state, rival = (
            _State(rows, *start, np.zeros((len(u), self.rank)), np.tile(self.fixed[self.order], (len(u), 1)))
            for start in starts
        )
        cost, rival_cost = (
            self._coarse(one, u, weights, kind, min(COARSE, self.rank), COARSE_STEPS) for one in (state, rival)
        )
        better = np.flatnonzero(rival_cost < cost)
        state.put(better, rival.take(better))
        self._coarse(state, u, weights, kind, min(MIDDLE, self.rank), MIDDLE_STEPS)
        converged, dof = self._fine(state, u, weights, kind)

        flipped = state.rotation[:, :2] * (state.scale * spread)[:, None, None] * _FLIP[:, None]
        translation = state.translation * spread[:, None] + centre
        fitted = np.empty_like(centred)
        fitted[:, self.order] = self._vertices(state) @ np.swapaxes(flipped, 1, 2) + translation[:, None]
        m = np.concatenate([flipped, (translation - flipped @ self.centre)[..., None]], axis=2)
        plausibility = (state.q**2).sum(1) / np.maximum(dof, 1e-9)
        error, size = mean_errors(fitted, landmarks, visibility)
        return Fits(
            params=np.concatenate([m.reshape(-1, 8), state.q @ self.directions], axis=1),
            landmarks=fitted,
            nme=100 * error / size,
            converged=converged,
            plausible=(plausibility < IMPLAUSIBLE) & (error < MISFIT * self.sigma * state.scale * spread),
            plausibility=plausibility,
            dof=dof,
        )

    def _coarse(
        self, state: _State, u: np.ndarray, weights: np.ndarray, kind: str, rank: int, steps: int
    ) -> np.ndarray:
        """Steps with the largest modes, in place; what they reach costs ``(F,)``."""
        for _ in range(steps):
            self._step(state, self._look(state, u, weights, kind), kind, rank)
        return self._look(state, u, weights, kind).cost

    def _fine(self, state: _State, u: np.ndarray, weights: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps with all modes, in place, until each face stands still; whether it does, and its ``dof``."""
        converged, dof = np.zeros(len(u), bool), np.zeros(len(u))
        active = np.arange(len(u))
        for step in range(STEPS):
            now = state.take(active)
            march = kind if step < MARCHING_STEPS else "3d"
            delta, inverse = self._step(now, self._look(now, u[active], weights[active], march), kind, self.rank)
            state.put(active, now)
            # The inverse's lower right block is the posterior covariance of q, the camera's uncertainty in it.
            dof[active] = self.rank - np.trace(inverse[:, 6:, 6:], axis1=1, axis2=2)
            turn, modes = np.abs(delta[:, :3]).max(1), np.abs(delta[:, 6:]).max(1, initial=0)
            converged[active] = (turn < STILL_TURN) & (modes < STILL_MODE)
            if step + 1 >= MARCHING_STEPS:
                active = active[~converged[active]]
            if not len(active):
                break
        return converged, dof

    def _look(self, state: _State, u: np.ndarray, weights: np.ndarray, kind: str) -> _Sight:
        """The labels against the face as it now stands; the contour of ``2d`` ones marches first, in place."""
        turn, scale = state.rotation.astype(np.float32), state.scale[:, None].astype(np.float32)
        vertices = self._vertices(state, turn if kind == "2d" else None)
        turned = vertices @ np.swapaxes(turn, 1, 2) * scale[..., None]
        residual = u - (turned[..., :2] * _FLIP + state.translation[:, None].astype(np.float32))
        variance = (scale * self.sigma) ** 2
        squared = (residual**2).sum(2) * weights / variance
        cost = (FREEDOM + 2) * np.log1p(squared / FREEDOM).sum(1) + (state.q**2).sum(1)
        reweighted = weights * (FREEDOM + 2) / (FREEDOM + squared) / variance
        return _Sight(residual, turned, reweighted, cost)

    def _vertices(self, state: _State, turn: np.ndarray | None = None) -> np.ndarray:
        """``(F, L, 3)`` float32 vertices of the landmarks; with a rotation, the contour marches first, in place."""
        candidates = self.mean + (state.q.astype(np.float32) @ self.basis).reshape(len(state.q), -1, 3)
        if turn is not None and len(self.lines):
            chosen = outermost(candidates, self.lines, turn, self.line_sides)
            state.selection[:, : len(self.lines)] = self.lines[np.arange(len(self.lines)), chosen]
        return np.take_along_axis(candidates, state.selection[..., None], axis=1)

    def _step(self, state: _State, sight: _Sight, kind: str, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """One Gauss-Newton step of camera and the largest ``rank`` modes, in place.

        Returns:
            The step ``(F, 6 + rank)`` (turn, logarithm of the scale, translation, q), and the inverse
            ``(F, 6 + rank, 6 + rank)`` of its normal matrix.
        """
        root = np.sqrt(sight.weights)
        flat = self._jacobian(state, sight, root, kind, rank).reshape(len(root), -1, 6 + rank)
        across = np.swapaxes(flat, 1, 2)
        normal = across @ flat
        residual = np.moveaxis(sight.residual * root[..., None], 2, 1).reshape(len(root), -1, 1)
        gradient = across @ residual
        self._add_prior(state, normal, gradient[..., 0])
        if rank < self.rank:  # a small matrix is solved faster than inverted
            inverse = np.empty((len(root), 0, 0))
            delta = np.linalg.solve(normal, gradient)[..., 0].astype(np.float64)
        else:
            inverse = inverse_by_halves(normal)
            delta = (inverse @ gradient)[..., 0].astype(np.float64)
        # More than half a radian or e^½ leaves the region that the Jacobian describes.
        turn = delta[:, :3] * np.minimum(1.0, 0.5 / np.maximum(np.linalg.norm(delta[:, :3], axis=1), 1e-12))[:, None]
        state.rotation = exponential(turn) @ state.rotation
        state.scale = state.scale * np.exp(np.clip(delta[:, 3], -0.5, 0.5))
        state.translation = state.translation + delta[:, 4:6]
        state.q[:, :rank] += delta[:, 6:]
        return delta, inverse

    def _add_prior(self, state: _State, normal: np.ndarray, gradient: np.ndarray) -> None:
        """Add what is known before the labels are seen to ``(F, n, n)`` and ``(F, n)``, in place."""
        rank = normal.shape[-1] - 6
        modes, camera = np.arange(6, 6 + rank), np.arange(6)
        normal[:, modes, modes] += 1
        gradient[:, 6:] -= state.q[:, :rank]
        normal[:, camera, camera] *= 1 + RIDGE
        normal[:, camera, camera] += RIDGE

    def _jacobian(self, state: _State, sight: _Sight, root: np.ndarray, kind: str, rank: int) -> np.ndarray:
        """``(F, 2, L, 6 + rank)`` float32: of the points' x and y by turn, log scale, translation and q, weighted.

        ``root`` ``(F, L)`` are the roots of the points' weights.
        """
        faces, points = state.selection.shape
        x, y, z = np.moveaxis(sight.turned * root[..., None], 2, 0)
        jacobian = np.empty((faces, 2, points, 6 + rank), np.float32)
        jacobian[..., :6] = 0
        # d(ω × X): x: ω_y z − ω_z y;  y: ω_z x − ω_x z, turned over, since the image's y points down.
        jacobian[:, 0, :, 1], jacobian[:, 0, :, 2] = z, -y
        jacobian[:, 1, :, 0], jacobian[:, 1, :, 2] = z, -x
        jacobian[:, 0, :, 3], jacobian[:, 1, :, 3] = x, -y
        jacobian[:, 0, :, 4] = jacobian[:, 1, :, 5] = root
        rows = (state.rotation[:, :2] * state.scale[:, None, None] * _FLIP[:, None]).astype(np.float32)
        moving = self.moving[kind]
        shared = self.shared[kind][..., :rank]
        by_modes = (rows.reshape(-1, 3) @ shared.reshape(3, -1)).reshape(faces, 2, points - moving, rank)
        np.multiply(by_modes, root[:, None, moving:, None], out=jacobian[:, :, moving:, 6:])
        if moving:
            modes = self.per_vertex[state.selection[:, :moving], :, :rank]  # (F, J, 3, r)
            weighted = rows[:, :, None] * root[:, None, :moving, None]  # (F, 2, J, 3)
            for axis in range(2):
                jacobian[:, axis, :moving, 6:] = (weighted[:, axis, :, None] @ modes)[..., 0, :]
        return jacobian
