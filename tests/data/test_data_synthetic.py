"""The made-up data set itself: the same bytes each time, and what the other tests take it for."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from synthetic import SCHEME, make_dataset, make_samples, project_landmarks

from pifa_data.camera import pose_angles
from pifa_data.faces import Face
from pifa_data.morphable import MorphableModel
from pifa_data.readers import FORMATS, read_faces


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_command_writes_the_same_bytes_each_time(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "synthetic.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "a"), "--faces", "4"], check=True, capture_output=True)
    make_dataset(tmp_path / "b", faces=4)
    make_dataset(tmp_path / "c", faces=4, seed=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 6
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_more_faces_begin_with_the_same_ones(model: MorphableModel) -> None:
    few, many = make_samples(model, 2), make_samples(model, 4)
    assert [s.name for s in few] == [s.name for s in many[:2]]
    np.testing.assert_array_equal(few[1].image, many[1].image)


def test_faces_are_inside_their_images_and_turn_both_ways(synthetic: Path, model: MorphableModel) -> None:
    samples = make_samples(model, 24)
    yaw = np.degrees([pose_angles(s.camera)[0] for s in samples])
    assert yaw.min() < -20
    assert yaw.max() > 20
    assert np.abs(yaw).max() <= 40
    for sample in samples:
        assert (sample.landmarks >= 0).all()
        assert (sample.landmarks < sample.image.shape[0]).all()
        np.testing.assert_array_equal(sample.landmarks, project_landmarks(model, sample.camera, sample.p))
    faces = [f for f in read_faces(str(synthetic / "faces"), FORMATS) if isinstance(f, Face)]
    assert [f.id for f in faces] == [s.name for s in samples]
    np.testing.assert_allclose(faces[5].landmarks, samples[5].landmarks, atol=0.0051)
    assert len({f.subject for f in faces}) == 8


def test_the_head(model: MorphableModel) -> None:
    assert 800 <= len(model.mean) <= 1600
    assert (len(model.identity), len(model.expression)) == (6, 3)
    assert len(set(model.landmarks[SCHEME])) == 68
    edges = np.sort(
        np.concatenate([model.triangles[:, [0, 1]], model.triangles[:, [1, 2]], model.triangles[:, [2, 0]]])
    )
    # A closed surface: each edge is shared by two triangles.
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    assert (model.mode_sizes > 0.04).all()
    assert (model.mode_sizes < 0.03 * np.ptp(model.mean[:, 1])).all()
