"""Dense meshes: where they lie, what colours they get, and the files and pictures made of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pifa_data.camera import camera, project, rotation
from pifa_data.mesh import (
    DEPTH_MIDDLE,
    DEPTH_STEPS,
    FaceMesh,
    depth_picture,
    face_mesh,
    normal_picture,
    obj_text,
    ply_bytes,
    vertex_colours,
)
from pifa_data.morphable import MorphableModel, load_builtin


def view(model: MorphableModel, yaw: float = 0.0, side: int = 200) -> np.ndarray:
    """P of a face in the middle of a picture."""
    scale = 0.6 * side / float(np.ptp(model.mean[:, 1]))
    linear = camera(np.array(scale), rotation(np.radians(yaw), 0, 0), np.zeros(2))
    linear[:, 3] = side / 2 - project(model.mean, linear).mean(0)
    return np.concatenate([linear.ravel(), np.zeros(model.n_coefficients)])


@pytest.fixture(scope="module")
def builtin() -> MorphableModel:
    return load_builtin()


@pytest.mark.parametrize("yaw", [0, 35, -70])
def test_vertices_are_the_projection_and_the_nose_is_nearest(builtin: MorphableModel, yaw: float) -> None:
    params = view(builtin, yaw)
    mesh = face_mesh(builtin, params)
    expected = project(builtin.mean, params[:8].reshape(2, 4))
    np.testing.assert_allclose(mesh.vertices[:, :2], expected, atol=1e-9)
    nose = builtin.landmarks["ibug68"][30]
    if yaw == 0:
        assert mesh.vertices[nose, 2] < np.quantile(mesh.vertices[:, 2], 0.01)
        assert mesh.normals()[nose, 2] < -0.5  # towards the viewer
    # The same scale in all three directions: lengths are the model's.
    lengths = np.linalg.norm(np.diff(builtin.mean[builtin.triangles[:, :2]], axis=1), axis=2)
    drawn = np.linalg.norm(np.diff(mesh.vertices[mesh.triangles[:, :2]], axis=1), axis=2)
    np.testing.assert_allclose(drawn / lengths, drawn.sum() / lengths.sum(), rtol=1e-4)


def test_colours_come_from_the_photo_and_its_mirror(builtin: MorphableModel) -> None:
    side = 200
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0] = np.arange(side)  # red tells x
    mesh = face_mesh(builtin, view(builtin, 60, side))
    colours = vertex_colours(mesh, image, builtin)
    seen = mesh.normals()[:, 2] < -0.3
    off = np.abs(colours[seen, 0].astype(float) - mesh.vertices[seen, 0])
    assert np.median(off) < 1
    # The nose points left: the face's other side is hidden, and has the colours of its mirror image.
    corners = builtin.landmarks["ibug68"][[36, 45]]
    hidden = corners[np.argmax(mesh.normals()[corners, 2])]
    shown = corners[np.argmin(mesh.normals()[corners, 2])]
    if mesh.normals()[hidden, 2] > 0:
        assert abs(int(colours[hidden, 0]) - int(colours[shown, 0])) < 12


def test_colours_of_a_model_with_more_vertices_than_a_picture_has_rows(builtin: MorphableModel) -> None:
    mesh = face_mesh(builtin, view(builtin))
    times = 33_000 // len(mesh.vertices) + 1
    many = FaceMesh(np.tile(mesh.vertices, (times, 1)), mesh.triangles)
    model = SimpleNamespace(mean=np.tile(builtin.mean, (times, 1)))
    image = np.full((200, 200, 3), 77, np.uint8)
    colours = vertex_colours(many, image, model)  # type: ignore[arg-type]
    assert colours.shape == (len(many.vertices), 3)
    assert (colours[: len(mesh.vertices)] == 77).all()


def test_outside_the_photo_there_are_no_colours(builtin: MorphableModel) -> None:
    mesh = face_mesh(builtin, view(builtin))
    away = FaceMesh(mesh.vertices + np.array([1000, 1000, 0]), mesh.triangles)
    colours = vertex_colours(away, np.full((50, 50, 3), 9, np.uint8), builtin)
    assert (colours == 127).all()


def test_obj_and_ply_hold_the_same_upright_mesh(builtin: MorphableModel) -> None:
    mesh = face_mesh(builtin, view(builtin))
    colours = np.random.default_rng(0).integers(0, 256, (len(mesh.vertices), 3)).astype(np.uint8)
    rows = [line.split() for line in obj_text(mesh, colours).splitlines()]
    places = np.array([row[1:4] for row in rows if row[0] == "v"], float)
    np.testing.assert_allclose(places, mesh.vertices * (1, -1, -1), atol=1e-4)
    painted = np.array([row[4:] for row in rows if row[0] == "v"], float)
    np.testing.assert_allclose(painted * 255, colours, atol=0.02)
    triangles = np.array([row[1:] for row in rows if row[0] == "f"], int) - 1
    np.testing.assert_array_equal(triangles, mesh.triangles)
    head, _, body = ply_bytes(mesh, colours).partition(b"end_header\n")
    assert f"element vertex {len(mesh.vertices)}\n".encode() in head
    vertices = np.frombuffer(body, [("p", "<f4", 3), ("c", "u1", 3)], len(mesh.vertices))
    np.testing.assert_allclose(vertices["p"], places, atol=1e-3)
    np.testing.assert_array_equal(vertices["c"], colours)
    faces = np.frombuffer(body[vertices.nbytes :], [("n", "u1"), ("v", "<i4", 3)])
    np.testing.assert_array_equal(faces["v"], mesh.triangles)
    # Counter-clockwise seen from outside, as 3D programs expect: the normals of the file point away from the middle.
    a, b, c = (places[triangles[:, i]] for i in range(3))
    outward = ((a + b + c) / 3 - places.mean(0)) * np.cross(b - a, c - a)
    assert (outward.sum(1) > 0).mean() > 0.8
    assert len(obj_text(mesh).splitlines()) == len(rows)


def test_depth_and_normals_as_pictures(builtin: MorphableModel) -> None:
    mesh = face_mesh(builtin, view(builtin))
    far = FaceMesh(mesh.vertices + np.array([30, 0, 500]), mesh.triangles)
    shape = (200, 220)
    depth, both = depth_picture([mesh], shape), depth_picture([far, mesh], shape)
    assert depth.dtype == np.uint16
    shown = depth > 0
    np.testing.assert_array_equal(both[shown], depth[shown])  # the nearer face hides the other
    assert (both > 0).sum() > shown.sum()
    nose = mesh.vertices[builtin.landmarks["ibug68"][30]]
    x, y = np.round(nose[:2]).astype(int)
    assert abs((DEPTH_MIDDLE - int(depth[y, x])) / DEPTH_STEPS - nose[2]) < 1
    normals = normal_picture([mesh], shape)
    assert (normals[~shown] == 0).all()
    length = np.linalg.norm(normals[shown] / 127.5 - 1, axis=1)
    np.testing.assert_allclose(length, 1, atol=0.02)
    assert normals[y, x, 2] > 200  # the tip of the nose looks at the viewer
    left, right = normals[y, : x - 5][shown[y, : x - 5]], normals[y, x + 5 :][shown[y, x + 5 :]]
    assert np.median(left[:, 0]) < 127 < np.median(right[:, 0])
    away = FaceMesh(mesh.vertices + np.array([5000, 0, 0]), mesh.triangles)
    assert not depth_picture([away], shape).any()
