"""What all tests share: caches of their own, few threads, and a small data set made here (``synthetic.py``)."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from synthetic import make_dataset, make_model

from pifa_data.build import PrepConfig
from pifa_data.morphable import MorphableModel

ROOT = Path(__file__).resolve().parents[1]
FACES = 24


def _one_thread() -> None:
    """Tests run beside each other and beside training; BLAS threads that wait for a core make a fit 30 times slower."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of torch, where it is not imported yet, and of child processes
    # Zarr's pytest plugin imports NumPy before this file, so that the variables come too late for NumPy's own BLAS.
    for library in (Path(np.__file__).parents[1] / "numpy.libs").glob("libscipy_openblas64_*"):
        ctypes.CDLL(str(library)).scipy_openblas_set_num_threads64_(1)
    cv2.setNumThreads(1)


_one_thread()


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
