"""Publish, list, fetch, verify, yank."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zoo

Make = Callable[..., Path]


def test_publish_list_fetch_verify(registry: Path, checkpoint: Make, metric: Make) -> None:
    weights = checkpoint()
    evaluation = metric(weights)
    entry = zoo.publish(
        registry,
        weights=weights,
        name="face",
        version="1.0.0",
        metrics=[evaluation],
        licence="CC-BY-NC-4.0",
        limits=["no profiles | <b>none</b>"],
        source_commit="abc123",
    )
    index = zoo.Registry(registry).index()
    assert (index.serial, index.entries) == (1, (entry,))
    assert (entry.scheme, entry.min_pifa, entry.training_data) == ("ibug68", "0.1.0", ("300W, 3148 faces",))
    assert entry.metrics[0].model_dump(mode="json") == json.loads(evaluation.read_text())

    cached = zoo.fetch("face", registry)
    assert cached.read_bytes() == weights.read_bytes()
    config = json.loads((cached.parent / "config.json").read_text())
    assert (config["blocks"], config["training"]["rates"]) == (2, [0.1, 0.01])
    assert zoo.verify(None, registry) == []
    assert zoo.verify("face@1", registry) == []

    card = zoo.Registry(registry).read(entry, "card.md").decode()
    for part in (
        "pifa align face@1.0.0 photo.jpg --boxes boxes.csv",
        "CC-BY-NC-4.0",
        "| 300w:sample, val, tight boxes | 5.5 | 3.25 |",
        "| 300w:sample, val, tight boxes | 3 | 4 | – |",
        "| epochs | 3 |",
        "no profiles | &lt;b>none",
    ):
        assert part in card


def test_only_what_belongs_there_is_left(published: Path) -> None:
    names = {path.name for path in published.iterdir()} - {".index.lock"}
    assert names == {"face", "index.json"}
    version = published / "face" / "1.0.0"
    assert {path.name for path in version.iterdir()} == {"weights.safetensors", "config.json", "card.md", "card.html"}
    # A web server under another user must be able to read what is published.
    umask_free = published / "probe"
    umask_free.touch()
    for path in (published / "index.json", *version.iterdir()):
        assert path.stat().st_mode == umask_free.stat().st_mode


def test_a_file_url_is_its_folder(published: Path, tmp_path: Path) -> None:
    by_path, by_url = zoo.fetch("face", published, tmp_path / "one"), zoo.fetch("face", published.as_uri(), tmp_path)
    assert by_path.read_bytes() == by_url.read_bytes()


def test_registry_faults_are_clear(tmp_path: Path, registry: Path) -> None:
    assert zoo.Registry(registry).index().entries == ()
    with pytest.raises(zoo.RegistryError, match="no such folder"):
        zoo.Registry(tmp_path / "nowhere").index()
    with pytest.raises(zoo.RegistryError, match="three slashes"):
        zoo.Registry("file://host/folder")
    with pytest.raises(zoo.RegistryError, match="another kind of address"):
        zoo.Registry("nosuchprotocol://x").index()
    with pytest.raises(zoo.PublishError, match="found a web server"):
        zoo.publish("https://example.org/zoo", weights="x", name="face", version="1.0.0")
    with pytest.raises(zoo.UnknownEntryError, match="no entries"):
        zoo.fetch("face", registry)


def test_default_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert zoo.default_registry() == str(tmp_path / "registry")
    monkeypatch.delenv("PIFA_REGISTRY")
    bundled = zoo.Registry()
    assert bundled.folder is not None
    assert bundled.folder.parts[-2:] == ("zoo", "registry")
    assert zoo.verify() == []


def test_yank(registry: Path, checkpoint: Make) -> None:
    for version in ("1.0.0", "1.1.0"):
        zoo.publish(registry, weights=checkpoint(), name="face", version=version)
    entry = zoo.yank(registry, "face", "1.1.0", "trained on test faces")
    assert entry.yanked == "trained on test faces"
    index = zoo.Registry(registry).index()
    assert (index.serial, zoo.resolve(index, "face").version) == (3, "1.0.0")
    with pytest.warns(zoo.YankedWarning, match="trained on test faces"):
        zoo.fetch("face@1.1.0", registry)
    with pytest.raises(zoo.UnknownEntryError, match=r"ask for face@1\.1\.0"):
        zoo.resolve(index, "face@1.1")
    assert zoo.verify(None, registry) == []
    with pytest.raises(zoo.PublishError, match="found it yanked"):
        zoo.yank(registry, "face", "1.1.0", "again")
    with pytest.raises(zoo.UnknownEntryError, match="exact"):
        zoo.yank(registry, "face", "1.1", "no such")
    with pytest.raises(zoo.PublishError, match="one line"):
        zoo.yank(registry, "face", "1.0.0", "two\nlines")
    # What was withdrawn stays published: its version is not free.
    with pytest.raises(zoo.PublishError, match="raise the version"):
        zoo.publish(registry, weights=checkpoint(1), name="face", version="1.1.0")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(st.text(min_size=1, max_size=20), max_size=3),
    grow=st.floats(0.125, 8),
    extra=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
def test_any_configuration_is_kept_or_refused(
    registry: Path, checkpoint: Make, data: list[str], grow: float, extra: dict[str, str]
) -> None:
    weights = checkpoint(0, grow=grow, training={"data": data}, extra=extra)
    version = f"1.0.{len(zoo.Registry(registry).index().entries)}"
    try:
        entry = zoo.publish(registry, weights=weights, name="face", version=version)
    except zoo.CheckpointError:
        return
    assert (entry.training_data, entry.grow) == (tuple(data), grow)
    assert zoo.Registry(registry).index().get("face", version) == entry
    cached = zoo.fetch(entry.label, registry)
    assert json.loads((cached.parent / "config.json").read_text())["extra"] == extra
    assert zoo.verify(entry.label, registry) == []


def test_import_is_light() -> None:
    heavy = {"torch", "numpy", "requests", "boto3", "jinja2", "model_signing", "cryptography", "cv2", "markdown_it"}
    code = f"import sys, zoo; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
