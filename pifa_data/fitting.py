"""Fitting camera and coefficients to 2D landmarks (the labels P̄ of the network), batches of faces at once.

Labels are u = T·X + t + noise with T the first three columns of M, X the model's landmark vertices and the noise
Gaussian of variance σ²/w a coordinate. With the prior p ~ N(0, I) the vertices are Gaussian themselves,
X ~ N(S₀, Σ), Σ = BᵀB with B the modes at the landmarks; Σ is a fixed matrix, so p can be marginalised and a face
costs one solve of its labels' size an iteration, whatever the number of modes:

    C = T Σ Tᵀ + σ² W⁻¹              covariance of the labels about the projected mean
    δ = (Jᵀ C⁻¹ J)⁻¹ Jᵀ C⁻¹ r        step of the camera (J its Jacobian at the current vertices, r = u − T S₀ − t)
    α = C⁻¹ (r − J δ),  X = S₀ + Σ Tᵀ α,  p = B Tᵀ α

which is the Gauss-Newton step of camera and coefficients together (eliminate p from the normal equations). Points far
off get less weight (Huber). For ``2d`` labels the contour points march to the silhouette between iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pifa_data.boxes import box_size
from pifa_data.camera import camera, decompose, rotation
from pifa_data.errors import PifaError
from pifa_data.morphable.model import MorphableModel
from pifa_data.schemes import get_scheme

ITERATIONS = 10
WEIGHT_OF_OCCLUDED = 0.25
"""Labelled but hidden points are guesses of an annotator: twice the standard deviation."""
HUBER = 3.0
"""Standard deviations beyond which a point loses weight."""
START_YAWS = (0.0, 1.0, -1.0)
"""Radians. Starts of the camera; the linear start alone can settle in a mirrored depth on near-planar labels."""


@dataclass(frozen=True)
class Fits:
    """Fits of F faces.

    Attributes:
        params: ``(F, 8 + K)`` float64: M row-major in image pixels, then p in standard deviations.
        landmarks: ``(F, L, 2)`` float64 fitted points, image pixels.
        nme: ``(F,)`` mean distance of fitted points to visible labels, percent of the tight box's √(w·h).
    """

    params: np.ndarray
    landmarks: np.ndarray
    nme: np.ndarray


class LandmarkFitter:
    """Everything about one model and scheme that all faces share."""

    def __init__(self, model: MorphableModel, scheme: str) -> None:
        """Gather the landmark vertices, their contour candidates and the prior covariance.

        Raises:
            PifaError: the model has no vertices for this scheme.
        """
        if scheme not in model.landmarks:
            raise PifaError(f"the morphable model {model.name} has no landmark vertices for the scheme {scheme}")
        self.scheme = get_scheme(scheme)
        self.modes = model.n_coefficients
        landmarks = model.landmarks[scheme]
        contour = model.contours.get(scheme)
        lines = contour.vertices if contour else np.empty((0, 1), np.int32)
        vertices, where = np.unique(np.concatenate([landmarks, lines.ravel()]), return_inverse=True)
        self.fixed = where[: len(landmarks)]
        self.lines = where[len(landmarks) :].reshape(lines.shape)
        self.line_points = contour.points if contour else np.empty(0, np.int32)
        self.line_sides = contour.side if contour else np.empty(0, np.int32)
        self.mean = model.mean[vertices].astype(np.float64)
        self.basis = model.modes[:, vertices].astype(np.float64).reshape(self.modes, -1)
        self.covariance = self.basis.T @ self.basis  # (3C, 3C), the prior Σ of all candidates

    def fit(self, landmarks: np.ndarray, visibility: np.ndarray, kind: str) -> Fits:
        """Fit every face of a batch.

        Args:
            landmarks: ``(F, L, 2)`` image pixels; rows of visibility 0 are ignored, whatever they hold.
            visibility: ``(F, L)`` uint8, 0 not labelled, 1 occluded, 2 visible.
            kind: ``2d`` (contour points march) or ``3d`` (they stay).
        """
        labelled = visibility > 0
        points = np.where(labelled[..., None], landmarks, np.nan)
        box = np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=1)
        size, centre = box_size(box), (box[:, :2] + box[:, 2:]) / 2
        # Unit: the tight box's size, so that σ is a share of it.
        u = np.where(labelled[..., None], (landmarks - centre[:, None]) / size[:, None, None], 0.0)
        weights = np.choose(visibility, [0.0, WEIGHT_OF_OCCLUDED, 1.0])

        cameras = self._start(u, weights)
        march = kind == "2d" and len(self.lines) > 0
        selection = np.tile(self.fixed, (len(u), 1))
        alpha_y = np.zeros((len(u), len(self.scheme), 3))
        for _ in range(ITERATIONS):
            if march:
                selection = self._march(cameras, alpha_y, selection)
            cameras, alpha_y = self._step(u, weights, cameras, alpha_y, selection)
        coefficients = self._spread(alpha_y, selection) @ self.basis.T
        fitted = self._project(cameras, self._vertices(coefficients, selection))

        error = np.linalg.norm(fitted - u, axis=2)
        visible = visibility == 2
        # Faces with no visible point are measured on what is labelled.
        counted = np.where(visible.any(1, keepdims=True), visible, labelled)
        nme = 100 * (error * counted).sum(1) / counted.sum(1)
        m = cameras * size[:, None, None]
        m[..., 3] += centre
        return Fits(
            params=np.concatenate([m.reshape(-1, 8), coefficients], axis=1),
            landmarks=fitted * size[:, None, None] + centre[:, None],
            nme=nme,
        )

    def _start(self, u: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Camera of the mean face: of the linear fit and fixed starting yaws, each refined, the best."""
        mean = self.mean[self.fixed]
        # Contour points of unknown place take no part yet, unless too few others are labelled.
        inner = weights.copy()
        inner[:, list(self.scheme.contour)] *= 0.05
        total = inner.sum(1)
        centre_u = (inner[..., None] * u).sum(1) / total[:, None]
        centre_x = inner @ mean / total[:, None]
        du = u - centre_u[:, None]
        dx = mean[None] - centre_x[:, None]
        weighted = inner[..., None] * dx
        xx = np.swapaxes(weighted, 1, 2) @ dx
        xx += 1e-3 * np.trace(xx, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        linear = np.linalg.solve(xx, np.swapaxes(weighted, 1, 2) @ du).transpose(0, 2, 1)
        _, rotations, _ = decompose(np.concatenate([linear, np.zeros((len(u), 2, 1))], axis=2))
        starts = [
            rotations,
            *(np.broadcast_to(rotation(yaw, 0.0, 0.0), (len(u), 3, 3)) for yaw in START_YAWS),
        ]
        best, best_cost = np.zeros((len(u), 2, 4)), np.full(len(u), np.inf)
        for start in starts:
            r = start
            for _ in range(6):
                # Alternate scale for the rotation and Procrustes' rotation for the completed depth.
                flat = dx @ np.swapaxes(r[:, :2], 1, 2) * np.array([1.0, -1.0])
                scale = (inner[..., None] * flat * du).sum((1, 2)) / (inner[..., None] * flat**2).sum((1, 2))
                scale = np.maximum(scale, 1e-6)
                target = np.concatenate(
                    [du * np.array([1.0, -1.0]) / scale[:, None, None], dx @ r[:, 2][:, :, None]], axis=2
                )
                left, _, right = np.linalg.svd(np.swapaxes(inner[..., None] * target, 1, 2) @ dx)
                sign = np.sign(np.linalg.det(left @ right))
                left[..., 2] *= sign[:, None]
                r = left @ right
            cameras = camera(scale, r, np.zeros((len(u), 2)))
            cameras[..., 3] = centre_u - (cameras[..., :3] @ centre_x[..., None])[..., 0]
            cost = (inner[..., None] * (self._project(cameras, mean) - u) ** 2).sum((1, 2))
            better = cost < best_cost
            best[better], best_cost[better] = cameras[better], cost[better]
        return best

    def _march(self, cameras: np.ndarray, alpha_y: np.ndarray, selection: np.ndarray) -> np.ndarray:
        """The outermost candidate of each contour line as the face now stands: ``(F, L)`` candidate numbers."""
        coefficients = self._spread(alpha_y, selection) @ self.basis.T
        everything = self.mean + (coefficients @ self.basis).reshape(len(cameras), -1, 3)
        chosen = silhouette(
            self._project(cameras, everything)[:, self.lines], cameras, self.line_sides
        )  # (F, J) position in the line
        marched = np.tile(self.fixed, (len(cameras), 1))
        marched[:, self.line_points] = self.lines[np.arange(len(self.lines)), chosen]
        return marched

    def _step(
        self,
        u: np.ndarray,
        weights: np.ndarray,
        cameras: np.ndarray,
        alpha_y: np.ndarray,
        selection: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One Gauss-Newton step of camera and coefficients; see the top of the file."""
        faces, points = u.shape[:2]
        linear = cameras[..., :3]
        mean = self.mean[selection]
        rows = (3 * selection[..., None] + np.arange(3)).reshape(faces, -1)
        sigma = self.covariance[rows[:, :, None], rows[:, None, :]]  # (F, 3L, 3L)
        current = mean + (sigma @ alpha_y.reshape(faces, -1, 1)).reshape(mean.shape)
        residual = u - self._project(cameras, current)
        distance = np.linalg.norm(residual, axis=2) / self.scheme.noise
        weights_now = weights * np.minimum(1.0, HUBER / np.maximum(distance, 1e-9))

        # T Σ Tᵀ by two products over the trailing coordinates, as whole matrices (small ones are slow in NumPy).
        half = sigma.reshape(faces, -1, 3) @ np.swapaxes(linear, 1, 2)
        c = (linear[:, None] @ half.reshape(faces, points, 3, -1)).reshape(faces, 2 * points, 2 * points)
        noise = self.scheme.noise**2 / np.maximum(weights_now, 1e-8)
        diagonal = np.arange(2 * points)
        c[:, diagonal, diagonal] += np.repeat(noise, 2, axis=1)

        scale, rotations, translation = decompose(cameras)
        jacobian = _camera_jacobian(scale, rotations, current).reshape(faces, 2 * points, 6)
        r0 = (u - self._project(cameras, mean)).reshape(faces, 2 * points, 1)
        solved = np.linalg.solve(c, np.concatenate([jacobian, r0], axis=2))
        jc = np.swapaxes(jacobian, 1, 2)
        delta = np.linalg.solve(jc @ solved[..., :6], jc @ solved[..., 6:])[..., 0]
        # A step of more than half a radian or a doubling of the scale leaves the region the Jacobian describes.
        delta[:, :3] *= np.minimum(1.0, 0.5 / np.maximum(np.linalg.norm(delta[:, :3], axis=1), 1e-12))[:, None]
        delta[:, 3] = np.clip(delta[:, 3], -0.5, 0.5)
        alpha = (solved[..., 6] - (solved[..., :6] @ delta[..., None])[..., 0]).reshape(faces, points, 2)
        moved = camera(scale * np.exp(delta[:, 3]), _exponential(delta[:, :3]) @ rotations, translation + delta[:, 4:])
        return moved, alpha @ linear

    def _spread(self, alpha_y: np.ndarray, selection: np.ndarray) -> np.ndarray:
        """Per-landmark 3-vectors summed at their candidates: ``(F, 3·C)``."""
        full = np.zeros((len(alpha_y), len(self.mean), 3))
        np.add.at(full, (np.arange(len(alpha_y))[:, None], selection), alpha_y)
        return full.reshape(len(alpha_y), -1)

    def _vertices(self, coefficients: np.ndarray, selection: np.ndarray) -> np.ndarray:
        everything = self.mean + (coefficients @ self.basis).reshape(len(coefficients), -1, 3)
        return np.take_along_axis(everything, selection[..., None], axis=1)

    @staticmethod
    def _project(cameras: np.ndarray, points: np.ndarray) -> np.ndarray:
        return points @ np.swapaxes(cameras[..., :3], 1, 2) + cameras[:, None, :, 3]


def silhouette(candidates: np.ndarray, cameras: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Which candidate of each contour line is outermost in the image.

    Outward is at right angles to the head's projected vertical axis, to the line's own side.

    Args:
        candidates: ``(F, J, C, 2)`` projected candidates, pixels.
        cameras: ``(F, 2, 4)``.
        sides: ``(J,)`` −1, 0 or 1.

    Returns:
        ``(F, J)`` position in the line; 0 (the landmark's own vertex) for lines of side 0.
    """
    up = cameras[:, :, 1]
    across = np.stack([-up[:, 1], up[:, 0]], axis=1)  # image right where up is (0, −1)
    outward = (candidates @ across[:, None, :, None])[..., 0] * sides[None, :, None]
    return outward.argmax(axis=2)


def _camera_jacobian(scale: np.ndarray, rotations: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Derivative of the projection by (rotation vector, log scale, translation): ``(F, L, 2, 6)``."""
    turned = points @ np.swapaxes(rotations, 1, 2) * scale[:, None, None]
    x, y, z = turned[..., 0], turned[..., 1], turned[..., 2]
    zero, one = np.zeros_like(x), np.ones_like(x)
    # d(ω × X) rows: x: ω_y z − ω_z y;  y: ω_z x − ω_x z (turned over, since the image's y points down).
    row_x = np.stack([zero, z, -y, x, one, zero], axis=-1)
    row_y = np.stack([z, zero, -x, -y, zero, one], axis=-1)
    return np.stack([row_x, row_y], axis=2)


def _exponential(vectors: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: ``(F, 3)`` rotation vectors to ``(F, 3, 3)`` matrices."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    safe = np.maximum(angle, 1e-12)
    return np.eye(3) + np.sin(safe) / safe * k + (1 - np.cos(safe)) / safe**2 * (k @ k)
