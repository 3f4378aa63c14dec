"""Feeding: crops a second out of a store, memory over an epoch, and training steps fed by it against none to wait for.

    python benchmarks/training.py STORE [--preset compact] [--device cpu|cuda] [--threads 1] [--steps N] [--repeats N]
        [--json FILE]

STORE is a folder that ``pifa prep`` made, of either layout; after a first epoch its files are in the system's cache.
What is compared is done in turns, and a ratio is the median of the ratios of each turn: other work on the machine slows
all of them.

stream          shuffled crops that ``TrainingStream`` gives in an epoch of the whole store, in one process; of layout
                ``faces`` the pictures, decoded each time, not yet cut
zarr            the same, each chunk read by Zarr when it is come to
decompress      pictures that Blosc alone decompresses on one thread, from memory into memory that is used again
megabytes       largest resident memory of a process that reads an epoch of half of the faces, and one of all
fed_over_memory training steps a second as the trainer makes them (augmentation, losses, clipping, optimiser), fed by
                the stream in the background, over the same on one batch that is in memory already
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import zarr
from numcodecs import blosc
from timing import in_turns
from torch import Tensor, nn

from pifa_data.store import Store
from pifa_model import store_rows
from pifa_model.augmentation import augment
from pifa_model.batches import TrainingStream
from pifa_model.chunks import PictureChunks
from pifa_model.config import load_config
from pifa_model.optimizer import make_optimizer
from pifa_model.shape import Landmarks
from pifa_model.store_rows import StoreRows
from pifa_model.transfer import on_device
from pipelines.train import new_network

BATCH = 32


def stream_of(data: StoreRows, share: float = 1.0) -> TrainingStream:
    """Training batches of so many of the faces."""
    faces = np.arange(len(data.subjects)) < share * len(data.subjects)
    return TrainingStream(data, data.rows_of(faces), BATCH, seed=0, mirror=0.5)


def read_epoch(stream: TrainingStream) -> None:
    for _ in stream.read(0, stream.steps_per_epoch):
        pass


def reading(store: str, repeats: int) -> dict[str, float]:
    data = StoreRows(Store(store), kept=0)
    stream, length = stream_of(data), data._pictures.chunks[0]
    assert data._chunks is not None
    encoded = [data._chunks._encoded(number).copy() for number in range(min(40, data.pictures // length))]
    out = np.empty((length, *data._pictures.shape[1:]), np.uint8)

    def by_zarr() -> None:
        unknown, one = (
            patch.object(PictureChunks, "read", lambda *_: None),
            patch.object(store_rows, "LOCAL_AT_ONCE", 1),
        )
        with unknown, one:
            read_epoch(stream)

    def decompress() -> None:
        for chunk in encoded:
            blosc.decompress(chunk, out)

    crops = stream.steps_per_epoch * BATCH
    counts = {"stream": crops, "zarr": crops, "decompress": len(encoded) * length}
    works = {"stream": lambda: read_epoch(stream), "zarr": by_zarr, "decompress": decompress}
    # Of the clock and of the processor.
    times = in_turns(works, repeats, lambda: np.array([time.perf_counter(), time.process_time()]))
    turns = {name: counts[name] / seconds for name, seconds in times.items()}
    found = {}
    for name, values in turns.items():
        found[f"{name}_a_second"], found[f"{name}_a_processor_second"] = np.median(values, axis=0).tolist()
    found["stream_over_zarr"] = float(np.median(turns["stream"][:, 0] / turns["zarr"][:, 0]))
    own = turns["stream"][:, 1] / turns["decompress"][:, 1]
    return found | {"stream_over_decompress_of_a_processor_second": float(np.median(own))}


def peak_megabytes(store: str, share: float) -> float:
    """Of this process, which does nothing else."""
    read_epoch(stream_of(StoreRows(Store(store)), share))
    # Not getrusage's: a process that another one starts begins with that one's.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10


def feeding(store: str, preset: str, device: torch.device, steps: int, repeats: int) -> dict[str, float]:
    config = load_config(preset, (f"training.batch_size={BATCH}",))
    data = StoreRows(Store(store))
    network, loss = new_network(config, data, np.flatnonzero(data.valid))
    network.to(device).train()
    loss.to(device)
    landmarks = Landmarks(data.store.model, data.store.attributes["scheme"]).to(device)
    optimizer = make_optimizer(config.optimizer, network.parameters())

    def step(tensors: dict[str, Any]) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            changed: dict[str, Tensor] = augment(tensors, config, data.size)
            outputs = network(changed["images"])
            labels = (changed[name] for name in ("params", "landmarks", "visibility", "marching"))
            value = loss(outputs.params, *labels, landmarks, spread=outputs.spread)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.training.clip)
        optimizer.step()

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    batches = on_device(stream_of(data).read(0, (repeats + 1) * steps + 1), device)
    kept = {name: tensor for name, tensor in next(batches).items() if name != "rows"}

    def fed() -> None:
        for tensors in islice(batches, steps):
            tensors.pop("rows")
            step(tensors)
        wait()

    def memory() -> None:
        for _ in range(steps):
            step(kept)
        wait()

    times = in_turns({"fed": fed, "memory": memory}, repeats)
    return {
        "fed_steps_a_second": steps / float(np.median(times["fed"])),
        "memory_steps_a_second": steps / float(np.median(times["memory"])),
        "fed_over_memory": float(np.median(times["memory"] / times["fed"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="training steps a turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", type=float, metavar="SHARE", help="only print the memory of an epoch over a share")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(peak_megabytes(options.store, options.memory))
        return
    found: dict[str, Any] = {}

    def add(values: dict[str, Any]) -> None:
        found.update(values)
        for key, value in values.items():
            print(f"{key:48} {value:.4g}" if isinstance(value, float) else f"{key:48} {value}", flush=True)

    add({"zarr": zarr.__version__, "threads": options.threads})
    add(reading(options.store, options.repeats))
    for share in (0.5, 1.0):
        command = [sys.executable, __file__, options.store, "--memory", str(share)]
        answer = subprocess.run(command, check=True, capture_output=True)
        add({f"megabytes_of_{share:g}": float(answer.stdout)})
    add(feeding(options.store, options.preset, torch.device(options.device), options.steps, options.repeats))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
