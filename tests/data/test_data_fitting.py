"""The fit: known faces come back, and each step is the Gauss-Newton step it says it is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from synthetic import SCHEME, project_landmarks, random_view

from pifa_data.camera import camera, decompose, pose_angles, project, rotation
from pifa_data.errors import PifaError
from pifa_data.fitting import LandmarkFitter, silhouette
from pifa_data.fitting.algebra import exponential, inverse_by_halves
from pifa_data.fitting.fitter import FREEDOM, WEIGHT_OF_OCCLUDED
from pifa_data.fitting.silhouette import outermost
from pifa_data.morphable import MorphableModel
from pifa_data.schemes import get_scheme

FACES = 32


@pytest.fixture(scope="module")
def fitter(model: MorphableModel) -> LandmarkFitter:
    return LandmarkFitter(model, SCHEME)


@pytest.fixture(scope="module", params=["2d", "3d"])
def faces(request: pytest.FixtureRequest, model: MorphableModel) -> tuple:
    """Kind, cameras (F, 2, 4), coefficients (F, K), landmarks (F, 68, 2) and visibility of faces of up to 60° yaw."""
    rng = np.random.default_rng(0)
    cameras = np.stack([random_view(rng, 200, 60) for _ in range(FACES)])
    p = rng.normal(size=(FACES, model.n_coefficients))
    kind = request.param
    landmarks = np.stack([project_landmarks(model, *face, kind) for face in zip(cameras, p, strict=True)])
    return kind, cameras, p, landmarks, np.full((FACES, 68), 2, np.uint8)


def angles(params: np.ndarray) -> np.ndarray:
    return np.degrees(pose_angles(params[:, :8].reshape(-1, 2, 4)))


def test_known_faces_come_back(model: MorphableModel, fitter: LandmarkFitter, faces: tuple) -> None:
    kind, cameras, p, landmarks, visibility = faces
    fits = fitter.fit(landmarks, visibility, kind)
    away = np.abs(angles(fits.params) - np.degrees(pose_angles(cameras)))
    assert (np.median(away, axis=0) < 2).all()
    assert away.max() < 8
    assert fits.nme.max() < 0.5
    assert np.median(np.abs(fits.params[:, 8:] - p)) < 0.25
    scales = decompose(fits.params[:, :8].reshape(-1, 2, 4))[0] / decompose(cameras)[0]
    np.testing.assert_allclose(scales, 1, atol=0.1)  # a larger head and a nearer one differ by the prior only
    assert np.median(np.abs(scales - 1)) < 0.04


def test_the_parameters_give_the_fitted_points(model: MorphableModel, fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    fits = fitter.fit(landmarks, visibility, kind)
    for params, points in zip(fits.params[:6], fits.landmarks[:6], strict=True):
        again = project(model.vertices(params[8:]), params[:8].reshape(2, 4))
        inner = np.setdiff1d(np.arange(68), get_scheme(SCHEME).contour)
        np.testing.assert_allclose(points[inner], again[model.landmarks[SCHEME]][inner], atol=1e-3)
        if kind == "3d":
            np.testing.assert_allclose(points, again[model.landmarks[SCHEME]], atol=1e-3)
    box = np.ptp(landmarks, axis=1)
    error = np.linalg.norm(fits.landmarks - landmarks, axis=2).mean(1) / np.sqrt(box.prod(1)) * 100
    np.testing.assert_allclose(fits.nme, error, rtol=1e-9)


def test_mirrored_labels_give_the_mirrored_face(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    mirror = get_scheme(SCHEME).mirror
    one = fitter.fit(landmarks, visibility, kind)
    other = fitter.fit(landmarks[:, mirror] * [-1, 1] + [300, 0], visibility, kind)
    np.testing.assert_allclose(angles(other.params), angles(one.params) * [-1, 1, -1], atol=1)
    np.testing.assert_allclose(other.landmarks, one.landmarks[:, mirror] * [-1, 1] + [300, 0], atol=1)


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e9, -500.0])
def test_points_not_labelled_are_ignored(fitter: LandmarkFitter, faces: tuple, rubbish: float) -> None:
    kind, _, _, landmarks, visibility = faces
    hidden = visibility[:4].copy()
    hidden[:, [0, 1, 2, 20, 40, 60]] = 0
    expected = fitter.fit(np.where(hidden[..., None] > 0, landmarks[:4], 0.0), hidden, kind)
    filled = np.where(hidden[..., None] > 0, landmarks[:4], rubbish)
    found = fitter.fit(filled, hidden, kind)
    np.testing.assert_array_equal(found.params, expected.params)
    np.testing.assert_array_equal(found.nme, expected.nme)
    assert np.abs(angles(found.params) - angles(fitter.fit(landmarks, visibility, kind).params[:4])).max() < 3


def test_an_occluded_guess_pulls_less_than_a_visible_label(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    moved, occluded = landmarks[:4].copy(), visibility[:4].copy()
    moved[:, 36:42] += 2.0
    occluded[:, 36:42] = 1
    clean = fitter.fit(landmarks[:4], visibility[:4], kind).landmarks
    visible_pull = np.linalg.norm(fitter.fit(moved, visibility[:4], kind).landmarks - clean, axis=2).mean()
    assert np.linalg.norm(fitter.fit(moved, occluded, kind).landmarks - clean, axis=2).mean() < 0.8 * visible_pull


def test_one_wild_label_moves_the_pose_little(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    wild = landmarks[:8].copy()
    wild[:, 30] += 40
    clean = fitter.fit(landmarks[:8], visibility[:8], kind)
    assert np.median(np.abs(angles(fitter.fit(wild, visibility[:8], kind).params) - angles(clean.params))) < 4


def test_scale_and_translation_follow_the_labels(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    one = fitter.fit(landmarks[:8], visibility[:8], kind)
    other = fitter.fit(landmarks[:8] * 7.5 + [-900, 333], visibility[:8], kind)
    # Labels are normalised in float32, so another scale rounds otherwise.
    np.testing.assert_allclose(other.params[:, 8:], one.params[:, 8:], atol=1e-3)
    expected = one.params[:, :8].reshape(-1, 2, 4) * 7.5
    expected[..., 3] += [-900, 333]
    np.testing.assert_allclose(other.params[:, :8].reshape(-1, 2, 4), expected, atol=1e-2)
    np.testing.assert_allclose(other.nme, one.nme, atol=1e-3)


def test_a_face_alone_is_fitted_as_in_a_batch(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    many = fitter.fit(landmarks, visibility, kind)
    for i in (0, 7, FACES - 1):
        alone = fitter.fit(landmarks[i : i + 1], visibility[i : i + 1], kind)
        # Some processors' BLAS sums a batch of one in another order, in float32.
        np.testing.assert_allclose(alone.params[0], many.params[i], rtol=1e-6, atol=1e-5)


def test_arguments_stay_as_they_were(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    copies = landmarks.copy(), visibility.copy()
    fitter.fit(landmarks, visibility, kind)
    np.testing.assert_array_equal(landmarks, copies[0])
    np.testing.assert_array_equal(visibility, copies[1])


def test_only_2d_labels_march(model: MorphableModel, fitter: LandmarkFitter, monkeypatch: pytest.MonkeyPatch) -> None:
    view = camera(np.array(8.0), rotation(0.8, 0, 0), np.array([100.0, 100.0]))
    p = np.zeros(model.n_coefficients)
    two, three = (project_landmarks(model, view, p, kind) for kind in ("2d", "3d"))
    # Yaw > 0 turns the image-left jaw away: its 2d labels lie further out than the head's own points, inside the face.
    assert (two[:8, 0] <= three[:8, 0] + 1e-9).all()
    assert (two[:4, 0] < three[:4, 0] - 1).all()
    np.testing.assert_array_equal(two[8:], three[8:])
    full = np.full((1, 68), 2, np.uint8)
    right, wrong = fitter.fit(two[None], full, "2d"), fitter.fit(two[None], full, "3d")
    assert right.nme[0] < 0.3 < wrong.nme[0]

    assert fitter.fit(three[None], full, "3d").nme[0] < 0.3


def test_the_fitters_march_is_the_silhouette(model: MorphableModel, fitter: LandmarkFitter) -> None:
    rng = np.random.default_rng(5)
    views = np.stack([random_view(rng, 50, 80) for _ in range(40)])
    vertices = np.stack([model.vertices(rng.normal(size=model.n_coefficients)) for _ in views])
    contour = model.contours[SCHEME]
    flat = np.stack([project(v, view) for v, view in zip(vertices, views, strict=True)])
    expected = silhouette(flat[:, contour.vertices], views, contour.side)
    found = outermost(vertices, contour.vertices, decompose(views)[1], contour.side)
    np.testing.assert_array_equal(found, expected)


def test_silhouette_takes_the_outermost_across_the_heads_axis() -> None:
    # Two lines of three candidates; the head is rolled by 90°, so that "across" is down the image.
    candidates = np.array([[[[0, 0], [5, 1], [9, -1]], [[0, 0], [5, 1], [9, -1]]]], dtype=float)
    upright = camera(np.ones(1), rotation([0.0], [0.0], [0.0]), np.zeros((1, 2)))
    rolled = camera(np.ones(1), rotation([0.0], [0.0], [np.pi / 2]), np.zeros((1, 2)))
    np.testing.assert_array_equal(silhouette(candidates, upright, np.array([-1, 1])), [[0, 2]])
    np.testing.assert_array_equal(silhouette(candidates, rolled, np.array([-1, 1])), [[2, 1]])
    np.testing.assert_array_equal(silhouette(candidates, rolled, np.array([0, 0])), [[0, 0]])


def slow_fit(
    model: MorphableModel, u: np.ndarray, visibility: np.ndarray, start: np.ndarray, noise: float
) -> tuple[np.ndarray, float]:
    """The obvious way, for ``3d`` labels of one face: all modes, numerical derivatives, a general minimiser.

    Returns the parameters and what they cost, as the top of ``fitter.py`` defines it.
    """
    mean = model.mean[model.landmarks[SCHEME]].astype(float)
    modes = model.modes[:, model.landmarks[SCHEME]].astype(float)
    size = np.sqrt(np.prod(np.ptp(mean[:, :2], axis=0)))
    weights = np.choose(visibility, [0.0, WEIGHT_OF_OCCLUDED, 1.0])
    s0, r0, t0 = (part[0] for part in decompose(start[None, :8].reshape(1, 2, 4)))

    def unpack(x: np.ndarray) -> np.ndarray:
        turn = exponential(x[None, :3])[0] @ r0
        return np.r_[camera(np.array(s0 * np.exp(x[3])), turn, t0 + s0 * x[4:6]).ravel(), x[6:]]

    def terms(x: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        params = unpack(x)
        flat = project(mean + np.tensordot(params[8:], modes, 1), params[:8].reshape(2, 4))
        return ((u - flat) ** 2).sum(1) * weights / sigma**2, params

    x = np.r_[np.zeros(6), start[8:]]
    for _ in range(30):  # σ follows the scale, which is held while the rest is minimised, as in the fitter
        sigma = noise * size * s0 * np.exp(x[3])
        result = minimize(
            lambda x, sigma=sigma: (FREEDOM + 2) * np.log1p(terms(x, sigma)[0] / FREEDOM).sum() + (x[6:] ** 2).sum(), x
        )
        if np.abs(result.x - x).max() < 1e-7:
            break
        x = result.x
    return unpack(x), float(result.fun)


@pytest.mark.parametrize("occluded", [False, True])
def test_the_fit_is_the_optimum_that_the_slow_way_finds(model: MorphableModel, occluded: bool) -> None:
    rng = np.random.default_rng(3)
    fitter = LandmarkFitter(model, SCHEME)
    for _ in range(3):
        view, p = random_view(rng, 100, 50), rng.normal(size=model.n_coefficients)
        u = project_landmarks(model, view, p, "3d") + rng.normal(0, 1.0, (68, 2))
        u[5] += 30  # a wrong label
        visibility = np.full(68, 2, np.uint8)
        if occluded:
            visibility[rng.permutation(68)[:30]] = rng.integers(0, 2, 30)
        fits = fitter.fit(u[None], visibility[None], "3d")
        slow, _ = slow_fit(model, u, visibility, fits.params[0], fitter.scheme.noise)
        assert fits.converged[0]
        np.testing.assert_allclose(angles(fits.params), angles(slow[None]), atol=0.5)
        np.testing.assert_allclose(fits.params[0, 8:], slow[8:], atol=0.15)


def test_the_degrees_of_freedom_are_what_the_labels_tell(model: MorphableModel, fitter: LandmarkFitter) -> None:
    """Over faces drawn from the prior, p̂ᵀp̂ is ``dof`` on average, and the misses are the posterior's size."""
    rng = np.random.default_rng(8)
    views = np.stack([random_view(rng, 200, 70) for _ in range(400)])
    p = rng.normal(size=(400, model.n_coefficients))
    size = np.sqrt(np.prod(np.ptp(model.mean[model.landmarks[SCHEME], :2], axis=0)))
    scale = decompose(views)[0]
    noise = rng.standard_t(FREEDOM, (400, 68, 2)) * (fitter.scheme.noise * size * scale)[:, None, None]
    u = np.stack([project_landmarks(model, view, q, "3d") for view, q in zip(views, p, strict=True)]) + noise
    visibility = np.full((400, 68), 2, np.uint8)
    fits = fitter.fit(u, visibility, "3d")
    assert np.sum(fits.params[:, 8:] ** 2) / np.sum(fits.dof) == pytest.approx(1, abs=0.12)
    q, covariance = fitter.posterior(u, visibility, "3d", fits)
    np.testing.assert_allclose(q @ fitter.directions, fits.params[:, 8:], atol=1e-6)
    np.testing.assert_allclose(fitter.rank - np.trace(covariance, axis1=1, axis2=2), fits.dof, atol=0.05)
    missed = ((q - p @ fitter.directions.T) ** 2).sum(1)
    assert missed.mean() / np.trace(covariance, axis1=1, axis2=2).mean() == pytest.approx(1, abs=0.3)
    squares, free = fitter.noise_moments(u, visibility, fits)
    assert np.sqrt(squares / free) == pytest.approx(fitter.scheme.noise, rel=0.15)


