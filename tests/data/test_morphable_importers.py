"""The importers, on files of their owners' layouts made here, and on the originals that may be had."""

import dataclasses
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from originals import (
    Head,
    basel_2009,
    binary_expression,
    dump_flame,
    expression_300w_lp,
    flame,
    shape_300w_lp,
    spread,
    write_basel_2017,
    write_ict,
    write_mat,
    write_surrey,
)
from synthetic import SCHEME

from pifa_data.errors import MorphableError
from pifa_data.morphable import (
    IMPORTERS,
    MorphableModel,
    bfm2009,
    bfm2017,
    import_bfm2009,
    import_bfm2017,
    import_bfm2019,
    import_flame,
    import_ict,
    import_ict_npz,
    import_surrey,
    surrey,
)
from pifa_data.morphable import flame as flame_module
from pifa_data.morphable.ict_facekit import LANDMARKS as ICT
from pifa_data.morphable.ict_facekit import annotated


def check(found: MorphableModel, head: Head, unit: float, lift: float = 0.0, blend: float = 1.0) -> None:
    """The model is the head in units of which one centimetre has ``unit``, raised by ``lift`` cm.

    Behind the head's own vertices a completed model may have some of its own (pupils).
    """
    size, own = unit * 1e-4, slice(len(head.mean))
    np.testing.assert_allclose(found.mean[own], (head.mean + np.array([0, lift, 0])) * unit, atol=size)
    np.testing.assert_allclose(found.identity[: len(head.identity), own], head.identity * unit, atol=size)
    np.testing.assert_allclose(found.expression[:, own], head.expression * unit * blend, atol=size)
    assert found.mean.dtype == found.identity.dtype == found.expression.dtype == np.float32
    # Counter-clockwise from outside, whichever way the file winds them.
    assert found.normals[found.nose_tip, 2] > 0.9
    assert {frozenset(t) for t in found.triangles.tolist()} == {frozenset(t) for t in head.triangles.tolist()}
    points, expected = (found.mean - [0, lift * unit, 0])[found.landmarks[SCHEME]] / unit, head.mean
    truth = expected[[head.landmarks[i] for i in range(68)]]
    # Landmarks that a mapping leaves out are transferred: near, not exact, and the right way round. The jaw goes where
    # annotators follow it on a face, which is further back than on the synthetic head.
    apart = np.linalg.norm(points - truth, axis=1)
    assert apart[17:].max() < 2.2
    assert apart[:17].max() < 5
    assert (np.diff(points[:9, 1]) <= 0).all()
    np.testing.assert_allclose(points[:17] * [-1, 1, 1], points[16::-1], atol=2)
    assert points[36, 0] < -2 < 2 < points[45, 0]
    assert found.licence
    assert found.source


def exactly(found: MorphableModel, head: Head, landmarks: list[int]) -> None:
    assert found.landmarks[SCHEME][landmarks].tolist() == [head.landmarks[i] for i in landmarks]


def test_basel_2009_alone(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model, 53490, bfm2009.ANCHORS)
    found = import_bfm2009([write_mat(tmp_path / "01_MorphableModel.mat", **basel_2009(head))])
    check(found, dataclasses.replace(head, expression=head.expression[:0]), 1e4)
    exactly(found, head, list(bfm2009.ANCHORS))
    assert found.units == "micrometre"


def test_basel_2009_with_the_binary_expressions(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model, 53490, bfm2009.ANCHORS)
    shape = write_mat(tmp_path / "01_MorphableModel.mat", **basel_2009(head))
    binary = binary_expression(head, tmp_path)
    beside = import_bfm2009([binary, shape])  # std_exp.txt is found beside it
    check(beside, head, 1e4, lift=1)
    named = import_bfm2009([shape, binary, tmp_path / "std_exp.txt"])
    assert named.fingerprint == beside.fingerprint
    (tmp_path / "std_exp.txt").unlink()
    with pytest.raises(MorphableError, match=r"Exp_Pca\.bin: .*give std_exp\.txt"):
        import_bfm2009([shape, binary])


