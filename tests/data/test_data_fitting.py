"""The fit: known faces come back, and each step is the Gauss-Newton step it says it is."""

import numpy as np
import pytest
from synthetic import SCHEME, project_landmarks, random_view

from pifa_data.camera import camera, decompose, pose_angles, project, rotation
from pifa_data.errors import PifaError
from pifa_data.fitting import LandmarkFitter, silhouette
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
    np.testing.assert_allclose(other.params[:, 8:], one.params[:, 8:], atol=1e-6)
    expected = one.params[:, :8].reshape(-1, 2, 4) * 7.5
    expected[..., 3] += [-900, 333]
    np.testing.assert_allclose(other.params[:, :8].reshape(-1, 2, 4), expected, atol=1e-5)
    np.testing.assert_allclose(other.nme, one.nme, atol=1e-6)


def test_a_face_alone_is_fitted_as_in_a_batch(fitter: LandmarkFitter, faces: tuple) -> None:
    kind, _, _, landmarks, visibility = faces
    many = fitter.fit(landmarks, visibility, kind)
    for i in (0, 7, FACES - 1):
        alone = fitter.fit(landmarks[i : i + 1], visibility[i : i + 1], kind)
        np.testing.assert_allclose(alone.params[0], many.params[i], rtol=1e-6, atol=1e-8)


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

    def never(*_: object) -> None:
        raise AssertionError("3d labels marched")

    monkeypatch.setattr(LandmarkFitter, "_march", never)
    assert fitter.fit(three[None], full, "3d").nme[0] < 0.3
    with pytest.raises(AssertionError):
        fitter.fit(two[None], full, "2d")


def test_silhouette_takes_the_outermost_across_the_heads_axis() -> None:
    # Two lines of three candidates; the head is rolled by 90°, so that "across" is down the image.
    candidates = np.array([[[[0, 0], [5, 1], [9, -1]], [[0, 0], [5, 1], [9, -1]]]], dtype=float)
    upright = camera(np.ones(1), rotation([0.0], [0.0], [0.0]), np.zeros((1, 2)))
    rolled = camera(np.ones(1), rotation([0.0], [0.0], [np.pi / 2]), np.zeros((1, 2)))
    np.testing.assert_array_equal(silhouette(candidates, upright, np.array([-1, 1])), [[0, 2]])
    np.testing.assert_array_equal(silhouette(candidates, rolled, np.array([-1, 1])), [[2, 1]])
    np.testing.assert_array_equal(silhouette(candidates, rolled, np.array([0, 0])), [[0, 0]])


def test_a_step_is_the_joint_least_squares_step(model: MorphableModel, fitter: LandmarkFitter) -> None:
    """Marginalising p and eliminating it from the explicit normal equations of (camera, p) give the same step."""
    rng = np.random.default_rng(3)
    view = random_view(rng, 1, 30)[None]
    p = rng.normal(size=(1, model.n_coefficients)) * 0.3
    u = project_landmarks(model, view[0], p[0], "3d")[None] + rng.normal(0, 0.004, (1, 68, 2))
    weights = np.where(rng.uniform(size=(1, 68)) < 0.2, 0.25, 1.0)
    # Begin from a camera a little off and p = 0 (α = 0), where the docstring's formulas linearise.
    scale, turn, translation = decompose(view)
    start = camera(scale * 1.03, rotation([0.03], [-0.02], [0.01]) @ turn, translation + 0.002)
    alpha = np.zeros((1, 68, 3))
    selection = fitter.fixed[None]
    moved, alpha_y = fitter._step(u, weights, start, alpha, selection)
    found_p = (fitter._spread(alpha_y, selection) @ fitter.basis.T)[0]

    # The slow way: residuals of camera parameters (numerical Jacobian), of p (exact), and the prior, stacked.
    mean = model.mean[model.landmarks[SCHEME]].astype(float)
    modes = model.modes[:, model.landmarks[SCHEME]].astype(float)
    s0, r0, t0 = (part[0] for part in decompose(start))

    def at(step: np.ndarray) -> np.ndarray:
        w = step[:3]
        k = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
        # First order in the rotation is enough for a derivative at 0.
        return camera(np.array(s0 * np.exp(step[3])), (np.eye(3) + k) @ r0, t0 + step[4:])

    h = 1e-6
    jacobian = np.stack(
        [((project(mean, at(h * e)) - project(mean, at(-h * e))) / (2 * h)).ravel() for e in np.eye(6)], axis=1
    )
    by_p = np.stack([(mode @ start[0, :, :3].T).ravel() for mode in modes], axis=1)
    residual = (u[0] - project(mean, start[0])).ravel()
    far = np.linalg.norm(residual.reshape(-1, 2), axis=1) / fitter.scheme.noise
    root = np.repeat(np.sqrt(weights[0] * np.minimum(1, 3 / far)) / fitter.scheme.noise, 2)
    system = np.block([[root[:, None] * jacobian, root[:, None] * by_p], [np.zeros((9, 6)), np.eye(9)]])
    step = np.linalg.lstsq(system, np.r_[root * residual, np.zeros(9)], rcond=None)[0]
    assert np.linalg.norm(step[:3]) < 0.5  # else the fitter shortens it
    np.testing.assert_allclose(found_p, step[6:], atol=1e-4)
    new_scale, new_turn, new_translation = (part[0] for part in decompose(moved))
    assert np.log(new_scale / s0) == pytest.approx(step[3], abs=1e-5)
    np.testing.assert_allclose(new_translation - t0, step[4:6], atol=1e-5)
    delta = new_turn @ r0.T
    vector = np.array([delta[2, 1] - delta[1, 2], delta[0, 2] - delta[2, 0], delta[1, 0] - delta[0, 1]]) / 2
    size = np.linalg.norm(vector)
    np.testing.assert_allclose(vector / size * np.arcsin(size), step[:3], atol=1e-5)


def test_a_model_without_the_scheme_is_refused(model: MorphableModel) -> None:
    with pytest.raises(PifaError, match="wflw98"):
        LandmarkFitter(model, "wflw98")
