"""Publishing: immutable, whole or not at all, and nothing lost between publishers."""

import datetime as dt
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from served import Served

import zoo

Make = Callable[..., Path]
# `zoo.publish` and `zoo.fetch` are functions; their modules are found here.
publish_module = sys.modules["zoo.publish"]
folder_module = sys.modules["zoo.backends.folder"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_version_never_changes(published: Path, checkpoint: Make) -> None:
    before = snapshot(published)
    for weights in (checkpoint(), checkpoint(1)):
        with pytest.raises(zoo.PublishError, match="raise the version"):
            zoo.publish(published, weights=weights, name="face", version="1.0.0")
    assert snapshot(published) == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "../face"},
        {"name": "Face"},
        {"name": ".face"},
        {"name": "index.json"},
        {"name": "a" * 65},
        {"version": "1.0"},
        {"version": "1.0.0-rc1"},
        {"version": "1.0.01"},
        {"version": "../1.0.0"},
        {"licence": "two\nlines"},
        {"licence": "\x1b[2J"},
        {"min_pifa": "new"},
        {"mirrors": ["x" * 3000]},
        {"name": "con"},
        {"name": "lpt1.small"},
        {"name": "face."},
    ],
)
def test_bad_arguments_leave_nothing(registry: Path, checkpoint: Make, arguments: dict[str, object]) -> None:
    with pytest.raises(zoo.PublishError):
        zoo.publish(registry, weights=checkpoint(), **{"name": "face", "version": "1.0.0", **arguments})  # type: ignore[arg-type]
    assert snapshot(registry.parent).keys() == {"model-0.safetensors"}


def test_a_killed_publication_is_finished_by_the_next(
    registry: Path, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    weights = checkpoint()
    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "update_index", killed)
        with pytest.raises(KeyboardInterrupt):
            zoo.publish(registry, weights=weights, name="face", version="1.0.0", created=dt.date(2026, 1, 1))
    assert (registry / "face" / "1.0.0" / "card.md").is_file()
    assert zoo.Registry(registry).index().entries == ()
    # Other weights are not what was left there.
    with pytest.raises(zoo.PublishError, match="remove that folder"):
        zoo.publish(registry, weights=checkpoint(1), name="face", version="1.0.0")
    # The same weights are, even on another day.
    zoo.publish(registry, weights=weights, name="face", version="1.0.0", created=dt.date(2026, 1, 2))
    assert zoo.verify(None, registry) == []
    assert not list(registry.glob(".publish-*"))


@pytest.mark.parametrize("step", ["made.rename", "temporary.replace"])
def test_killed_for_good(registry: Path, checkpoint: Make, step: str) -> None:
    """The process ends without any cleaning up, just before the folder's move or the index's."""
    method = step.split(".")[1]
    code = (
        "import os, pathlib, sys, zoo\n"
        f"pathlib.Path.{method} = lambda *_: os._exit(9)\n"
        "zoo.publish(sys.argv[1], weights=sys.argv[2], name='face', version='1.0.0')\n"
    )
    weights = checkpoint()
    done = subprocess.run([sys.executable, "-c", code, str(registry), str(weights)], check=False)
    assert done.returncode == 9
    assert not (registry / "index.json").exists()
    zoo.publish(registry, weights=weights, name="face", version="1.0.0")
    assert zoo.verify(None, registry) == []
    assert zoo.fetch("face", registry).read_bytes() == weights.read_bytes()


