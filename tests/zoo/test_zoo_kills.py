"""Killed at every change of the disk and at any byte, a registry and a cache work, and the next run finishes."""

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dying import KILLED, Mortal, Run, mortal
from served import WEIGHTS, Served

import zoo

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for open files in /proc")

Make = Callable[..., Path]
SIGXFSZ = -25


@pytest.fixture(scope="module")
def process() -> Iterator[Mortal]:
    with mortal() as found:
        yield found


def killed_everywhere(run: Callable[[int], Run]) -> Iterator[int]:
    """Run something that is killed at its first change, its second, and so on, until it comes to its end."""
    for number in itertools.count(1):
        done = run(number)
        assert done.status in (KILLED, 0), done.output
        yield number
        if done.status == 0:
            assert number > 20, "hardly anything was counted"
            return


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_publish(process: Mortal, published: Path, checkpoint: Make, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(published, whole)
    publication = {"weights": checkpoint(1), "name": "face", "version": "1.1.0"}
    assert process.run("publish", whole, **publication).status == 0
    registry = tmp_path / "killed"
    serials = []

    def run(number: int) -> Run:
        shutil.rmtree(registry, ignore_errors=True)
        shutil.copytree(published, registry)
        return process.run("publish", registry, **publication, kill=number)

    for _ in killed_everywhere(run):
        index = zoo.Registry(registry).index()
        serials.append(index.serial)
        assert len(index.entries) == index.serial
        assert zoo.verify(None, registry) == []
        again = process.run("publish", registry, **publication)
        if index.serial == 1:
            assert (again.status, again.output) == (0, "")
        else:
            assert "found it published" in again.output
        assert zoo.verify(None, registry) == []
        assert zoo.Registry(registry).index().serial == 2
        # What docs/zoo.md names, and nothing else; the folders of killed publications are hidden.
        assert names(whole) - {".index.lock"} <= names(registry)
        left = {name for name in names(registry) - names(whole) if not name.startswith((".publish-", ".index-"))}
        assert left <= {".index.lock"}
    assert serials == sorted(serials)
    assert set(serials) == {1, 2}


def test_yank(process: Mortal, published: Path, tmp_path: Path) -> None:
    registry = tmp_path / "killed"

    def run(number: int) -> Run:
        shutil.rmtree(registry, ignore_errors=True)
        shutil.copytree(published, registry)
        return process.run("yank", registry, "face", "1.0.0", "old", kill=number)

    for number in itertools.count(1):
        done = run(number)
        assert done.status in (KILLED, 0), done.output
        (entry,) = zoo.Registry(registry).index().entries
        again = process.run("yank", registry, "face", "1.0.0", "old")
        assert again.status == 0 if entry.yanked is None else "yanked" in again.output
        if done.status == 0:
            break


def test_fetch(process: Mortal, served: Served, published: Path, checkpoint: Make, tmp_path: Path) -> None:
    shutil.copytree(published, served.folder / "small")
    url, cache, good = f"{served.upstream.url}/small", tmp_path / "killed", checkpoint().read_bytes()

    def run(number: int) -> Run:
        shutil.rmtree(cache, ignore_errors=True)
        return process.run("fetch", "face", url, cache, kill=number)

    for _ in killed_everywhere(run):
        if (weights := list(cache.glob(f"zoo/*/{WEIGHTS}"))) != []:
            assert weights[0].read_bytes() == good  # by its own name it is never there in part
        assert process.run("fetch", "face", url, cache).output == ""
        path = zoo.fetch("face", url, cache, offline=True)
        assert path.read_bytes() == good
        left = {name.name for name in path.parent.iterdir()} - {".lock", ".used", "verified.json"}
        temporary = {name for name in left if name.startswith((".verified.json-", ".config.json-"))}
        assert left - temporary == {"config.json", WEIGHTS}
        zoo.prune(cache)
        assert {name.name for name in path.parent.iterdir()} & temporary == set()


def test_fetch_at_any_byte(process: Mortal, served: Served, tmp_path: Path) -> None:
    url, cache, whole = f"{served.upstream.url}/registry", tmp_path / "killed", len(served.weights)
    index = (served.folder / "registry" / "index.json").stat().st_size
    for size in (0, 1, index - 1, index, 9999, 2**20 - 1, 2**20, 2**20 + 1, whole - 1):
        shutil.rmtree(cache, ignore_errors=True)
        served.upstream.forget()
        assert process.run("fetch", "face", url, cache, size=size).status == SIGXFSZ
        assert not list(cache.glob(f"zoo/*/{WEIGHTS}"))
        assert process.run("fetch", "face", url, cache).output == ""
        assert zoo.fetch("face", url, cache, offline=True).read_bytes() == served.weights
        starts = [request.start for request in served.upstream.asked if WEIGHTS in request.path]
        assert starts == ([0, size] if size >= index else [0])


def test_publish_at_any_byte(process: Mortal, registry: Path, served: Served, tmp_path: Path) -> None:
    weights = served.folder / "registry" / "face" / "1.0.0" / WEIGHTS
    for size in (0, 1, 700, 2000, 2**20 + 1, len(served.weights) - 1):
        killed = process.run("publish", registry, weights=weights, name="face", version="1.0.0", size=size)
        assert killed.status == SIGXFSZ
        assert zoo.Registry(registry).index().serial == 0
    assert process.run("publish", registry, weights=weights, name="face", version="1.0.0").output == ""
    assert zoo.verify(None, registry) == []


def test_a_full_disk(process: Mortal, served: Served, tmp_path: Path) -> None:
    url, whole = f"{served.upstream.url}/registry", len(served.weights)
    weights = served.folder / "registry" / "face" / "1.0.0" / WEIGHTS
    for size in (0, 1, 1000, 2**20, whole - 5000, whole - 1):
        cache, registry = tmp_path / f"cache-{size}", tmp_path / f"registry-{size}"
        fetched = process.run("fetch", "face", url, cache, size=size, full=True)
        published = process.run(
            "publish", registry, weights=weights, name="face", version="1.0.0", size=size, full=True
        )
        for done in (fetched, published):
            assert done.status == 1
            assert re.fullmatch(r"ZooError: /\S+: expected to write there, found .+; make room.+\n", done.output)
        assert not names(registry)
        assert all(name.endswith((".part", ".lock", "index.json")) for name in names(cache))
        assert process.run("fetch", "face", url, cache).output == ""


def check_flushed(changes: list[list[str]]) -> None:
    """Where the machine goes down and not the process alone, what was not flushed may be lost."""
    dirty: set[str] = set()
    moved = [change[1] for change in changes if change[0] == "os.rename"]
    for kind, path, *others in changes:
        if kind in ("write", "truncate"):
            dirty.add(path)
        elif kind == "fsync":
            dirty.discard(path)
        elif kind == "os.rename":
            within = {each for each in dirty if each == path or Path(path) in Path(each).parents}
            assert not within, f"{path} gets its name before it is on the disk"
            assert not {each for each in dirty if Path(each).is_dir()}, "the name before is not on the disk yet"
            dirty.add(str(Path(others[0]).parent))
    assert len(moved) >= 2
    assert dirty == set()


def test_what_is_published_is_on_the_disk(process: Mortal, published: Path, checkpoint: Make) -> None:
    done = process.run("publish", published, weights=checkpoint(1), name="face", version="1.1.0")
    assert done.status == 0, done.output
    check_flushed(done.changes)


def test_what_is_fetched_is_on_the_disk(process: Mortal, published: Path, tmp_path: Path) -> None:
    done = process.run("fetch", "face", published, tmp_path / "cache")
    assert done.status == 0, done.output
    check_flushed(done.changes)
    # Killed with all bytes written and none flushed, the next run has nothing to fetch, and still to flush.
    number = next(i for i, change in enumerate(done.changes, 1) if change[0] == "fsync")
    assert process.run("fetch", "face", published, tmp_path / "other", kill=number).status == KILLED
    (part,) = (tmp_path / "other").glob("zoo/*/.*.part")
    done = process.run("fetch", "face", published, tmp_path / "other")
    assert done.status == 0, done.output
    check_flushed([["write", str(part)], *done.changes])
