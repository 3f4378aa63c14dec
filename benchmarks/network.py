"""Speed of the whole network: forward, by block, and a training step; on CUDA also faces a second in bfloat16.

    python benchmarks/network.py [--preset NAME]... [--device cpu|cuda] [--compile] [--threads 2] [--repeats N]
        [--json FILE]
    python benchmarks/network.py --paper

With random weights and the built-in morphable model; every face starts frontal and stays near it, so all maps are drawn
with a whole face in them. Works are timed in turns; a ratio is the median of the ratios of each turn. Forward is as
``Aligner`` does it (``for_inference``: the first map is drawn beforehand). ``zeros`` is the same trunk with a map of
zeros in place of the layer, ``layer`` the layer's calls alone. Of a cascade the step is the mean over its stages, which
take equal shares of the steps. On a CPU float32, on CUDA bfloat16 convolutions (autocast). With ``--compile`` the whole
forward pass and the whole step are compiled; compiling takes minutes, so parts are not timed.

``--paper`` makes one optimiser step of the preset ``paper``, half a billion weights, at batch 2 on the CPU, and tells
seconds and the largest memory: 6 GB are the weights, their gradients and SGD's momentum.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import in_turns
from torch import Tensor, nn

from pifa_data.morphable import MorphableModel, load_builtin
from pifa_model.config import Config, load_config, preset_names
from pifa_model.fusing import for_inference
from pifa_model.losses import AlignmentLoss
from pifa_model.network import Network
from pifa_model.optimizer import make_optimizer
from pifa_model.shape import Landmarks

SIZE, SCHEME, GROW = 114, "ibug68", 1.4
BATCHES = {"cpu": (1, 32), "cuda": (1, 32, 256, 1024)}
STEPS = {"cpu": (32,), "cuda": (32, 256, 1024)}
PAPER_MODES = (199, 29)
"""Identity and expression modes of the paper's morphable model."""


class Zeros(nn.Module):
    """In the layer's place: maps of zeros."""

    def forward(self, params: Tensor, size: int, stride: int) -> Tensor:
        return params.new_zeros(len(params), 1, size, size)


