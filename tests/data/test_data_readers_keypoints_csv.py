"""keypoints.csv: options, quotes, lines of any length. Rows and headers are tested in test_data_readers.py."""

from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import FORMATS, read_faces
from pifa_data.readers.lines import LONGEST

POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2)).round(2)
CELLS = ",".join(f"{v}" for v in POINTS.ravel())


def put(folder: Path, *lines: str) -> Path:
    table = folder / "keypoints.csv"
    table.write_bytes(("\n".join(lines) + "\n").encode())
    return table


def read(source: Path | str) -> list[Face | Skipped]:
    return list(read_faces(f"keypoints-csv:{source}", FORMATS))


def test_kind_and_scheme_can_be_said(tmp_path: Path) -> None:
    put(tmp_path, f"a.jpg,{CELLS}")
    (face,) = read(f"{tmp_path},kind=3d,scheme=ibug68")
    assert isinstance(face, Face)
    assert (face.kind, face.scheme) == ("3d", "ibug68")
    (bad,) = read(f"{tmp_path},scheme=wflw98")
    assert isinstance(bad, Skipped)
    assert "expected 197 (wflw98) columns, found 137" in bad.reason
    for option in ("kind=4d", "scheme=none", "other=1"):
        with pytest.raises(AnnotationError, match=option.partition("=")[0]):
            read(f"{tmp_path},{option}")


def test_cells_in_quotes(tmp_path: Path) -> None:
    quoted = ",".join(f'"{cell}"' for cell in CELLS.split(","))
    first, second, open_, last = read_names(
        tmp_path, f'"a, b.jpg",{CELLS}', f'"say ""c"".jpg",{quoted}', f'"d.jpg,{CELLS}', f"e.jpg,{CELLS}"
    )
    for face, name in ((first, "a, b.jpg"), (second, 'say "c".jpg'), (last, "e.jpg")):
        assert isinstance(face, Face)
        assert face.id == name
        np.testing.assert_array_equal(face.landmarks, POINTS)
    # A quote that is never closed spoils its own row.
    assert isinstance(open_, Skipped)
    assert "found 1" in open_.reason


def read_names(folder: Path, *lines: str) -> list[Face | Skipped]:
    put(folder, *lines)
    return read(folder)


def test_a_line_of_absurd_length_is_passed_over(tmp_path: Path) -> None:
    before, bad, after = read_names(tmp_path, f"a.jpg,{CELLS}", f"b.jpg,{CELLS}" + "9" * 5 * LONGEST, f"c.jpg,{CELLS}")
    assert isinstance(before, Face)
    assert isinstance(after, Face)
    assert isinstance(bad, Skipped)
    assert bad.reason == f"keypoints.csv line 2: longer than {LONGEST} bytes"
    table = tmp_path / "keypoints.csv"
    for text in (b"", b"x" * LONGEST, b"x" * (LONGEST - 1), b"x" * LONGEST + b"\n", b"\n" * LONGEST, b"," * LONGEST):
        table.write_bytes(text)
        assert all(isinstance(face, Skipped) for face in read(tmp_path))


def test_names_stay_unique_whatever_they_are(tmp_path: Path) -> None:
    found = read_names(tmp_path, *(f"{name},{CELLS}" for name in ("a.jpg", "a.jpg#3", "a.jpg", "a.jpg", "a.jpg#4")))
    assert len({face.id for face in found}) == 5


@pytest.mark.parametrize(
    ("name", "subject"),
    [("Ann/0007.jpg", "Ann"), ("x/Ann_Bo/0007.jpg", "Ann_Bo"), ("x/Ann_7.jpg", "Ann"), ("7.jpg", "7")],
)
def test_the_person_may_be_the_folder(tmp_path: Path, name: str, subject: str) -> None:
    (face,) = read_names(tmp_path, f"{name},{CELLS}")
    assert isinstance(face, Face)
    assert face.subject == subject


def test_visibility_is_shared_and_cannot_be_changed(tmp_path: Path) -> None:
    first, second = read_names(tmp_path, f"a.jpg,{CELLS}", f"b.jpg,{CELLS}")
    assert isinstance(first, Face)
    assert isinstance(second, Face)
    assert first.visibility is second.visibility
    with pytest.raises(ValueError, match="read-only"):
        first.visibility[0] = 0


def test_mutated_files_give_faces_or_our_errors(tmp_path: Path) -> None:
    table = put(tmp_path, ",".join(map(str, ["", *range(136)])), f"training_Ann_1.jpg,{CELLS}", f'"b.jpg",{CELLS}')
    fuzz(table, f"keypoints-csv:{tmp_path}")