def test_binary_expressions_on_fewer_vertices_need_to_know_which(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model, 53490, bfm2009.ANCHORS)
    used = np.union1d(np.unique(head.triangles), np.arange(50000))
    parted = dataclasses.replace(head, mean=head.mean[used], expression=head.expression[:, used])
    shape = write_mat(tmp_path / "01_MorphableModel.mat", **basel_2009(head))
    binary = binary_expression(parted, tmp_path)
    with pytest.raises(MorphableError, match=r"Exp_Pca\.bin: expected the 53490 vertices.*BFM_exp_idx\.mat"):
        import_bfm2009([shape, binary])
    which = write_mat(tmp_path / "BFM_exp_idx.mat", trimIndex=used[:, None] + 1)
    found = import_bfm2009([shape, binary, which])
    number = {int(v): i for i, v in enumerate(used)}
    np.testing.assert_allclose(found.mean[: len(used)], (head.mean[used] + [0, 1, 0]) * 1e4, atol=1)
    assert len(found.triangles) == len(head.triangles)
    kept = [i for i, v in bfm2009.ANCHORS.items() if v in number]
    assert found.landmarks[SCHEME][kept].tolist() == [number[head.landmarks[i]] for i in kept]
    twice = write_mat(tmp_path / "BFM_exp_idx.mat", trimIndex=np.ones((len(used), 1)))
    with pytest.raises(MorphableError, match="trimIndex: expected each vertex once"):
        import_bfm2009([shape, binary, twice])


def test_the_papers_set(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)
    shape = write_mat(tmp_path / "Model_Shape.mat", **shape_300w_lp(head))
    arrays = expression_300w_lp(head)
    found = import_bfm2009([shape, write_mat(tmp_path / "Model_Expression.mat", **arrays)])
    check(found, head, 1e4, lift=1)
    exactly(found, head, list(range(68)))  # it brings its own keypoints
    # 300W-LP also ships the deviations as a file of their own.
    alone = write_mat(tmp_path / "sigma_exp.mat", sigma_exp=arrays.pop("sigma_exp"))
    expression = write_mat(tmp_path / "Model_Expression.mat", **arrays)
    assert import_bfm2009([shape, expression, alone]).fingerprint == found.fingerprint
    with pytest.raises(MorphableError, match=r"Model_Expression\.mat: the array sigma_exp is missing"):
        import_bfm2009([shape, expression])


def test_300w_lps_parameters_mean_the_same(model: MorphableModel, tmp_path: Path) -> None:
    """S = mu_shape + w·Shape_Para + mu_exp + w_exp·Exp_Para, with p = Shape_Para/sigma and Exp_Para/sigma_exp."""
    head = spread(model)
    shape, expression = shape_300w_lp(head), expression_300w_lp(head)
    found = import_bfm2009(
        [write_mat(tmp_path / "s.mat", **shape), write_mat(tmp_path / "e.mat", **expression)],
    )
    rng = np.random.default_rng(0)
    p = rng.normal(size=found.n_coefficients)
    a, b = p[: len(head.identity)] * shape["sigma"][:, 0], p[len(head.identity) :] * expression["sigma_exp"][:, 0]
    expected = shape["mu_shape"][:, 0] + shape["w"] @ a + expression["mu_exp"][:, 0] + expression["w_exp"] @ b
    vertices = found.vertices(p)[: len(head.mean)]
    np.testing.assert_allclose(vertices.ravel(), expected, atol=0.1)  # micrometres


def test_basel_2017(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model, 53149, bfm2017.ANCHORS_2017)
    found = import_bfm2017([write_basel_2017(tmp_path / "model2017-1_bfm_nomouth.h5", head)])
    check(found, head, 10, lift=1)
    exactly(found, head, list(bfm2017.ANCHORS_2017))
    assert found.name == "bfm2017"
    assert found.units == "millimetre"


def test_basel_2019_uses_the_landmarks_that_the_file_names(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)
    found = import_bfm2019([write_basel_2017(tmp_path / "model2019_bfm.h5", head)])
    check(found, head, 10, lift=1)
    exactly(found, head, [8, 30, 36, 39, 42, 45, 48, 54])
    nameless = write_basel_2017(tmp_path / "nameless.h5", head, {})
    with pytest.raises(MorphableError, match=r"nameless\.h5: .*--landmarks"):
        import_bfm2019([nameless])
    exactly(import_bfm2019([nameless], head.landmarks), head, list(range(68)))


def test_surrey(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model, 3448, surrey.ANCHORS)
    shape, blendshapes = write_surrey(tmp_path, head)
    found = import_surrey([blendshapes, shape])
    check(found, head, 10, blend=1 / np.sqrt(3))
    exactly(found, head, list(surrey.ANCHORS))
    assert found.expression_names == ("anger", "fear", "happiness")
    assert len(import_surrey([shape]).expression) == 0


