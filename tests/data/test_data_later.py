"""Schemes that a model's file lacks: told when asked for, and no part of the model's identity."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import SCHEME
from test_data_mapping import complete

from pifa_data.fitting import LandmarkFitter
from pifa_data.morphable import MorphableModel, later, load_builtin
from pifa_data.morphable.model import STORED_SCHEMES
from pifa_data.schemes import SCHEMES, get_scheme


def without(model: MorphableModel, *schemes: str) -> MorphableModel:
    return replace(
        model,
        landmarks={name: v for name, v in model.stored_landmarks.items() if name not in schemes},
        contours={name: c for name, c in model.stored_contours.items() if name not in schemes},
    )


@pytest.mark.parametrize("whole", ["synthetic", "builtin"])
def test_they_are_what_an_import_would_have_stored(model: MorphableModel, tmp_path: Path, whole: str) -> None:
    full = load_builtin() if whole == "builtin" else complete(model)
    old = without(full, "wflw98", "pifa34", "cofw29")
    old.save(tmp_path / "old.safetensors")
    found = MorphableModel.load(tmp_path / "old.safetensors")
    assert set(found.landmarks) == set(full.landmarks) == set(SCHEMES)
    assert set(found.contours) == set(full.contours)
    for name, vertices in full.landmarks.items():
        np.testing.assert_array_equal(found.landmarks[name], vertices, err_msg=name)
        assert found.landmarks[name].dtype == np.int32
    for name, contour in full.contours.items():
        for part in ("points", "vertices", "side"):
            np.testing.assert_array_equal(getattr(found.contours[name], part), getattr(contour, part))


def test_a_model_stays_the_model_that_checkpoints_name(model: MorphableModel, tmp_path: Path) -> None:
    old = without(complete(model), "wflw98")
    old.save(tmp_path / "old.safetensors")
    found = MorphableModel.load(tmp_path / "old.safetensors")
    found.landmarks["wflw98"], found.contours["wflw98"]
    assert found.fingerprint == old.fingerprint
    np.testing.assert_array_equal(found.simplify(500), old.simplify(500))
    found.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "old.safetensors").read_bytes()


def test_importers_store_the_schemes_of_the_files_version(model: MorphableModel) -> None:
    """A scheme that is added later must not change what an import gives, or checkpoints would not find their model."""
    for whole in (complete(model), load_builtin()):
        assert set(whole.stored_landmarks) == set(STORED_SCHEMES) < set(whole.landmarks)
        assert set(whole.stored_contours) == {name for name in STORED_SCHEMES if SCHEMES[name].contour}


def test_nothing_is_told_before_it_is_asked_for(
    model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(model).save(tmp_path / "model.safetensors")

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(later, "scheme_vertices", never)
    found = MorphableModel.load(tmp_path / "model.safetensors")
    assert "lapa106" in found.landmarks
    assert "lapa106" in found.contours
    assert "ibug99" not in found.landmarks
    assert list(found.landmarks)[-1] == "lapa106"
    assert len(found.landmarks) == len(SCHEMES)
    with pytest.raises(KeyError):
        found.landmarks["ibug99"]
    assert "cofw29" not in found.contours
    assert found.contours.get("cofw29") is None
    LandmarkFitter(found, "wflw98")
    with pytest.raises(AssertionError):
        found.landmarks["lapa106"]


def test_what_can_not_be_told_stays_away(model: MorphableModel, tmp_path: Path) -> None:
    """Pupils need a vertex that the file knows by another scheme; and without ibug68 nothing is told."""
    bare = replace(model, landmarks={SCHEME: model.landmarks[SCHEME]}, contours={})
    bare.save(tmp_path / "bare.safetensors")
    found = MorphableModel.load(tmp_path / "bare.safetensors")
    assert set(found.landmarks) == {"ibug68", "ibug51"}
    np.testing.assert_array_equal(found.landmarks["ibug51"], model.landmarks[SCHEME][17:])
    pupils = without(complete(model), "aflw21", "aflw19", "pifa34", "afw6")  # the mouth's centre is theirs
    pupils.save(tmp_path / "pupils.safetensors")
    found = MorphableModel.load(tmp_path / "pupils.safetensors")
    assert set(found.landmarks) == {"ibug68", "ibug51", "cofw29", "wflw98", "lapa106"}
    other = without(complete(model), "ibug68")
    other.save(tmp_path / "other.safetensors")
    assert set(MorphableModel.load(tmp_path / "other.safetensors").landmarks) == set(other.landmarks)


def test_a_model_travels_to_other_processes(model: MorphableModel) -> None:
    whole = complete(model)
    vertices = whole.landmarks["lapa106"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(whole)).landmarks["lapa106"], vertices)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(complete(model))).landmarks["lapa106"], vertices)


def test_models_of_one_fingerprint_are_told_the_same(model: MorphableModel, tmp_path: Path) -> None:
    whole = complete(model)
    whole.landmarks["lapa106"]
    other = replace(whole, mean=whole.mean * np.float32([1.1, 1.2, 1]))
    assert "lapa106" not in other.landmarks  # what was told of the first model is not the other's
    other.save(tmp_path / "other.safetensors")
    loaded = MorphableModel.load(tmp_path / "other.safetensors")
    turned = replace(
        other,
        landmarks=dict(reversed(other.landmarks.items())),
        contours=dict(reversed(other.contours.items())),
    )
    told = later.with_later_schemes(turned)
    assert loaded.fingerprint == other.fingerprint == told.fingerprint
    np.testing.assert_array_equal(loaded.landmarks["lapa106"], told.landmarks["lapa106"])


def test_lapas_vertices_on_builtin() -> None:
    builtin = load_builtin()
    # What the fingerprint does not say: with other vertices, networks that were trained before mean other points.
    digest = hashlib.sha256(builtin.landmarks["lapa106"].tobytes()).hexdigest()
    assert digest == "cd7851761caf07c1f85ff854ba3a2f31f4ac2bbb9b67ce3bd96826f14869ee0f"
    points = builtin.mean[builtin.landmarks["lapa106"]]
    mirror = get_scheme("lapa106").mirror
    np.testing.assert_allclose(points[mirror], points * [-1, 1, 1], atol=1e-4)
    np.testing.assert_array_equal(points[[74, 83]], points[[104, 105]])
    ibug = builtin.mean[builtin.landmarks[SCHEME]]
    np.testing.assert_array_equal(points[[66, 70, 75, 79, 54, 60, 84, 90]], ibug[[36, 39, 42, 45, 30, 33, 48, 54]])
    # The nose's outline, from its root beside the eye down to the base; the wing is the widest.
    assert (np.diff(points[55:61, 1]) < 0).all()
    assert points[57, 0] == points[55:61, 0].min()
    assert ibug[39, 0] < points[55, 0] < ibug[28, 0]
    # The outline begins between the eye's corner and the brow, and goes down to the chin.
    assert points[66, 1] + 8 < points[0, 1] < points[34, 1]
    assert (np.diff(points[:17, 1]) < 0).all()
    np.testing.assert_array_equal(builtin.contours["lapa106"].vertices[:, 0], builtin.landmarks["lapa106"][:33])
