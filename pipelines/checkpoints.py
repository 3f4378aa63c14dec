"""CHECKPOINT on the command line: a run folder, a file, or a zoo name ``NAME[@VERSION]``."""

from __future__ import annotations

from pathlib import Path

import torch

from pifa_data.errors import CheckpointError, ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import load_checkpoint, read_header
from pifa_model.engine import TorchEngine
from pifa_model.inference import Aligner, checkpoint_in
from pipelines.registry import run_fetch
from pipelines.sources import find_model, find_model_by_fingerprint


def pick_device(name: str) -> str:
    """``auto``, ``cpu`` or ``cuda`` to a device that is there.

    Raises:
        ConfigError: CUDA is asked for and PyTorch sees none.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    return name


def computes_bf16(device: str) -> bool:
    """Whether a device has instructions for bfloat16; without them PyTorch emulates it, 3 times as slow as float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public way to ask; an older or newer one that lacks these trains in float32.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def checkpoint_file(name: str, registry: str | None = None) -> Path:
    """The weights' file that ``name`` means; a zoo name is fetched and verified.

    Raises:
        CheckpointError: neither a run, a file, nor a zoo name.
        ZooError: the registry does not have it, or it is damaged.
    """
    path = Path(name)
    if path.exists():
        return checkpoint_in(path)
    if path.suffix == ".safetensors" or len(path.parts) > 1:
        raise CheckpointError(f"{path}: no such checkpoint")
    return run_fetch(name, registry)


def load_aligner(
    name: str,
    *,
    morphable: str | None = None,
    registry: str | None = None,
    device: str = "auto",
    runtime: str = "torch",
) -> tuple[Aligner, Path]:
    """The aligner of a checkpoint and its file; its morphable model is found by fingerprint.

    Args:
        name: run, file or zoo name.
        morphable: the morphable model, where it is not found by its fingerprint.
        registry: of a zoo name.
        device: ``auto``, ``cpu`` or ``cuda``.
        runtime: ``torch``, or ``onnx``, by which an exported ``.onnx`` file is always run.

    Raises:
        PifaError, ZooError: the checkpoint or its morphable model can't be had or don't match.
    """
    if runtime == "onnx" or Path(name).suffix == ".onnx":
        from pipelines.onnx import load_onnx

        if device == "cuda":
            raise ConfigError("--device cuda: ONNX Runtime computes on the CPU here; leave it out, or --runtime torch")
        engine, file = load_onnx(name, morphable=morphable, registry=registry)
        return Aligner(engine), file
    device = pick_device(device)
    file = checkpoint_file(name, registry)
    model = model_of(file, read_header(file).morphable.fingerprint, morphable)
    return Aligner(TorchEngine(load_checkpoint(file, model), device)), file


def model_of(file: Path, fingerprint: str, name: str | None = None) -> MorphableModel:
    """The morphable model of a file: the one called ``name``, or that of its fingerprint.

    Raises:
        MorphableError: there is none.
    """
    if name is not None:
        return find_model(name)
    return find_model_by_fingerprint(fingerprint, [file.parent / "morphable.safetensors"])
