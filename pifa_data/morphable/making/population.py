"""How faces vary over a surface, estimated from 2D labels alone: non-rigid structure from motion with the jaw's march.

A face is X = μ + Σ p_k B_k with p ~ N(0, S); μ and S are sought. The modes B are smooth random deformations of the
surface (a Gaussian process) beside sculpted expressions, so every estimate is smooth and reaches the places without
landmarks. Expectation-maximisation (Torresani, Hertzmann, Bregler: Nonrigid structure-from-motion, PAMI 2008): the
faces are fitted with the present μ and S by the project's own fitter, which turns them, marches the jaw along the
silhouette and lets wrong points go; the means and covariances of their posteriors give the next μ and S.

S is kept to the blocks that faces have: symmetric and asymmetric deformations are uncorrelated, since mirrored faces
are as likely, and expressions are uncorrelated with each other and with who it is, as the model's prior says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import cdist

from pifa_data.fitting.fitter import LandmarkFitter, _State
from pifa_data.morphable.contours import contour_lines
from pifa_data.morphable.making.labels import Labels
from pifa_data.morphable.making.surface import Surface, symmetrized
from pifa_data.morphable.model import MorphableModel
from pifa_data.schemes import get_scheme

SCALES = ((6.0, 60.0), (4.0, 30.0), (2.0, 14.0))
"""Standard deviation and length of each term of the process's kernel, millimetres: head, feature, lip."""
ASYMMETRY = 0.5
"""Size of asymmetric deformations beside symmetric ones, to begin with."""
BELIEF = 100.0
"""Faces' worth of weight that the starting S keeps, where labels tell little."""
SUPPORT = 420
"""Vertices that carry the process (Nyström)."""
BATCH = 256
ROUNDS = 3
FIRST_NOISE = 0.012
YAW_DEVIATION = np.radians(4.0)
"""Of the known yaws. Narrower than theirs (about 6°): the mean of many faces is sought, whose errors are averaged."""


class _YawKnown(LandmarkFitter):
    """A fitter that knows about where each face looks."""

    def __init__(self, model: MorphableModel, noise: float, yaw: np.ndarray, deviation: float) -> None:
        super().__init__(model, "ibug68", noise=noise)
        self.yaw = yaw
        self.precision = deviation**-2

    def _add_prior(self, state: _State, normal: np.ndarray, gradient: np.ndarray) -> None:
        super()._add_prior(state, normal, gradient)
        r = state.rotation
        away = self.yaw[state.row] + np.arctan2(-r[:, 2, 0], r[:, 2, 2])
        away = (away + np.pi) % (2 * np.pi) - np.pi
        weight = np.where(np.isfinite(away), self.precision, 0.0)
        # A turn about the head's axis by θ takes θ from the yaw.
        axis = r[:, :, 1]
        normal[:, :3, :3] += weight[:, None, None] * axis[:, :, None] * axis[:, None, :]
        gradient[:, :3] -= (weight * np.nan_to_num(away))[:, None] * axis


@dataclass(frozen=True)
class Deformations:
    """Modes ``(K, V, 3)`` float64 mm for one standard deviation, and the sign ``(K,)`` of each under mirroring."""

    modes: np.ndarray
    sign: np.ndarray


