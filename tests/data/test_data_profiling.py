"""Turned faces: what the new picture shows is where the new P says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import synthetic

from pifa_data.boxes import Square, square_of, tight_box
from pifa_data.camera import camera, decompose, pose_angles, project, rotation
from pifa_data.errors import PifaError
from pifa_data.fitting import landmarks_of
from pifa_data.images import CropSource
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.profiling import FaceTurner
from pifa_data.profiling.mesh import HeadMesh
from pifa_data.profiling.raster import rasterise

SIDE = 260  # of the images here, pixels


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_builtin()


@pytest.fixture(scope="module")
def turner(model: MorphableModel) -> FaceTurner:
    return FaceTurner(model, "ibug68")


def face(model: MorphableModel, yaw: float = 10.0, *, pitch: float = 6.0, roll: float = -8.0) -> np.ndarray:
    """P of a face in the middle of an image of ``SIDE`` pixels, degrees."""
    turn = rotation(*np.radians([yaw, pitch, roll]))
    m = camera(np.array(SIDE / 360), turn, np.full(2, SIDE / 2))
    p = np.random.default_rng(3).normal(size=model.n_coefficients) * 0.7
    return np.concatenate([m.ravel(), p])


def clouds(seed: int = 0, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.random.default_rng(seed).uniform(0.02, 0.2, (3, 2))
    return np.stack([127 + 120 * np.sin(a * x + b * y) for a, b in waves], -1).astype(np.uint8)


def square_in(params: np.ndarray, turned: np.ndarray, size: int) -> Square:
    """Which square of the image a picture shows, from P in both, where the pose is the same."""
    own, new = (v[:8].reshape(2, 4) for v in (params, turned))
    k = np.linalg.norm(new[0, :3]) / np.linalg.norm(own[0, :3])
    x, y = ((size - 1) / 2 - (new[:, 3] - k * own[:, 3])) / k
    return Square(float(x), float(y), size / float(k), size)


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_by_its_own_yaw_a_face_stays_as_it_is(model: MorphableModel, turner: FaceTurner, kind: str) -> None:
    params, image = face(model), clouds()
    [turned] = turner.turn(image, params, kind, [np.radians(10)])
    square = square_in(params, turned.params, turner.size)
    np.testing.assert_allclose(turned.params[8:], params[8:])
    own = landmarks_of(model, "ibug68", params[None], kind)[0]
    np.testing.assert_allclose(square.to_image(turned.landmarks), own, atol=1e-9)
    crop = CropSource(image, square).crop(square).astype(float)
    inside = cv2.erode(crop.any(2).astype(np.uint8), np.ones((3, 3))) > 0  # a pixel away from the image's edge
    assert inside.mean() > 0.9
    error = np.abs(turned.image - crop)[inside]
    assert 10 * np.log10(255**2 / (error**2).mean()) > 50


def test_only_the_yaw_changes_and_the_middle_of_the_head_stays(model: MorphableModel, turner: FaceTurner) -> None:
    params = face(model)
    scale, _, _ = decompose(params[:8].reshape(2, 4))
    yaws = np.radians([-90.0, -40.0, 25.0, 90.0])
    for yaw, turned in zip(yaws, turner.turn(clouds(), params, "2d", list(yaws)), strict=True):
        m = turned.params[:8].reshape(2, 4)
        np.testing.assert_allclose(pose_angles(m), [yaw, *np.radians([6, -8])], atol=1e-9)
        # The picture is 2.2 boxes wide, so its scale follows from the box around the landmarks.
        box = tight_box(turned.landmarks, np.ones(68))
        assert square_of(box, 2.2, turner.size).side == pytest.approx(turner.size)
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, (turner.size - 1) / 2, atol=1e-6)
        found, _, _ = decompose(m)
        assert 0.8 < found / scale / turner.size * SIDE < 1.6
        np.testing.assert_array_equal(turned.params[8:], params[8:])


@pytest.mark.parametrize(("scheme", "kind"), [("ibug68", "2d"), ("ibug68", "3d"), ("wflw98+aflw21", "2d")])
def test_landmarks_are_those_of_the_new_parameters(model: MorphableModel, scheme: str, kind: str) -> None:
    [turned] = FaceTurner(model, scheme).turn(clouds(), face(model), kind, [np.radians(70)])
    expected = landmarks_of(model, scheme, turned.params[None], kind)[0]
    np.testing.assert_allclose(turned.landmarks, expected, atol=1e-9)
    assert turned.visibility.shape == (len(expected),)
    assert set(turned.visibility) == {1, 2}


def test_the_jaw_marches_for_2d_alone(model: MorphableModel, turner: FaceTurner) -> None:
    params = face(model)
    flat, solid = (turner.turn(clouds(), params, kind, [np.radians(60)])[0] for kind in ("2d", "3d"))
    # Behind the cheek the far jaw of 3d is hidden; that of 2d lies on the outline and is seen.
    far = np.arange(0, 7)
    assert (solid.visibility[far] == 1).all()
    assert (flat.visibility[far] == 2).sum() >= 5


@pytest.mark.parametrize("name", ["synthetic", "builtin"])
@pytest.mark.parametrize("yaw", [30, 60, 90])
def test_a_turned_picture_is_what_the_head_would_have_been_drawn_as(name: str, yaw: int, model: MorphableModel) -> None:
    head = synthetic.make_model() if name == "synthetic" else model
    # Colours tell the place on the head.
    low, high = head.mean.min(0), head.mean.max(0)
    codes = 40 + 200 * (head.mean - low) / (high - low)
    m = camera(np.array(190 / np.ptp(head.mean[:, 1])), rotation(0.2, 0.1, -0.1), np.full(2, SIDE / 2))
    params = np.concatenate([m.ravel(), np.zeros(head.n_coefficients)])
    turner = FaceTurner(head, "ibug68")
    [turned] = turner.turn(drawn_head(head, params, codes, SIDE), params, "3d", [np.radians(yaw)])
    expected = drawn_head(head, turned.params, codes, turner.size)

    face = expected[..., 2] > 40 + 200 * (0 - low[2]) / (high - low)[2]  # before the ears, which the image shows
    off = np.abs(turned.image.astype(float) - expected).max(2)
    assert face.sum() > 5000
    assert (off[face] < 10).mean() > 0.98
    assert np.percentile(off[face], 90) < 3

    # At an edge a pixel may show what lies before the landmark or behind it.
    even = cv2.dilate(expected, np.ones((3, 3))) - cv2.erode(expected, np.ones((3, 3)))
    column, row = np.round(turned.landmarks).astype(int).T
    inner = (turned.visibility == 2) & (even[row, column].max(1) < 10)
    inner[60:] = False  # closed lips meet in them
    assert inner.sum() >= 15
    found = turned.image[row[inner], column[inner]]
    # A pixel is about 1.5 of 255 in x, y or z.
    assert np.abs(found - codes[head.landmarks["ibug68"][inner]]).max() < 4


def drawn_head(model: MorphableModel, params: np.ndarray, colours: np.ndarray, size: int) -> np.ndarray:
    """An image of a head whose vertices have ``colours``, on black."""
    m = params[:8].reshape(2, 4)
    vertices = model.vertices(params[8:])
    scale, turn, _ = decompose(m)
    drawn = rasterise(project(vertices, m), -scale * vertices @ turn[2], model.triangles, (size, size))
    image = np.zeros((size, size, 3), np.uint8)
    image[drawn.triangle >= 0] = drawn.interpolate(colours, model.triangles)
    return image


def test_in_profile_the_far_eye_is_hidden_and_the_near_one_seen(model: MorphableModel, turner: FaceTurner) -> None:
    right, left = 36, 45  # the outer corners of the subject's eyes
    for yaw, near, far in ((90, left, right), (-90, right, left)):
        for kind in ("2d", "3d"):
            [turned] = turner.turn(clouds(), face(model, 0, pitch=0), kind, [np.radians(yaw)])
            assert turned.visibility[near] == 2
            assert turned.visibility[far] == 1
            assert (turned.visibility[27:31] == 2).all()  # the nose's ridge is the outline
    [frontal] = turner.turn(clouds(), face(model, 0, pitch=0), "2d", [0.0])
    assert (frontal.visibility == 2).all()


def test_nothing_hidden_is_turned_into_view(model: MorphableModel, turner: FaceTurner) -> None:
    for yaw in (29.0, -20.0, 0.0, 91.0, -120.0):
        with pytest.raises(PifaError, match=r"expected a yaw between the face's own, 30\.0°, and 90°"):
            turner.turn(clouds(), face(model, 30), "2d", [np.radians(yaw)])


@pytest.mark.parametrize("yaw", [15, 45, 70, 90])
def test_there_are_no_holes(model: MorphableModel, turner: FaceTurner, yaw: int) -> None:
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    params = face(model)
    params[:8] = camera(np.array(0.35), rotation(0.1, 0.2, 0.1), np.full(2, SIDE / 2)).ravel()
    for turned in turner.turn(white, params, "2d", np.radians([yaw, -yaw])):
        assert (turned.image == 255).all()


def test_a_face_that_leaves_the_image_keeps_a_whole_head(model: MorphableModel, turner: FaceTurner) -> None:
    params = face(model)
    white = np.full((SIDE * 2 // 3, SIDE // 2, 3), 255, np.uint8)  # half the face, without the chin
    [turned] = turner.turn(white, params, "3d", [np.radians(50)])
    seen = turned.visibility == 2
    seen[:17] = False  # the jaw is the outline: a pixel there may be the surroundings'
    column, row = np.round(turned.landmarks[seen]).astype(int).T
    assert (turned.image[row, column] == 255).all()
    assert (turned.image == 0).any()  # outside the image a picture is black, as a crop is


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (40, 5), (3000, 2000)])
def test_images_of_any_size(model: MorphableModel, turner: FaceTurner, shape: tuple[int, int]) -> None:
    params = face(model)
    params[:8] *= max(shape) / SIDE
    for turned in turner.turn(np.full((*shape, 3), 90, np.uint8), params, "2d", np.radians([30, 90])):
        assert turned.image.shape == (turner.size, turner.size, 3)
        assert np.isfinite(turned.landmarks).all()
        assert set(np.unique(turned.image)) <= {0, 90}


def test_the_same_again_and_one_by_one(model: MorphableModel, turner: FaceTurner) -> None:
    params, image = face(model), clouds()
    kept = params.copy(), image.copy()
    yaws = list(np.radians([25, -60, 90]))
    together = turner.turn(image, params, "2d", yaws)
    for yaw, turned in zip(yaws, together, strict=True):
        [alone] = FaceTurner(model, "ibug68").turn(image, params, "2d", [yaw])
        for name in ("image", "params", "landmarks", "visibility"):
            np.testing.assert_array_equal(getattr(turned, name), getattr(alone, name))
    np.testing.assert_array_equal(params, kept[0])
    np.testing.assert_array_equal(image, kept[1])


def test_all_openings_but_the_largest_are_closed(model: MorphableModel) -> None:
    mesh = HeadMesh(model)
    assert len(mesh.mean) == len(model.mean) + 5  # the mouth, lids and eyeballs
    edges = np.concatenate([mesh.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    _, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    assert count.max() == 2
    rim = np.unique(edges[count[np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)[1]] == 1])
    assert np.ptp(mesh.mean[rim], axis=0).max() > 150  # millimetres: neck and back of the head
    p = np.random.default_rng(0).normal(size=model.n_coefficients)
    np.testing.assert_allclose(mesh.vertices(p)[: len(model.mean)], model.vertices(p), atol=1e-9)


def test_a_closed_head_needs_nothing() -> None:
    head = synthetic.make_model()
    mesh = HeadMesh(head)
    np.testing.assert_array_equal(mesh.triangles, head.triangles)
    assert len(mesh.mean) == len(head.mean)


def test_the_z_buffer_is_the_slow_and_obvious_one() -> None:
    rng = np.random.default_rng(1)
    points, depth = rng.uniform(-8, 40, (60, 2)), rng.uniform(0, 9, 60)
    triangles = rng.integers(0, 60, (50, 3))
    drawn = rasterise(points, depth, triangles, (24, 31))
    values = np.column_stack([points, depth])
    systems = np.stack([np.vstack([points[corners].T, np.ones(3)]) for corners in triangles])
    sound = np.abs(np.linalg.det(systems)) > 1e-9
    assert 0 < (~sound).sum() < 25
    systems[~sound] = np.eye(3)
    inverses = np.linalg.inv(systems)
    for row in range(24):
        for column in range(31):
            weights = inverses @ [column, row, 1.0]
            at = np.where(sound & (weights.min(1) >= 0), (weights * depth[triangles]).sum(1), np.inf)
            nearest, which = at.min(), -1 if np.isinf(at.min()) else at.argmin()
            assert drawn.triangle[row, column] == which
            assert drawn.depth[row, column] == pytest.approx(nearest, rel=1e-5)
    shown = drawn.triangle >= 0
    row, column = np.nonzero(shown)
    found = drawn.interpolate(values, triangles)
    np.testing.assert_allclose(found[:, 0], column, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], row, atol=1e-6)
    np.testing.assert_allclose(found[:, 2], drawn.depth[shown], rtol=1e-5)


def test_neighbouring_triangles_leave_no_cracks() -> None:
    corners = np.stack(np.meshgrid(np.arange(-1, 12.0), np.arange(-1, 12.0)), -1).reshape(-1, 2)
    moved = corners + np.random.default_rng(0).uniform(-0.3, 0.3, corners.shape)
    for points in (corners, moved):  # edges through the pixels' centres, and elsewhere
        at = np.arange(12 * 13).reshape(12, 13)[:, :12].ravel()
        triangles = np.concatenate([np.stack([at, at + 1, at + 14], 1), np.stack([at, at + 14, at + 13], 1)])
        assert (rasterise(points, np.ones(len(points)), triangles, (10, 10)).triangle >= 0).all()


def test_nothing_to_draw() -> None:
    points = np.array([[-5.0, -5], [-4, -5], [-5, -4], [3, 3]])
    for triangles in (np.zeros((0, 3), int), np.array([[0, 1, 2]]), np.array([[3, 3, 3]])):
        drawn = rasterise(points, np.ones(4), triangles, (8, 8))
        assert (drawn.triangle == -1).all()
        assert np.isinf(drawn.depth).all()
        assert drawn.interpolate(points, triangles).shape == (0, 2)
