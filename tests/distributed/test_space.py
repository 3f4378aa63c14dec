"""No space and no right to write: one line that says so, and nothing lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICK, good, pifa
from crashing import run_tasks_here
from disks import resize, small_disk
from rights import read_only
from soundness import check_finished, check_never_wrong


def refused(*arguments: Any) -> str:
    """The one line that a command ends with."""
    result = pifa(*arguments)
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    return result.output


@pytest.fixture(name="small_disk")
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte, which takes about half of the shards."""
    with small_disk(tmp_path, "1m") as disk:
        yield disk


def test_a_full_disk(source: Path, options: list[str], digest: str, threads: str, small_disk: Path) -> None:
    store = small_disk / "S.zarr"
    command = ["prep", source, *options, "--scheduler", threads, "--store", store]
    line = refused(*command)
    assert line.startswith(f"pifa: {store}: the build stopped")
    assert "No space left on device" in line
    assert "--resume" in line
    assert check_never_wrong(store, digest) == "some shards"
    finished = {p: p.stat().st_mtime_ns for p in store.glob("manifest/*.json")}
    resize(small_disk, "4m")
    good(*command, "--resume")
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    check_finished(store, digest)


@pytest.fixture
def store(small_store: Path, tmp_path: Path) -> Path:
    """A finished store in a folder of its own."""
    return Path(shutil.copytree(small_store, tmp_path / "place" / "S.zarr"))


def test_a_folder_that_may_not_be_written_to(source: Path, options: list[str], store: Path) -> None:
    new = store.parent / "T.zarr"
    with read_only(store.parent):
        line = refused("prep", source, *options, "--store", new)
        assert line.startswith(f"pifa: {new}: the build stopped ([Errno 13] Permission denied")
        line = refused("prep", source, *options, "--store", store, "--overwrite")
        assert line.startswith(f"pifa: {store}: the build stopped ([Errno 13] Permission denied")
    assert sorted(p.name for p in store.parent.iterdir()) == ["S.zarr"]


def test_a_finished_store_that_may_only_be_read(synthetic: Path, store: Path, tmp_path: Path) -> None:
    with read_only(store.parent):
        good("store", "info", store)
        good("store", "verify", store)
        assert "nothing to repair" in good("store", "repair", store).output
        good("train", store, "--out", tmp_path / "run", "--batch-size", 8, "--epochs", 0.5, *QUICK)
        options = ("--morphable", synthetic / "model.safetensors", "--copies", 3)
        line = refused("prep", f"keypoints-csv:{synthetic / 'faces'}", "--store", store, *options, "--resume")
        assert line.startswith(f"pifa: {store}: the build stopped ([Errno 13] Permission denied")
    (store / "boxes" / "c" / "0" / "0").unlink()
    with read_only(store.parent):
        assert f"{store}: can't be repaired ([Errno 13] Permission denied" in refused("store", "repair", store)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_no_space_for_temporary_files_is_told(
    source: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: Path("/dev/full").open("r+b"))  # noqa: SIM115
    run_tasks_here(monkeypatch)
    line = refused("prep", source, *options, "--store", tmp_path / "S.zarr")
    assert "No space left on device, for a temporary file; set TMPDIR" in line
    assert f"'{tempfile.gettempdir()}'" in line
