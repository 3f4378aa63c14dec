"""Speed of alignment, box given, image decoded: one face at a time and many, in PyTorch and in ONNX Runtime.

    python benchmarks/align.py [CHECKPOINT]... [--preset NAME]... [--threads 2] [--repeats N] [--json FILE]

A checkpoint is a run or a file with its morphable model, or the built-in one; without any, networks of ``small`` and
``compact`` with random weights that start frontal and stay near it. ``aligner`` is ``Aligner.batch`` of one photo of
640x480 pixels, crop and pose included; ``crops`` are ``align_crops`` alone. Works are timed in turns, so ratios hold
on a busy machine: a ratio is the median of the ratios of each turn. Milliseconds are the median and the least of all
turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network import GROW, SCHEME, SIZE, frontal
from timing import in_turns

from pifa_data.morphable import load_builtin
from pifa_model import Aligner
from pifa_model.checkpoint import Checkpoint, Header, MorphableReference, load_checkpoint
from pifa_model.config import load_config
from pifa_model.engine import TorchEngine
from pifa_model.export import drawn_faces, export
from pifa_model.inference import checkpoint_in
from pifa_model.network import Network
from pifa_model.onnx_engine import OnnxEngine

BATCH = 32
BOX = np.array([200.0, 140.0, 380.0, 330.0])


def of_preset(name: str) -> Checkpoint:
    """Random weights; the same every time."""
    torch.manual_seed(0)
    model, config = load_builtin(), load_config(name)
    network = Network(config.network, model, SIZE, len(model.landmarks[SCHEME])).eval()
    network.initial[:8] = frontal(model)
    header = Header(
        **{"preset": name, "network": config.network, "config": config, "scheme": SCHEME, "landmark_kind": "2d"},
        **{"input_size": SIZE, "boxes": "tight", "grow": GROW},
        morphable=MorphableReference(name=model.name, fingerprint=model.fingerprint),
    )
    return Checkpoint(header, network, model)


def measure(checkpoint: Checkpoint, threads: int, repeats: int) -> dict[str, Any]:
    """Seconds a call of every work, and how far the runtimes' landmarks are apart."""
    with tempfile.TemporaryDirectory() as folder:
        done = export(checkpoint, Path(folder) / "x.onnx")
        engines = {
            "torch": TorchEngine(checkpoint),
            "onnx": OnnxEngine(done.path, checkpoint.model, threads),
        }
    aligners = {name: Aligner(engine) for name, engine in engines.items()}
    photo = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    many = drawn_faces(checkpoint.model, checkpoint.header.input_size, BATCH)
    found: dict[str, Any] = {"bytes": done.bytes, "largest_difference_pixels": done.largest, "works": {}}
    for work, faces, of in (
        ("aligner, 1 face", 1, lambda name: lambda: aligners[name].batch([photo], [[BOX]])),
        ("crops, 1 face", 1, lambda name: lambda: engines[name].align_crops(many[:1])),
        (f"crops, {BATCH} faces", BATCH, lambda name: lambda: engines[name].align_crops(many)),
    ):
        times = in_turns({name: of(name) for name in engines}, repeats if faces == 1 else max(3, repeats // 10))
        found["works"][work] = {
            "faces": faces,
            "torch_over_onnx": float(np.median(times["torch"] / times["onnx"])),
            **{f"{name}_ms": 1e3 * float(np.median(of)) for name, of in times.items()},
            **{f"{name}_least_ms": 1e3 * float(of.min()) for name, of in times.items()},
        }
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['bytes'] / 1e6:.1f} MB, landmarks {found['largest_difference_pixels']:.1g} pixels apart")
    print(f"{'ms a call, median (least)':26s} {'torch':>16s} {'onnx':>16s} {'ratio':>7s} {'onnx faces/s':>14s}")
    for work, row in found["works"].items():
        cells = [f"{row[f'{engine}_ms']:.2f} ({row[f'{engine}_least_ms']:.2f})" for engine in ("torch", "onnx")]
        speed = 1e3 * row["faces"] / row["onnx_ms"]
        print(f"{work:26s} {cells[0]:>16s} {cells[1]:>16s} {row['torch_over_onnx']:7.2f} {speed:14.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--preset", action="append", help="random weights; default small and compact")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    presets = arguments.preset or ([] if arguments.checkpoints else ["small", "compact"])
    subjects = {name: of_preset(name) for name in presets}
    for path in arguments.checkpoints:
        file = checkpoint_in(path)
        subjects[str(path)] = load_checkpoint(file, Aligner.load(file).model)
    found = {}
    print(f"{arguments.threads} threads")
    for name, checkpoint in subjects.items():
        found[name] = measure(checkpoint, arguments.threads, arguments.repeats)
        show(name, found[name])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
