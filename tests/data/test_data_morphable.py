"""The morphable model: its equation, its file, and files that must not be loaded."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from synthetic import SCHEME

from pifa_data.errors import MorphableError, PifaError
from pifa_data.morphable import Contour, MorphableModel


@pytest.fixture
def file(model: MorphableModel, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    model.save(path)
    return path


def rewrite(path: Path, change: Callable[[dict, dict], Any]) -> None:
    """Change the file's header and arrays in place and write them again, as an attacker would."""
    with safe_open(path, framework="np") as opened:
        header = json.loads(opened.metadata()["pifa"])
        tensors = {name: opened.get_tensor(name).copy() for name in opened.keys()}  # noqa: SIM118 (not a dict)
    change(header, tensors)
    save_file(tensors, path, metadata={"pifa": json.dumps(header)})


def fingerprint_of(tensors: dict) -> str:
    """What an attacker would write into the header, so that changed arrays look undamaged."""
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def test_save_and_load(model: MorphableModel, file: Path) -> None:
    found = MorphableModel.load(file)
    assert found.fingerprint == model.fingerprint
    for name in ("mean", "identity", "expression", "triangles"):
        np.testing.assert_array_equal(getattr(found, name), getattr(model, name))
    np.testing.assert_array_equal(found.landmarks[SCHEME], model.landmarks[SCHEME])
    for part in ("points", "vertices", "side"):
        np.testing.assert_array_equal(getattr(found.contours[SCHEME], part), getattr(model.contours[SCHEME], part))
    for name in ("name", "nose_tip", "units", "licence", "source", "expression_names"):
        assert getattr(found, name) == getattr(model, name)
    assert [p.name for p in file.parent.iterdir()] == [file.name]  # nothing left beside it


def test_the_file_is_the_same_each_time(model: MorphableModel, file: Path, tmp_path: Path) -> None:
    MorphableModel.load(file).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_half_is_half_the_size_and_nearly_the_same(model: MorphableModel, file: Path, tmp_path: Path) -> None:
    model.save(tmp_path / "half.safetensors", half=True)
    found = MorphableModel.load(tmp_path / "half.safetensors")
    np.testing.assert_array_equal(found.mean, model.mean)
    for name in ("identity", "expression"):
        small, whole = getattr(found, name), getattr(model, name)
        assert small.dtype == np.float32
        np.testing.assert_allclose(small, whole, rtol=2**-11, atol=2**-25)
    assert found.fingerprint != model.fingerprint  # the numbers are others, so is the model
    modes = model.identity.nbytes + model.expression.nbytes
    assert file.stat().st_size - (tmp_path / "half.safetensors").stat().st_size == pytest.approx(modes / 2, abs=500)
    found.save(tmp_path / "again.safetensors", half=True)  # rounding a second time changes nothing
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "half.safetensors").read_bytes()


def test_half_refuses_numbers_that_do_not_fit(model: MorphableModel, tmp_path: Path) -> None:
    micrometres = replace(model, identity=model.identity * 1e6)
    with pytest.raises(MorphableError, match=r"identity.*65504"):
        micrometres.save(tmp_path / "half.safetensors", half=True)
    assert not any(tmp_path.iterdir())


def test_a_file_of_version_1_says_how_to_go_on(file: Path) -> None:
    rewrite(file, lambda header, tensors: header.update(format_version=1, nose_tip=int(tensors.pop("nose_tip")[0])))
    with pytest.raises(MorphableError, match=r"model\.safetensors: format version 1.*reads 2.*pifa morphable import"):
        MorphableModel.load(file)


def test_a_vertex_of_no_triangle_looks_ahead(model: MorphableModel) -> None:
    def grown(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, array[..., -1:, :]], axis=-2)

    more = replace(model, mean=grown(model.mean), identity=grown(model.identity), expression=grown(model.expression))
    np.testing.assert_array_equal(more.normals[-1], [0, 0, 1])
    np.testing.assert_array_equal(more.normals[:-1], model.normals)


