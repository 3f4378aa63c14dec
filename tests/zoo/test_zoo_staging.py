"""Publishing to a web server by a folder that is copied there: nothing lost, whoever was faster."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo

Make = Callable[..., Path]


def upload(staging: Path, registry: Path) -> None:
    """What `pifa zoo publish --staging` says: all else first, nothing of it over what is there; the index last."""
    for path in sorted(staging.rglob("*")):
        target = registry / path.relative_to(staging)
        hidden = any(part.startswith(".") for part in path.relative_to(staging).parts)
        if path.is_file() and not hidden and path.name != "index.json" and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
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


def test_signed_twice_before_it_is_uploaded(
    registry: Path, checkpoint: Make, signing_key: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing", reason="signatures need pifa[sign]")
    signer, staging = zoo.Signer(signing_key), tmp_path / "staging"
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=signer)
    for seed, name in ((1, "b"), (2, "c")):
        zoo.publish(registry, weights=checkpoint(seed), name=name, version="1.0.0", staging=staging, signer=signer)
    # What was staged and thrown away was never seen by anybody.
    shutil.rmtree(staging)
    zoo.yank(registry, "face", "1.0.0", "bad", staging=staging, signer=signer)
    zoo.publish(registry, weights=checkpoint(3), name="d", version="1.0.0", staging=staging, signer=signer)
    upload(staging, registry)
    zoo.trust(Path(f"{signing_key}.pub"), str(registry), tmp_path / "home")
    assert labels(registry) == ["d@1.0.0", "face@1.0.0"]
    assert zoo.verify(None, registry) == []


def test_a_staged_index_that_was_changed_is_refused(
    registry: Path, checkpoint: Make, signing_key: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing", reason="signatures need pifa[sign]")
    signer, staging = zoo.Signer(signing_key), tmp_path / "staging"
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=signer)
    zoo.publish(registry, weights=checkpoint(1), name="b", version="1.0.0", staging=staging, signer=signer)
    data = (staging / "index.json").read_bytes()
    (staging / "index.json").write_bytes(data.replace(b'"licence": null', b'"licence": "mine"'))
    with pytest.raises(zoo.SignatureError):
        zoo.publish(registry, weights=checkpoint(2), name="c", version="1.0.0", staging=staging, signer=signer)


def test_a_version_that_another_published_first(published: Path, checkpoint: Make, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for seed, staging in ((1, mine), (2, theirs)):
        zoo.publish(published, weights=checkpoint(seed), name="b", version="1.0.0", staging=staging)
    upload(theirs, published)
    before = (mine / "index.json").read_bytes()
    with pytest.raises(zoo.PublishError, match=r"b@1\.0\.0: expected in --staging DIR .* under a new version"):
        zoo.publish(published, weights=checkpoint(3), name="c", version="1.0.0", staging=mine)
    assert (mine / "index.json").read_bytes() == before
    shutil.rmtree(mine)
    zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.1", staging=mine)
    upload(mine, published)
    assert labels(published) == ["b@1.0.0", "b@1.0.1", "face@1.0.0"]
    assert zoo.verify(None, published) == []


def test_no_merge_undoes_a_yank(published: Path, checkpoint: Make, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.0")
    zoo.yank(published, "face", "1.0.0", "mine", staging=staging)
    zoo.yank(published, "b", "1.0.0", "theirs")
    zoo.publish(published, weights=checkpoint(2), name="c", version="1.0.0", staging=staging)
    staged = zoo.Registry(staging).index()
    assert [(entry.name, entry.yanked) for entry in staged.entries] == [("b", "theirs"), ("c", None), ("face", "mine")]


def test_every_staged_index_has_a_serial_of_its_own(published: Path, checkpoint: Make, tmp_path: Path) -> None:
    serials = []
    for seed in (1, 2, 3):
        zoo.publish(published, weights=checkpoint(seed), name=f"b{seed}", version="1.0.0", staging=tmp_path / "staging")
        serials.append(zoo.Registry(tmp_path / "staging").index().serial)
    assert serials == [2, 3, 4]


@pytest.mark.parametrize("place", ["", "face", "new", "face/../new", "link"])
def test_the_registry_is_no_place_to_stage(published: Path, checkpoint: Make, tmp_path: Path, place: str) -> None:
    staging = published / place
    if place == "link":
        staging = tmp_path / "link"
        staging.symlink_to(published)
    before = sorted(published.rglob("*"))
    for registry in (str(published), f"file://{published}"):
        with pytest.raises(zoo.PublishError, match="choose another --staging DIR"):
            zoo.publish(registry, weights=checkpoint(1), name="b", version="1.0.0", staging=staging)
    assert sorted(published.rglob("*")) == before


def test_a_new_registry_is_said_to_be_new(
    registry: Path, checkpoint: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pifa"):
        zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", staging=tmp_path / "staging")
        assert [record.getMessage() for record in caplog.records] == [
            f"{registry}/index.json: no index there: beginning a new registry"
        ]
        upload(tmp_path / "staging", registry)
        caplog.clear()
        zoo.publish(registry, weights=checkpoint(1), name="b", version="1.0.0", staging=tmp_path / "staging")
    assert not caplog.records


def test_what_vanished_is_not_begun_anew_by_staging(
    registry: Path, checkpoint: Make, signing_key: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing", reason="signatures need pifa[sign]")
    signer, staging = zoo.Signer(signing_key), tmp_path / "staging"
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=signer)
    zoo.publish(registry, weights=checkpoint(1), name="b", version="1.0.0", staging=staging, signer=signer)
    (registry / "index.json").unlink()
    with pytest.raises(zoo.StaleIndexError, match="begin anew"):
        zoo.publish(registry, weights=checkpoint(2), name="c", version="1.0.0", staging=staging, signer=signer)


def test_what_is_only_staged_is_signed(published: Path, checkpoint: Make, signing_key: Path, tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="signatures need pifa[sign]")
    staging = tmp_path / "staging"
    zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.0", staging=staging)
    zoo.sign(published, zoo.Signer(signing_key), adopt=True, staging=staging)
    upload(staging, published)
    zoo.trust(Path(f"{signing_key}.pub"), str(published), tmp_path / "home")
    assert zoo.verify(None, published) == []
    assert zoo.fetch("b", published).read_bytes() == checkpoint(1).read_bytes()
