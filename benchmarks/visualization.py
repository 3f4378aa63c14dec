"""The visualization layer: against the obvious way in torch, and by the number of its vertices.

    python benchmarks/visualization.py [MORPHABLE] [--ict FILE] [--repeats N] [--json FILE]

MORPHABLE is a name or a file (default ``builtin``), ``--ict`` a model for the first comparison (``ict_face.npz``, or
a name or a file; default MORPHABLE). Times are medians over repeats that take turns, of CPU seconds (machines are
shared; on a GPU of the clock), so set OMP_NUM_THREADS=1. Memory is the peak of a process of its own above what it had.

obvious    every vertex, forward and backward, batch 32, 57×57: the layer against ``straightforward`` below, which
           writes out all pairs of a vertex and a pixel of its neighbourhood and leaves the gradient to autograd
vertices   root mean square difference of the maps from those of all vertices, over random faces to ±90°, of the layer's
           choice, of an even one and of ``MorphableModel.simplify``; time of a forward pass over that of all vertices
cuda       where there is a GPU: bytes the layer must move a second

``benchmarks/network.py`` has the layer's share of the whole network.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timing import in_turns
from torch import Tensor

from pifa_data.camera import camera, rotation
from pifa_data.morphable import MorphableModel, import_ict_npz
from pifa_model import visualization
from pifa_model.config import VisualizationConfig
from pifa_model.masks import drawn_vertices, spread_vertices
from pifa_model.shape import project, split_params, viewing_direction
from pifa_model.visualization import VisualizationLayer
from pipelines.sources import find_model

BATCH, SIZE, STRIDE, CROP = 32, 57, 2, 114
EVERY = 1_000_000  # vertices: all of any model
COUNTS = (500, 1000, 1500, 2000, 3000, 5000)
FACES = 64  # that maps are compared on
LAYER, OBVIOUS = "layer", "obvious"


def straightforward(layer: VisualizationLayer, params: Tensor, size: int, stride: int) -> Tensor:
    """Equations 8-10 as one would write them down: ``(B, 1, size, size)``."""
    cameras, coefficients = split_params(params)
    vertices = layer.shape(coefficients)
    points = (project(vertices, cameras) + 0.5) / stride - 0.5
    direction = viewing_direction(cameras)
    g = (direction @ layer._frontward).clamp_min(0)
    depth = (direction[:, None] @ vertices)[:, 0]

    # Nearest of its pixel: no vertex there that faces the viewer is nearer, none as near has a lower number.
    column, row = points.detach().round().unbind(1)
    facing = (g > 0) & (column >= 0) & (column < size) & (row >= 0) & (row < size)
    pixel = torch.where(facing, row * size + column, size * size).long()
    nearest = torch.full((len(params), size * size + 1), torch.inf, device=params.device)
    nearest.scatter_reduce_(1, pixel, depth.detach(), "amin")
    nearest = nearest.gather(1, pixel) == depth
    number = torch.arange(depth.shape[1], device=params.device).expand_as(pixel)
    lowest = torch.full((len(params), size * size + 1), depth.shape[1], device=params.device)
    lowest.scatter_reduce_(1, pixel, torch.where(nearest, number, depth.shape[1]), "amin")
    seen = facing & (lowest.gather(1, pixel) == number)

    steps = torch.arange(-layer.radius, layer.radius + 1, device=params.device)
    u = column[..., None, None] + steps
    v = row[..., None, None] + steps[:, None]
    x, y = points[:, 0, :, None, None], points[:, 1, :, None, None]
    w = torch.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * layer.sigma**2))  # (B, Q, 2R+1, 2R+1)
    u, v = torch.broadcast_tensors(u, v)
    within = seen[..., None, None] & (u >= 0) & (u < size) & (v >= 0) & (v < size)
    w = torch.where(within, w, 0.0).flatten(1)
    place = torch.where(within, v * size + u, 0).long().flatten(1)
    value = (g * layer._mask)[..., None, None].expand_as(u).flatten(1)
    empty = torch.zeros(len(params), size * size, device=params.device)
    top, bottom = empty.scatter_add(1, place, w * value), empty.scatter_add(1, place, w)
    return (top / torch.where(bottom > 0, bottom, 1.0)).reshape(-1, 1, size, size)


def sample_params(model: MorphableModel, count: int, seed: int = 0) -> Tensor:
    """``(count, 8 + K)`` float32 random faces that fill a crop as those of a store do, yaw to ±90°."""
    rng = np.random.default_rng(seed)
    landmarks = model.mean[model.landmarks["ibug68"]]
    middle, height = (landmarks.max(0) + landmarks.min(0)) / 2, np.ptp(landmarks[:, 1])
    turn = rotation(rng.uniform(-np.pi / 2, np.pi / 2, count), *rng.normal(0, 0.25, (2, count)))
    m = camera(rng.uniform(0.6, 0.75, count) * CROP / height, turn, np.zeros((count, 2)))
    m[:, :, 3] = CROP / 2 + rng.normal(0, 4, (count, 2)) - m[:, :, :3] @ middle
    p = 0.7 * rng.normal(size=(count, model.n_coefficients))
    return torch.from_numpy(np.concatenate([m.reshape(count, 8), p], axis=1)).float()


def forward_backward(draw: Callable[..., Tensor], params: Tensor) -> tuple[Tensor, Tensor]:
    """The map, and the gradient of the mean of its square with respect to P."""
    leaf = params.clone().requires_grad_()
    drawn = draw(leaf, SIZE, STRIDE)
    drawn.square().sum().backward()
    assert leaf.grad is not None
    return drawn.detach(), leaf.grad


def milliseconds(works: dict[str, Callable[[], object]], repeats: int, device: str = "cpu") -> dict[str, float]:
    """Median of each, taken in turns: of CPU time, on CUDA of the clock until the device has done it."""
    if device == "cuda":
        works = {name: _awaited(work) for name, work in works.items()}
    clock = time.perf_counter if device == "cuda" else time.process_time
    return {name: 1e3 * float(np.median(seconds)) for name, seconds in in_turns(works, repeats, clock).items()}


def _awaited(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run


def peak_memory(which: str, model: str) -> float:
    """MB that forward and backward of a batch take at most, in a process of its own (Linux)."""
    command = [sys.executable, __file__, model, "--child", which]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(which: str, model: MorphableModel) -> None:
    draw = drawing(which, VisualizationLayer(model, VisualizationConfig(vertices=EVERY)))
    params = sample_params(model, BATCH)
    forward_backward(draw, params[:2])  # what the matrix library keeps for itself is no part of a way

    def status(name: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    ctypes.CDLL(None).malloc_trim(0)  # what loading the model left is given back, so that it does not hide the peak
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    forward_backward(draw, params)
    print((status("VmHWM") - before) / 1024)


def drawing(which: str, layer: VisualizationLayer) -> Callable[..., Tensor]:
    if which == LAYER:
        return layer
    return lambda params, size, stride: straightforward(layer, params, size, stride)


def against_the_obvious(name: str, model: MorphableModel, repeats: int) -> dict[str, float]:
    layer = VisualizationLayer(model, VisualizationConfig(vertices=EVERY))
    params = sample_params(model, BATCH)
    ways = {which: drawing(which, layer) for which in (LAYER, OBVIOUS)}
    (v, gradient), (v0, gradient0) = (forward_backward(draw, params) for draw in ways.values())
    works: dict[str, Callable[[], object]] = {
        which: (lambda draw=draw: forward_backward(draw, params)) for which, draw in ways.items()
    }
    times = milliseconds(works, repeats)
    memory = {which: peak_memory(which, name) for which in ways}
    off = (v - v0).abs()
    return {
        "vertices": len(model.mean),
        "layer_ms": times[LAYER],
        "obvious_ms": times[OBVIOUS],
        "times_faster": times[OBVIOUS] / times[LAYER],
        "layer_mb": memory[LAYER],
        "obvious_mb": memory[OBVIOUS],
        "times_less_memory": memory[OBVIOUS] / memory[LAYER],
        "pixels_that_differ_by_1e-5": float((off > 1e-5).float().mean()),
        "largest_difference_of_the_others": float(off[off <= 1e-5].max()),
        "gradients_differ_by": float((gradient - gradient0).norm() / gradient0.norm()),
    }


@torch.inference_mode()
def by_vertices(model: MorphableModel, repeats: int) -> list[dict[str, float | str]]:
    every = VisualizationLayer(model, VisualizationConfig(vertices=EVERY))
    params = sample_params(model, FACES)
    whole = {size: every(params, size, CROP // size) for size in (SIZE, CROP)}
    layers = {("every", len(model.mean)): every}
    for count in COUNTS:
        if count < len(model.mean):
            layers["drawn", count] = _with_vertices(model, drawn_vertices(model, count))
            layers["even", count] = _with_vertices(model, spread_vertices(model.mean, count))
            layers["simplify", count] = _with_vertices(model, model.simplify(count))
    works: dict[str, Callable[[], object]] = {}
    for key, layer in layers.items():
        for batch in (1, BATCH):
            works[f"{key} {batch}"] = lambda layer=layer, batch=batch: layer(params[:batch], SIZE, STRIDE)
    times = milliseconds(works, repeats)
    rows: list[dict[str, float | str]] = []
    for key, layer in layers.items():
        row: dict[str, float | str] = {"choice": key[0], "vertices": key[1]}
        for size in (SIZE, CROP):
            off = layer(params, size, CROP // size) - whole[size]
            row[f"rms_{size}"] = float(off.square().mean().sqrt())
        for batch in (1, BATCH):
            row[f"time_batch_{batch}"] = times[f"{key} {batch}"] / times[f"{('every', len(model.mean))} {batch}"]
            row[f"ms_batch_{batch}"] = times[f"{key} {batch}"]
        rows.append(row)
    return rows


def _with_vertices(model: MorphableModel, chosen: np.ndarray) -> VisualizationLayer:
    own = visualization.drawn_vertices
    visualization.drawn_vertices = lambda *_: chosen
    try:
        return VisualizationLayer(model, VisualizationConfig())
    finally:
        visualization.drawn_vertices = own


@torch.inference_mode()
def on_cuda(model: MorphableModel, repeats: int) -> dict[str, float]:
    """Bytes that have to be moved, over the time. An ideal layer reads the basis once a batch (K·3Q numbers), writes
    and reads the vertices (B·3Q), keeps a key (8 bytes) and four numbers a pixel, each written and read, and writes the
    map: 4·K·3Q + B·(2·4·3Q + S²·(2·8 + 2·16 + 4)) bytes."""
    layer = VisualizationLayer(model, VisualizationConfig()).cuda()
    k, q3 = layer.shape.basis.shape
    out = {}
    for batch in (BATCH, 32 * BATCH):
        params = sample_params(model, batch).cuda()
        compiled = torch.compile(lambda p=params: layer(p, SIZE, STRIDE))
        works: dict[str, Callable[[], object]] = {
            "plain": lambda p=params: layer(p, SIZE, STRIDE),
            "compiled": compiled,
        }
        needed = 4 * k * q3 + batch * (2 * 4 * q3 + SIZE**2 * (2 * 8 + 2 * 16 + 4))
        big = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
        works["copy"] = lambda big=big: big.clone()
        times = milliseconds(works, repeats, "cuda")
        bandwidth = 2 * big.numel() / times["copy"]
        for name in ("plain", "compiled"):
            out[f"{name}_ms_batch_{batch}"] = times[name]
            out[f"{name}_gb_s_batch_{batch}"] = needed / times[name] / 1e6
            out[f"{name}_share_of_copy_batch_{batch}"] = needed / times[name] / bandwidth
    return out


def load(name: str) -> MorphableModel:
    return import_ict_npz([Path(name)]) if name.endswith(".npz") else find_model(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("morphable", nargs="?", default="builtin")
    parser.add_argument("--ict")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=(LAYER, OBVIOUS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = load(arguments.morphable)
    if arguments.child:
        child(arguments.child, model)
        return

    large = arguments.ict or arguments.morphable
    found: dict[str, object] = {}
    sections: dict[str, dict[str, float]] = {
        "obvious": against_the_obvious(large, load(large), arguments.repeats),
    }
    if torch.cuda.is_available():
        sections["cuda"] = on_cuda(model, arguments.repeats)
    for section, values in sections.items():
        print(section)
        for name, value in values.items():
            print(f"  {name:34s} {value:12.4g}")
    rows = by_vertices(model, arguments.repeats)
    print("vertices\n  " + " ".join(f"{name:>13s}" for name in rows[0]))
    for row in rows:
        print("  " + " ".join(f"{v:>13s}" if isinstance(v, str) else f"{v:13.4g}" for v in row.values()))
    found = {**sections, "vertices": rows, "threads": torch.get_num_threads()}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
