"""Places of stores: a folder and an object store are the same set of keys."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.errors import PifaError, StoreError
from pifa_data.store import PARTIAL, Location, locate

pytest.importorskip("obstore", reason="needs pip install 'pifa[s3]'")

NUMBERS = itertools.count()
"""A bucket in memory is there until the process ends: each test takes one of its own."""

KEYS = ("zarr.json", "images/zarr.json", "images/c/0/0/0/0", "images/c/1/0/0/0", "faces/id/c/0/0", "manifest/0.json")
FILES = st.dictionaries(st.sampled_from(KEYS), st.binary(max_size=20))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), FILES),
        st.tuples(st.just("write_all"), FILES),
        st.tuples(st.just("delete"), FILES),
        st.tuples(st.just("sweep"), st.just({})),
        st.tuples(st.just("replace"), FILES),
    ),
    max_size=8,
)


def sizes(place: Location) -> dict[str, int]:
    """Of all its keys but the lock of a folder, which may stay behind."""
    return {key: n for key, n in place.sizes().items() if key != ".lock"}


def within(found: dict[str, bytes], prefix: str) -> dict[str, int]:
    return {key: len(data) for key, data in found.items() if not prefix or key.startswith(f"{prefix}/")}


@pytest.fixture(params=["folder", "bucket"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Names of places that nothing is in yet."""
    base = str(tmp_path) if request.param == "folder" else f"memory://location{next(NUMBERS)}"
    return lambda name: f"{base}/{name}"


def apply(place: Location, expected: dict[str, bytes], step: str, files: dict[str, bytes]) -> None:
    """Do a step on a place, and on the dictionary that it has to be equal to."""
    if step == "delete":
        for key in files:
            place.delete(key)
            expected.pop(key, None)
    elif step == "sweep":
        place.sweep()
    elif step == "replace":
        files = files | {"zarr.json": b"{}"}
        place.create(files, "zarr.json", replace=True)
        expected.clear()
        expected.update(files)
    else:
        if step == "write_all":
            place.write_all(files)
        for key, data in files.items():
            if step == "write":
                place.write(key, memoryview(data))
        expected.update(files)


@given(steps=STEPS)
def test_a_place_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, dict[str, bytes]]]
) -> None:
    folder = tmp_path_factory.mktemp("place")
    for place in (locate(folder / "S.zarr"), locate(f"memory://location{next(NUMBERS)}/a/S.zarr")):
        expected: dict[str, bytes] = {}
        assert not place.exists()
        for step, files in steps:
            apply(place, expected, step, files)
            assert sizes(place) == within(expected, "")
        assert place.exists() or not expected
        for prefix in ("images", "faces/id", "manifest", "none"):
            assert place.sizes(prefix) == within(expected, prefix)
        assert place.read_all(KEYS) == expected
        for key in KEYS:
            if key in expected:
                assert place.read(key) == expected[key]
            else:
                with pytest.raises(FileNotFoundError, match=key):
                    place.read(key)
    shutil.rmtree(folder)


def test_places_with_names_that_begin_alike_do_not_see_each_other(new_place: Callable[[str], str]) -> None:
    one, two = locate(new_place("S.zarr")), locate(new_place("S.zarr2"))
    two.create({"zarr.json": b"2", "images/c/0": b"22"}, "zarr.json")
    assert not one.exists()
    one.create({"zarr.json": b"1"}, "zarr.json")
    assert sizes(one) == {"zarr.json": 1}
    one.create({"zarr.json": b"11"}, "zarr.json", replace=True)
    assert sizes(two) == {"zarr.json": 1, "images/c/0": 2}
    assert one.sizes("images") == {}
    two.write("imagesque/c/0", b"3")
    assert two.sizes("images") == {"images/c/0": 2}


