"""``--where``: what it chooses, and what it refuses to run."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.errors import PifaError
from pifa_data.faces import Face
from pifa_data.readers.where import NAMES, parse_where

POINTS = np.array([[10.0, 20], [110, 20], [10, 70], [110, 70], [60, 45], [50, 30], [70, 30]])
FACE = Face(
    id="a/b",
    file="/x/a/b.jpg",
    landmarks=POINTS,
    visibility=np.array([2, 2, 2, 2, 1, 0, 0], np.uint8),
    scheme="afw6",
    kind="2d",
    box=np.array([0.0, 0, 60, 60]),
    subject="Ann",
    split="test",
    subsets=("largepose", "blur"),
    pose=np.radians([-50.0, 10, 0]),
)
BARE = Face("c", "c.jpg", POINTS, FACE.visibility, "afw6", "2d")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yaw < -45", True),
        ("abs(yaw) > 45 and size >= 100", False),  # √(100·50) is 70.7
        ("abs(yaw) > 45 and size >= 70", True),
        ("-60 < yaw < -40", True),
        ("not yaw > 0", True),
        ("box_size == 60", True),
        ("points == 5 and visible == 4 and occluded == 1", True),
        ('"largepose" in subsets', True),
        ('"larg" in subsets', False),
        ('split in ("train", "test")', True),
        ('subject != "Ann"', False),
        ('"nn" in subject', True),
        ("max(abs(yaw), abs(pitch)) / 2 - 25 * 1 + 0 < 0.001", True),
        ('kind == "2d"', True),
        ('scheme == "ibug68" or id == "a/b"', True),
        ("len(subsets) == 2", True),
        ('"b.jpg" in file', True),
    ],
)
def test_what_it_chooses(text: str, expected: bool) -> None:
    assert parse_where(text)(FACE) is expected


def test_a_face_that_does_not_say_fails_whatever_is_asked() -> None:
    for text in ("yaw > 0", "not yaw > 0", "box_size > 0 or yaw <= 0", "abs(roll) < 180"):
        assert not parse_where(text)(BARE)
    assert parse_where('id == "c" or yaw > 0')(BARE)  # what is not needed is not asked


@pytest.mark.parametrize(
    "text",
    [
        *("", "yaw >", "nothing > 3", "yaw = 3", "import os", "yaw; pitch", "lambda: 1", "[x for x in id]"),
        *("__import__('os')", "id.__class__", "subsets[0] == 'a'", "abs()", "open('/etc/passwd')", "yaw ** 9 > 1"),
        *("abs(x=1)", "f'{id}'", "1 if yaw else 2", "1j > yaw", "None", "b'a' == id", "yaw is 3", "yaw @ 3", "9 << 99"),
        *("(" * 400 + "1" + ")" * 400, "x" * 2000, "\0"),
    ],
)
def test_what_is_no_such_expression_is_refused(text: str) -> None:
    with pytest.raises(PifaError, match="--where"):
        parse_where(text)


@pytest.mark.parametrize(
    "text", ["yaw < 'a'", "'a' * 1000000000 == id", "-id > 3", "yaw / 0 > 1", "3 in 4", "len(3) > 1"]
)
def test_what_can_not_be_compared_is_named_with_the_face(text: str) -> None:
    with pytest.raises(PifaError, match="a/b"):
        parse_where(text)(FACE)


def test_an_expression_too_deep_for_where_it_is_asked() -> None:
    """It may be compiled where the stack is short, and asked where it is long."""

    def deeper(levels: int) -> bool:
        return deeper(levels - 1) if levels else test(FACE)

    test = parse_where("-" * 500 + "1 < 2")
    with pytest.raises(PifaError, match="--where"):
        deeper(600)


def test_every_name_is_there_and_explained() -> None:
    for name, (meaning, _) in NAMES.items():
        assert meaning
        parse_where(f"{name} == {name}")(FACE)


@given(st.text(alphabet="yawsize abs()<>=!andornt0123456789.'\"+-*/,[]", max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(PifaError):
        parse_where(text)(FACE)
