"""Checkpoints in ONNX Runtime: an exported file, or a checkpoint, which is exported once and kept."""

from __future__ import annotations

import logging
from pathlib import Path

from pifa_data.errors import CheckpointError
from pifa_model.checkpoint import load_checkpoint, read_header
from pifa_model.export import export
from pifa_model.onnx_engine import FORMAT_VERSION, OnnxEngine
from pipelines.checkpoints import checkpoint_file, model_of
from pipelines.sources import home
from zoo.storage import hash_file

log = logging.getLogger("pifa.onnx")


def load_onnx(
    name: str, *, morphable: str | None = None, registry: str | None = None, threads: int | None = None
) -> tuple[OnnxEngine, Path]:
    """The engine of a checkpoint or of an exported file, and the file that ``name`` means.

    Args:
        name: a ``.onnx`` file, a run, a checkpoint's file, or a zoo name. All but the first are exported, checked and
            kept in the cache, under the SHA-256 of the checkpoint.
        morphable: the morphable model, where it is not found by its fingerprint.
        registry: of a zoo name.
        threads: that one call computes with; by default one a core.

    Raises:
        PifaError, ZooError: the checkpoint, its morphable model or the packages can't be had; see ``export``.
    """
    if Path(name).suffix == ".onnx":
        return OnnxEngine(name, lambda fingerprint: model_of(Path(name), fingerprint, morphable), threads), Path(name)
    file = checkpoint_file(name, registry)
    digest = hash_file(file).sha256
    model = model_of(file, read_header(file).morphable.fingerprint, morphable)
    kept = home() / "exported" / f"{digest}-{FORMAT_VERSION}.onnx"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Another process may have been first; both files are the same.
        done = export(load_checkpoint(file, model), kept, overwrite=True)
        log.info("%s: exported for ONNX Runtime, within %.1g pixels of PyTorch: %s", name, done.largest, kept)
    try:
        return OnnxEngine(kept, model, threads), file
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete it, and it is made again") from error
