"""``pifa zoo publish`` and ``get``: from runs to registries and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import zoo
from pifa_model.checkpoint import load_checkpoint, read_header
from pipelines.checkpoints import checkpoint_file
from pipelines.sources import find_model_by_fingerprint


def run_publish(
    checkpoint: str,
    *,
    name: str,
    version: str,
    registry: Path,
    metrics: tuple[Path, ...] = (),
    licence: str | None = None,
) -> zoo.Entry:
    """Publish a checkpoint that loads.

    Raises:
        PifaError, ZooError: the checkpoint does not load, the version exists, or a metric is another checkpoint's.
    """
    file = checkpoint_file(checkpoint)
    header = read_header(file)
    model = find_model_by_fingerprint(header.morphable.fingerprint, [file.parent / "morphable.safetensors"])
    load_checkpoint(file, model)  # what can't be loaded is not published
    return zoo.publish(
        registry,
        weights=file,
        name=name,
        version=version,
        metrics=metrics,
        licence=licence,
        min_pifa=header.pifa_version if header.pifa_version[0].isdigit() else None,
        morphable_where=model.source or None,
    )


def run_get(reference: str, registry: str | None, out: Path | None) -> Path:
    """Fetch a checkpoint; with ``out`` also copy its weights there.

    Raises:
        ZooError: not in the registry, or not what the registry says.
    """
    cached = zoo.fetch(reference, registry)
    if out is None:
        return cached
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.partial")
    shutil.copyfile(cached, temporary)
    temporary.replace(out)
    return out
