"""Publishing to a web server by a folder that is copied there: nothing lost, whoever was faster."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo

Make = Callable[..., Path]


def upload(staging: Path, registry: Path) -> None:
    """What `pifa zoo publish --staging` says: all else first, the index last."""
    hidden = shutil.ignore_patterns(".*", "index.json")
    shutil.copytree(staging, registry, dirs_exist_ok=True, ignore=hidden)
    shutil.copy(staging / "index.json", registry / "index.json")


def labels(registry: Path) -> list[str]:
    return [entry.label for entry in zoo.Registry(registry).index().entries]


def test_stage_and_upload(published: Path, checkpoint: Make, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    for seed, name in ((1, "b"), (2, "c")):
        zoo.publish(published, weights=checkpoint(seed), name=name, version="1.0.0", staging=staging)
    # Only what is new, and the registry untouched.
    assert {path.name for path in staging.iterdir() if path.name[0] != "."} == {"b", "c", "index.json"}
    assert labels(published) == ["face@1.0.0"]
    upload(staging, published)
    assert labels(published) == ["b@1.0.0", "c@1.0.0", "face@1.0.0"]
    assert zoo.verify(None, published) == []
    with pytest.raises(zoo.PublishError, match="raise the version"):
        zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.0", staging=staging)


def test_who_was_overtaken_stages_again(published: Path, checkpoint: Make, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.0", staging=staging)
    zoo.yank(published, "face", "1.0.0", "too early", staging=staging)
    zoo.publish(published, weights=checkpoint(2), name="theirs", version="1.0.0")
    zoo.publish(published, weights=checkpoint(3), name="c", version="1.0.0", staging=staging)
    upload(staging, published)
    assert labels(published) == ["b@1.0.0", "c@1.0.0", "face@1.0.0", "theirs@1.0.0"]
    assert [entry.yanked for entry in zoo.Registry(published).index().entries] == [None, None, "too early", None]
    assert zoo.verify(None, published) == []


def test_a_new_registry_is_staged(registry: Path, checkpoint: Make, tmp_path: Path) -> None:
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", staging=tmp_path / "staging")
    upload(tmp_path / "staging", registry)
    assert zoo.fetch("face", registry).is_file()


def test_a_server_that_cannot_be_written_wants_staging(checkpoint: Make, tmp_path: Path) -> None:
    with pytest.raises(zoo.PublishError, match="give --staging DIR"):
        zoo.publish("http://127.0.0.1:9/zoo", weights=checkpoint(), name="face", version="1.0.0")
