"""Everything from outside is hostile: weights, files of a registry, its index."""

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import zoo

Make = Callable[..., Path]
Edit = Callable[[Callable[[Any], None]], None]


class Bomb:
    """A pickle that leaves a mark where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pickle-was-loaded"),))


def no_checkpoint(kind: str, good: bytes) -> bytes:
    return {
        "pickle": pickle.dumps(Bomb()),
        "truncated": good[:-1],
        "empty": b"",
        "header only": good[:20],
        "longer": good + b"\0",
        "claims more": good.replace(b"[0,80]", b"[0,99]"),
        "huge header": struct.pack("<Q", 2**62) + good[8:],
        "text": b"hello " * 100,
    }[kind]  # fmt: skip


KINDS = ("pickle", "truncated", "empty", "header only", "longer", "claims more", "huge header", "text")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_checkpoint_is_not_published(
    registry: Path, checkpoint: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = checkpoint()
    monkeypatch.chdir(weights.parent)
    weights.write_bytes(no_checkpoint(kind, weights.read_bytes()))
    with pytest.raises(zoo.CheckpointError, match="expected a safetensors file"):
        zoo.publish(registry, weights=weights, name="face", version="1.0.0")
    assert list(registry.iterdir()) == []
    assert not Path("pickle-was-loaded").exists()


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"pifa": ""},
        {"pifa": "{}"},
        {"pifa": "[" * 10**5},
        {"pifa": '{"format": "pifa-checkpoint", "format": "pifa-checkpoint"}'},
    ],
)
def test_safetensors_without_a_configuration(registry: Path, tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"layer": np.zeros(3, np.float32)}, path, metadata=metadata)
    with pytest.raises(zoo.CheckpointError, match="pifa"):
        zoo.publish(registry, weights=path, name="face", version="1.0.0")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"format_version": 1},
        {"input_size": "114"},
        {"grow": float("nan")},
        {"scheme": "\x1b[2J"},
        {"morphable": {"name": "builtin"}},
        {"training": {}},
        {"landmark_kind": "4d"},
        {"note": "\u0007"},
    ],
)
def test_bad_configurations(registry: Path, checkpoint: Make, changes: dict[str, object]) -> None:
    with pytest.raises(zoo.CheckpointError, match="metadata key 'pifa'"):
        zoo.publish(registry, weights=checkpoint(0, **changes), name="face", version="1.0.0")


def test_missing_weights(registry: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(zoo.CheckpointError, match="expected a checkpoint's file"):
            zoo.publish(registry, weights=path, name="face", version="1.0.0")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_found(published: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["weights.safetensors", "config.json", "card.md"]))
    path = published / "face" / "1.0.0" / name
    good = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bad)
    try:
        (problem,) = zoo.verify(None, published)
    finally:
        path.write_bytes(good)
    assert (problem.entry, problem.file) == ("face@1.0.0", name)
    assert all(part in str(problem) for part in (str(path), "expected SHA-256", "found"))


def test_verify_lists_every_problem(published: Path, checkpoint: Make) -> None:
    zoo.publish(published, weights=checkpoint(1), name="other", version="1.0.0")
    version = published / "face" / "1.0.0"
    (version / "card.md").unlink()
    with (version / "config.json").open("ab") as file:
        file.write(b" ")
    assert [problem.file for problem in zoo.verify(None, published)] == ["config.json", "card.md"]
    assert zoo.verify("other", published) == []


def rehash(document: Any, folder: Path) -> None:
    """Makes the index agree with changed files, as an attacker who owns the registry can."""
    import hashlib

    for file in document["entries"][0]["files"]:
        content = (folder / file["name"]).read_bytes()
        file.update(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_as_indexed_but_no_checkpoint(published: Path, edit_index: Edit, kind: str) -> None:
    folder = published / "face" / "1.0.0"
    weights = folder / "weights.safetensors"
    weights.write_bytes(no_checkpoint(kind, weights.read_bytes()))
    edit_index(lambda document: rehash(document, folder))
    assert [problem.file for problem in zoo.verify(None, published)] == ["weights.safetensors"]
    with pytest.raises(zoo.CheckpointError, match="expected a safetensors file"):
        zoo.fetch("face", published)
    assert not list(zoo.cache_folder().rglob("*.safetensors"))


@pytest.mark.parametrize("key", ["scheme", "morphable"])
def test_an_index_that_describes_another_checkpoint(published: Path, edit_index: Edit, key: str) -> None:
    def lie(document: Any) -> None:
        entry = document["entries"][0]
        entry[key] = "wflw98" if key == "scheme" else {"name": "builtin", "fingerprint": "other"}

    edit_index(lie)
    (problem,) = zoo.verify(None, published)
    assert key in problem.message
    with pytest.raises(zoo.CheckpointError, match=key):
        zoo.fetch("face", published)


def test_another_configuration_never_gets_into_the_cache(published: Path, edit_index: Edit) -> None:
    good = zoo.fetch("face", published)
    kept = (good.parent / "config.json").read_bytes()
    folder = published / "face" / "1.0.0"
    (folder / "config.json").write_text('{"format": "other"}')
    edit_index(lambda document: rehash(document, folder))
    assert [problem.file for problem in zoo.verify(None, published)] == ["config.json"]
    (good.parent / "config.json").unlink()
    assert zoo.fetch("face", published) == good
    assert (good.parent / "config.json").read_bytes() == kept  # the one in the weights' header


BAD_NAMES = [
    "../../secret",
    "/etc/passwd",
    ".hidden",
    "..",
    "",
    "a/b",
    "a\\b",
    "a\x00",
    "C:x",
    "weights\n",
    "a::b",
]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("field", ["name", "version", "file"])
def test_names_that_lead_elsewhere(published: Path, edit_index: Edit, field: str, name: str) -> None:
    def lie(document: Any) -> None:
        entry = document["entries"][0]
        if field == "file":
            entry["files"][2]["name"] = name
        else:
            entry[field] = name

    edit_index(lie)
    with pytest.raises(zoo.RegistryError, match=r"index\.json"):
        zoo.Registry(published).index()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=2), "update pifa"),
        (lambda d: d.update(schema_version="1"), "no registry"),
        (lambda d: d.pop("schema_version"), "no registry"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d["entries"][0].update(surprise=1), "surprise"),
        (lambda d: d["entries"][0]["files"][0].update(url="http://x"), "url"),
        (lambda d: d["entries"].append(d["entries"][0]), "twice"),
        (lambda d: d["entries"][0]["files"].append(d["entries"][0]["files"][0]), "same name"),
        (lambda d: d["entries"][0]["files"].pop(0), "missing"),
        (lambda d: d["entries"][0]["files"][0].update(size=-1), "size"),
        (lambda d: d["entries"][0]["files"][0].update(size=2**60), "size"),
        (lambda d: d["entries"][0]["files"][0].update(size="9"), "size"),
        (lambda d: d["entries"][0]["files"][0].update(sha256="0" * 63), "sha256"),
        (lambda d: d["entries"][0].update(yanked="\x1b[2J"), "control"),
        (lambda d: d["entries"][0].update(grow=float("nan")), "NaN"),
        (lambda d: d.update(serial=True), "serial"),
        (lambda d: d["entries"][0].update(name="nul.x"), r"name: .*found nul, a device there"),
        (lambda d: d["entries"][0].update(name="face."), r"name: .*ends in a dot"),
        (lambda d: d["entries"][0]["files"][2].update(name="COM1.md"), r"files\.2\.name: .*found com1, a device there"),
        (lambda d: d["entries"][0].update(pictures=[{"file": "card.md", "caption": "x"}] * 2), "listed twice"),
        (lambda d: d["entries"][0].update(pictures=[{"file": "card.md", "caption": "x"}] * 33), "at most 32"),
        (lambda d: d["entries"][0].update(training_data=["x"] * 257), "at most 256"),
        (lambda d: d["entries"][0].update(metrics=[{"faces": 1, "normaliser": "x", "nme": 1.0}] * 65), "at most 64"),
        (lambda d: d["entries"][0].update(metrics=[{"faces": 10**400, "normaliser": "x", "nme": 1.0}]), "too large"),
        (lambda d: d.update(updated="2026-01-01T00:00:00"), "updated"),
    ],
)
def test_bad_indexes(published: Path, edit_index: Edit, change: Callable[[Any], None], message: str) -> None:
    edit_index(change)
    with pytest.raises(zoo.RegistryError, match=message):
        zoo.Registry(published).index()
    with pytest.raises(zoo.RegistryError, match=message):
        zoo.yank(published, "face", "1.0.0", "reason")


@pytest.mark.parametrize("key", ["a\nb", "\u202e" + "k" * 2_000_000, "\u2028"])
def test_a_complaint_is_one_short_line(published: Path, edit_index: Edit, key: str) -> None:
    edit_index(lambda document: document["entries"][0].update({key: 1}))
    with pytest.raises(zoo.RegistryError, match=r"Extra inputs") as caught:
        zoo.Registry(published).index()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 400 + len(str(published))


def test_a_header_is_quoted_as_a_line(registry: Path, checkpoint: Make) -> None:
    weights = checkpoint()
    header = rb'{"a":{"dtype":"\u001b]0;pwned\u0007\nnext line","shape":[1],"data_offsets":[0,4]}}'
    weights.write_bytes(struct.pack("<Q", len(header)) + header + b"0000")
    with pytest.raises(zoo.CheckpointError, match="next line") as caught:
        zoo.publish(registry, weights=weights, name="face", version="1.0.0")
    assert str(caught.value).isprintable()


def test_old_indexes_have_metrics_without_their_weights(published: Path, edit_index: Edit) -> None:
    edit_index(lambda d: d["entries"][0].update(metrics=[{"faces": 1, "normaliser": "x", "nme": 1.0}]))
    assert zoo.Registry(published).index().entries[0].metrics[0].checkpoint_sha256 is None


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{", b"\xff\xfe", b"<html>", b"[" * 10**6, b'{"a":' * 10**5, b"1" * 10**4]
)
def test_indexes_that_are_no_json(registry: Path, text: bytes) -> None:
    (registry / "index.json").write_bytes(text)
    with pytest.raises(zoo.RegistryError, match=r"index\.json"):
        zoo.Registry(registry).index()


def test_a_huge_index_is_not_parsed(registry: Path) -> None:
    with (registry / "index.json").open("wb") as file:
        file.truncate(2**40)  # sparse: a tebibyte of zeros
    with pytest.raises(zoo.RegistryError, match="at most"):
        zoo.Registry(registry).index()


def test_an_index_of_nothing_but_lists_is_not_parsed(registry: Path) -> None:
    (registry / "index.json").write_text(f'{{"schema_version": 1, "entries": [{"[]," * 500_000}[]]}}')
    with pytest.raises(zoo.RegistryError, match="at most 500000 lists and objects"):
        zoo.Registry(registry).index()


def test_links_out_of_the_registry_are_not_followed(published: Path, tmp_path: Path) -> None:
    card = published / "face" / "1.0.0" / "card.md"
    secret = tmp_path / "secret"
    card.rename(secret)
    card.symlink_to(secret)
    (problem,) = zoo.verify(None, published)
    assert "out of it" in problem.message
    (published / "index.json").rename(tmp_path / "index.json")
    (published / "index.json").symlink_to(tmp_path / "index.json")
    with pytest.raises(zoo.RegistryError, match="out of it"):
        zoo.Registry(published).index()


def test_a_registry_behind_a_link_works(published: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(published)
    assert zoo.verify(None, tmp_path / "link") == []


def test_folders_and_devices_are_not_read(published: Path) -> None:
    card = published / "face" / "1.0.0" / "card.md"
    card.unlink()
    card.mkdir()
    assert "a folder or a device" in zoo.verify(None, published)[0].message


def test_reading_is_checked_too(published: Path) -> None:
    registry = zoo.Registry(published)
    (entry,) = registry.index().entries
    assert json.loads(registry.read(entry, "config.json"))["scheme"] == "ibug68"
    with pytest.raises(zoo.RegistryError, match="ask for one of these"):
        registry.read(entry, "../index.json")
    (published / "face" / "1.0.0" / "card.md").write_bytes(b"other")
    with pytest.raises(zoo.HashError, match=r"card\.md"):
        registry.read(entry, "card.md")
