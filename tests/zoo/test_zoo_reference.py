"""References and the choice among versions."""

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo

VERSIONS = ("0.2.0", "0.2.9", "0.3.0", "1.0.0", "1.2.0", "1.2.3", "1.10.0", "2.0.0")


def entry(version: str, name: str = "face", yanked: str | None = None) -> zoo.Entry:
    file = zoo.FileEntry(name="weights.safetensors", sha256="0" * 64, size=1)
    return zoo.Entry(
        name=name,
        version=version,
        created=dt.date(2026, 1, 1),
        files=(file, file.model_copy(update={"name": "config.json"})),
        preset="compact",
        scheme="ibug68",
        landmark_kind="2d",
        morphable=zoo.Morphable(name="builtin", fingerprint="f"),
        input_size=114,
        boxes="tight",
        grow=1.0,
        training_data=(),
        yanked=yanked,
    )


def index(*entries: zoo.Entry) -> zoo.Index:
    return zoo.Index(serial=1, updated=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), entries=entries)


@pytest.mark.parametrize(
    ("ref", "version"),
    [
        ("face", "2.0.0"),
        ("face@0", "0.3.0"),
        ("face@1", "1.10.0"),
        ("face@1.2", "1.2.3"),
        ("face@1.2.0", "1.2.0"),
        ("face@^1", "1.10.0"),
        ("face@^1.2", "1.10.0"),
        ("face@^1.2.1", "1.10.0"),
        ("face@^0.2", "0.2.9"),
        ("face@^0", "0.3.0"),
    ],
)
def test_resolve(ref: str, version: str) -> None:
    listed = index(*map(entry, reversed(VERSIONS)), entry("9.0.0", name="other"))
    assert zoo.resolve(listed, ref).version == version


@pytest.mark.parametrize("ref", ["face@3", "face@1.3", "face@1.2.4", "face@^1.11", "fase", "face@^0.2.10"])
def test_nothing_matches(ref: str) -> None:
    with pytest.raises(zoo.UnknownEntryError, match="in the registry, found"):
        zoo.resolve(index(*map(entry, VERSIONS)), ref)


@pytest.mark.parametrize(
    "ref",
    ["", "@1", "face@", "face@v1", "face@1.", "face@01", "face@1.2.3.4", "face@~1", "Face", "../face",
     "face\n", "face@1\n", "face@١", "a" * 65, "face@^", "face@1234567890"],
)  # fmt: skip
def test_malformed(ref: str) -> None:
    with pytest.raises(zoo.UnknownEntryError, match="expected NAME"):
        zoo.parse_reference(ref)


def test_yanked_versions_are_passed_over() -> None:
    listed = index(entry("1.0.0"), entry("1.1.0", yanked="wrong boxes"))
    assert zoo.resolve(listed, "face@^1").version == "1.0.0"
    with pytest.warns(zoo.YankedWarning, match="wrong boxes"):
        assert zoo.resolve(listed, "face@1.1.0").version == "1.1.0"
    assert [found.version for found in zoo.matching(listed, "face")] == ["1.0.0", "1.1.0"]


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=8, unique=True))
def test_the_newest_is_the_greatest_number(versions: list[tuple[int, int, int]]) -> None:
    listed = index(*(entry(".".join(map(str, version))) for version in versions))
    assert zoo.resolve(listed, "face").version == ".".join(map(str, max(versions)))
    for version in versions:
        text = ".".join(map(str, version))
        assert zoo.resolve(listed, f"face@{text}").version == text


def test_a_pin_is_the_only_reference_with_a_version() -> None:
    refs = ["face", "face@1", "face@1.2", "face@^1.2.3", "face@1.2.3"]
    assert [zoo.parse_reference(ref).version for ref in refs] == [*itertools.repeat(None, 4), "1.2.3"]