def smooth_deformations(surface: Surface, symmetric: int, asymmetric: int) -> Deformations:
    """The largest modes of the Gaussian process on the surface, symmetric ones first.

    Small turns, shifts and scaling of the landmarks are taken out of them: that is the camera's part.
    """
    chosen = _spread_symmetric(surface, SUPPORT)
    at = surface.vertices[chosen]
    position = np.full(len(surface.vertices), -1)
    position[chosen] = np.arange(len(chosen))
    partner = position[surface.mirror[chosen]]
    kernel = _kernel(at, at)
    carry = np.linalg.solve(kernel + 1e-6 * np.eye(len(at)), _kernel(at, surface.vertices)).T  # (V, m)
    bases = {fold: _folded_basis(kernel, partner, fold, at[:, 0] >= 0) for fold in (-1, 1)}
    modes, signs = [], []
    for sign, count in ((1, symmetric), (-1, asymmetric)):
        # The process folded onto fields f with f(mirror x) = sign · mirror f(x): one block an axis.
        chosen_bases = [bases[-sign], bases[sign], bases[sign]]
        values = np.concatenate([v for v, _ in chosen_bases])
        # Stable: y and z have the same values, and the kept population counts on one order.
        best = np.argsort(-values, kind="stable")[:count]
        fields = np.zeros((count, len(surface.vertices), 3))
        for i, (axis, column) in enumerate(zip(*np.divmod(best, len(at)), strict=True)):
            value, vectors = chosen_bases[axis]
            fields[i, :, axis] = carry @ (vectors[:, column] * np.sqrt(max(value[column], 0.0)))
        scale = 1.0 if sign == 1 else ASYMMETRY
        modes.append(scale * fields)
        signs.append(np.full(count, sign))
    return Deformations(_without_similarity(surface, np.concatenate(modes)), np.concatenate(signs))


