"""The same bytes whatever the number of worker processes, and after a real kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pifa_data.build import PrepConfig
from pifa_data.store import FACES_A_SHARD, Store
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


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL and process groups")
def test_a_killed_build_resumes_to_the_same_bytes(digest: str, source: Path, synthetic: Path, tmp_path: Path) -> None:
    store = tmp_path / "S.zarr"
    command = [sys.executable, "-m", "cli", "prep", str(source), "--store", str(store)]
    command += ["--morphable", str(synthetic / "model.safetensors"), "--copies", "2", "--size", "32", "--workers", "1"]
    root = Path(__file__).resolve().parents[2]
    # A group of its own, so that the workers die with it as they do when a machine goes down.
    build = subprocess.Popen(command, cwd=root, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 90
        while not list((store / "manifest").glob("*.json")):
            assert build.poll() is None, "the build ended before its first shard"
            assert time.monotonic() < limit, "no shard after 90 s"
            time.sleep(0.02)
    finally:
        os.killpg(build.pid, signal.SIGKILL)
        build.wait()
    unfinished = Store(store, unfinished=True)
    assert not unfinished.attributes["complete"]
    assert 0 < len(unfinished.entries) < unfinished.layout.shards
    done = subprocess.run([*command, "--resume"], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Store(store).attributes["digest"] == digest
    assert list(Store(store).verify()) == []