def test_a_leftover_link_is_not_followed(registry: Path, checkpoint: Make, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (registry / "face").symlink_to(outside)
    with pytest.raises(zoo.PublishError, match="out of it"):
        zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0")
    assert not list(outside.iterdir())


def test_threads_lose_nothing(registry: Path, checkpoint: Make) -> None:
    names = [f"face-{i}" for i in range(8)]
    weights = [checkpoint(i) for i in range(8)]
    faults: list[BaseException] = []

    def work(i: int) -> None:
        try:
            zoo.publish(registry, weights=weights[i], name=names[i], version="1.0.0")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index = zoo.Registry(registry).index()
    assert faults == []
    assert ([entry.name for entry in index.entries], index.serial) == (names, 8)


def test_processes_lose_nothing_and_one_wins_a_version(registry: Path, checkpoint: Make) -> None:
    code = (
        "import sys, zoo\n"
        "registry, weights, mine = sys.argv[1:]\n"
        "zoo.publish(registry, weights=weights, name=mine, version='1.0.0')\n"
        "try:\n"
        "    zoo.publish(registry, weights=weights, name='shared', version='1.0.0')\n"
        "except zoo.PublishError:\n"
        "    sys.exit(3)\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(registry), str(checkpoint(i)), f"face-{i}"]) for i in range(2)
    ]
    assert sorted(worker.wait() for worker in workers) == [0, 3]
    index = zoo.Registry(registry).index()
    assert [entry.name for entry in index.entries] == ["face-0", "face-1", "shared"]
    assert zoo.verify(None, registry) == []


def test_a_writer_who_ignores_the_lock_is_noticed(
    registry: Path, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new = folder_module.write_new
    intruders = iter(["intruder"])

    def write_and_be_overtaken(path: Path, data: bytes) -> object:
        written = write_new(path, data)
        for name in intruders:
            other = registry.parent / "other"
            entry = zoo.publish(other, weights=checkpoint(5), name=name, version="1.0.0")
            (other / "index.json").replace(registry / "index.json")
            assert entry.name == name
        return written

    monkeypatch.setattr(folder_module, "write_new", write_and_be_overtaken)
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0")
    index = zoo.Registry(registry).index()
    assert ([entry.name for entry in index.entries], index.serial) == (["face", "intruder"], 2)


def test_numbers_of_other_weights_are_refused(registry: Path, checkpoint: Make, metric: Make) -> None:
    with pytest.raises(zoo.PublishError, match="evaluate the file that you publish"):
        zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", metrics=[metric(checkpoint(1))])
    with pytest.raises(zoo.PublishError, match="found no checkpoint_sha256; evaluate the file that you publish"):
        zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", metrics=[metric()])


def test_a_number_beyond_a_double_is_refused(registry: Path, checkpoint: Make, metric: Make) -> None:
    """It would be published as null, though evaluations are kept whole."""
    weights = checkpoint()
    path = metric(weights, extra="@")
    text = path.read_text()
    for number in ("1e999", "-1e999", f"1{'0' * 400}"):
        path.write_text(text.replace('"@"', number))
        with pytest.raises(zoo.PublishError, match=r"eval\.json: .*the number .* is too large"):
            zoo.publish(registry, weights=weights, name="face", version="1.0.0", metrics=[path])


def test_too_many_pictures(registry: Path, checkpoint: Make, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(zoo.PublishError, match=r"pictures: .*at most 32 items"):
        zoo.publish(
            registry, weights=checkpoint(), name="face", version="1.0.0", pictures=[(tmp_path / "a.png", "x")] * 33
        )


def test_a_password_is_not_told(tmp_path: Path, checkpoint: Make, served: Served) -> None:
    address = served.at("plain").replace("://", "://me:SECRET@")
    with pytest.raises(zoo.PublishError, match="found it published in") as caught:
        zoo.publish(address, weights=checkpoint(), name="face", version="1.0.0", staging=tmp_path / "new")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"nme": None},
        {"nme": float("nan")},
        {"nme": float("inf")},
        {"nme": "3"},
        {"normaliser": None},
        {"faces": 0},
        {"nme_per_block": "good"},
        {"source": "\x1b[31m"},
        {"other": ["\x07"]},
        {"checkpoint_sha256": "abc"},
        {"extra": 10**400},
    ],
)
def test_bad_metrics(registry: Path, checkpoint: Make, metric: Make, changes: dict[str, object]) -> None:
    weights = checkpoint()
    with pytest.raises(zoo.PublishError, match=r"eval\.json: (?!expected numbers of)"):
        zoo.publish(registry, weights=weights, name="face", version="1.0.0", metrics=[metric(weights, **changes)])
    assert not (registry / "face").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"nme": 1, "nme": 2}', "[" * 10**5, "\xff"])
def test_metrics_that_are_no_metrics(registry: Path, checkpoint: Make, tmp_path: Path, text: str) -> None:
    path = tmp_path / "eval.json"
    path.write_bytes(text.encode("latin-1"))
    for file in (path, tmp_path / "missing.json"):
        with pytest.raises(zoo.PublishError, match=r"\.json: expected|\.json: "):
            zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", metrics=[file])


@pytest.mark.parametrize("theirs", [False, True])
def test_an_answer_that_was_lost_is_no_failure(
    registry: Path, checkpoint: Make, monkeypatch: pytest.MonkeyPatch, theirs: bool
) -> None:
    """The index was written, and the request made again was refused; even where another publisher came in between."""
    backend = folder_module.FolderBackend
    swap = backend.swap_index
    others = iter(["theirs"] if theirs else [])
    lost: list[bool] = []

    def swap_and_say_no(self: object, data: bytes, tag: str | None) -> bool:
        done = swap(self, data, tag)
        if lost:
            return done
        lost.append(done)
        for name in others:
            other = registry.parent / "other"
            shutil.copytree(registry, other)
            zoo.publish(other, weights=checkpoint(5), name=name, version="1.0.0")
            (other / "index.json").replace(registry / "index.json")
        return False

    monkeypatch.setattr(backend, "swap_index", swap_and_say_no)
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0")
    index = zoo.Registry(registry).index()
    assert [entry.name for entry in index.entries] == ["face", *(["theirs"] if theirs else [])]
    assert index.serial == 1 + theirs
