"""Readers on files mutated at random: faces or our errors, nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pifa_data.errors import PifaError
from pifa_data.faces import Face
from pifa_data.readers import FORMATS, read_faces
from pifa_data.schemes import get_scheme

POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2)).round(2)
TABLE = ",".join(map(str, ["", *range(136)])) + "\n"
TABLE += "".join(f"training_Ann_{n}.jpg," + ",".join(map(str, POINTS.ravel())) + "\n" for n in range(2))
PTS = "version: 1\nn_points: 68\n{\n" + "".join(f"{x:.3f} {y:.3f}\n" for x, y in POINTS) + "}\n"


def mutants(good: bytes, count: int) -> Iterator[bytes]:
    """Copies of a file with bytes changed, cut out, doubled, or replaced by hostile words."""
    rng = np.random.default_rng(0)
    words = [
        b"\0",
        b'"',
        b",",
        b"\n",
        b"\r",
        b"nan",
        b"-inf",
        b"1e999",
        b"\xff",
        b"../",
        b"{",
        b"}",
        b"9" * 400,
        b"\xef\xbb\xbf",
    ]
    for _ in range(count):
        data = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 60))
            kind = rng.integers(4)
            if kind == 0:
                data[at : at + 1] = bytes([rng.integers(256)])
            elif kind == 1:
                del data[at : at + length]
            elif kind == 2:
                data[at:at] = data[at : at + length]
            else:
                data[at:at] = words[rng.integers(len(words))]
        yield bytes(data)


def survives(source: str) -> None:
    try:
        for face in read_faces(source, FORMATS):
            if isinstance(face, Face):
                assert face.landmarks.shape == (len(get_scheme(face.scheme)), 2)
                assert np.isfinite(face.landmarks).all()
                assert face.image.resolve().is_relative_to(Path(source.partition(":")[2]).resolve()) or "\0" in face.id
    except PifaError:
        pass


def test_mutated_files_give_faces_or_our_errors(tmp_path: Path) -> None:
    table, single = tmp_path / "csv", tmp_path / "pts"
    table.mkdir()
    single.mkdir()
    (single / "a.jpg").touch()
    for data in mutants(TABLE.encode(), 300):
        (table / "keypoints.csv").write_bytes(data)
        survives(f"keypoints-csv:{table}")
    for data in mutants(PTS.encode(), 300):
        (single / "a.pts").write_bytes(data)
        survives(f"300w:{single}")


@given(st.text(max_size=300))
@settings(max_examples=60)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-text"
    folder.mkdir(exist_ok=True)
    (folder / "a.jpg").touch()
    for name in ("keypoints.csv", "a.pts"):
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    survives(f"keypoints-csv:{folder}")
    survives(f"300w:{folder}")
