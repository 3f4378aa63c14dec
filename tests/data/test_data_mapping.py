"""Mapping files, the transfer of ibug68's vertices, and whole models from arrays."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import SCHEME, make_model

from pifa_data.camera import rotation
from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel, import_ict_npz, load_builtin
from pifa_data.morphable.ict_facekit import LANDMARKS
from pifa_data.morphable.mapping import REFERENCE68, complete_model, read_mapping, transfer_ibug68
from pifa_data.schemes import SCHEMES, get_scheme

IBUG = get_scheme("ibug68")
FEW = (36, 39, 42, 45, 30, 48, 54, 8)  # corners of eyes and mouth, nose tip, chin


def distance(a: int, b: int) -> float:
    return float(np.linalg.norm(REFERENCE68[a] - REFERENCE68[b]))


def test_the_reference_is_a_symmetric_face_of_published_size() -> None:
    np.testing.assert_array_equal(REFERENCE68[IBUG.mirror], REFERENCE68 * [-1, 1, 1])
    # Means of adult women and men, Farkas 1994 and ANSUR II. Annotators set points up to 5 mm from the anatomists'
    # places: the mouth's corners further out, the bridge further down.
    for pair, millimetres in {
        (36, 45): 89,
        (39, 42): 33,
        (48, 54): 51,
        (27, 33): 50,
        (27, 8): 116,
        (33, 62): 22,
    }.items():
        assert distance(*pair) == pytest.approx(millimetres, abs=5), pair
    assert REFERENCE68[:, 2].argmax() == 30


def test_the_reference_is_the_builtin_model_with_its_lips_apart() -> None:
    model = load_builtin()
    points = model.mean[model.landmarks[SCHEME]]
    apart = np.abs(points - points[27] - REFERENCE68)
    assert apart.max() < 0.9
    assert np.delete(apart, [61, 62, 63, 65, 66, 67], axis=0).max() < 0.5  # mm: an estimate made anew moves it less
    assert (REFERENCE68[[61, 62, 63], 1] - REFERENCE68[[67, 66, 65], 1] > 1.5).all()


def test_the_reference_is_near_the_real_model(shared_data: Path) -> None:
    model = import_ict_npz([shared_data / "morphable/ict_face.npz"])
    points = model.mean[model.landmarks[SCHEME]].astype(float)
    points, reference = points - points.mean(0), REFERENCE68 - REFERENCE68.mean(0)
    scale = np.linalg.norm(points) / np.linalg.norm(reference)
    apart = np.linalg.norm(points / scale - reference, axis=1)
    assert apart.mean() < 6
    assert apart.max() < 18
    # The makers' own jaw line runs over the cheek: the reference's is the annotators'.
    jaw = [*range(5), *range(12, 17)]
    owners = model.mean[[LANDMARKS[i] for i in jaw]] / scale
    owners -= model.mean[model.landmarks[SCHEME]].mean(0) / scale
    assert apart[jaw].mean() < np.linalg.norm(owners - reference[jaw], axis=1).mean() / 2


def test_anchors_are_kept_and_all_vertices_differ(model: MorphableModel) -> None:
    landmarks = model.landmarks[SCHEME]
    everything = dict(enumerate(landmarks.tolist()))
    np.testing.assert_array_equal(transfer_ibug68(model.mean, model.normals, everything), landmarks)
    few = {i: everything[i] for i in FEW}
    found = transfer_ibug68(model.mean, model.normals, few)
    assert found.dtype == np.int32
    assert {i: found[i] for i in FEW} == few
    assert len(set(found.tolist())) == 68


@given(
    scale=st.floats(1e-3, 1e3),
    angles=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    shift=st.tuples(*[st.floats(-100, 100)] * 3),
)
def test_the_transfer_does_not_depend_on_units_and_frame(
    scale: float, angles: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    model = make_model()
    few = {i: int(model.landmarks[SCHEME][i]) for i in FEW}
    turn = rotation(*angles)
    moved = scale * (model.mean @ turn.T) + scale * np.array(shift)
    found = transfer_ibug68(moved, model.normals @ turn.T, few)
    expected = transfer_ibug68(model.mean, model.normals, few)
    # Rounding may choose another one of two vertices at nearly the same distance.
    assert (found == expected).mean() > 0.95


@pytest.mark.parametrize(
    ("known", "inner", "jaw"),
    [
        (range(0, 68, 2), 2.2, 5.0),
        ((*FEW, 0, 4, 12, 16), 3.2, 7.0),
        (FEW, 3.0, 13.0),
        ((36, 45, 30, 48, 54), 3.0, 13.0),
    ],
)
def test_the_transfer_on_the_real_model(shared_data: Path, known: tuple[int, ...], inner: float, jaw: float) -> None:
    """Mean distance in mm of transferred vertices to the ones where annotators set the points."""
    model = import_ict_npz([shared_data / "morphable/ict_face.npz"])
    truth = model.landmarks[SCHEME]
    found = transfer_ibug68(model.mean, model.normals, {i: int(truth[i]) for i in known})
    apart = 10 * np.linalg.norm(model.mean[found] - model.mean[truth], axis=1)
    others = np.setdiff1d(np.arange(68), known)
    assert apart[others[others >= 17]].mean() < inner
    assert apart[others[others < 17]].mean() < jaw
    upper, lower = model.mean[found[[61, 62, 63]], 1], model.mean[found[[65, 66, 67]], 1]
    assert (upper > lower[::-1]).all()  # each on its own lip


def test_anchors_in_a_plane_do_not_flatten_the_face(model: MorphableModel) -> None:
    """Four points nearly in one plane say nothing of depth: it must stay the reference's."""
    known = {i: int(model.landmarks[SCHEME][i]) for i in (36, 45, 48, 54)}
    points = model.mean[transfer_ibug68(model.mean, model.normals, known)]
    truth = model.mean[model.landmarks[SCHEME]]
    assert np.ptp(points[:, 2]) == pytest.approx(np.ptp(truth[:, 2]), rel=0.35)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: dict(list(a.items())[:3]), "at least 4"),
        (lambda a: {}, "at least 4"),
        (lambda a: a | {68: 5}, "0 to 67"),
        (lambda a: a | {-1: 5}, "0 to 67"),
        (lambda a: a | {0: -1}, "vertex numbers from 0"),
        (lambda a: a | {0: 10**6}, "vertex numbers from 0"),
        (lambda a: {i: a[i] for i in (27, 28, 29, 30)}, "on a line"),
        (lambda a: dict.fromkeys(range(10), 7), "on a line"),
    ],
)
def test_anchors_that_do_not_fix_a_face_are_refused(model: MorphableModel, change: object, message: str) -> None:
    anchors = dict(enumerate(model.landmarks[SCHEME].tolist()))
    with pytest.raises(MorphableError, match=message):
        transfer_ibug68(model.mean, model.normals, change(anchors))  # type: ignore[operator]