def _folded_basis(
    kernel: np.ndarray, partner: np.ndarray, fold: int, one_side: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of the kernel folded onto functions with f(mirror x) = fold · f(x).

    An eigenvector's sign is the library's whim; the largest component of one side of the face is made positive, since
    the kept population is a matter of these very vectors.
    """
    folded = (kernel + fold * kernel[:, partner]) / 2
    values, vectors = np.linalg.eigh((folded + folded.T) / 2)
    side = vectors[one_side]
    return values, vectors * np.sign(np.take_along_axis(side, np.abs(side).argmax(0)[None], axis=0))


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = cdist(a, b, "sqeuclidean")
    return sum((sd**2 * np.exp(-0.5 * squared / length**2) for sd, length in SCALES), np.zeros(squared.shape))


def _spread_symmetric(surface: Surface, count: int) -> np.ndarray:
    """About ``count`` vertices far from each other, with the mirror vertex of each; the landmarks among them."""
    chosen = list(dict.fromkeys(surface.landmarks.tolist()))
    nearest = cdist(surface.vertices, surface.vertices[chosen]).min(1)
    while len(chosen) < count:
        far = int(nearest.argmax())
        for vertex in {far, int(surface.mirror[far])}:
            chosen.append(vertex)
            nearest = np.minimum(nearest, np.linalg.norm(surface.vertices - surface.vertices[vertex], axis=1))
    return np.array(chosen)


def _without_similarity(surface: Surface, modes: np.ndarray) -> np.ndarray:
    """Modes less the small turn, shift and scaling that comes nearest to each at the landmarks."""
    centre = surface.vertices[surface.landmarks].mean(0)
    offset = surface.vertices - centre
    fields = [np.broadcast_to(axis, offset.shape) for axis in np.eye(3)]
    fields += [np.cross(axis, offset) for axis in np.eye(3)]
    fields.append(offset)
    motions = np.stack(fields)  # (7, V, 3)
    at = motions[:, surface.landmarks].reshape(7, -1)
    share = modes[:, surface.landmarks].reshape(len(modes), -1) @ np.linalg.pinv(at)
    return modes - np.einsum("km,mvc->kvc", share, motions)


@dataclass(frozen=True)
class Population:
    """What is known of faces, in terms of the deformations of a surface.

    Attributes:
        mean: ``(K,)`` coefficients that lead from the surface to the mean face.
        covariance: ``(K, K)`` of the coefficients about it.
        noise: σ of the labels that it was estimated from, see ``LandmarkFitter``.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float


def estimate(
    surface: Surface,
    identity: Deformations,
    expression: Deformations,
    labels: Labels,
    *,
    rounds: int = ROUNDS,
    progress: Callable[[int, Population, float], None] = lambda *_: None,
) -> Population:
    """Estimate mean and covariance of faces from labels.

    Faces are held near the known yaws: without, depth and turn trade against each other, and the estimate drifts to
    ever deeper heads that turn ever less. It still drifts a little with them, so the rounds are few.

    Args:
        surface: the surface that identity and expression deform; its frame and size are the result's.
        rounds: of expectation-maximisation.
        progress: called with the round, the present estimate and the median residual in percent.
    """
    deformations = np.concatenate([identity.modes, expression.modes])
    sign = np.concatenate([identity.sign, expression.sign])
    kind = np.r_[np.zeros(len(identity.sign)), 1 + np.arange(len(expression.sign))]
    # Which coefficients may vary together, and which have a mean: who we are does, symmetric on average.
    block = (sign[:, None] == sign) & (kind[:, None] == kind)
    moving = (sign == 1) & (kind == 0)
    start = np.eye(len(sign))
    now = Population(np.zeros(len(sign)), start, FIRST_NOISE)
    n = len(labels.points)
    for round_ in range(rounds):
        root = np.linalg.cholesky(now.covariance)
        mean = mean_face(surface, deformations, now)
        model = as_model(surface, mean, np.einsum("jk,jvc->kvc", root, deformations))
        fitter = _YawKnown(model, now.noise, labels.poses[:, 0], YAW_DEVIATION)
        first, second, noise, nme = _expectation(fitter, labels)
        # Back from the fitter's q to p, and from p to the deformations' coefficients.
        to_p = fitter.directions.T
        shift = np.where(moving, root @ to_p @ first, 0.0)
        moment = root @ (to_p @ second @ to_p.T + np.eye(len(sign)) - to_p @ to_p.T) @ root.T
        moment = (n * (moment - np.outer(shift, shift)) + BELIEF * start) / (n + BELIEF)
        covariance = np.where(block, (moment + moment.T) / 2, 0.0)
        now = Population(now.mean + shift, covariance, noise)
        progress(round_, now, nme)
    return now


def mean_face(surface: Surface, deformations: np.ndarray, population: Population) -> np.ndarray:
    """``(V, 3)`` mm, exactly symmetric."""
    return symmetrized(surface.vertices + np.einsum("k,kvc->vc", population.mean, deformations), surface.mirror)


def as_model(surface: Surface, mean: np.ndarray, modes: np.ndarray) -> MorphableModel:
    """A model for fitting, of mean ``(V, 3)`` and modes ``(K, V, 3)``."""
    scheme = get_scheme("ibug68")
    bare = MorphableModel(
        name="builtin",
        mean=mean.astype(np.float32),
        identity=modes.astype(np.float32),
        expression=np.zeros((0, *mean.shape), np.float32),
        triangles=surface.triangles,
        landmarks={"ibug68": surface.landmarks},
        contours={},
        nose_tip=int(surface.landmarks[30]),
        units="millimetre",
    )
    lines = contour_lines(bare.mean, bare.normals, surface.landmarks, scheme.contour, bare.nose_tip)
    return replace(bare, contours={"ibug68": lines})


def _expectation(fitter: LandmarkFitter, labels: Labels) -> tuple[np.ndarray, np.ndarray, float, float]:
    """First and second moment of q over the faces, the noise that explains the residuals, and their median."""
    fits = fitter.fit(labels.points, labels.visibility, "2d")
    first, second = np.zeros(fitter.rank), np.zeros((fitter.rank, fitter.rank))
    for i in range(0, len(labels.points), BATCH):
        rows = slice(i, i + BATCH)
        q, covariance = fitter.posterior(labels.points[rows], labels.visibility[rows], "2d", fits.take(rows))
        first += q.sum(0)
        second += q.T @ q + covariance.sum(0, dtype=np.float64)
    n = len(labels.points)
    squares, free = fitter.noise_moments(labels.points, labels.visibility, fits)
    return first / n, second / n, float(np.sqrt(squares / free)), float(np.median(fits.nme))
