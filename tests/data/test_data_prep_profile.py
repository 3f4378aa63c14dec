"""Stores with face profiling: each face's turned views beside it, as exact as it and no trouble to it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pifa_data.boxes import detector_box
from pifa_data.build import PrepConfig, build_rows
from pifa_data.camera import pose_angles
from pifa_data.faces import Face
from pifa_data.fitting import Fitters, landmarks_of
from pifa_data.labels import fit_labels
from pifa_data.morphable import MorphableModel
from pifa_data.store import Store
from pifa_data.views import APART, PROFILE_VIEWS, view_id, view_yaws
from pifa_model.store_rows import StoreRows
from pipelines.prep import PrepSummary, run_prep
from pipelines.sources import load_faces

CONFIG = PrepConfig(copies=2, size=48, shard_faces=16, profile=90, mirror=True)
VIEWS = 1 + PROFILE_VIEWS


@pytest.fixture(scope="module")
def prep(scheduler: str, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("profile")

    def run(name: str, config: PrepConfig, limit: int | None = None) -> tuple[PrepSummary, Store]:
        source, model = f"keypoints-csv:{synthetic / 'faces'}", str(synthetic / "model.safetensors")
        summary = run_prep([source], folder / name, morphable=model, config=config, scheduler=scheduler, limit=limit)
        return summary, Store(folder / name)

    return run


@pytest.fixture(scope="module")
def built(prep: Any) -> tuple[PrepSummary, Store]:
    return prep("S.zarr", CONFIG)


@pytest.fixture(scope="module")
def faces(synthetic: Path) -> list[Face]:
    return load_faces([f"keypoints-csv:{synthetic / 'faces'}"])[0]


def test_each_face_has_its_views_beside_it(built: tuple[PrepSummary, Store]) -> None:
    summary, store = built
    assert (summary.faces, summary.views, summary.skipped) == (24, 24 * PROFILE_VIEWS, 0)
    assert summary.crops == 24 * VIEWS * 2 * 2
    assert list(store.verify()) == []
    ids, profile = store.text("id"), store.read("faces/profile")
    for first in range(0, len(ids), VIEWS):
        assert ids[first : first + VIEWS] == [view_id(ids[first], k) for k in range(VIEWS)]
        assert profile[first] == 0
        assert (np.abs(profile[first + 1 : first + VIEWS]) > APART - 1e-6).all()
        for column in ("path", "subject", "split", "scheme", "kind"):
            assert len(set(store.text(column)[first : first + VIEWS])) == 1
    # A shard has whole faces and, views counted, as many rows as without views.
    assert store.layout.shard_faces == 16
    assert store.read("faces/valid").all()
    source = store.read("source")
    for shard in range(store.layout.shards):
        span = store.layout.face_range(shard)
        assert set(source[store.layout.row_range(shard)]) == set(range(span.start, span.stop))


def test_poses_spread_to_profile_and_are_those_of_the_parameters(built: tuple[PrepSummary, Store]) -> None:
    _, store = built
    pose = store.read("faces/pose").reshape(-1, VIEWS, 3)
    profile = store.read("faces/profile").reshape(-1, VIEWS)
    np.testing.assert_allclose(pose[:, :, 0] - pose[:, :1, 0], profile, atol=2e-5)
    np.testing.assert_allclose(pose[:, :, 1:], np.repeat(pose[:, :1, 1:], VIEWS, axis=1), atol=2e-5)
    params = store.read("faces/params")
    np.testing.assert_allclose(pose_angles(params[:, :8].reshape(-1, 2, 4)), pose.reshape(-1, 3), atol=2e-5)
    away = np.degrees(np.abs(pose[..., 0]))
    assert (np.diff(away, axis=1) > 0).all()  # each view in a third of its own
    assert away.max() <= 90
    first = away[:, 0] + np.degrees(APART)
    edges = first[:, None] + (90 - first)[:, None] * np.arange(4) / 3
    assert ((away[:, 1:] > edges[:, :-1] - 1e-3) & (away[:, 1:] < edges[:, 1:] + 1e-3)).all()
    assert (away[:, -1] > 75).sum() > 3
    turned = np.abs(pose[:, 0, 0]) > np.radians(10)
    assert (np.sign(pose[turned, 1:, 0]) == np.sign(pose[turned, :1, 0])).all()


def test_rows_of_views_are_the_projections_of_their_parameters(
    built: tuple[PrepSummary, Store], model: MorphableModel
) -> None:
    _, store = built
    row_is_view = store.read("faces/profile")[store.read("source")] != 0
    params, landmarks, seen, mirrored = (store.read(n) for n in ("params", "landmarks", "visibility", "mirrored"))
    assert set(np.unique(seen[row_is_view])) == {1, 2}
    assert (seen[row_is_view] == 1).mean() > 0.05
    found = landmarks_of(model, "ibug68", params, "2d")
    off = np.linalg.norm(found - landmarks, axis=2).mean(1)
    assert off[row_is_view & ~mirrored].max() < 1e-3
    # Mirrored rows have the fit of the mirrored labels, turned; this model is its own mirror image but for a fit's end.
    assert off[row_is_view & mirrored].max() < 0.15
    inside = ((landmarks > -1) & (landmarks < 48)).all(2)[row_is_view]
    assert inside.mean() > 0.99
    images = store.array("images")[:][row_is_view]
    assert images.reshape(len(images), -1).std(1).min() > 10


def test_the_two_eyes_of_profiles_are_told_apart(built: tuple[PrepSummary, Store]) -> None:
    _, store = built
    yaw, seen = store.read("faces/pose")[:, 0], store.read("faces/visibility")
    right, left = 36, 45  # outer corners of the subject's eyes
    for side, near, far in ((1, left, right), (-1, right, left)):
        profiles = np.degrees(yaw * side) > 75
        assert profiles.sum() > 3
        assert (seen[profiles, near] == 2).all()
        assert (seen[profiles, far] == 1).all()


def test_faces_are_what_they_are_without_views(built: tuple[PrepSummary, Store], prep: Any) -> None:
    _, views = built
    _, plain = prep("plain.zarr", replace(CONFIG, profile=None))
    assert plain.layout.shards < views.layout.shards
    own = views.read("faces/profile") == 0
    for name in plain.layout.columns():
        if name.startswith("faces/"):
            with_views = views.read(name)[own]
            if name == "faces/id":
                with_views = with_views[:, : plain.read(name).shape[1]]
            np.testing.assert_array_equal(with_views, plain.read(name), err_msg=name)
    assert not plain.read("faces/profile").any()

    def crops(store: Store, name: str, every: int) -> np.ndarray:
        source, copy, mirrored = (store.read(n) for n in ("source", "copy", "mirrored"))
        order = np.lexsort((copy, mirrored, source))
        return store.array(name)[:][order[source[order] % every == 0]]

    for name in ("images", "params", "landmarks", "visibility", "boxes"):
        np.testing.assert_array_equal(crops(views, name, VIEWS), crops(plain, name, 1), err_msg=name)


def test_the_same_again(prep: Any) -> None:
    first, again = (prep(f"{name}.zarr", CONFIG, limit=5)[0].digest for name in ("first", "again"))
    assert first == again
    assert prep("seed.zarr", replace(CONFIG, seed=1), limit=5)[0].digest != first


def test_training_reads_views_as_any_other_face(built: tuple[PrepSummary, Store]) -> None:
    _, store = built
    rows = StoreRows(store)
    views = rows.rows_of(store.read("faces/profile") != 0)
    assert len(views) == 24 * PROFILE_VIEWS * 4
    chosen = views[:8]
    batch = rows.batch(chosen, rows.read_images(chosen), np.zeros(8, bool))
    np.testing.assert_array_equal(batch.images, store.array("images")[:][chosen])
    np.testing.assert_allclose(batch.landmarks, store.read("landmarks")[chosen], atol=1e-3)
    assert batch.marching.all()


def test_a_view_depends_on_its_face_and_the_seed_alone(
    faces: list[Face], model: MorphableModel, synthetic: Path
) -> None:
    fitters = Fitters(model)
    group = faces[:4]
    whole = build_rows(group, CONFIG, fitters)
    for part in (slice(1, 3), slice(3, 4)):
        rows = build_rows(group, CONFIG, fitters, part=part)
        for name, column in rows.faces.items():
            span = slice(part.start * VIEWS, part.stop * VIEWS)
            np.testing.assert_array_equal(column, whole.faces[name][span], err_msg=name)


def test_faces_turned_as_far_already_have_no_views(faces: list[Face], model: MorphableModel) -> None:
    fitters = Fitters(model)
    fitted = fit_labels(faces, "ibug68", fitters)
    yaw = np.degrees(np.abs(pose_angles(fitted.params[:, :8].reshape(-1, 2, 4))[:, 0]))
    limit = float(np.median(yaw)) + 5
    rows = build_rows(faces, replace(CONFIG, profile=limit), fitters)
    valid = rows.faces["valid"].reshape(-1, VIEWS)
    assert valid[:, 0].all()
    np.testing.assert_array_equal(valid[:, 1:].all(1), yaw + 5 < limit)
    np.testing.assert_array_equal(valid[:, 1:].any(1), yaw + 5 < limit)
    assert 0 < valid[:, 1].sum() < len(faces)
    assert rows.failures == {}  # it is no fault of theirs
    gone = ~valid.ravel()
    assert not rows.crops["valid"].reshape(-1, 4)[gone].any()
    assert not rows.crops["images"].reshape(-1, 4, 48, 48, 3)[gone].any()
    assert not rows.faces["profile"][gone].any()


def test_a_face_that_fails_has_no_views_and_one_reason(faces: list[Face], model: MorphableModel) -> None:
    missing = replace(CONFIG, profile=60)
    rows = build_rows(
        [faces[0], Face(**{**faces[1].__dict__, "file": "nowhere.png"}), faces[2]], missing, Fitters(model)
    )
    assert list(rows.failures) == [VIEWS]
    np.testing.assert_array_equal(rows.faces["valid"], np.repeat([True, False, True], VIEWS))


def test_labels_of_a_face_that_are_missing_or_hidden_are_so_in_its_views(
    faces: list[Face], model: MorphableModel
) -> None:
    visibility = faces[0].visibility.copy()
    visibility[[30, 40]], visibility[[33, 57]] = 0, 1
    face = Face(**{**faces[0].__dict__, "visibility": visibility})
    rows = build_rows([face], CONFIG, Fitters(model))
    seen = rows.faces["visibility"]
    assert (seen[:, [30, 40]] == 0).all()
    assert (seen[:, [33, 57]] == 1).all()
    assert (seen[1:] == 2).any(1).all()


@pytest.mark.parametrize("layout", ["crops", "faces"])
def test_dataset_boxes_follow_the_face(faces: list[Face], model: MorphableModel, layout: str) -> None:
    from pifa_data.boxes import box_size, tight_box

    tight = tight_box(faces[0].landmarks, faces[0].visibility)
    around = tight + np.array([-20.0, -40.0, 20.0, 10.0])
    face = Face(**{**faces[0].__dict__, "box": around})
    rows = build_rows([face], replace(CONFIG, boxes="dataset", layout=layout), Fitters(model))
    boxes = rows.faces["box"]
    for k in range(1, VIEWS):
        own = tight_box(rows.faces["landmarks"][k], np.ones(68))
        assert box_size(boxes[k]) / box_size(own) == pytest.approx(box_size(around) / box_size(tight), rel=0.05)
        assert (boxes[k][:2] < own[:2]).all()
        assert (boxes[k][2:] > own[2:]).all()
    assert np.isnan(rows.faces["dataset_box"][1:]).all()
    np.testing.assert_allclose(rows.faces["dataset_box"][0], around, rtol=1e-6)
    assert len(rows.crops["images"]) == (VIEWS if layout == "faces" else VIEWS * 4)


def test_a_union_has_the_box_of_its_first_scheme(faces: list[Face]) -> None:
    from pifa_data.boxes import tight_box
    from pifa_data.morphable import load_builtin

    config = replace(CONFIG, scheme="ibug68+aflw21", copies=1, mirror=False)
    rows = build_rows(faces[:1], config, Fitters(load_builtin()))
    landmarks, box = rows.faces["landmarks"], rows.faces["box"]
    for k in range(1, VIEWS):
        np.testing.assert_allclose(box[k], tight_box(landmarks[k, :68], np.ones(68)), rtol=1e-5)
    assert (rows.faces["visibility"][:, 68:] == 0).all()


def test_yaws_of_views() -> None:
    yaws = [np.degrees(view_yaws(f"face {i}", np.radians(4.0), np.radians(90.0), 0)) for i in range(300)]
    sides = np.sign(yaws).mean(0)
    assert (np.abs(sides) < 0.2).all()  # near frontal to either side
    away = np.abs(yaws)
    assert away.min() > 9
    assert away.max() < 90
    assert np.histogram(away, bins=np.linspace(9, 90, 10))[0].min() > 70  # uniform: 100 each
    assert (np.sign(view_yaws("face", np.radians(-12.0), np.radians(90.0), 0)) == -1).all()
    assert view_yaws("face", np.radians(-12.0), np.radians(17.0), 0) == []
    assert len(view_yaws("face", np.radians(-12.0), np.radians(17.1), 0)) == PROFILE_VIEWS


@pytest.mark.parametrize(("shard_faces", "own"), [(128, 32), (64, 16), (16, 4), (10, 2), (11, 1), (3, 1), (1, 1)])
def test_faces_a_shard(shard_faces: int, own: int) -> None:
    config = replace(CONFIG, shard_faces=shard_faces)
    assert config.own_faces == own
    assert shard_faces % own == 0
    assert replace(config, profile=None).own_faces == shard_faces


def test_views_have_the_boxes_that_a_detector_would_give(faces: list[Face], model: MorphableModel) -> None:
    config = replace(PrepConfig.for_boxes("detector"), copies=3, size=64, profile=70)
    rows = build_rows(faces[:3], config, Fitters(model))
    views = np.flatnonzero(rows.faces["profile"])
    assert len(views) == 3 * PROFILE_VIEWS
    landmarks = rows.faces["landmarks"][views].astype(float)
    tight = np.concatenate([landmarks.min(1), landmarks.max(1)], axis=1)
    expected = detector_box(tight, rows.faces["pose"][views, 0])
    np.testing.assert_allclose(rows.faces["box"][views], expected, atol=0.05)
    inside = rows.crops["landmarks"][np.isin(rows.crops["source"], views)]
    assert ((inside > 0) & (inside < 63)).all(2).mean() > 0.97
