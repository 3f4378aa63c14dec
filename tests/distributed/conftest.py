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
    model = str(synthetic / "model.safetensors")
    return run_prep([str(source)], store, morphable=model, config=CONFIG, workers=1).digest


@pytest.fixture(scope="session")
def options(synthetic: Path) -> list[str]:
    """Of ``pifa prep``, for ``CONFIG``."""
    model = str(synthetic / "model.safetensors")
    return ["--morphable", model, "--copies", "2", "--size", "32", "--shard-faces", str(SHARD_FACES)]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "S.zarr"


@pytest.fixture
def command(source: Path, options: list[str], store: Path) -> list[str]:
    """The build, as arguments of ``pifa``."""
    return ["prep", str(source), "--store", str(store), *options]


@pytest.fixture(scope="session")
def clusters() -> Iterator[list[Cluster]]:
    clusters: list[Cluster] = []
    yield clusters
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def cluster(clusters: list[Cluster], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster with a living scheduler; workers that earlier tests have left are there (``have_workers``)."""
    if not clusters or not clusters[-1].alive:
        clusters.append(Cluster(tmp_path_factory.mktemp("cluster")))
    return clusters[-1]


@pytest.fixture(scope="session")
def threads() -> Iterator[str]:
    """A scheduler with two workers that are threads of this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address