def test_equation_1(model: MorphableModel) -> None:
    p = np.random.default_rng(0).normal(size=(2, model.n_coefficients))
    expected = model.mean + sum(p[1, k] * model.modes[k].astype(np.float64) for k in range(model.n_coefficients))
    np.testing.assert_allclose(model.vertices(p)[1], expected, atol=1e-9)
    subset = model.landmarks[SCHEME]
    np.testing.assert_allclose(model.vertices(p, subset), model.vertices(p)[:, subset], atol=1e-9)
    np.testing.assert_array_equal(model.modes[: len(model.identity)], model.identity)
    np.testing.assert_allclose(
        model.mode_sizes, [np.linalg.norm(mode, axis=1).astype(float).__pow__(2).mean() ** 0.5 for mode in model.modes]
    )


def test_normals_point_outwards(model: MorphableModel) -> None:
    outwards = model.mean - [0, 1, 0]
    assert ((model.normals * outwards).sum(1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(model.normals, axis=1), 1, atol=1e-5)
    assert model.normals[model.nose_tip, 2] > 0.9


def changed(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flat[-1] += 1 if copy.flat[-1] <= 0 else -1
    return copy


@pytest.mark.parametrize("name", ["mean", "identity", "expression", "triangles"])
def test_fingerprint_follows_every_array(model: MorphableModel, name: str) -> None:
    assert replace(model, **{name: changed(getattr(model, name))}).fingerprint != model.fingerprint


def test_fingerprint_follows_landmarks_and_contours_and_nothing_for_people(model: MorphableModel) -> None:
    assert replace(model, landmarks={SCHEME: changed(model.landmarks[SCHEME])}).fingerprint != model.fingerprint
    for part in ("points", "vertices", "side"):
        contour = model.contours[SCHEME]
        array = getattr(contour, part)
        # A landmark has one line, so points can change places only.
        other = Contour(**{**contour.__dict__, part: array[::-1].copy() if part == "points" else changed(array)})
        assert replace(model, contours={SCHEME: other}).fingerprint != model.fingerprint, part
    assert replace(model, nose_tip=model.nose_tip + 1).fingerprint != model.fingerprint
    renamed = replace(model, name="other", licence="none", source="", units="metre", expression_names=())
    assert renamed.fingerprint == model.fingerprint


def test_any_flipped_bit_of_the_arrays_is_found(file: Path) -> None:
    data = file.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for at in np.linspace(start, len(data) - 1, 25).astype(int):
        broken = bytearray(data)
        broken[at] ^= 0x10
        file.write_bytes(broken)
        with pytest.raises(MorphableError, match=r"model\.safetensors"):
            MorphableModel.load(file)


@pytest.mark.parametrize("length", [0, 4, 200, -1000, -1])
def test_a_cut_file_is_refused(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(MorphableError, match=r"model\.safetensors"):
        MorphableModel.load(file)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MorphableError, match="pifa morphable import"):
        MorphableModel.load(tmp_path / "none.safetensors")


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.safetensors", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(MorphableError):
        MorphableModel.load(path)
    assert not mark.exists()


def test_another_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": np.zeros(3, np.float32)}, path)
    with pytest.raises(MorphableError, match="not of a morphable model"):
        MorphableModel.load(path)
    for text in ("{not json", "[" * 100_000, "null", "[1]", '"pifa-morphable"'):
        save_file({"w": np.zeros(3, np.float32)}, path, metadata={"pifa": text})
        with pytest.raises(MorphableError, match=r"w\.safetensors"):
            MorphableModel.load(path)


@pytest.mark.parametrize(
    "name", ["mean", "identity", "expression", "triangles", "nose_tip", f"contour.{SCHEME}.side", f"landmarks.{SCHEME}"]
)
def test_a_missing_array_is_named(file: Path, name: str) -> None:
    rewrite(file, lambda header, tensors: tensors.pop(name))
    with pytest.raises(MorphableError, match=f"model.safetensors: .*({name}|no landmark vertices)"):
        MorphableModel.load(file)


ARRAYS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "mean with NaN": ("mean", lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, np.nan, a).astype("f4")),
    "modes with inf": ("identity", lambda a: np.where(a == a.max(), np.inf, a).astype("f4")),
    "mean of two columns": ("mean", lambda a: a[:, :2].copy()),
    "mean in one row": ("mean", lambda a: a.ravel()),
    "mean of doubles": ("mean", lambda a: a.astype("f8")),
    "modes of fewer vertices": ("identity", lambda a: a[:, :-1].copy()),
    "modes as a matrix": ("expression", lambda a: a.reshape(len(a), -1)),
    "triangle out of range": ("triangles", lambda a: np.where(a == a.max(), a.max() + 1, a).astype("i4")),
    "triangle negative": ("triangles", lambda a: a - 1),
    "triangles of four": ("triangles", lambda a: np.c_[a, a[:, 0]]),
    "triangles as floats": ("triangles", lambda a: a.astype("f4")),
    "landmark out of range": (f"landmarks.{SCHEME}", lambda a: a + 100000),
    "one landmark fewer": (f"landmarks.{SCHEME}", lambda a: a[:-1].copy()),
    "contour vertex out of range": (f"contour.{SCHEME}.vertices", lambda a: a - 100000),
    "contour point out of range": (f"contour.{SCHEME}.points", lambda a: a + 60),
    "contour side 2": (f"contour.{SCHEME}.side", lambda a: a * 2),
    "contour of fewer sides": (f"contour.{SCHEME}.side", lambda a: a[:-1].copy()),
    "contour points given twice": (f"contour.{SCHEME}.points", lambda a: a * 0),
    "contour of no candidates": (f"contour.{SCHEME}.vertices", lambda a: a[:, :0]),
    "contour points as one number": (f"contour.{SCHEME}.points", lambda a: a[0].reshape(())),
    "nose tip negative": ("nose_tip", lambda a: a * 0 - 1),
    "nose tip out of range": ("nose_tip", lambda a: a + 100000),
    "two nose tips": ("nose_tip", lambda a: np.r_[a, a]),
    "nose tip of 64 bits": ("nose_tip", lambda a: a.astype("i8")),
    "nose tip as a float": ("nose_tip", lambda a: a.astype("f4")),
    "half with inf": ("identity", lambda a: np.where(a == a.max(), np.inf, a).astype("f2")),
    "mean as one number": ("mean", lambda a: a[0, 0].reshape(())),
    "no triangles' columns": ("triangles", lambda a: a.ravel()),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_hostile_arrays_are_refused(file: Path, case: str) -> None:
    name, change = ARRAYS[case]

    def apply(header: dict, tensors: dict) -> None:
        tensors[name] = np.ascontiguousarray(change(tensors[name]))
        header["fingerprint"] = fingerprint_of(tensors)  # or that alone would refuse the file

    rewrite(file, apply)
    with pytest.raises(MorphableError, match=rf"model\.safetensors: .*{name.split('.')[0]}") as refusal:
        MorphableModel.load(file)
    assert "fingerprint" not in str(refusal.value)


def test_another_nose_tip_is_another_model(file: Path) -> None:
    rewrite(file, lambda header, tensors: tensors.update(nose_tip=tensors["nose_tip"] + 1))
    with pytest.raises(MorphableError, match=r"model\.safetensors: expected fingerprint"):
        MorphableModel.load(file)
    rewrite(file, lambda header, tensors: header.update(fingerprint=fingerprint_of(tensors)))
    MorphableModel.load(file)  # so that the tests above are refused for what they change


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expression_names", 7),
        ("format", "other"),
        ("format_version", 99),
        ("format_version", None),
        ("fingerprint", "0" * 64),
        ("fingerprint", None),
    ],
)
def test_hostile_headers_are_refused(file: Path, key: str, value: Any) -> None:
    rewrite(file, lambda header, tensors: header.update({key: value}))
    with pytest.raises(MorphableError, match=r"model\.safetensors"):
        MorphableModel.load(file)


@pytest.mark.parametrize(("kind", "size"), [("BF16", 2), ("F8_E4M3", 1)])
def test_arrays_of_types_that_numpy_lacks_are_refused(tmp_path: Path, kind: str, size: int) -> None:
    header = json.dumps({"mean": {"dtype": kind, "shape": [4, 3], "data_offsets": [0, 12 * size]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(12 * size))
    # Where ml_dtypes is imported, as by onnx, NumPy has them; the file is no model all the same.
    with pytest.raises(MorphableError, match=r"model\.safetensors: (not a morphable|a safetensors file, but not)"):
        MorphableModel.load(path)


def test_a_scheme_nobody_knows_is_refused(file: Path) -> None:
    rewrite(file, lambda header, tensors: tensors.update({"landmarks.ibug99": tensors[f"landmarks.{SCHEME}"]}))
    with pytest.raises(PifaError, match="ibug99"):
        MorphableModel.load(file)