def test_inverses_by_halves_are_inverses() -> None:
    rng = np.random.default_rng(1)
    for n in (1, 7, 13, 30, 75):
        half = rng.normal(size=(5, n, n + 4))
        matrices = half @ np.swapaxes(half, 1, 2)
        np.testing.assert_allclose(
            inverse_by_halves(matrices) @ matrices, np.broadcast_to(np.eye(n), matrices.shape), atol=1e-8
        )


def test_every_pose_is_found_profile_and_upside_down_included(model: MorphableModel, fitter: LandmarkFitter) -> None:
    size = np.sqrt(np.prod(np.ptp(model.mean[model.landmarks[SCHEME], :2], axis=0)))
    rng = np.random.default_rng(2)
    for kind in ("2d", "3d"):
        yaw, pitch, roll = rng.uniform(-90, 90, 200), rng.uniform(-30, 30, 200), rng.uniform(-180, 180, 200)
        turns = rotation(np.radians(yaw), np.radians(pitch), np.radians(roll))
        views = camera(np.full(200, 100 / size), turns, rng.normal(0, 50, (200, 2)))
        p = rng.normal(size=(200, model.n_coefficients))
        u = np.stack([project_landmarks(model, v, q, kind) for v, q in zip(views, p, strict=True)])
        u += rng.normal(0, 1.0, u.shape)
        away = np.abs(
            angles(fitter.fit(u, np.full((200, 68), 2, np.uint8), kind).params) - np.degrees(pose_angles(views))
        )
        away = np.minimum(away, 360 - away)
        assert np.median(away[:, 0]) < 2
        assert np.median(away[:, 1]) < 3
        assert (away[:, 0] < 15).mean() > 0.97


