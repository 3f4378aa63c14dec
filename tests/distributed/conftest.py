"""Many small shards, the digest that they have to give, and a cluster of real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Cluster

from pifa_data.build import PrepConfig
from pipelines.prep import run_prep

SHARDS, SHARD_FACES = 12, 4
CONFIG = PrepConfig(copies=2, size=32, shard_faces=SHARD_FACES)


@pytest.fixture(scope="session")
def source(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic faces again and again, each image under many names."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "images").symlink_to(synthetic / "faces" / "images")
    _, *rows = (synthetic / "faces" / "keypoints.csv").read_text().splitlines()
    (folder / "keypoints.csv").write_text("\n".join(rows[i % len(rows)] for i in range(SHARDS * SHARD_FACES)) + "\n")
    return folder


@pytest.fixture(scope="session")
def digest(source: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the build on this machine alone."""
    store = tmp_path_factory.mktemp("local") / "S.zarr"
    return run_prep(
        [str(source)], store, morphable=str(synthetic / "model.safetensors"), config=CONFIG, workers=1
    ).digest


@pytest.fixture(scope="session")
def options(synthetic: Path) -> list[str]:
    """Of ``pifa prep``, for ``CONFIG``."""
    model = str(synthetic / "model.safetensors")
    return ["--morphable", model, "--copies", "2", "--size", "32", "--shard-faces", str(SHARD_FACES)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler for all tests, without workers at first; one that kills it takes ``lost_cluster``."""
    yield from _cluster(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def lost_cluster(tmp_path: Path) -> Iterator[Cluster]:
    yield from _cluster(tmp_path)


def _cluster(folder: Path) -> Iterator[Cluster]:
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.close()