def test_surrey_of_another_resolution_keeps_the_anchors_of_the_reference(model: MorphableModel, tmp_path: Path) -> None:
    shared = {i: v for i, v in surrey.ANCHORS.items() if v < 845}
    head = spread(model, 5000, shared)
    found = import_surrey([write_surrey(tmp_path, head)[0]])
    exactly(found, head, list(shared))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_flame(model: MorphableModel, tmp_path: Path, protocol: int) -> None:
    head = spread(model, 5023, flame_module.ANCHORS)
    path = tmp_path / "generic_model.pkl"
    path.write_bytes(dump_flame(flame(head), protocol))
    found = import_flame([path])
    assert (len(found.identity), len(found.expression)) == (300, len(head.expression))
    check(found, dataclasses.replace(head, identity=head.identity[:2]), 0.01)
    exactly(found, head, list(range(68)))
    assert found.units == "metre"


def test_flame_with_its_embedding(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)
    path, embedding = tmp_path / "generic_model.pkl", tmp_path / "flame_static_embedding.pkl"
    path.write_bytes(dump_flame(flame(head)))
    with pytest.raises(MorphableError, match="give flame_static_embedding"):
        import_flame([path])
    faces = [int(np.flatnonzero((head.triangles == head.landmarks[i]).any(1))[0]) for i in range(17, 68)]
    shares = np.where(head.triangles[faces] == np.array([[head.landmarks[i]] for i in range(17, 68)]), 0.8, 0.1)
    embedding.write_bytes(dump_flame({"lmk_face_idx": np.array(faces), "lmk_b_coords": shares}))
    found = import_flame([embedding, path])
    exactly(found, head, list(range(17, 68)))
    embedding.write_bytes(dump_flame({"lmk_face_idx": np.array(faces), "lmk_b_coords": shares * 2}))
    with pytest.raises(MorphableError, match=r"embedding\.pkl: lmk_b_coords: .*add up to 1"):
        import_flame([embedding, path])


def test_ict(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model, 9409, annotated(ICT))
    folder = write_ict(tmp_path / "FaceXModel", head)
    with pytest.warns(UserWarning, match=r"missing are PupilDilate_L\.obj.* more; `pifa morphable get ict`"):
        found = import_ict([tmp_path])
    check(found, dataclasses.replace(head, expression=head.expression[[2, 0, 1]]), 1)  # in the names' order
    exactly(found, head, list(range(68)))
    assert found.expression_names == ("browInnerUp_L", "jawOpen", "mouthSmile_L")
    assert found.name == "ict-partial"  # it must not be taken for the whole one
    for name, needed in (("generic_neutral_mesh", "generic_neutral_mesh"), ("identity*", "identity000")):
        for path in folder.glob(f"{name}.obj"):
            path.rename(path.with_suffix(".away"))
        with pytest.raises(MorphableError, match=rf"FaceXModel: expected .*{needed}\.obj"):
            import_ict([folder])
        for path in folder.glob("*.away"):
            path.rename(path.with_suffix(".obj"))
    with pytest.raises(MorphableError, match="pifa morphable get ict"):
        import_ict([tmp_path / "nowhere"])


def test_landmarks_of_ones_own_replace_the_importers(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)
    shape = write_mat(tmp_path / "Model_Shape.mat", **shape_300w_lp(head))
    other = (head.landmarks[30] + 1) % len(head.mean)
    found = import_bfm2009([shape], {30: other, 36: head.landmarks[8]})
    assert found.landmarks[SCHEME][[30, 36]].tolist() == [other, head.landmarks[8]]
    assert found.nose_tip == other
    assert found.landmarks[SCHEME][8] != head.landmarks[8]  # given away
    with pytest.raises(MorphableError, match=r"Model_Shape\.mat: landmark vertices: .*--landmarks"):
        import_bfm2009([shape], {30: len(head.mean)})


@pytest.mark.parametrize("form", sorted(IMPORTERS))
def test_no_file_another_file_and_no_path(form: str, tmp_path: Path) -> None:
    importer = IMPORTERS[form]
    with pytest.raises(MorphableError, match=r"found (0|no)"):
        importer([])
    with pytest.raises(MorphableError, match=r"none\.mat"):
        importer([tmp_path / "none.mat"])
    for number, data in enumerate(
        (b"", b"text", bytes(5000), b"MATLAB 5.0 MAT-file" + bytes(200), b"\x89HDF\r\n\x1a\n")
    ):
        path = tmp_path / f"other{number}.mat"
        path.write_bytes(data)
        with pytest.raises(MorphableError, match=rf"other{number}\.mat"):
            importer([path])