class Subject:
    """A preset's network, its data, and what is timed of it."""

    def __init__(self, config: Config, model: MorphableModel, device: torch.device, *, compiled: bool = False) -> None:
        torch.manual_seed(0)
        self.config, self.device = config, device
        points = len(model.landmarks[SCHEME])
        self.network = Network(config.network, model, SIZE, points).to(device)
        self.network.initial[:8] = frontal(model).to(device)
        self.landmarks = Landmarks(model, SCHEME).to(device)
        self.loss = AlignmentLoss(config.losses, torch.ones(8 + model.n_coefficients)).to(device)
        self.optimizer = make_optimizer(config.optimizer, self.network.parameters())
        self.compiled = compiled

    def images(self, batch: int) -> Tensor:
        images = torch.randint(0, 255, (batch, 3, SIZE, SIZE), dtype=torch.uint8, device=self.device)
        return images.contiguous(memory_format=torch.channels_last)

    def forwards(self, images: Tensor) -> dict[str, Callable[[], None]]:
        """Alignment: whole, with zeros in the layer's place, until each block; and the layer's calls alone."""
        network = for_inference(self.network)
        if self.compiled:
            return {"whole": self._forward(torch.compile(network, dynamic=False), images, None)}
        without = for_inference(self.network)
        without.visualization, without.first_map = Zeros(), torch.zeros_like(without.first_map)
        works = {"whole": self._forward(network, images, None), "zeros": self._forward(without, images, None)}
        params = network.initial.expand(len(images), -1).contiguous()

        def layer() -> None:
            with torch.inference_mode():
                for index in range(1, len(network.blocks)):
                    network.draw(params, index)
            self._wait()

        until = {f"block {k}": self._forward(network, images, k) for k in range(1, len(network.blocks))}
        return works | {"layer": layer} | until

    def _forward(self, network: nn.Module, images: Tensor, blocks: int | None) -> Callable[[], None]:
        def work() -> None:
            with torch.inference_mode(), self._autocast():
                network(images, blocks=blocks)
            self._wait()

        return work

    def step(self, images: Tensor, block: int | None = None) -> Callable[[], None]:
        """An optimiser step of all blocks, or of a cascade's stage."""
        batch = len(images)
        truth = self.network.initial.expand(batch, -1).clone()
        marching = torch.ones(batch, dtype=torch.bool, device=self.device)
        labels = self.landmarks(truth, marching) + 1
        visibility = torch.full(labels.shape[:2], 2, device=self.device)
        network = torch.compile(self.network, dynamic=False) if self.compiled else self.network

        def work() -> None:
            self.network.train()
            self.network.requires_grad_(block is None)
            if block is not None:
                self.network.blocks[:block].eval()
                self.network.blocks[block].requires_grad_(True)
            with self._autocast():
                out = network(images, blocks=None if block is None else block + 1)
                targets = (truth, labels, visibility, marching, self.landmarks)
                loss = self.loss(out.params, *targets, spread=out.spread, block=block)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.training.clip)
            self.optimizer.step()
            self._wait()

        return work

    def steps(self, images: Tensor) -> dict[str, Callable[[], None]]:
        """Optimiser steps, end to end and of each stage of a cascade, and a forward pass beside them."""
        works = {"whole": self.step(images)}
        if self.compiled:
            return works
        stages = {f"stage {k + 1}": self.step(images, k) for k in range(len(self.network.blocks))}
        return works | stages | {"forward": self._forward(for_inference(self.network), images, None)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def frontal(model: MorphableModel) -> Tensor:
    """M of a frontal face that fills a crop as a tight box does: ``(8,)``."""
    points = model.mean[model.landmarks[SCHEME]]
    low, high = points.min(0), points.max(0)
    scale = SIZE / GROW / np.sqrt(np.prod((high - low)[:2]))
    x, y, _ = scale * (low + high) / 2
    middle = (SIZE - 1) / 2
    return torch.tensor([scale, 0, 0, middle - x, 0, -scale, 0, middle + y], dtype=torch.float32)


def measure(subject: Subject, repeats: int) -> dict[str, Any]:
    """All figures of one preset; of each batch size, ratios to the whole by the name of the work."""
    device = subject.device.type
    state = subject.network.state_dict().values()
    found: dict[str, Any] = {"checkpoint_bytes": sum(tensor.numel() * tensor.element_size() for tensor in state)}
    for kind, works_of, batches in (("forward", subject.forwards, BATCHES), ("step", subject.steps, STEPS)):
        found[kind] = {}
        for batch in batches[device]:
            times = in_turns(works_of(subject.images(batch)), repeats)
            whole = times.pop("whole")
            found[kind][batch] = {
                "ms_a_face": 1e3 * float(np.median(whole)) / batch,
                "faces_a_second": batch / float(np.median(whole)),
                "over_whole": {name: float(np.median(of / whole)) for name, of in times.items()},
            }
            if "zeros" in times:
                found[kind][batch]["over_zeros"] = float(np.median(whole / times["zeros"]))
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['checkpoint_bytes'] / 1e6:.1f} MB float32")
    for kind in ("forward", "step"):
        print(f"{kind + ', batch':16s} {'ms/face':>9s} {'faces/s':>9s}")
        for batch, row in found[kind].items():
            print(f"{batch:16d} {row['ms_a_face']:9.3f} {row['faces_a_second']:9.0f}", end="")
            print(f"  whole / zeros {row['over_zeros']:.2f}" if "over_zeros" in row else "")
            shares = row["over_whole"]
            if kind == "step" and shares:
                shares = shares | {"cascade": float(np.mean([v for k, v in shares.items() if k.startswith("stage")]))}
            if shares:
                print(" " * 17 + "of the whole: " + ", ".join(f"{work} {share:.2f}" for work, share in shares.items()))


def paper_step() -> dict[str, float]:
    """One real optimiser step of ``paper``, with as many coefficients as the paper's."""
    model = load_builtin()
    identity, expression = (
        np.resize(modes, (count, *model.mean.shape))
        for modes, count in zip((model.identity, model.expression), PAPER_MODES, strict=True)
    )
    model = replace(model, identity=identity, expression=expression, expression_names=())
    subject = Subject(load_config("paper"), model, torch.device("cpu"))
    weights = subject.network.blocks[0].update[0].weight[:4].detach().clone()
    start = time.perf_counter()
    subject.step(subject.images(2))()
    seconds = time.perf_counter() - start
    moved = float((subject.network.blocks[0].update[0].weight[:4] - weights).abs().max().detach())
    return {
        "weights": sum(p.numel() for p in subject.network.parameters()),
        "seconds": seconds,
        "largest_change_of_a_weight": moved,
        "peak_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", action="append", choices=preset_names(), help="default: all but paper")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--compile", action="store_true", help="torch.compile, only the whole")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found: dict[str, Any] = {}
    if arguments.paper:
        found["paper step"] = paper_step()
        for name, value in found["paper step"].items():
            print(f"{name:28s} {value:14.4g}")
    else:
        model, device = load_builtin(), torch.device(arguments.device)
        print(torch.cuda.get_device_name() if device.type == "cuda" else f"{arguments.threads} threads")
        for name in arguments.preset or [name for name in preset_names() if name != "paper"]:
            subject = Subject(load_config(name), model, device, compiled=arguments.compile)
            found[name] = measure(subject, arguments.repeats)
            show(name, found[name])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
