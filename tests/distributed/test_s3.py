"""Stores and images in an object store, by the command line, against a real S3 server (``tests/s3_server.py``)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import QUICK, good, pifa
from s3_server import configure, s3_server, set_faults

from pifa_data import images
from pifa_data.build import PrepConfig
from pifa_data.errors import PifaError, StoreError
from pifa_data.images import read_image, read_images
from pifa_data.store import Store, locate
from pipelines.prep import PrepSummary, run_prep
from pipelines.repair import repair_store

pytest.importorskip("moto", reason="the S3 server is moto's: pip install 'pifa[dev]'")
pytest.importorskip("obstore", reason="needs pip install 'pifa[s3]'")

CONFIG = PrepConfig(copies=2, size=32, shard_faces=8)
OPTIONS = ("--copies", 2, "--size", 32, "--shard-faces", 8)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address; every client of this process, and of those it starts, goes there."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address, pytest.MonkeyPatch.context() as patch:
        configure(patch, address)
        yield address


@pytest.fixture(scope="module")
def faces(endpoint: str, synthetic: Path) -> Path:
    """The synthetic faces' labels; the images are in ``s3://data/faces``, and in ``s3://data/bad`` but for three."""
    import boto3

    client = boto3.client("s3")  # another one than ours, to see that both mean the same
    for bucket in ("data", "stores"):
        client.create_bucket(Bucket=bucket)
    for number, path in enumerate(sorted((synthetic / "faces" / "images").iterdir())):
        data = path.read_bytes()
        client.put_object(Bucket="data", Key=f"faces/images/{path.name}", Body=data)
        if number:
            bad = {1: b"", 2: data[:-300]}.get(number, data)
            client.put_object(Bucket="data", Key=f"bad/images/{path.name}", Body=bad)
    return synthetic / "faces"


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask scheduler with one worker, both in this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def prep(scheduler: str, faces: Path, synthetic: Path) -> Any:
    """``run_prep`` of the faces into a store of any name; keywords change it."""
    given = {"morphable": str(synthetic / "model.safetensors"), "config": CONFIG, "scheduler": scheduler}

    def run(store: str | Path, images: str | None = "s3://data/faces", **options: Any) -> PrepSummary:
        return run_prep([f"keypoints-csv:{faces}"], store, images=images, **given | options)

    return run


@pytest.fixture(scope="module")
def built(faces: Path, synthetic: Path) -> str:
    """A store that two worker processes made. Read it, don't change it."""
    store, model = "s3://stores/S.zarr", synthetic / "model.safetensors"
    good("prep", faces, "--images", "s3://data/faces/", "--store", store, "--morphable", model, *OPTIONS)
    return store


@pytest.fixture
def copy(built: str, tmp_path: Path) -> str:
    """A store to damage."""
    source, url = locate(built), f"s3://stores/{tmp_path.name}.zarr"
    locate(url).write_all(source.read_all(source.sizes()))
    return url


def test_a_store_in_a_bucket_is_that_on_disk(built: str, prep: Any, tmp_path: Path) -> None:
    prep(tmp_path / "S.zarr", images=None)
    remote, local = Store(built), Store(tmp_path / "S.zarr")
    for name in set(local.layout.columns()) - {"faces/path"}:  # which is where the image is
        np.testing.assert_array_equal(remote.read(name), local.read(name), name)
    assert all(path.startswith("s3://data/faces/images/") for path in remote.text("path"))
    assert set(remote.location.sizes()) == set(local.location.sizes()) - {".lock"}


def test_the_digest_is_the_same_each_time_and_while_the_server_throttles(built: str, prep: Any, endpoint: str) -> None:
    set_faults(endpoint, slow_down=0.2)
    try:
        digest = prep("s3://stores/again").digest
    finally:
        set_faults(endpoint)
    assert digest == Store(built).attributes["digest"]


def test_a_network_is_trained_and_measured_on_it(built: str, tmp_path: Path) -> None:
    options = ("--batch-size", 8, "--val-fraction", 0.3, "--epochs", 0.5, *QUICK)
    good("train", built, "--out", tmp_path / "run", *options)
    measured = json.loads(good("eval", tmp_path / "run", built, "--subset", "val", "--json").stdout)
    assert measured["faces"] > 0


def test_store_commands_take_it(built: str) -> None:
    assert "every array is as built" in good("store", "verify", built).output
    info = json.loads(good("store", "info", built, "--json").stdout)
    assert (info["complete"], info["shards"], info["shards_finished"]) == (True, 3, 3)


def test_a_build_without_its_last_shards_is_resumed(copy: str, built: str, prep: Any) -> None:
    place = locate(copy)
    place.delete("manifest/000001.json")
    for key in place.sizes("params/c/2"):
        place.delete(key)
    with pytest.raises(StoreError, match="shard 1: not built"):
        Store(copy)
    assert prep(copy, resume=True).digest == Store(built).attributes["digest"]
    assert list(Store(copy).verify()) == []


def test_overwrite_replaces_a_store_alone(copy: str, prep: Any) -> None:
    neighbour = locate(f"{copy}2")
    neighbour.write("images/c/0", b"of somebody else")
    with pytest.raises(StoreError, match="exists already"):
        prep(copy)
    digest = prep(copy, overwrite=True, config=PrepConfig(copies=1, size=32)).digest
    assert Store(copy).attributes["digest"] == digest
    with pytest.raises(StoreError, match="is not a store; it is not overwritten"):
        prep(str(neighbour), overwrite=True)
    assert neighbour.read_all(neighbour.sizes()) == {"images/c/0": b"of somebody else"}


