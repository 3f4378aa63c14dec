"""AFLW2000-3D and 300W-LP: their own files, small ones of their layout, and hostile ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import mutants, survives
from scipy.io import loadmat, savemat

from pifa_data.camera import pose_angles, rotation
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.fitting import LandmarkFitter
from pifa_data.morphable import load_builtin
from pifa_data.readers import FORMATS, parse_source, read_faces
from pifa_data.readers.aflw2000 import turn
from pifa_data.schemes import get_scheme

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(50, 400, (3, 68)).astype(np.float32)
# A face for 300W-LP: the mouth below the eyes.
FLAT = np.sort(RNG.uniform(50, 400, (2, 68)), axis=1)


def pose_para(pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    return np.array([[pitch, yaw, roll, 200, 210, -110, 0.001]], dtype=np.float32)


def faces_of(source: str, **options: Any) -> dict[str, Face]:
    found = list(read_faces(source, FORMATS, **options))
    assert all(isinstance(face, Face) for face in found), found
    return {face.id: face for face in found if isinstance(face, Face)}


def test_the_angles_are_those_of_the_owners_rotation() -> None:
    def about(axis: int, angle: float) -> np.ndarray:
        matrix, (i, j) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
        matrix[[i, j], [i, j]] = np.cos(angle)
        matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
        return matrix

    for a, b, c in np.random.default_rng(1).uniform(-1.5, 1.5, (50, 3)):
        np.testing.assert_allclose(rotation(*turn(a, b, c)), about(0, -a) @ about(1, -b) @ about(2, -c), atol=1e-12)
    assert turn(0, 0.3, 0) == pytest.approx((0.3, 0, 0))
    assert turn(0.2, 0, 0) == pytest.approx((0, 0.2, 0))
    assert turn(0, 0, 0.1) == pytest.approx((0, 0, 0.1))


def test_aflw2000s_own_faces(shared_data: Path) -> None:
    folder = shared_data / "samples/aflw2000"
    assert parse_source(str(folder), FORMATS).format.name == "aflw2000"
    faces = faces_of(f"aflw2000:{folder}")
    assert list(faces) == ["image00050", "image00081", "image00251", "image00430"]
    for face in faces.values():
        # The owner's demo plots pt3d_68 on MATLAB's imshow, whose first pixel is (1, 1).
        expected = loadmat(face.image.with_suffix(".mat"))["pt3d_68"][:2].T.astype(float) - 1
        np.testing.assert_array_equal(face.landmarks, expected)
        assert (face.visibility == 2).all()
        assert (face.scheme, face.kind, face.split, face.subject) == ("ibug68", "3d", "test", face.id)
        assert face.image.is_file()
    assert [face.id for face in faces.values() if face.subsets != ("yaw-0-30",)] == ["image00251"]
    assert list(faces_of(f"aflw2000:{folder}", split="yaw-30-60")) == ["image00251"]


def test_aflw2000s_pose_agrees_with_the_fit_to_its_points(shared_data: Path) -> None:
    faces = list(faces_of(f"aflw2000:{shared_data / 'samples/aflw2000'}").values())
    fits = LandmarkFitter(load_builtin(), "ibug68").fit(
        np.stack([face.landmarks for face in faces]), np.stack([face.visibility for face in faces]), "3d"
    )
    away = np.degrees(np.abs(pose_angles(fits.cameras) - np.stack([face.pose for face in faces])))
    assert (np.median(away, axis=0) <= 5).all()
    assert away.max() < 8


@pytest.mark.parametrize(
    ("degrees", "subset"),
    [(0, "yaw-0-30"), (29.9, "yaw-0-30"), (-31, "yaw-30-60"), (61, "yaw-60-90"), (-150, "yaw-60-90")],
)
def test_subsets_by_yaw(tmp_path: Path, degrees: float, subset: str) -> None:
    arrays = {"pt3d_68": POINTS, "Pose_Para": pose_para(0.3, np.radians(degrees), -0.2)}
    savemat(tmp_path / "image1.mat", arrays)
    (face,) = faces_of(f"aflw2000:{tmp_path}").values()
    assert face.subsets == (subset,)
    assert face.image == tmp_path / "image1.jpg"  # labels alone


BAD = {
    "no points": ({"Pose_Para": pose_para()}, r"pt3d_68: expected numbers of shape \(3, 68\), found none"),
    "few points": ({"pt3d_68": POINTS[:, :21], "Pose_Para": pose_para()}, r"found float32 \(3, 21\)"),
    "text": ({"pt3d_68": "text", "Pose_Para": pose_para()}, "pt3d_68"),
    "no pose": ({"pt3d_68": POINTS}, "seven numbers Pose_Para, found none"),
    "short pose": ({"pt3d_68": POINTS, "Pose_Para": np.ones((1, 2))}, "Pose_Para"),
    "pose is no number": ({"pt3d_68": POINTS, "Pose_Para": pose_para(np.nan)}, "radians"),
    "pose in degrees": ({"pt3d_68": POINTS, "Pose_Para": pose_para(0, 170)}, "radians"),
    "points are no numbers": ({"pt3d_68": POINTS * np.nan, "Pose_Para": pose_para()}, "finite"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_skipped_with_its_reason(tmp_path: Path, what: str) -> None:
    arrays, message = BAD[what]
    savemat(tmp_path / "b.mat", arrays)
    savemat(tmp_path / "c.mat", {"pt3d_68": POINTS, "Pose_Para": pose_para()})
    (tmp_path / "a.mat").write_bytes(b"no file of MATLAB's")
    first, bad, good = read_faces(f"aflw2000:{tmp_path}", FORMATS)
    assert isinstance(first, Skipped)
    assert "a.mat: not a .mat file" in first.reason
    assert isinstance(bad, Skipped)
    with pytest.raises(AnnotationError, match=message):
        raise AnnotationError(bad.reason)
    assert isinstance(good, Face)


def test_no_files_and_no_folder(tmp_path: Path) -> None:
    for name in ("aflw2000", "300w-lp"):
        for path in (tmp_path, tmp_path / "none"):
            with pytest.raises(AnnotationError, match="expected"):
                list(FORMATS[name].read(path))
        assert not FORMATS[name].matches(tmp_path / "none")
        assert not FORMATS[name].matches(tmp_path / ("x" * 5000))
    (tmp_path / "AFW").touch()  # a file where a folder belongs
    with pytest.raises(AnnotationError, match="300W-LP's folders"):
        list(FORMATS["300w-lp"].read(tmp_path))


def lp(root: Path, name: str, folder: str = "AFW", own: bool = True, **arrays: Any) -> None:
    """A picture of 300W-LP with ``landmarks``, made of different points than its pt2d."""
    (root / folder).mkdir(exist_ok=True)
    savemat(root / folder / f"{name}.mat", {"pt2d": FLAT, "Pose_Para": pose_para(0.1, 0.8), **arrays})
    (root / folder / f"{name}.jpg").touch()
    if own:
        (root / "landmarks" / folder).mkdir(parents=True, exist_ok=True)
        savemat(root / "landmarks" / folder / f"{name}_pts.mat", {"pts_2d": FLAT.T + 2, "pts_3d": POINTS[:2].T})


def test_300w_lps_own_face(shared_data: Path) -> None:
    folder = shared_data / "samples/300w_lp"
    assert parse_source(str(folder), FORMATS).format.name == "300w-lp"
    (face,) = faces_of(f"300w-lp:{folder}").values()
    assert (face.id, face.subject, face.kind) == ("300w_lp/IBUG_image_008_1_0", "image_008", "2d")
    expected = loadmat(folder / "IBUG_image_008_1_0.mat")["pt2d"].T - 1
    np.testing.assert_array_equal(face.landmarks, expected)
    assert face.subsets == ("ibug", "unflipped")
    assert face.pose is not None
    np.testing.assert_allclose(np.degrees(face.pose), [-44.3, -5.3, 2.3], atol=0.1)
    fit = LandmarkFitter(load_builtin(), "ibug68").fit(face.landmarks[None], face.visibility[None], "2d")
    assert np.degrees(pose_angles(fit.cameras))[0, 0] < -20


def test_300w_lp_with_the_points_of_each_picture(tmp_path: Path) -> None:
    for name in ("AFW_134212_1_0", "AFW_134212_1_3", "AFW_134212_2_0"):
        lp(tmp_path, name)
        lp(tmp_path, name, "AFW_Flip", own=False)
    lp(tmp_path, "LFPW_image_test_0001_7", "LFPW")
    assert parse_source(str(tmp_path), FORMATS).format.name == "300w-lp"
    faces = faces_of(f"300w-lp:{tmp_path}")
    assert len(faces) == 7
    turned, mirrored = faces["AFW/AFW_134212_1_3"], faces["AFW_Flip/AFW_134212_1_3"]
    np.testing.assert_allclose(turned.landmarks, POINTS[:2].T - 1)
    assert (turned.kind, turned.split, turned.subsets) == ("3d", "train", ("afw", "unflipped"))
    assert mirrored.subsets == ("afw-flip", "flipped")
    x, y = turned.landmarks[get_scheme("ibug68").mirror].T
    np.testing.assert_allclose(mirrored.landmarks, np.stack([449 - x, y], axis=1))
    # All pictures of one photograph, as 300W's own reader names it: AFW's and Helen's have one name for several faces.
    assert {face.subject for id_, face in faces.items() if "AFW" in id_} == {"134212"}
    assert faces["LFPW/LFPW_image_test_0001_7"].subject == "image_test_0001"
    silhouette = faces_of(f"300w-lp:{tmp_path},kind=2d")["AFW/AFW_134212_1_3"]
    assert silhouette.kind == "2d"
    np.testing.assert_allclose(silhouette.landmarks, FLAT.T + 1)
    assert faces_of(f"300w-lp:{tmp_path / 'AFW'}").keys() == {id_ for id_ in faces if id_.startswith("AFW/")}
    with pytest.raises(AnnotationError, match="kind=4d"):
        faces_of(f"300w-lp:{tmp_path},kind=4d")
    for folder in ("AFW", "LFPW"):
        for file in (tmp_path / "landmarks" / folder).iterdir():
            arrays = loadmat(file)
            savemat(file, {"pts_2d": arrays["pts_2d"]})
            (tmp_path / "landmarks3d" / folder).mkdir(parents=True, exist_ok=True)
            savemat(tmp_path / "landmarks3d" / folder / file.name, {"pts_3d": np.c_[arrays["pts_3d"], np.zeros(68)]})
    for id_, face in faces_of(f"300w-lp:{tmp_path}").items():
        np.testing.assert_array_equal(face.landmarks, faces[id_].landmarks)


def test_300w_lp_without_them_gives_the_photographs_alone(tmp_path: Path) -> None:
    lp(tmp_path, "AFW_1_1_0", own=False)
    lp(tmp_path, "AFW_1_1_1", own=False)
    lp(tmp_path, "AFW_1_1_0", "AFW_Flip", own=False)
    lp(tmp_path, "AFW_2_1_0", own=False, pt2d=451 - FLAT)
    photo, turned, upside, mirrored = read_faces(f"300w-lp:{tmp_path}", FORMATS)
    assert isinstance(photo, Face)
    assert isinstance(mirrored, Face)
    np.testing.assert_allclose(photo.landmarks, FLAT.T - 1)
    x, y = photo.landmarks[get_scheme("ibug68").mirror].T
    np.testing.assert_allclose(mirrored.landmarks, np.stack([449 - x, y], axis=1))
    assert isinstance(turned, Skipped)
    assert "before it was turned" in turned.reason
    assert isinstance(upside, Skipped)
    assert "upside down" in upside.reason
    assert all(isinstance(found, Skipped) for found in read_faces(f"300w-lp:{tmp_path},kind=3d", FORMATS))


@pytest.mark.parametrize("compressed", [False, True])
def test_mutated_files_of_aflw2000(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"pt3d_68": POINTS, "Pose_Para": pose_para(0.1)}, do_compression=compressed)
    for data in mutants(path.read_bytes()):
        path.write_bytes(data)
        survives(f"aflw2000:{tmp_path}")


def test_mutated_files_of_300w_lp(tmp_path: Path) -> None:
    lp(tmp_path, "AFW_1_1_0")
    paths = [tmp_path / "AFW" / "AFW_1_1_0.mat", tmp_path / "landmarks" / "AFW" / "AFW_1_1_0_pts.mat"]
    for path in paths:
        good = path.read_bytes()
        for data in mutants(good):
            path.write_bytes(data)
            survives(f"300w-lp:{tmp_path}")
        path.write_bytes(good)
    for path in paths[1:]:
        path.unlink()
        path.parent.rmdir()
    for data in mutants(paths[0].read_bytes()):
        paths[0].write_bytes(data)
        survives(f"300w-lp:{tmp_path}")
