"""The same bytes whatever the number of worker processes, with shards of the usual size."""

from pathlib import Path

import pytest

from pifa_data.build import PrepConfig
from pifa_data.store import FACES_A_SHARD
from pipelines.prep import run_prep

CONFIG = PrepConfig(copies=2, size=32)
FACES = 2 * FACES_A_SHARD + 10


@pytest.fixture(scope="module")
def source(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards' worth of faces: the synthetic ones again and again, each image under many names."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "images").symlink_to(synthetic / "faces" / "images")
    _, *rows = (synthetic / "faces" / "keypoints.csv").read_text().splitlines()
    (folder / "keypoints.csv").write_text("\n".join(rows[i % len(rows)] for i in range(FACES)) + "\n")
    return folder


@pytest.fixture(scope="module")
def digest(source: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the build with one worker."""
    store = tmp_path_factory.mktemp("one") / "S.zarr"
    model = str(synthetic / "model.safetensors")
    return run_prep([str(source)], store, morphable=model, config=CONFIG, workers=1).digest


def test_two_workers_give_the_bytes_of_one(digest: str, source: Path, synthetic: Path, tmp_path: Path) -> None:
    model = str(synthetic / "model.safetensors")
    summary = run_prep([str(source)], tmp_path / "S.zarr", morphable=model, config=CONFIG, workers=2)
    assert summary.faces == FACES
    assert summary.digest == digest