Arrays = dict[str, np.ndarray]


@pytest.mark.parametrize("name", ["shapeMU", "shapePC", "shapeEV", "tl"])
def test_a_missing_array_of_basel_2009_is_named(model: MorphableModel, tmp_path: Path, name: str) -> None:
    arrays = basel_2009(spread(model))
    del arrays[name]
    with pytest.raises(MorphableError, match=rf"01\.mat.*{name if name != 'shapeMU' else 'shape'}"):
        import_bfm2009([write_mat(tmp_path / "01.mat", **arrays)])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("shapeMU", lambda a: a[:-1], "shapeMU: expected x, y, z"),
        ("shapeMU", lambda a: a * np.nan, "shapeMU: .*not finite"),
        ("shapePC", lambda a: a[:-3], r"shapePC: expected shape \(4563, any\)"),
        ("shapePC", lambda a: a + 1j, "shapePC: expected numbers"),
        ("shapeEV", lambda a: a[:-1], "shapeEV: expected 6 numbers"),
        ("shapeEV", lambda a: -a, "shapeEV: .*negative"),
        ("shapeEV", lambda a: a * np.float64(1e300), "identity: expected coordinates of a face"),
        ("tl", lambda a: a - 1, "tl: expected numbers from 1 to 1521, found 0"),
        ("tl", lambda a: a + 1, "tl: expected numbers from 1 to 1521"),
        ("tl", lambda a: a + 0.5, "tl: expected whole numbers"),
        ("tl", lambda a: a[:, :2], "tl: expected three"),
        ("tl", lambda a: np.array([["text"]]), "tl: expected whole numbers"),
    ],
)
def test_bad_arrays_of_basel_2009(
    model: MorphableModel, tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    head = spread(model)
    arrays = basel_2009(head)
    arrays[name] = change(arrays[name].astype(np.float64))
    with pytest.raises(MorphableError, match=rf"01\.mat: {message}"):
        import_bfm2009([write_mat(tmp_path / "01.mat", **arrays)], head.landmarks)


def test_damaged_files(model: MorphableModel, tmp_path: Path) -> None:
    """Cut at many places and with bytes changed: a model or a MorphableError, never anything else."""
    head = spread(model)
    (tmp_path / "f.pkl").write_bytes(dump_flame(flame(head)))
    originals: list[tuple[str, Path]] = [
        ("bfm2009", write_mat(tmp_path / "s.mat", **shape_300w_lp(head))),
        ("bfm2017", write_basel_2017(tmp_path / "m.h5", head)),
        ("surrey", write_surrey(tmp_path, head)[0]),
        ("flame", tmp_path / "f.pkl"),
    ]
    rng = np.random.default_rng(0)
    for form, path in originals:
        whole = path.read_bytes()
        IMPORTERS[form]([path], head.landmarks)
        for attempt in range(24):
            data = bytearray(whole[: rng.integers(len(whole))] if attempt % 3 == 0 else whole)
            for at in rng.integers(min(len(data), 3000) or 1, size=4):
                data[at : at + 1] = bytes([rng.integers(256)])
            path.write_bytes(data)
            try:
                IMPORTERS[form]([path], head.landmarks)
            except MorphableError as error:
                assert path.name in str(error)  # noqa: PT017 (a damaged file may also still be whole)


def test_hdf5_that_reaches_into_other_files_is_refused(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)
    write_basel_2017(tmp_path / "other.h5", head)
    path = write_basel_2017(tmp_path / "model.h5", head)
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        file["shape/model/mean"] = h5py.ExternalLink("other.h5", "/shape/model/mean")
    with pytest.raises(MorphableError, match=r"model\.h5: shape/model/mean: .*found a link"):
        import_bfm2017([path])
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        file["other"] = h5py.ExternalLink("other.h5", "/")
        file["shape/model/mean"] = h5py.SoftLink("/other/shape/model/mean")
    with pytest.raises(MorphableError, match=r"model\.h5: shape/model/mean: .*found a link"):
        import_bfm2017([path])
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(24))
        file.create_dataset("shape/model/mean", (3,), "f8", external=[(str(secret), 0, 24)])
    with pytest.raises(MorphableError, match=r"model\.h5: shape/model/mean: expected an array in this file"):
        import_bfm2017([path])
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        file.create_dataset("shape/model/mean", (2**40,), "f4", chunks=(2**20,), compression="gzip")
    with pytest.raises(MorphableError, match=r"shape/model/mean: expected at most"):
        import_bfm2017([path])
    with h5py.File(path, "a") as file:
        del file["shape/model/mean"]
        node = file.create_dataset("shape/model/mean", (2**18,), "f4", chunks=(2**18,), compression="gzip")
        node.id.write_direct_chunk((0,), zlib.compress(bytes(2**26), 1))
    with pytest.raises(MorphableError, match=r"model\.h5: shape/model/mean: .*does not inflate to 1048576 bytes"):
        import_bfm2017([path])