def write(folder: Path, text: str) -> Path:
    path = folder / "landmarks.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_mapping_by_numbers_and_names(tmp_path: Path) -> None:
    path = write(tmp_path, "# chin and eyes\n[ibug68]\n8 = 33\njaw_0 = 12\n'36' = 177\nleft_eye_3 = 5\n")
    assert read_mapping(path) == {8: 33, 0: 12, 36: 177, 45: 5}
    assert read_mapping(path, vertices=178) == read_mapping(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one table .*found nothing"),
        ("[other]\n8 = 3", r"found \[other\]"),
        ("[ibug68]\n8 = 3\n[more]\n", r"found \[ibug68\], \[more\]"),
        ("ibug68 = 7", "expected one table"),
        ("[ibug68]", "empty"),
        ("[ibug68]\n8 = 3\n8 = 4", "not a TOML file"),
        ("[ibug68\n", "not a TOML file"),
        ("[ibug68]\nnose = 3", "'nose' is no landmark"),
        ("[ibug68]\n68 = 3", "'68' is no landmark"),
        ("[ibug68]\n-1 = 3", "'-1' is no landmark"),
        ("[ibug68]\n'٣' = 3", "is no landmark"),
        (f"[ibug68]\n{'9' * 5000} = 3", "is no landmark"),
        ("[ibug68]\n8 = 3.0", "expected a vertex number, found float"),
        ("[ibug68]\n8 = true", "expected a vertex number, found bool"),
        ("[ibug68]\n8 = '3'", "expected a vertex number, found str"),
        ("[ibug68]\n8 = [3]", "expected a vertex number, found list"),
        ("[ibug68]\n8 = -3", "0 to 99"),
        ("[ibug68]\n8 = 100", "0 to 99"),
        ("[ibug68]\n8 = 3\njaw_8 = 4", "landmark 8 is given twice"),
        ("[ibug68]\n8 = 3\n9 = 3", "9: vertex 3 is 8 already"),
    ],
)
def test_bad_mappings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MorphableError, match=rf"landmarks\.toml: .*{message}"):
        read_mapping(write(tmp_path, text), vertices=100)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MorphableError, match="no such mapping"):
        read_mapping(tmp_path / "landmarks.toml")
    (tmp_path / "landmarks.toml").write_bytes(b"\xff\xfe\x00[ibug68]")
    with pytest.raises(MorphableError, match=r"landmarks\.toml: not a TOML"):
        read_mapping(tmp_path / "landmarks.toml")


