"""The cache: checked on every call, shared by processes, never half written."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

import zoo

Make = Callable[..., Path]
fetch_module = sys.modules["zoo.fetch"]


def cached_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in (".lock", ".used", "verified.json"))


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert zoo.cache_folder(tmp_path / "given") == tmp_path / "given"
    assert zoo.cache_folder() == tmp_path / "home"
    monkeypatch.delenv("PIFA_HOME")
    assert zoo.cache_folder() == Path(platformdirs.user_cache_dir("pifa"))


def test_a_second_fetch_reads_no_weights(published: Path, tmp_path: Path) -> None:
    first = zoo.fetch("face", published)
    assert first.parent.parent == tmp_path / "home" / "zoo"
    (published / "face" / "1.0.0" / "weights.safetensors").unlink()
    assert zoo.fetch("face@1.0.0") == first
    assert cached_files(first.parent) == ["config.json", "weights.safetensors"]


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_cache_is_fetched_again(published: Path, name: str, damage: str) -> None:
    path = zoo.fetch("face", published).parent / name
    good = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(good[:-1] if damage == "truncate" else bytes([good[0] ^ 1]) + good[1:])
    zoo.fetch("face", published)
    assert path.read_bytes() == good


@pytest.mark.parametrize("damage", ["flip", "truncate", "lengthen", "remove"])
def test_a_damaged_registry_leaves_the_cache_as_it_was(published: Path, damage: str) -> None:
    cached = zoo.fetch("face", published)
    cached.write_bytes(b"damaged")
    source = published / "face" / "1.0.0" / "weights.safetensors"
    good = source.read_bytes()
    if damage == "remove":
        source.unlink()
    else:
        bad = {"flip": good[:-1] + bytes([good[-1] ^ 1]), "truncate": good[:-1], "lengthen": good * 2}
        source.write_bytes(bad[damage])
    with pytest.raises(zoo.ZooError) as caught:
        zoo.fetch("face", published)
    assert isinstance(caught.value, zoo.RegistryError if damage == "remove" else zoo.HashError)
    assert all(part in str(caught.value) for part in (str(source), "expected", "found", "publisher"))
    assert cached.read_bytes() == b"damaged"
    assert cached_files(cached.parent) == ["config.json", "weights.safetensors"]


def test_threads_share_one_download(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[str] = []
    download = fetch_module.download

    def counted(sources: object, wanted: object, target: Path, **options: object) -> None:
        copies.append(target.name)
        download(sources, wanted, target, **options)

    monkeypatch.setattr(fetch_module, "download", counted)
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(zoo.fetch("face", published).read_bytes())) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert copies == ["weights.safetensors"]
    assert len(results) == 6
    assert len(set(results)) == 1


def test_a_killed_download_leaves_no_weights(published: Path) -> None:
    code = (
        "import os, sys, zoo\n"
        "transfer = sys.modules['zoo.transfer']\n"
        "flush = transfer.flush\n"
        "transfer.flush = lambda file: (flush(file), os._exit(9))\n"
        "zoo.fetch('face', sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(published)], check=False)
    assert done.returncode == 9
    assert not list(zoo.cache_folder().rglob("weights.safetensors"))
    assert zoo.fetch("face", published).is_file()


def test_a_lock_held_too_long_is_an_error(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    folder = zoo.fetch("face", published).parent
    (folder / "weights.safetensors").unlink()
    monkeypatch.setattr(fetch_module, "LOCK_SECONDS", 0.05)
    with FileLock(folder / ".lock"), pytest.raises(zoo.ZooError, match="try again"):
        zoo.fetch("face", published)


def test_a_cache_that_cannot_be_made(published: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(zoo.ZooError, match="that you may write"):
        zoo.fetch("face", published, tmp_path / "file")


def test_same_weights_are_kept_once(published: Path, checkpoint: Make) -> None:
    zoo.publish(published, weights=checkpoint(), name="twin", version="2.0.0")
    assert zoo.fetch("twin", published) == zoo.fetch("face", published)
