"""Rows of a store: what they hold, and that a row depends on (seed, face, copy) alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import SCHEME, project_landmarks

from pifa_data.boxes import detector_box, square_of, tight_box
from pifa_data.build import PrepConfig, Rows, build_rows
from pifa_data.camera import pose_angles
from pifa_data.crop_rows import mirror_params
from pifa_data.faces import Face
from pifa_data.fitting import Fitters, landmarks_of
from pifa_data.images import crop_image, read_image
from pifa_data.morphable import MorphableModel, load_builtin
from pifa_data.readers import FORMATS, read_faces
from pifa_data.schemes import correspondence, get_scheme

CONFIG = PrepConfig(copies=3, size=64, seed=5)


@pytest.fixture(scope="module")
def faces(synthetic: Path) -> list[Face]:
    return [f for f in read_faces(str(synthetic / "faces"), FORMATS) if isinstance(f, Face)][:10]


@pytest.fixture(scope="module")
def fitters(model: MorphableModel) -> Fitters:
    return Fitters(model)


@pytest.fixture(scope="module")
def rows(faces: list[Face], fitters: Fitters) -> Rows:
    return build_rows(faces, CONFIG, fitters)


def errors(model: MorphableModel, params: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Mean distance of each row's projected points to its labels, crop pixels."""
    return np.array(
        [
            np.linalg.norm(project_landmarks(model, p[:8].reshape(2, 4).astype(float), p[8:]) - at, axis=1).mean()
            for p, at in zip(params, landmarks, strict=True)
        ]
    )


def test_params_project_to_the_crops_landmarks(model: MorphableModel, rows: Rows) -> None:
    found = errors(model, rows.crops["params"], rows.crops["landmarks"])
    assert rows.crops["valid"].all()
    assert found.max() < 1.0  # of 64 pixels; labels are rounded to 0.01 pixel of the image
    assert np.median(found) < 0.3


def test_mirrored_params_project_to_the_flipped_labels_as_well(
    model: MorphableModel, rows: Rows, faces: list[Face]
) -> None:
    source = rows.crops["source"]
    flipped = rows.crops["landmarks"][:, get_scheme(SCHEME).mirror] * [-1, 1] + [CONFIG.size - 1, 0]
    params = mirror_params(rows.faces["params_mirrored"][source], rows.crops["boxes"], CONFIG.grow, CONFIG.size)
    ours = errors(model, rows.crops["params"], rows.crops["landmarks"])
    theirs = errors(model, params, flipped)
    np.testing.assert_allclose(theirs, ours, atol=0.05)
    pose = pose_angles(params[:, :8].reshape(-1, 2, 4).astype(float))
    np.testing.assert_allclose(pose, rows.faces["pose"][source] * [-1, 1, -1], atol=np.radians(1))


def test_copy_0_is_the_unjittered_box_and_the_others_differ(rows: Rows, faces: list[Face]) -> None:
    boxes = rows.crops["boxes"].reshape(len(faces), 3, 4)
    for face, three in zip(faces, boxes, strict=True):
        tight = tight_box(face.landmarks, face.visibility)
        np.testing.assert_allclose(three[0], tight, atol=1e-3)
        assert np.abs(three[1:] - tight).max(1).min() > 0.1
    np.testing.assert_array_equal(rows.crops["copy"], np.tile([0, 1, 2], len(faces)))
    np.testing.assert_array_equal(rows.crops["source"], np.repeat(np.arange(len(faces)), 3))


def test_pictures_and_labels_are_of_the_jittered_square(rows: Rows, faces: list[Face]) -> None:
    for row in (0, 4, 17):
        face = faces[rows.crops["source"][row]]
        square = square_of(rows.crops["boxes"][row].astype(float), CONFIG.grow, CONFIG.size)
        np.testing.assert_allclose(rows.crops["landmarks"][row], square.to_crop(face.landmarks), atol=1e-3)
        picture = crop_image(read_image(face.image), square)
        # The box is kept in float32, so that a pixel on the edge between two may go the other way.
        assert np.abs(picture.astype(int) - rows.crops["images"][row]).mean() < 0.5