def test_wrong_points_are_let_go(model: MorphableModel, fitter: LandmarkFitter, faces: tuple) -> None:
    kind, cameras, _, landmarks, visibility = faces
    rng = np.random.default_rng(4)
    wrong = landmarks.copy()
    for points in wrong:
        points[rng.permutation(68)[:10]] += rng.normal(0, 60, (10, 2))
    away = np.abs(angles(fitter.fit(wrong, visibility, kind).params) - np.degrees(pose_angles(cameras)))
    assert np.median(away) < 2.5
    assert (away.max(1) < 12).mean() > 0.9


def test_labels_of_no_face_are_flagged(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    assert fitter.fit(landmarks, visibility, kind).plausible.all()
    shuffled = landmarks[:, np.random.default_rng(6).permutation(68)]
    assert not fitter.fit(shuffled, visibility, kind).plausible.any()
    none = fitter.fit(landmarks[:0], visibility[:0], kind)
    assert none.params.shape == (0, 8 + fitter.modes)
    assert none.plausible.shape == (0,)


def test_hopeless_labels_harm_nobody_else(fitter: LandmarkFitter, faces: tuple) -> None:
    """Labels on a line, at one place, and of one visible point: their neighbours in the batch fit as without them."""
    kind, _, _, landmarks, visibility = faces
    bad, seen = landmarks[:6].copy(), visibility[:6].copy()
    bad[1] = np.linspace(0, 100, 68)[:, None] * [1.0, 0.5]
    bad[3] = 50.0
    seen[5, 1:] = 0
    alone = fitter.fit(landmarks[:6], visibility[:6], kind)
    with np.errstate(all="ignore"):
        fits = fitter.fit(bad, seen, kind)
    for i in (0, 2, 4):
        np.testing.assert_allclose(fits.params[i], alone.params[i], rtol=1e-6, atol=1e-6)


def test_a_model_without_the_scheme_is_refused(model: MorphableModel) -> None:
    with pytest.raises(PifaError, match="wflw98"):
        LandmarkFitter(model, "wflw98")


def test_a_model_that_does_not_move_is_fitted_as_it_is(model: MorphableModel, faces: tuple) -> None:
    """Without modes, or with modes too small to be told, the pose alone is fitted."""
    kind, cameras, _, landmarks, visibility = faces
    still = replace(model, identity=model.identity[:0], expression=model.expression[:0])
    tiny = replace(model, identity=model.identity * 1e-6, expression=model.expression * 1e-6)
    for rigid in (still, tiny):
        fits = LandmarkFitter(rigid, SCHEME).fit(landmarks, visibility, kind)
        assert fits.params.shape == (FACES, 8 + rigid.n_coefficients)
        assert np.median(np.abs(angles(fits.params) - np.degrees(pose_angles(cameras)))) < 10
        np.testing.assert_array_equal(fits.params[:, 8:], 0)
    assert still.vertices(np.zeros(0)).shape == model.mean.shape
