"""What all readers stand on: numbers, names, checks by the block, sources with options, and every format's papers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped, check_faces, refusal, unreadable
from pifa_data.readers import FORMATS, Format, Split, parse_source, read_faces
from pifa_data.readers.base import BLOCK, inside
from pifa_data.readers.names import Names
from pifa_data.readers.numbers import parse_numbers, parse_rows
from pifa_data.schemes import SCHEMES

ROOT = Path(__file__).resolve().parents[2]
POINTS = np.random.default_rng(0).uniform(10, 90, (68, 2))
SEEN = np.full(68, 2, np.uint8)


def face(name: str = "a", **changes: object) -> Face:
    return replace(Face(name, f"{name}.jpg", POINTS, SEEN, "ibug68", "2d"), **changes)


# Numbers: the fast way gives what float() gives, or nothing.

NUMBERS = st.one_of(
    st.floats(width=64).map(repr),
    st.integers(-(10**30), 10**30).map(str),
    st.floats(-1e5, 1e5).map(lambda v: f"{v:.3f}"),
    st.sampled_from(["+1", ".5", "1.", "01", "-0", "nan", "inf", "-Infinity", "1e5", "1E-3", " 2", "3 ", "1e999"]),
)
JUNK = st.sampled_from(["", "x", "1_0", "[1]", "true", "null", '"1"', "{}", "1,2", "0x1", "1e", "--1", "NaN1", "1.2.3"])


def slow(parts: list[str]) -> list[float] | None:
    try:
        return [float(part) if "_" not in part else float("x") for part in parts]
    except ValueError:
        return None


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.sampled_from([",", ";", None]))
def test_numbers_are_as_float_reads_them(parts: list[str], separator: str | None) -> None:
    text = (separator or " ").join(parts)
    np.testing.assert_array_equal(parse_numbers(text, separator), np.array([float(part) for part in parts]))


@given(st.lists(st.one_of(NUMBERS, JUNK), min_size=1, max_size=8))
def test_what_is_no_number_is_refused(parts: list[str]) -> None:
    text = ",".join(parts)
    expected = slow(text.split(","))
    if expected is None:
        with pytest.raises(ValueError, match="not a number"):
            parse_numbers(text, ",")
    else:
        np.testing.assert_array_equal(parse_numbers(text, ","), expected)


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=4), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_rows_are_all_as_long_or_refused(rows: list[list[str]], end: str) -> None:
    text = end.join(" ".join(row) for row in rows)
    if len(set(map(len, rows))) > 1:
        with pytest.raises(ValueError, match=r"rows of \d"):
            parse_rows(text)
    else:
        np.testing.assert_array_equal(parse_rows(text), [[float(part) for part in row] for row in rows])


def test_no_rows() -> None:
    for text in ("", " \n ", "\t"):
        with pytest.raises(ValueError, match="0 rows"):
            parse_rows(text)


def test_brackets_in_a_text_are_none_of_json() -> None:
    for text in ("1 2],[3 4", "1 2]\n[3 4", "[1 2]"):
        with pytest.raises(ValueError, match="not a number"):
            parse_rows(text)


# Names: a set, at a fraction of the memory.


@given(st.lists(st.text(max_size=3), max_size=200))
def test_names_are_a_set(names: list[str]) -> None:
    known, seen = Names(), set()
    for name in names:
        assert known.add(name) == (name not in seen)
        seen.add(name)
    assert len(known) == len(seen)


def test_many_names() -> None:
    known = Names()
    assert all(known.add(f"face/{i}") for i in range(20_000))
    assert not any(known.add(f"face/{i}") for i in range(20_000))
    assert len(known) == 20_000


# Checks by the block: as those of each face.

LABELS = st.tuples(
    nps.arrays(np.float64, (12, 2), elements=st.sampled_from([0.0, 1, 2, 5, 7.5, 90, 1e5, 2e6, np.nan, np.inf])),
    nps.arrays(np.uint8, 12, elements=st.integers(0, 2)),
)


@given(st.lists(LABELS, min_size=1, max_size=8))
def test_a_block_is_checked_as_each_face_is(labels: list[tuple[np.ndarray, np.ndarray]]) -> None:
    faces = [Face(str(i), "x", points, seen, "s", "2d") for i, (points, seen) in enumerate(labels)]
    assert check_faces(faces) == [refusal(f.landmarks, f.visibility) or unreadable(f) for f in faces]
    assert check_faces(faces, fittable=False) == [unreadable(f) for f in faces]


def test_blocks_of_several_schemes_and_boxes() -> None:
    flat = POINTS * [1, 1e-6]
    few = np.where(np.arange(68) < 3, 2, 0).astype(np.uint8)
    faces = [
        face("good"),
        face("flat", landmarks=flat),
        face("small", landmarks=POINTS[:6], visibility=SEEN[:6]),
        face("few", visibility=few),
        face("box", box=np.array([1.0, 2, 1, 4])),
        face("far", box=np.array([0.0, 0, np.nan, 4])),
        face("none", visibility=np.zeros(68, np.uint8)),
    ]
    reasons = check_faces(faces)
    assert [reason is None for reason in reasons] == [True, False, True, False, False, False, False]
    assert "one line" in str(reasons[1])
    assert "no area" in str(reasons[4])
    loose = check_faces(faces, fittable=False)
    assert [reason is None for reason in loose] == [True, True, True, True, False, False, False]


# Sources.


def made_up(count: int, *, splits: dict[str, Split] | None = None) -> dict[str, Format]:
    def read(path: Path, colour: str = "red") -> object:
        for i in range(count):
            yield face(f"{colour}{i}", split="train" if i % 2 else "test", subsets=("odd",) if i % 2 else ())

    fmt = Format(
        *("made-up", "anything", read, lambda path: True, ("ibug68",), "layout"),
        splits=splits or {},
        options={"colour": "of the faces"},
    )
    return {"made-up": fmt}


def test_options_follow_the_path_and_a_comma_may_belong_to_a_name(tmp_path: Path) -> None:
    formats = made_up(1)
    (tmp_path / "a,colour=b").mkdir()
    for text, path, options in (
        (f"{tmp_path},colour=blue", tmp_path, {"colour": "blue"}),
        (f"{tmp_path}/a,colour=b", tmp_path / "a,colour=b", {}),
        (f"{tmp_path}/a,colour=b,colour=c", tmp_path / "a,colour=b", {"colour": "c"}),
        (f"{tmp_path},colour=", tmp_path, {"colour": ""}),
    ):
        source = parse_source(f"made-up:{text}", formats)
        assert (source.path, source.options) == (path, options)
    (found,) = read_faces(f"made-up:{tmp_path},colour=blue", formats)
    assert found.id == "blue0"
    with pytest.raises(AnnotationError, match="'size=3' is no option of made-up; known: colour="):
        parse_source(f"made-up:{tmp_path},size=3", formats)
    with pytest.raises(AnnotationError, match="no such file"):
        parse_source(f"made-up:{tmp_path}/none,colour=red", formats)


def test_splits_and_subsets_are_chosen_by_name(tmp_path: Path) -> None:
    source = f"made-up:{tmp_path}"
    for name, expected in (("train", [1, 3]), ("odd", [1, 3]), ("test", [0, 2, 4])):
        assert [f.id for f in read_faces(source, made_up(5), split=name)] == [f"red{i}" for i in expected]
    known = made_up(5, splits={"train": Split("some"), "odd": Split("others", 2)})
    assert len(list(read_faces(source, known, split="odd"))) == 2
    with pytest.raises(AnnotationError, match="no split 'val'; made-up has train, odd"):
        list(read_faces(source, known, split="val"))
    chosen = read_faces(source, made_up(2 * BLOCK), where=lambda f: f.id.endswith("7"), limit=5)
    assert [f.id for f in chosen] == ["red7", "red17", "red27", "red37", "red47"]


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a", "a/../../b", "C:/a", "C:\\a", "\\\\server\\a", "a\0b", ".."]
)
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(AnnotationError, match="leads out"):
        inside("/data", name)


def test_names_below_the_root() -> None:
    assert inside("/data", "a/b.jpg") == "/data/a/b.jpg"
    assert inside("/data", "a\\b.jpg") == "/data/a/b.jpg"
    assert inside("/data", "a..b/c...jpg") == "/data/a..b/c...jpg"


def test_what_was_read_before_a_reader_stops_is_given(tmp_path: Path) -> None:
    def read(path: Path) -> Iterator[Face]:
        yield from (face(str(i)) for i in range(50))
        raise AnnotationError(f"{path}: torn")

    formats = {"torn": Format("torn", "anything", read, lambda path: True, ("ibug68",), "layout")}
    found = read_faces(f"torn:{tmp_path}", formats)
    assert [next(found).id for _ in range(50)] == [str(i) for i in range(50)]
    with pytest.raises(AnnotationError, match="torn"):
        next(found)


# Every format.


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_has_its_papers(fmt: Format) -> None:
    assert FORMATS[fmt.name] is fmt
    assert fmt.layout
    assert "\n" not in fmt.layout
    assert fmt.schemes
    assert set(fmt.schemes) <= set(SCHEMES)
    assert fmt.tried in ("originals", "layout")
    for name, split in fmt.splits.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)
        assert split.text
        assert split.count is None or split.count > 0
    assert all(text for text in fmt.options.values())
    assert fmt.normaliser in ("", "tight", "box", "interocular", "mape")
    assert set(fmt.options) == set(list(inspect.signature(fmt.read).parameters)[1:])
    if fmt.citation:
        assert re.match(r"@\w+\{[\w:.-]+,\n", fmt.citation)
        assert fmt.citation.count("{") == fmt.citation.count("}")
        assert fmt.homepage.startswith("http")
        assert fmt.licence


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS.keys())
def test_every_format_has_a_page_that_agrees(fmt: Format) -> None:
    page = (ROOT / "docs" / "formats" / f"{fmt.name}.md").read_text(encoding="utf-8")
    said = {"originals": "**Tried on originals", "layout": "**Layout only"}
    assert said[fmt.tried] in page
    assert said["layout" if fmt.tried == "originals" else "originals"] not in page
    for name in (*fmt.splits, *fmt.options):
        assert f"`{name}" in page, name


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS.keys())
def test_a_path_of_any_kind_is_looked_at_without_harm(fmt: Format, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.json").write_bytes(b"\0\xff")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    for name in ("empty", "file.json", "link", "none"):
        assert fmt.matches(tmp_path / name) in (True, False)
    for name in ("empty", "file.json"):
        with suppress(AnnotationError):  # nothing but skipped faces is as good as an error
            assert all(isinstance(found, Skipped) for found in fmt.read(tmp_path / name))
