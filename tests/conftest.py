"""What all tests share: caches of their own, few threads, and a small data set made here (``synthetic.py``)."""

import os

# Before NumPy and torch are imported: tests run beside each other and beside training, and BLAS threads that wait for a
# core make a fit 30 times slower. (Zarr's pytest plugin, which would import NumPy before this file, is switched off.)
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"  # can hang, see pipelines/cluster.py

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from synthetic import make_dataset, make_model

from pifa_data.build import PrepConfig
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.making import Surface, make_surface
from pifa_data.morphable.making.assemble import Parts, deformed_parts

ROOT = Path(__file__).resolve().parents[1]
FACES = 24


cv2.setNumThreads(1)


@pytest.fixture(scope="session", autouse=True)
def pifa_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``$PIFA_HOME`` for the whole session, so that no test touches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("pifa-home")
        patch.setenv("PIFA_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    """The synthetic head."""
    return make_model()


@pytest.fixture(scope="session")
def surface() -> Surface:
    """The builtin model's surface as it is sculpted; seconds."""
    return make_surface()


@pytest.fixture(scope="session")
def builtin_parts(surface: Surface) -> Parts:
    """What the builtin model is assembled from; seconds."""
    return deformed_parts(surface)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``model.safetensors`` and ``faces/``: 24 faces of 8 people. Read it, don't change it."""
    folder = tmp_path_factory.mktemp("synthetic")
    make_dataset(folder, FACES)
    return folder


@pytest.fixture(scope="session")
def small_store(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of the synthetic faces, 3 crops of 114 pixels each. Read it, don't change it."""
    from pipelines.prep import run_prep

    store = tmp_path_factory.mktemp("small-store") / "S.zarr"
    config = PrepConfig(copies=3, size=114)
    source = f"keypoints-csv:{synthetic / 'faces'}"
    run_prep([source], store, morphable=str(synthetic / "model.safetensors"), config=config, workers=1)
    return store


@pytest.fixture(scope="session")
def small_run(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on ``small_store`` of a few steps, two of its eight people held out. Read it, don't change it."""
    from pifa_model.config import load_config
    from pipelines.train import run_training

    run = tmp_path_factory.mktemp("small-run") / "tiny"
    settings = {"network.hidden": 8, "network.visualization.vertices": 150, "training.round_steps": 3}
    settings |= {"training.batch_size": 8, "training.val_fraction": 0.25, "training.epochs": 0.8}
    config = load_config("small", tuple(f"{key}={value}" for key, value in settings.items()))
    run_training(small_store, run, config, device="cpu")
    return run


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask scheduler with one worker, both in this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="session")
def layouts(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The synthetic faces as stores of both layouts, 3 crops and 3 mirrored ones each, in three shards. Read only."""
    from pipelines.prep import run_prep

    folder = tmp_path_factory.mktemp("layouts")
    source, model = f"keypoints-csv:{synthetic / 'faces'}", str(synthetic / "model.safetensors")
    for layout in ("crops", "faces"):
        config = PrepConfig(copies=3, mirror=True, layout=layout, shard_faces=8)
        run_prep([source], folder / layout, morphable=model, config=config, workers=1)
    return {layout: folder / layout for layout in ("crops", "faces")}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The public data files beside the checkout (``../shared/data``)."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the development data are not at {folder}")
    return folder


def pytest_configure(config: Any) -> None:
    """Property tests give the same cases every time: a failure seen once is seen again."""
    from hypothesis import settings

    settings.register_profile("pifa", derandomize=True, deadline=None, max_examples=60, database=None)
    settings.load_profile("pifa")
