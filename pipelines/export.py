"""``pifa export``: a checkpoint as one ONNX file, or with its weights in float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pifa_data.errors import StoreError
from pifa_data.store import Store
from pifa_model.checkpoint import load_checkpoint, read_header
from pifa_model.export import Exported, export, export_half
from pipelines.checkpoints import checkpoint_file, model_of
from pipelines.store_reader import StoreReader

MOST_FACES = 64
"""Crops of a store that a file is checked with."""


def run_export(
    checkpoint: str,
    out: Path,
    *,
    faces: str | None = None,
    morphable: str | None = None,
    registry: str | None = None,
    overwrite: bool = False,
) -> Exported:
    """Export a run, a checkpoint's file or a zoo name to ``out``: a name in .safetensors is of weights in float16.

    Args:
        checkpoint: run, file or zoo name.
        out: the file.
        faces: store whose crops the file is checked with; by default faces are drawn.
        morphable: the morphable model, where it is not found by its fingerprint.
        registry: of a zoo name.
        overwrite: replace an existing file.

    Raises:
        PifaError, ZooError: see ``export``; the checkpoint, its morphable model or the store can't be used.
    """
    file = checkpoint_file(checkpoint, registry)
    loaded = load_checkpoint(file, model_of(file, read_header(file).morphable.fingerprint, morphable))
    crops = _crops(faces, loaded.header.input_size) if faces is not None else None
    if out.suffix == ".safetensors":
        return export_half(loaded, file, out, crops=crops, overwrite=overwrite)
    return export(loaded, out, crops=crops, overwrite=overwrite)


def _crops(faces: str, size: int) -> np.ndarray:
    reader = StoreReader(Store(faces))
    if reader.layout.size != size:
        raise StoreError(
            f"{faces}: expected crops of {size} pixels, as the checkpoint takes, found {reader.layout.size}"
        )
    for part in reader.sample([0]):
        return part.images[:MOST_FACES]
    raise StoreError(f"{faces}: has no crop to check an export with; draw them: leave --faces out")
