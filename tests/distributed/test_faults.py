"""A build that is killed, finds the disk full or may not write leaves a store that is never wrong, and goes on.

``PIFA_KILLS`` says how many builds are killed (``make faults``: 60, and every moment of a store's life several times).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crashing import Crasher, Run, crasher
from soundness import check_finished, check_never_wrong, digest_of

from pifa_data.errors import StoreError
from pifa_data.store import Store

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and fork")

KILLS = int(os.environ.get("PIFA_KILLS", "3"))
FACES = 8
"""Two shards: a build of some 300 changes of files."""


@pytest.fixture(scope="module")
def crash() -> Iterator[Crasher]:
    with crasher() as process:
        yield process


@pytest.fixture(scope="module")
def command(source: Path, options: list[str]) -> list[str]:
    """``pifa prep`` of few faces; the store is to be added."""
    return ["prep", str(source), *options, "--limit", str(FACES), "--store"]


@pytest.fixture(scope="module")
def whole(crash: Crasher, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An undisturbed build, and how many changes of files it took."""
    folder = tmp_path_factory.mktemp("whole")
    run = crash.run(*command, folder / "S.zarr", within=folder)
    assert run.status == 0, run.output
    return folder / "S.zarr", run.changes


def moments(changes: int, name: str) -> list[int]:
    """Changes at which to strike: all of them in turn if there are as many tries, else drawn."""
    count = changes if KILLS >= 50 else 2
    return sorted(random.Random(name).sample(range(1, changes + 1), count))


class Scene:
    """A folder that a command is run in again and again from the same beginning."""

    def __init__(self, folder: Path, store: Path | None) -> None:
        self.folder, self._first = folder, store
        self.store = folder / "S.zarr"

    def reset(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        if self._first is not None:
            shutil.copytree(self._first, self.store)


@pytest.fixture
def damaged(whole: tuple[Path, int], tmp_path: Path) -> Path:
    """A store that lacks a shard's entry, the metadata of an array, and the end of a file."""
    store = Path(shutil.copytree(whole[0], tmp_path / "damaged.zarr"))
    (store / "manifest" / "000000.json").unlink()
    (store / "params" / "zarr.json").unlink()
    file = next(p for p in (store / "images" / "c" / "1").rglob("*") if p.is_file())
    file.write_bytes(file.read_bytes()[:-1])
    return store


@pytest.fixture
def strike(crash: Crasher, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a command that something happens to at many moments; ``after`` gets the scene and the run."""

    def run(command: list[object], first: Path | None, what: str, after: Callable[[Scene, Run], None]) -> None:
        scene = Scene(tmp_path / "scene", first)
        scene.folder.mkdir()
        scene.reset()
        undisturbed = crash.run(*command, within=scene.folder)
        changes = undisturbed.last_made if what == "full" else undisturbed.changes
        for moment in moments(changes, f"{what} {request.node.name}"):
            scene.reset()
            done = crash.run(*command, within=scene.folder, **{what: moment})
            try:
                after(scene, done)
            except BaseException as error:
                error.add_note(f"{what} at change {moment} of {changes} of {command}")
                raise

    return run


def test_a_build_killed_at_any_change_of_a_file_goes_on(
    crash: Crasher, strike: Callable[..., None], command: list[str], whole: tuple[Path, int], tmp_path: Path
) -> None:
    digest = digest_of(whole[0])

    def after(scene: Scene, done: Run) -> None:
        assert done.status == -9
        check_never_wrong(scene.store, digest)
        resumed = crash.run(*command, scene.store, "--resume", within=scene.folder)
        assert resumed.status == 0, resumed.output
        check_finished(scene.store, digest)

    strike([*command, tmp_path / "scene" / "S.zarr"], None, "kill", after)


def test_a_store_killed_while_it_is_replaced_is_the_old_one_or_the_new(
    crash: Crasher, strike: Callable[..., None], command: list[str], whole: tuple[Path, int], tmp_path: Path
) -> None:
    digest = digest_of(whole[0])
    assert crash.run(*command, tmp_path / "old.zarr", "--seed", 1, within=tmp_path).status == 0
    old = digest_of(tmp_path / "old.zarr")

    def after(scene: Scene, done: Run) -> None:
        assert done.status == -9
        check_never_wrong(scene.store, digest, old)
        resumed = crash.run(*command, scene.store, "--resume", within=scene.folder)
        if resumed.status != 0:
            assert digest_of(scene.store) == old
            assert "was begun with other faces, settings" in resumed.output
            assert crash.run(*command, scene.store, "--overwrite", within=scene.folder).status == 0
        check_finished(scene.store, digest)

    strike([*command, tmp_path / "scene" / "S.zarr", "--overwrite"], tmp_path / "old.zarr", "kill", after)


@pytest.mark.parametrize("mended_by", ["repair", "--resume"])
def test_a_repair_killed_at_any_change_of_a_file_goes_on(
    crash: Crasher,
    strike: Callable[..., None],
    command: list[str],
    whole: tuple[Path, int],
    damaged: Path,
    tmp_path: Path,
    mended_by: str,
) -> None:
    digest = digest_of(whole[0])
    repair = ["store", "repair", str(tmp_path / "scene" / "S.zarr")]
    resume = [*command, str(tmp_path / "scene" / "S.zarr"), "--resume"]

    def after(scene: Scene, done: Run) -> None:
        assert done.status == -9
        with pytest.raises(StoreError):
            Store(scene.store)
        mended = crash.run(*(repair if mended_by == "repair" else resume), within=scene.folder)
        assert mended.status == 0, mended.output
        check_finished(scene.store, digest)

    strike(repair, damaged, "kill", after)


def test_a_full_disk_is_one_line_and_what_is_finished_stays(
    crash: Crasher, strike: Callable[..., None], command: list[str], whole: tuple[Path, int], tmp_path: Path
) -> None:
    digest = digest_of(whole[0])

    def after(scene: Scene, done: Run) -> None:
        assert done.status == 1
        assert done.output.count("\n") == 1
        assert "No space left on device" in done.output
        assert "run the same command with --resume" in done.output
        check_never_wrong(scene.store, digest)
        finished = {p: p.stat().st_mtime_ns for p in scene.store.glob("manifest/*.json")}
        resumed = crash.run(*command, scene.store, "--resume", within=scene.folder)
        assert resumed.status == 0, resumed.output
        assert all(p.stat().st_mtime_ns == t for p, t in finished.items())
        check_finished(scene.store, digest)

    strike([*command, tmp_path / "scene" / "S.zarr"], None, "full", after)
