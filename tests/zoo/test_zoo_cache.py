"""What is in the cache: verified or hashed again, never trusted; and emptied with care."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import zoo
from zoo.signatures.keys import TrustedKey

Make = Callable[..., Path]
fetch_module = sys.modules["zoo.fetch"]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that a fetch hashes."""
    names: list[str] = []
    hash_file = fetch_module.hash_file

    def noted(path: Path) -> object:
        names.append(path.name)
        return hash_file(path)

    monkeypatch.setattr(fetch_module, "hash_file", noted)
    return names


def test_what_was_verified_and_is_unchanged_is_not_hashed_again(published: Path, hashed: list[str]) -> None:
    cached = zoo.fetch("face", published)
    record = json.loads((cached.parent / "verified.json").read_text())["weights"]
    assert (record["size"], record["mtime_ns"]) == (cached.stat().st_size, cached.stat().st_mtime_ns)
    assert zoo.fetch("face", published) == cached
    assert hashed == []


def test_other_times_mean_hashing(published: Path, hashed: list[str]) -> None:
    cached = zoo.fetch("face", published)
    before = cached.stat()
    os.utime(cached, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    zoo.fetch("face", published)
    assert hashed == ["weights.safetensors"]
    zoo.fetch("face", published)  # recorded anew
    assert hashed == ["weights.safetensors"]


def test_a_change_that_restores_size_and_time_is_found(published: Path) -> None:
    cached = zoo.fetch("face", published)
    good, before = cached.read_bytes(), cached.stat()
    cached.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(cached, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert zoo.fetch("face", published).read_bytes() == good


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"schema_version": 2}', b'{"files": {"../x": 1}}', b"\xff"])
def test_a_damaged_record_records_nothing(published: Path, hashed: list[str], record: bytes) -> None:
    cached = zoo.fetch("face", published)
    (cached.parent / "verified.json").write_bytes(record)
    zoo.fetch("face", published)
    assert hashed == ["weights.safetensors"]


@pytest.mark.parametrize("days", [float("nan"), -1.0])
def test_prune_for_no_number_of_days(days: float) -> None:
    with pytest.raises(zoo.ZooError, match="days: expected a number from 0 up"):
        zoo.prune(days=days)


def test_prune_takes_what_nobody_needs(published: Path, checkpoint: Make) -> None:
    zoo.publish(published, weights=checkpoint(1), name="old", version="1.0.0")
    new, old = zoo.fetch("face", published), zoo.fetch("old", published)
    os.utime(old.parent / ".used", (0, 0))
    part = new.parent / ".weights.safetensors.0123456789abcdef.part"
    part.write_bytes(b"half")
    broken = zoo.cache_folder() / "zoo" / ("0" * 64)
    broken.mkdir()
    (broken / ".weights.safetensors.0000000000000000.part").write_bytes(b"half")
    told = zoo.prune(dry_run=True)
    assert old.is_file()
    assert part.is_file()
    gone = zoo.prune()
    assert told == gone
    assert {one.path.name for one in gone if one.why == "unfinished"} == {
        part.name,
        ".weights.safetensors.0000000000000000.part",
    }
    assert sum(one.size for one in gone if one.path == old) == checkpoint(1).stat().st_size
    assert new.is_file()
    assert not part.exists()
    assert not old.exists()
    assert zoo.fetch("old", published) == old
    assert zoo.prune(days=0) != []
    assert not new.exists()


def test_prune_leaves_a_download_alone_and_what_is_not_its_own(published: Path) -> None:
    cached = zoo.fetch("face", published)
    mine = zoo.cache_folder() / "zoo" / "notes"
    mine.mkdir()
    (mine / "text").write_text("mine")
    with FileLock(cached.parent / ".lock"):
        assert zoo.prune(days=0) == []
    assert cached.is_file()
    zoo.prune(days=0)
    assert (mine / "text").is_file()


def test_prune_without_a_cache(tmp_path: Path) -> None:
    assert zoo.prune(tmp_path / "nowhere") == []


def test_an_entry_for_a_newer_pifa_is_refused(registry: Path, checkpoint: Make) -> None:
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", min_pifa="999.0.0")
    with pytest.raises(zoo.UnknownEntryError, match=r"expected pifa 999\.0\.0 or newer"):
        zoo.fetch("face", registry)


def test_a_cache_that_is_only_read(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = zoo.fetch("face", published)
    (cached.parent / ".used").unlink()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("a disk that is read only")

    monkeypatch.setattr(Path, "touch", refused)
    assert zoo.fetch("face", published) == cached


def test_what_a_folder_leaves_to_its_mirrors_is_named_offline(published: Path, checkpoint: Make) -> None:
    entry = zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.0", mirrors=["https://127.0.0.1:9/b"])
    assert zoo.fetch("b", published, offline=True).is_file()
    zoo.prune(days=0)
    (published / "b" / "1.0.0" / "weights.safetensors").unlink()
    with pytest.raises(
        zoo.OfflineError, match=rf"b@1\.0\.0: expected weights.safetensors \({entry.files[0].size} bytes\)"
    ):
        zoo.fetch("b", published, offline=True)


def test_a_link_in_the_place_of_a_part_is_not_written_through(published: Path, tmp_path: Path) -> None:
    entry = zoo.Registry(published).index().entries[0]
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = zoo.cache_folder() / "zoo" / entry.files[0].sha256
    folder.mkdir(parents=True)
    (folder / f".weights.safetensors.{entry.files[0].sha256[:16]}.part").symlink_to(victim)
    assert zoo.fetch("face", published).is_file()
    assert victim.read_text() == "mine"


def test_what_changes_while_it_is_hashed_is_not_recorded(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = zoo.fetch("face", published)
    good = cached.read_bytes()
    (cached.parent / "verified.json").unlink()
    hash_file = fetch_module.hash_file

    def overtaken(path: Path) -> object:
        found = hash_file(path)
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "hash_file", overtaken)
        assert zoo.fetch("face", published).read_bytes() == good  # fetched anew
    assert zoo.fetch("face", published).read_bytes() == good


def test_the_program_behind_a_link_trusts_its_own_registry(tmp_path: Path, trusted_key: TrustedKey) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "zoo").symlink_to(Path(zoo.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "program"), "PIFA_TRUST": trusted_key.where}
    environment.pop("PIFA_REGISTRY", None)
    code = "import zoo; print(zoo.__file__); zoo.Registry().index()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout


def test_readers_faults_are_not_the_registrys(published: Path) -> None:
    with pytest.raises(OSError, match="no room") as caught, zoo.Registry(published).open("index.json"):
        raise OSError("no room")
    assert not isinstance(caught.value, zoo.ZooError)