@pytest.mark.parametrize("text", [bytes, str, np.bytes_])
def test_basels_landmarks_may_be_a_string(model: MorphableModel, tmp_path: Path, text: type) -> None:
    head = spread(model)
    path = write_basel_2017(tmp_path / "model.h5", head)
    with h5py.File(path, "a") as file:
        value = file["metadata/landmarks/json"][()].tobytes()
        del file["metadata/landmarks/json"]
        file["metadata/landmarks/json"] = value.decode() if text is str else text(value)
    exactly(import_bfm2019([path]), head, [8, 30, 36, 39, 42, 45, 48, 54])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_basels_landmarks_in_another_file_are_not_looked_for(model: MorphableModel, tmp_path: Path) -> None:
    """Whether a path is there, libhdf5 tells by opening what it leads through: a pipe would be waited for."""
    path = write_basel_2017(tmp_path / "model.h5", spread(model))
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "a") as file:
        del file["metadata"]
        file["metadata"] = h5py.ExternalLink("pipe", "/")
    with pytest.raises(MorphableError, match=r"model\.h5: metadata/landmarks/json: metadata: .*found a link"):
        import_bfm2017([path])


def test_the_original_ict_files_give_what_the_npz_holds(shared_data: Path) -> None:
    with pytest.warns(UserWarning, match="3 identities and 3 expressions"):
        found = import_ict([shared_data / "morphable/ict_facekit"])
    whole = import_ict_npz([shared_data / "morphable/ict_face.npz"])
    np.testing.assert_array_equal(found.mean, whole.mean)
    np.testing.assert_array_equal(found.triangles, whole.triangles)
    np.testing.assert_array_equal(found.identity, whole.identity[:3])
    at = [whole.expression_names.index(name) for name in found.expression_names]
    np.testing.assert_array_equal(found.expression, whole.expression[at])
    np.testing.assert_array_equal(found.landmarks[SCHEME], whole.landmarks[SCHEME])


def test_the_original_surrey_model(shared_data: Path) -> None:
    folder = shared_data / "morphable/sfm_3448"
    found = import_surrey([folder / "sfm_shape_3448.bin", folder / "expression_blendshapes_3448.bin"])
    assert len(found.mean) >= 3448
    assert (len(found.identity), len(found.expression)) == (63, 6)
    assert found.expression_names == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    # Millimetres; the first mode, size, moves vertices by 4 of them, later ones by less.
    assert 140 < np.ptp(found.mean[:, 0]) < 160
    assert found.mode_sizes[0] == pytest.approx(4.05, abs=0.01)
    assert (np.diff(found.mode_sizes[:63]) < 0.01).all()
    points = found.mean[found.landmarks[SCHEME]]
    assert points[36, 0] < 0 < points[45, 0]
    assert points[8, 1] < points[30, 1] < points[27, 1]
    # The two halves of the face mirror each other, the transferred jaw too, but for the mesh's spacing of 5 mm.
    apart = np.linalg.norm(points[:17] * [-1, 1, 1] - points[16::-1], axis=1)
    assert apart.mean() < 2
    assert apart.max() < 7
    # The jaw goes down from ear to chin, and lies in front of the mesh's open back.
    assert (np.diff(points[:9, 1]) < 0).all()


def test_the_original_surrey_blendshapes_need_the_shape(shared_data: Path) -> None:
    with pytest.raises(MorphableError, match=r"expression_blendshapes_3448\.bin"):
        import_surrey([shared_data / "morphable/sfm_3448/expression_blendshapes_3448.bin"])