def complete(model: MorphableModel, **changes: object) -> MorphableModel:
    arrays = {name: getattr(model, name) for name in ("mean", "identity", "expression", "triangles")}
    values = {"name": "whole", "ibug68": model.landmarks[SCHEME], "units": "centimetre", "licence": "MIT", "source": ""}
    return complete_model(**(arrays | values | changes))  # type: ignore[arg-type]


def test_a_whole_model_has_every_scheme(model: MorphableModel, tmp_path: Path) -> None:
    whole = complete(model)
    assert set(whole.landmarks) == set(SCHEMES)
    assert set(whole.contours) == {name for name, scheme in SCHEMES.items() if scheme.contour}
    np.testing.assert_array_equal(whole.landmarks[SCHEME], model.landmarks[SCHEME])
    np.testing.assert_array_equal(whole.contours[SCHEME].vertices, model.contours[SCHEME].vertices)
    assert whole.nose_tip == model.nose_tip
    for name, contour in whole.contours.items():
        np.testing.assert_array_equal(contour.vertices[:, 0], whole.landmarks[name][contour.points])
        assert (contour.vertices < len(model.mean)).all()
    whole.save(tmp_path / "whole.safetensors")
    assert MorphableModel.load(tmp_path / "whole.safetensors").fingerprint == whole.fingerprint


def test_loose_vertices_move_as_the_points_around_them(model: MorphableModel) -> None:
    whole = complete(model)
    assert len(whole.mean) == len(model.mean) + 3
    assert whole.triangles.max() < len(model.mean)
    np.testing.assert_array_equal(whole.mean[:-3], model.mean)
    p = np.random.default_rng(0).normal(size=whole.n_coefficients)
    points = whole.vertices(p, whole.landmarks[SCHEME]) - whole.mean[whole.landmarks[SCHEME]]
    loose = whole.vertices(p)[-3:] - whole.mean[-3:]
    for vertex, around in enumerate((range(36, 42), range(42, 48), (62, 66))):
        np.testing.assert_allclose(loose[vertex], points[list(around)].mean(0), atol=1e-5)
    names = get_scheme("aflw21").points
    chosen = [whole.landmarks["aflw21"][names.index(n)] for n in ("right_pupil", "left_pupil", "mouth_centre")]
    assert chosen == [len(model.mean) + i for i in range(3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ibug68": np.arange(67)}, "ibug68|nose_tip"),
        ({"ibug68": np.full(68, 10**6)}, "out of range"),
        ({"mean": np.full((1521, 3), np.nan)}, "finite"),
        ({"identity": np.zeros((2, 7, 3))}, "identity"),
        ({"triangles": np.full((4, 3), 10**6)}, "out of range"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(model: MorphableModel, changes: dict, message: str) -> None:
    with pytest.raises(MorphableError, match=message):
        complete(model, **changes)
