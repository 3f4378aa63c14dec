"""Tiny checkpoints and registries, made anew for every test."""

import hashlib
import json
import shutil
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import make_certificates
from nginx import nginx
from served import Served
from upstream import upstream
from zoo_checkpoint import write_checkpoint

import zoo
from zoo import transfer
from zoo.backends import web
from zoo.signatures.keys import TrustedKey, make_key, read_public_key


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIFA_REGISTRY", str(tmp_path / "registry"))


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    folder = tmp_path / "registry"
    folder.mkdir()
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Makes a checkpoint; ``seed`` changes its weights, keywords its configuration."""

    def make(seed: int = 0, **changes: Any) -> Path:
        weights = np.random.default_rng(seed).normal(size=(4, 5)).astype(np.float32)
        return write_checkpoint(tmp_path / f"model-{seed}.safetensors", weights, **changes)

    return make


@pytest.fixture
def metric(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file as ``pifa eval --json`` writes it; keywords change it."""

    def make(weights: Path | None = None, **changes: Any) -> Path:
        result: dict[str, Any] = {
            "faces": 12,
            "normaliser": "tight",
            "nme": 3.25,
            "nme_per_block": [5.5, 3.25],
            "nme_initial": 9.0,
            "nme_interocular": None,
            "failure_rate_8": 0.125,
            "auc_8": 0.5,
            "mape": 2.0,
            "nme_by_yaw": {"0-30": 3.0, "30-60": 4.0, "60-90": None},
            "ms_per_face": 11.5,
            "source": "300w:sample",
            "subset": "val",
            "boxes": "tight",
            "landmarks": "2d",
            "visibility_accuracy": 0.75,
        }
        if weights is not None:
            result["checkpoint_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        path = tmp_path / "eval.json"
        path.write_text(json.dumps({**result, **changes}))
        return path

    return make


@pytest.fixture
def published(registry: Path, checkpoint: Callable[..., Path]) -> Path:
    """A registry with ``face@1.0.0``."""
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0")
    return registry


@pytest.fixture
def edit_index(registry: Path) -> Callable[[Callable[[Any], None]], None]:
    """Changes the registry's index.json by hand, as an attacker would."""

    def edit(change: Callable[[Any], None]) -> None:
        path = registry / "index.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edit


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private key's file; its public half is in the file with ``.pub`` behind."""
    path = tmp_path_factory.mktemp("keys") / "publisher"
    make_key(path)
    return path


@pytest.fixture(scope="session")
def trusted_key(signing_key: Path) -> TrustedKey:
    """The public half of ``signing_key``."""
    return read_public_key(Path(f"{signing_key}.pub"))


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> TrustedKey:
    """A public key of somebody else."""
    return read_public_key(make_key(tmp_path_factory.mktemp("keys") / "other"))


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, work = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("nginx")
    data = np.random.default_rng(0).integers(0, 256, 2_500_000, np.uint8)
    model = write_checkpoint(work / "model.safetensors", data)
    zoo.publish(folder / "registry", weights=model, name="face", version="1.0.0")
    certificates = make_certificates(work)
    with upstream(folder) as behind, nginx(folder, work, certificates, behind.server_address[1]) as server:
        yield Served(folder, server, behind, certificates, model.read_bytes())


@pytest.fixture
def served(_served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """`Served`, its logs empty; what a test plans must happen."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", *web._BUNDLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    _served.nginx.forget()
    _served.upstream.forget()
    yield _served
    for copied in _served.folder.iterdir():
        if copied.name != "registry":
            shutil.rmtree(copied)
    assert _served.upstream.left() == 0


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, in seconds, which are not made."""
    found: list[float] = []
    clock = types.SimpleNamespace(sleep=found.append, monotonic=transfer.time.monotonic)
    monkeypatch.setattr(transfer, "time", clock)
    return found