def test_damage_is_found_and_repaired(copy: str, built: str, scheduler: str) -> None:
    place = locate(copy)
    flipped = bytearray(place.read("images/c/0/0/0/0"))
    flipped[len(flipped) // 2] ^= 1
    place.write("images/c/0/0/0/0", bytes(flipped))
    Store(copy)  # which compares lengths alone
    place.write("boxes/c/2/0", place.read("boxes/c/2/0")[:-7])
    with pytest.raises(StoreError, match=r"shard 2, boxes: expected .* bytes, found"):
        Store(copy)
    place.delete("faces/id/c/1/0")
    with pytest.raises(StoreError, match=r"shard 1, faces/id: expected .* bytes, found missing"):
        Store(copy)
    found = pifa("store", "verify", copy)
    assert found.exit_code == 1
    assert all(f"shard {n}, {name}: " in found.output for n, name in enumerate(("images", "faces/id", "boxes")))
    repair = repair_store(copy, scheduler=scheduler)
    assert (repair.shards, repair.same) == ([0, 1, 2], True)
    sound = locate(built)
    assert place.read_all(sound.sizes("boxes")) == sound.read_all(sound.sizes("boxes"))
    assert list(Store(copy).verify()) == []


def test_images_that_are_missing_or_damaged_are_skipped_with_the_reason(prep: Any) -> None:
    summary = prep("s3://stores/bad", images="s3://data/bad")
    assert (summary.faces, summary.skipped) == (21, 3)
    reasons = {skipped.reason.split(": ")[1] for skipped in summary.reasons}
    assert any("cut short" in reason for reason in reasons)
    assert any("not an image" in reason for reason in reasons)
    assert "no such object" in reasons
    assert all(skipped.reason.startswith("s3://data/bad/images/") for skipped in summary.reasons)


def test_images_in_the_wrong_place_are_told_at_once(prep: Any) -> None:
    with pytest.raises(PifaError, match="s3://data/none: there is nothing below it"):
        prep("s3://stores/none", images="s3://data/none", scheduler=None)
    assert not locate("s3://stores/none").exists()


def test_any_name_of_an_image_is_a_name(faces: Path) -> None:
    image = next((faces / "images").iterdir())
    name = "Ü ber[1]/50%25 #2?*+&=~.jpg"
    locate("s3://data/odd").write(name, image.read_bytes())
    (found,) = read_images([f"s3://data/odd/{name}"])
    np.testing.assert_array_equal(found, read_image(image))


def test_a_lost_connection_stops_the_build_and_skips_no_face(prep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(url: str, limit: int) -> bytes:
        raise OSError(f"{url}: connection reset")

    with monkeypatch.context() as patch:
        patch.setattr(images, "get", lost)
        with pytest.raises(StoreError, match=r"the build stopped.*connection reset.*--resume"):
            prep("s3://stores/lost")
    assert prep("s3://stores/lost", resume=True).skipped == 0


def test_a_large_object_is_not_read(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST_FILE", 100)
    name = next((faces / "images").iterdir()).name
    (found,) = read_images([f"s3://data/faces/images/{name}"])
    assert "refused" in str(found)


@pytest.fixture
def elsewhere(endpoint: str) -> Iterator[pytest.MonkeyPatch]:
    """To change where clients go, and by whose right."""
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, endpoint)
        yield patch
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, endpoint)


WRONG: dict[str, tuple[dict[str, str | None], str, str]] = {
    "bucket": ({}, "s3://nobody/S.zarr", "pifa: s3://nobody: no such bucket"),
    "store": ({}, "s3://stores/nobody.zarr", "s3://stores/nobody.zarr: not a store made by `pifa prep`: there is no"),
    "credentials": (
        {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"},
        "s3://stores/S.zarr",
        "pifa: s3://stores: no credentials; set AWS_ACCESS_KEY_ID",
    ),
    "endpoint": ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "s3://stores/S.zarr", "s3://stores: Could not connect to"),
    "kind": ({}, "gs://stores/S.zarr", "pifa: gs://stores/S.zarr: expected a path, or a URL as s3://bucket/prefix"),
    "no bucket": ({}, "s3://", "pifa: s3://: expected a path, or a URL as s3://bucket/prefix"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("command", ["info", "prep", "images"])
def test_what_is_wrong_is_told_in_a_line(what: str, command: str, faces: Path, elsewhere: pytest.MonkeyPatch) -> None:
    changes, url, expected = WRONG[what]
    for name, value in changes.items():
        elsewhere.delenv(name) if value is None else elsewhere.setenv(name, value)
    if command == "info":
        result = pifa("store", "info", url)
    elif what == "store":
        return  # which is then made
    elif command == "prep":
        result = pifa("prep", faces, "--store", url)
    else:
        result = pifa("prep", faces, "--store", os.devnull + "/none", "--images", url)
    assert result.exit_code == 1
    assert expected in result.output
    assert result.output.count("\n") == 1


def test_the_missing_package_is_named(endpoint: str, elsewhere: pytest.MonkeyPatch) -> None:
    elsewhere.setitem(sys.modules, "obstore.store", None)
    result = pifa("store", "info", "s3://stores/S.zarr")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "pip install 'pifa[s3]'" in result.output