def test_a_row_depends_on_seed_face_and_copy_alone(rows: Rows, faces: list[Face], fitters: Fitters) -> None:
    some = build_rows(faces[3:5][::-1], replace(CONFIG, copies=2), fitters)
    for name in ("images", "boxes", "landmarks", "visibility"):
        whole = rows.crops[name].reshape(len(faces), 3, *rows.crops[name].shape[1:])
        part = some.crops[name].reshape(2, 2, *rows.crops[name].shape[1:])
        np.testing.assert_array_equal(part, whole[[4, 3], :2])
    other = build_rows(faces[3:4], replace(CONFIG, seed=6), fitters)
    assert np.abs(other.crops["boxes"][1] - rows.crops["boxes"][3 * 3 + 1]).max() > 0.1


def test_points_not_labelled_are_zero_in_the_crop(faces: list[Face], fitters: Fitters) -> None:
    hidden = faces[0].visibility.copy()
    hidden[:3] = 0
    holes = np.where(hidden[:, None] > 0, faces[0].landmarks, np.nan)
    made = build_rows([replace(faces[0], landmarks=holes, visibility=hidden)], CONFIG, fitters)
    assert (made.crops["landmarks"][:, :3] == 0).all()
    np.testing.assert_array_equal(made.crops["visibility"], np.tile(hidden, (3, 1)))
    for name in ("params", "landmarks", "boxes"):
        assert np.isfinite(made.crops[name]).all()


def test_labels_that_are_no_faces_fail_alone(faces: list[Face], fitters: Fitters) -> None:
    slip = faces[0].landmarks.copy()
    slip[30, 0] = 99999
    scattered = np.random.default_rng(0).uniform(10, 90, faces[1].landmarks.shape)
    bad = [replace(faces[0], landmarks=slip), replace(faces[1], landmarks=scattered), faces[2]]
    made = build_rows(bad, CONFIG, fitters)
    assert sorted(made.failures) == [0, 1]
    assert "no face's" in made.failures[1]
    one_out = faces[0].landmarks.copy()
    one_out[0, 0] = -0.8 * 400  # nearly the image's own width outside, too little to spoil the fit beyond recognition
    reasons = build_rows([replace(faces[0], landmarks=one_out)], CONFIG, fitters).failures
    assert "far outside" in reasons[0] or "no face's" in reasons[0]


def test_a_slipped_label_spoils_neither_box_nor_loss(faces: list[Face], fitters: Fitters) -> None:
    slipped = faces[0].landmarks.copy()
    slipped[30] += [60, 0]
    made = build_rows([replace(faces[0], landmarks=slipped), faces[1]], CONFIG, fitters)
    whole = build_rows(faces[:2], CONFIG, fitters)
    assert not made.failures
    assert (made.crops["visibility"][: CONFIG.copies, 30] == 0).all()
    assert (np.delete(made.crops["visibility"], 30, axis=1) == np.delete(whole.crops["visibility"], 30, axis=1)).all()
    np.testing.assert_allclose(made.crops["boxes"], whole.crops["boxes"], atol=1e-4)
    np.testing.assert_array_equal(made.crops["images"], whole.crops["images"])
    np.testing.assert_allclose(made.crops["params"][:, :8], whole.crops["params"][:, :8], atol=3)


def test_a_face_of_no_pixels_fails_alone(faces: list[Face], fitters: Fitters) -> None:
    speck = replace(faces[0], landmarks=faces[0].landmarks * 1e-3)
    made = build_rows([speck, faces[1]], CONFIG, fitters)
    assert list(made.failures) == [0]
    assert "smaller than 4 pixels" in made.failures[0]