def test_a_trailing_slash_is_no_part_of_a_place(new_place: Callable[[str], str]) -> None:
    locate(new_place("S.zarr/")).write("zarr.json", b"{}")
    place = locate(new_place("S.zarr"))
    assert place.read("zarr.json") == b"{}"
    assert str(place) == str(locate(new_place("S.zarr/"))) == new_place("S.zarr")
    assert locate(place) is place


def test_a_whole_bucket_is_a_place() -> None:
    name = f"memory://location{next(NUMBERS)}"
    place = locate(name)
    assert not place.exists()
    place.create({"zarr.json": b"{}", "images/c/0": b"1"}, "zarr.json")
    assert place.sizes() == {"zarr.json": 2, "images/c/0": 1}
    assert locate(f"{name}/images").sizes() == {"c/0": 1}


def test_a_url_that_was_made_a_path_is_no_folder() -> None:
    with pytest.raises(PifaError, match="give the URL as text"):
        locate(Path("s3://bucket/S.zarr"))


def test_more_keys_than_a_server_names_at_a_time(new_place: Callable[[str], str]) -> None:
    files = {f"faces/{name}/c/{i}/0": b"x" * (i % 3) for name in ("id", "box") for i in range(600)}
    files |= {f"manifest/{i:06d}.json": b"{}" for i in range(600)} | {"zarr.json": b"{}", "faces/zarr.json": b"{}"}
    place = locate(new_place("S.zarr"))
    place.write_all(files)
    locate(new_place("S.zarr2")).write_all({"faces/zarr.json": b""})
    for prefix in ("", "faces", "faces/id", "manifest", "faces/id/c/0"):
        assert sizes(place) == within(files, "")
        assert place.sizes(prefix) == within(files, prefix)


def test_what_killed_writes_left_is_swept(tmp_path: Path) -> None:
    place = locate(tmp_path / "S.zarr")
    place.create({"zarr.json": b"{}", "images/c/0": b"1"}, "zarr.json")
    (tmp_path / "S.zarr" / "images" / "c" / f"0.1234{PARTIAL}").write_bytes(b"half")
    place.sweep()
    assert sizes(place) == {"zarr.json": 2, "images/c/0": 1}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = locate(tmp_path / "S.zarr")
    place.write("zarr.json", b"old")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        place.write("zarr.json", b"new")
    assert place.read_all(["zarr.json"]) == {"zarr.json": b"old"}
    assert place.sizes() == {"zarr.json": 3}


def test_a_store_behind_a_link_is_made_and_replaced_where_the_link_leads(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    link, real = tmp_path / "S.zarr", tmp_path / "large disk" / "T.zarr"
    link.symlink_to(real)
    place = locate(link)
    assert not place.exists()
    for content in (b"1", b"22"):
        place.create({"zarr.json": content}, "zarr.json", replace=place.exists())
        assert link.is_symlink()
        assert (real / "zarr.json").read_bytes() == content
        place.sweep()
        assert [path.name for path in (tmp_path / "large disk").iterdir()] == ["T.zarr"]


def test_a_store_is_not_replaced_from_within_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locate(tmp_path / "S.zarr").create({"zarr.json": b"1", "images/c/0": b"1"}, "zarr.json")
    for folder, name in (("S.zarr", "."), ("S.zarr/images", "..")):
        monkeypatch.chdir(tmp_path / folder)
        place = locate(name)
        with pytest.raises(StoreError, match="from within itself"):
            place.create({"zarr.json": b"2"}, "zarr.json", replace=True)
        place.sweep()
        assert place.read("zarr.json") == b"1"


def test_a_name_that_leads_nowhere_hides_no_other(tmp_path: Path) -> None:
    """As of a file that was moved while its folder was listed."""
    place = locate(tmp_path / "S.zarr")
    names = [f"manifest/{shard}.json" for shard in range(20)]
    place.write_all(dict.fromkeys(names, b"{}"))
    for shard in range(20):
        (tmp_path / "S.zarr" / "manifest" / f"gone{shard}").symlink_to("nowhere")
    assert place.sizes("manifest") == dict.fromkeys(names, 2)
