"""The importer of the ICT face model, on files made here and on the real one."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from synthetic import SCHEME

from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel, import_ict_npz


def arrays(model: MorphableModel) -> dict[str, np.ndarray]:
    """The synthetic head in the ICT file's arrays, with one expression that moves nothing."""
    still = np.zeros((1, *model.mean.shape), np.float32)
    return {
        "mean": model.mean,
        "identity": model.identity,
        "expression": np.concatenate([model.expression[:1], still, model.expression[1:]]),
        "triangles": model.triangles,
        "landmarks68": model.landmarks[SCHEME],
        "expression_names": np.array(["mouth_open", "eyeLookUp", "smile", "brows_up"]),
    }


def write(path: Path, **values: np.ndarray) -> Path:
    np.savez(path, **values)
    return path


def test_imports_and_leaves_out_expressions_that_move_nothing(model: MorphableModel, tmp_path: Path) -> None:
    found = import_ict_npz([write(tmp_path / "ict.npz", **arrays(model))])
    assert found.expression_names == ("mouth_open", "smile", "brows_up")
    # Three vertices more: pupils and the mouth's centre, which are no skin.
    np.testing.assert_array_equal(found.mean[:-3], model.mean)
    np.testing.assert_array_equal(found.identity[:, :-3], model.identity)
    np.testing.assert_array_equal(found.expression[:, :-3], model.expression)
    np.testing.assert_array_equal(found.triangles, model.triangles)
    np.testing.assert_array_equal(found.landmarks[SCHEME], model.landmarks[SCHEME])
    np.testing.assert_array_equal(found.contours[SCHEME].vertices, model.contours[SCHEME].vertices)
    assert found.nose_tip == model.nose_tip


@pytest.mark.parametrize("name", ["mean", "identity", "expression", "triangles", "landmarks68", "expression_names"])
def test_a_missing_array_is_named(model: MorphableModel, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "ict.npz", **{k: v for k, v in arrays(model).items() if k != name})
    with pytest.raises(MorphableError, match=rf"ict\.npz.*{name}"):
        import_ict_npz([path])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.zeros((5, 3))),
        ("mean", np.array("text")),
        ("mean", np.zeros((0, 3))),
        ("identity", np.zeros((2, 7, 3))),
        ("expression", np.zeros((1, 1521, 3))),
        ("expression", np.zeros(4)),
        ("triangles", np.full((4, 3), 10**6)),
        ("triangles", np.zeros(9)),
        ("landmarks68", np.arange(67)),
        ("landmarks68", np.full(68, -1)),
        ("expression_names", np.array(["one"])),
        ("expression_names", np.array(5)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    model: MorphableModel, tmp_path: Path, name: str, value: np.ndarray
) -> None:
    path = write(tmp_path / "ict.npz", **(arrays(model) | {name: value}))
    with pytest.raises(MorphableError, match=r"ict\.npz"):
        import_ict_npz([path])


def test_nan_is_refused(model: MorphableModel, tmp_path: Path) -> None:
    values = arrays(model)
    values["identity"] = np.where(values["identity"] == values["identity"].max(), np.nan, values["identity"])
    with pytest.raises(MorphableError, match="finite"):
        import_ict_npz([write(tmp_path / "ict.npz", **values)])


class Touch:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["mean", "expression_names"])
def test_pickled_objects_are_refused_and_not_run(model: MorphableModel, tmp_path: Path, name: str) -> None:
    values = arrays(model) | {name: np.array([Touch(tmp_path / "ran")], dtype=object)}
    with pytest.raises(MorphableError, match=r"ict\.npz"):
        import_ict_npz([write(tmp_path / "ict.npz", **values)])
    assert not (tmp_path / "ran").exists()


def test_files_of_other_kinds_are_refused(model: MorphableModel, tmp_path: Path) -> None:
    path = tmp_path / "ict.npz"
    with pytest.raises(MorphableError, match="no such file"):
        import_ict_npz([path])
    whole = write(path, **arrays(model)).read_bytes()
    np.save(tmp_path / "one.npy", model.mean)
    for data in (b"", b"text", whole[:1000], whole[:-30], (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(data)
        with pytest.raises(MorphableError, match=r"ict\.npz"):
            import_ict_npz([path])


def test_a_flipped_bit_is_found_by_the_zips_checksum(model: MorphableModel, tmp_path: Path) -> None:
    path = write(tmp_path / "ict.npz", **arrays(model))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(MorphableError, match=r"ict\.npz"):
        import_ict_npz([path])


def test_a_header_that_claims_too_much_memory_is_refused(model: MorphableModel, tmp_path: Path) -> None:
    """Fifty bytes that say they are an array of 8 TB."""
    path = write(tmp_path / "ict.npz", **{k: v for k, v in arrays(model).items() if k != "mean"})
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("mean.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(MorphableError, match=r"ict\.npz"):
        import_ict_npz([path])


def test_the_real_model(shared_data: Path) -> None:
    model = import_ict_npz([shared_data / "morphable/ict_face.npz"])
    assert model.mean.shape == (9409 + 3, 3)  # with pupils and the mouth's centre
    assert len(model.identity) == 100
    assert len(model.expression) == len(model.expression_names) == 57
    assert model.units == "centimetre"
    assert 12 < np.ptp(model.mean[:, 0]) < 20
    points = model.mean[model.landmarks[SCHEME]]
    assert points[36, 0] < 0 < points[45, 0]  # the subject's right eye is on the image's left
    assert points[8, 1] < points[30, 1] < points[27, 1]  # chin, nose tip, bridge: y up
    assert points[30, 2] == pytest.approx(points[:, 2].max(), abs=0.2)  # the nose is nearest to the viewer
    assert model.normals[model.nose_tip, 2] > 0.5
    np.testing.assert_array_equal(np.unique(model.contours[SCHEME].side), [-1, 0, 1])