def test_bad_images_fail_alone(tmp_path: Path, faces: list[Face], fitters: Fitters) -> None:
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(faces[0].image.read_bytes()[:-500])
    bad = [
        replace(faces[0], file=str(cut)),
        faces[1],
        replace(faces[2], file=str(tmp_path / "none.jpg")),
        replace(faces[3], landmarks=faces[3].landmarks + 1000),
        replace(faces[4], file="a\0b.jpg"),
    ]
    made = build_rows(bad, CONFIG, fitters)
    assert sorted(made.failures) == [0, 2, 3, 4]
    assert "cut short" in made.failures[0]
    assert "100% of the landmarks lie outside" in made.failures[3]
    np.testing.assert_array_equal(made.faces["valid"], [False, True, False, False, False])
    np.testing.assert_array_equal(made.crops["valid"], np.repeat(made.faces["valid"], 3))
    alone = build_rows([faces[1]], CONFIG, fitters)
    np.testing.assert_array_equal(made.crops["images"][3:6], alone.crops["images"])


def test_dataset_boxes(faces: list[Face], fitters: Fitters) -> None:
    box = np.array([20.0, 30.0, 120.0, 140.0])
    config = replace(CONFIG, boxes="dataset", copies=1)
    made = build_rows([replace(faces[0], box=box), faces[1]], config, fitters)
    np.testing.assert_array_equal(made.crops["boxes"][0], box)
    assert list(made.failures) == [1]
    assert "no box" in made.failures[1]


def test_detector_boxes(faces: list[Face], fitters: Fitters) -> None:
    config = PrepConfig.for_boxes("detector", copies=6, size=64)
    assert (config.grow, config.jitter_shift, config.jitter_scale) == (1.6, 0.03, 0.10)
    made = build_rows(faces, config, fitters)
    tight = np.stack([tight_box(face.landmarks, face.visibility) for face in faces])
    expected = detector_box(tight, made.faces["pose"][:, 0])
    np.testing.assert_allclose(made.faces["box"], expected, atol=1e-3)
    boxes = made.crops["boxes"].reshape(len(faces), 6, 4)
    np.testing.assert_array_equal(boxes[:, 0], made.faces["box"])
    assert np.abs(boxes[:, 1:] - boxes[:, :1]).max(2).min() > 0.1
    # The chin is not cut off, for all that the boxes lie high.
    inside = ((made.crops["landmarks"] > -0.5) & (made.crops["landmarks"] < 63.5)).all((1, 2))
    assert inside.mean() > 0.9
    assert inside.reshape(len(faces), 6)[:, 0].all()


def test_what_suits_a_kind_of_boxes_can_be_overruled() -> None:
    assert PrepConfig.for_boxes("tight") == PrepConfig()
    assert PrepConfig.for_boxes("dataset", seed=3) == PrepConfig(boxes="dataset", seed=3)
    config = PrepConfig.for_boxes("detector", grow=2.0, jitter_scale=0.0)
    assert (config.grow, config.jitter_shift, config.jitter_scale) == (2.0, 0.03, 0.0)


def test_the_landmark_kind_can_be_overruled(faces: list[Face], fitters: Fitters) -> None:
    turned = [f for f in faces if f.kind == "2d"][:4]
    two = build_rows(turned, replace(CONFIG, copies=1), fitters)
    three = build_rows(turned, replace(CONFIG, copies=1, landmarks="3d"), fitters)
    assert np.abs(two.crops["params"] - three.crops["params"]).max() > 1e-3


def relabelled(face: Face, scheme: str, model: MorphableModel) -> Face:
    """The face with the labels of another scheme: where its fit has them."""
    params = build_rows([face], replace(CONFIG, copies=1), Fitters(model)).faces["params"].astype(np.float64)
    points = landmarks_of(model, scheme, params, face.kind)[0]
    return replace(face, landmarks=points, visibility=np.full(len(points), 2, np.uint8), scheme=scheme)


