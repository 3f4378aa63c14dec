"""Rendered faces: the labels are P's, what is hidden is told so, and a number gives one picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from synthetic import SCHEME

from pifa_data.boxes import box_size, tight_box
from pifa_data.camera import pose_angles
from pifa_data.faces import Face
from pifa_data.fitting import LandmarkFitter, landmarks_of
from pifa_data.images import read_image
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.profiling.seen import visible_landmarks
from pifa_data.readers import FORMATS, read_faces
from pifa_data.rendering import FaceRenderer, RenderedFace, write_source
from pifa_data.rendering import renderer as rendering
from pifa_data.rendering.atlas import EYE, HEIGHT, WIDTH, on_patch, on_skin
from pifa_data.rendering.bust import unit_normals
from pifa_data.rendering.light import Light
from pifa_data.rendering.surroundings import draw_occluders
from pifa_data.schemes import get_scheme

COUNT = 24


@pytest.fixture(scope="module")
def renderer() -> FaceRenderer:
    return FaceRenderer(load_builtin(), 160)


@pytest.fixture(scope="module")
def faces(renderer: FaceRenderer) -> list[RenderedFace]:
    return [renderer.photograph(renderer.person(3, k // 4), 3, k // 4, k % 4) for k in range(COUNT)]


def yaw_of(face: RenderedFace) -> float:
    return float(np.degrees(pose_angles(face.params[:8].reshape(2, 4))[0]))


def test_landmarks_are_those_of_p(renderer: FaceRenderer, faces: list[RenderedFace]) -> None:
    params = np.stack([face.params for face in faces])
    expected = landmarks_of(renderer.model, "ibug68", params, "2d")
    np.testing.assert_allclose([face.landmarks for face in faces], expected, atol=1e-6)
    # P is a plausible face: identity and expression within what the model's prior allows, M a scaled rotation.
    assert np.abs(params[:, 8:]).max() <= 2.5
    m = params[:, :8].reshape(-1, 2, 4)[..., :3]
    gram = m @ m.transpose(0, 2, 1)
    np.testing.assert_allclose(gram, gram[:, :1, :1] * np.eye(2), atol=1e-9)


def test_faces_are_in_the_picture_with_room_for_a_jittered_crop(faces: list[RenderedFace]) -> None:
    for face in faces:
        assert (face.image.shape, face.image.dtype) == ((160, 160, 3), np.uint8)
        assert face.landmarks.min() > 0
        assert face.landmarks.max() < 159
        low, high = rendering.SPAN
        assert low - 1e-6 <= 160 / box_size(tight_box(face.landmarks, face.visibility)) <= high + 1e-6


def test_yaw_reaches_to_both_profiles(faces: list[RenderedFace]) -> None:
    yaws = np.array([yaw_of(face) for face in faces])
    assert yaws.min() < -60
    assert yaws.max() > 60
    assert (np.abs(yaws) < 30).any()


def test_the_side_that_is_turned_away_is_hidden(renderer: FaceRenderer, faces: list[RenderedFace]) -> None:
    right, left = (list(get_scheme("ibug68").groups[name]) for name in ("right_eye", "left_eye"))
    profiles = [face for face in faces if abs(yaw_of(face)) > 65]
    assert len(profiles) >= 3
    for face in profiles:
        # yaw > 0: the nose points to the image's left, where the subject's right side, landmarks 36 to 41, goes.
        far = right if yaw_of(face) > 0 else left
        assert (face.visibility[far] == 1).mean() >= 0.5
    frontal = [face for face in faces if abs(yaw_of(face)) < 20]
    assert np.mean([face.visibility == 2 for face in frontal]) > 0.85


def test_jaw_points_on_the_outline_are_seen_and_the_vertex_behind_is_not() -> None:
    depth = np.full((40, 40), np.inf, np.float32)
    depth[:, :20] = 5.0
    points = np.array([[10.0, 10.0], [10.0, 10.0], [20.5, 10.0], [30.0, 10.0]])
    behind = np.array([5.0, 9.0, 9.0, 9.0])
    seen = visible_landmarks(points, behind, np.array([False, False, True, False]), depth, 1.0)
    np.testing.assert_array_equal(seen, [2, 1, 2, 2])


def test_what_lies_before_the_face_hides_landmarks(renderer: FaceRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    person = renderer.person(0, 0)

    def half(rng: np.random.Generator, box: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        cover = np.zeros((size, size), np.float32)
        cover[: size // 2] = 1
        return np.full((size, size, 3), (255, 0, 0), np.float32), cover

    monkeypatch.setattr(rendering, "draw_occluders", half)
    face = renderer.photograph(person, 0, 0, 0)
    above = np.round(face.landmarks[:, 1]) < 80
    assert 5 < above.sum() < 63
    assert (face.visibility[above] == 1).all()
    assert (face.visibility[~above] == 2).mean() > 0.5


def test_occluders_reach_onto_the_face_and_vary() -> None:
    box = np.array([50.0, 50, 110, 110])
    covers = [draw_occluders(np.random.default_rng(k), box, 160)[1] for k in range(80)]
    there = [cover for cover in covers if cover.any()]
    assert 8 < len(there) < 40  # a quarter of the pictures
    assert np.mean([cover[50:110, 50:110].any() for cover in there]) > 0.8
    assert max(cover[50:110, 50:110].mean() for cover in there) < 0.9


def test_a_number_gives_one_picture_and_one_person(renderer: FaceRenderer) -> None:
    first, again, other = (renderer.photograph(renderer.person(5, k), 5, k, 2) for k in (1, 1, 2))
    for name in ("image", "landmarks", "visibility", "params"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.image != other.image).mean() > 0.5
    identity = len(renderer.model.identity)
    another = renderer.photograph(renderer.person(5, 1), 5, 1, 3)
    np.testing.assert_array_equal(another.params[8 : 8 + identity], first.params[8 : 8 + identity])
    assert np.abs(another.params[8 + identity :] - first.params[8 + identity :]).max() > 0.1


def test_pictures_show_a_face_where_the_labels_are(renderer: FaceRenderer) -> None:
    """The mouth is redder than the chin, irises darker than the cheeks: on average, for light skin."""
    redder, darker = [], []
    for number in range(12):
        person = renderer.person(11, number)
        for picture in range(3):
            face = renderer.photograph(person, 11, number, picture)
            if abs(yaw_of(face)) > 40 or (face.visibility == 1).any():
                continue
            image = cv2.GaussianBlur(face.image, (0, 0), 1).astype(float) + 1

            def at(points: list[int], image: np.ndarray = image, face: RenderedFace = face) -> np.ndarray:
                x, y = np.round(face.landmarks[points].mean(0)).astype(int)
                return image[y, x]

            lips, chin = at([57, 66]), at([8, 57])
            redder.append(lips[0] / lips[1] - chin[0] / chin[1])
            darker.append(at(list(range(36, 42))).mean() < at([1, 31]).mean())
    assert len(redder) > 5
    assert np.mean(redder) > 0.02
    assert np.mean(darker) > 0.7


def test_the_fit_of_the_labels_finds_p_again(renderer: FaceRenderer, faces: list[RenderedFace]) -> None:
    landmarks = np.stack([face.landmarks for face in faces])
    visibility = np.stack([face.visibility for face in faces])
    fits = LandmarkFitter(renderer.model, "ibug68").fit(landmarks, visibility, "2d")
    away = np.abs(np.degrees(pose_angles(fits.params[:, :8].reshape(-1, 2, 4))[:, 0]) - [yaw_of(f) for f in faces])
    assert np.median(away) < 4


def test_a_source_is_read_with_people_and_visibility(renderer: FaceRenderer, tmp_path: Path) -> None:
    told: list[int] = []
    made = write_source(tmp_path, renderer, seed=1, people=range(4, 6), pictures=2, advance=told.append)
    found = [face for face in read_faces(f"coco-json:{tmp_path}", FORMATS) if isinstance(face, Face)]
    assert len(found) == len(made) == sum(told) == 4
    assert [face.subject for face in found] == ["person_0004"] * 2 + ["person_0005"] * 2
    for face, truth in zip(found, made.values(), strict=True):
        assert (face.scheme, face.kind, face.image_size) == ("ibug68", "2d", (160, 160))
        np.testing.assert_allclose(face.landmarks, truth.landmarks, atol=6e-4)
        np.testing.assert_array_equal(face.visibility, truth.visibility)
        picture = read_image(face.image)
        assert np.abs(picture.astype(float) - truth.image).mean() < 8
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    few = write_source(tmp_path, renderer, seed=1, people=range(4, 6), pictures=2, keep=2)
    assert list(few) == ["person_0004/imgs/0000.jpg", "person_0005/imgs/0000.jpg"]
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}


def test_another_model_is_rendered_too(model: MorphableModel) -> None:
    """Centimetres, no eyeballs, mouth and eyes without openings."""
    renderer = FaceRenderer(model, 96)
    assert renderer.bust.unit == pytest.approx(0.1, abs=0.02)
    face = renderer.photograph(renderer.person(0, 0), 0, 0, 0)
    np.testing.assert_allclose(face.landmarks, landmarks_of(model, SCHEME, face.params[None], "2d")[0], atol=1e-6)
    assert face.image.std() > 10


def test_texture_places_are_inside_and_upright() -> None:
    places = np.random.default_rng(0).normal(0, 150, (500, 3))
    at = on_skin(places)
    assert at.min() >= 0
    assert (at < (WIDTH, HEIGHT)).all()
    front = on_skin(np.array([[0.0, 0, 90], [40, 0, 80], [0, 50, 90]]))
    assert front[0, 0] == WIDTH / 2
    assert front[1, 0] > front[0, 0]
    assert front[2, 1] < front[0, 1]
    patch = on_patch(EYE, np.array([[0.0, 0], [500, 500]]))
    assert EYE.x < patch[0, 0] < patch[1, 0] < EYE.x + EYE.width
    assert EYE.y < patch[1, 1] < patch[0, 1] < EYE.y + EYE.height


def test_normals_point_outward_and_light_falls_from_its_side() -> None:
    model = load_builtin()
    normals = unit_normals(model.mean.astype(float), model.triangles)
    used = np.unique(model.triangles)
    assert (normals[used] * model.normals[used]).sum(1).min() > 0.99
    left = np.array([[-1.0, 0, 0], [1, 0, 0]])
    lamp = np.array([[-1.0, 0, 0], [0, 0, 1]])
    light = Light(lamp, np.array([[1.0, 1, 1], [0, 0, 0]]), np.full(3, 0.3), np.full(3, 0.3), 0.1)
    matt, shine = light.on(left, np.ones(2))
    assert matt[0].mean() > 2 * matt[1].mean()
    assert shine[0] > shine[1]