def test_schemes_are_joined_in_a_chosen_one(faces: list[Face]) -> None:
    builtin = load_builtin()
    fitters = Fitters(builtin)
    other = relabelled(faces[1], "cofw29", builtin)
    config = replace(CONFIG, scheme="ibug68")
    made = build_rows([faces[0], other, faces[2]], config, fitters)
    assert not made.failures
    shared = correspondence("cofw29", "ibug68")
    seen = made.faces["visibility"]
    assert (seen[[0, 2]] == 2).all()
    np.testing.assert_array_equal(np.flatnonzero(seen[1]), np.sort(shared[shared >= 0]))
    for cofw, ibug in enumerate(shared):
        if ibug >= 0:
            np.testing.assert_allclose(made.faces["landmarks"][1, ibug], other.landmarks[cofw], rtol=1e-6)
    # The crop is that of the 68 points, jaw and all, though 29 others are labelled.
    whole = build_rows([faces[1]], config, fitters)
    # To a twelfth of the face: where the jaw is, 29 points without one can only guess.
    np.testing.assert_allclose(made.faces["box"][1], whole.faces["box"][0], atol=9)
    # Faces of the store's own scheme are as they are without the others.
    alone = build_rows([faces[0]], config, fitters)
    np.testing.assert_array_equal(alone.crops["images"], made.crops["images"][: CONFIG.copies])
    np.testing.assert_array_equal(alone.crops["landmarks"], made.crops["landmarks"][: CONFIG.copies])


def test_schemes_are_joined_in_their_union(faces: list[Face]) -> None:
    builtin = load_builtin()
    other = relabelled(faces[1], "aflw21", builtin)
    made = build_rows([faces[0], other], replace(CONFIG, scheme="ibug68+aflw21"), Fitters(builtin))
    seen = made.faces["visibility"]
    assert seen.shape[1] == len(get_scheme("ibug68+aflw21")) == 68 + 14
    assert seen[0].sum() == 2 * 68
    assert seen[1].sum() == 2 * 21
    assert ((seen[0] > 0) & (seen[1] > 0)).sum() == 7
    # f(P) of each face gives its labels wherever it has some.
    for f, face in enumerate((faces[0], other)):
        points = landmarks_of(builtin, "ibug68+aflw21", made.faces["params"][f : f + 1].astype(float), face.kind)[0]
        away = np.linalg.norm(points - made.faces["landmarks"][f], axis=1)[seen[f] > 0]
        assert away.mean() < 0.04 * np.sqrt(np.prod(np.ptp(face.landmarks, axis=0)))


def test_a_face_without_a_point_of_the_store_fails_alone(faces: list[Face]) -> None:
    builtin = load_builtin()
    pupils = relabelled(faces[1], "aflw21", builtin)
    seen = np.where(correspondence("aflw21", "ibug68") < 0, 2, 0).astype(np.uint8)
    made = build_rows([faces[0], replace(pupils, visibility=seen)], replace(CONFIG, scheme="ibug68"), Fitters(builtin))
    assert "none of the labelled points of aflw21" in made.failures[1]


def test_what_the_data_set_says_is_kept(faces: list[Face], fitters: Fitters) -> None:
    box, pose = np.array([20.0, 30.0, 120.0, 140.0]), np.array([0.5, -0.25, 0.125])
    made = build_rows([replace(faces[0], box=box, pose=pose), faces[1]], CONFIG, fitters)
    np.testing.assert_array_equal(made.faces["dataset_box"], np.stack([box, np.full(4, np.nan)]).astype(np.float32))
    np.testing.assert_array_equal(made.faces["dataset_pose"], np.stack([pose, np.full(3, np.nan)]).astype(np.float32))


def test_a_face_of_nothing_but_slips_fails_alone(
    faces: list[Face], fitters: Fitters, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = np.stack([np.zeros(68), faces[1].visibility]).astype(np.uint8)
    monkeypatch.setattr("pifa_data.labels.without_slips", lambda *arguments: seen)
    made = build_rows(faces[:2], CONFIG, fitters)
    assert list(made.failures) == [0]
    assert made.crops["valid"].tolist() == [False] * 3 + [True] * 3
