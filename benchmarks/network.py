"""Speed of the whole network: forward, by block, and a training step; on CUDA also faces a second in bfloat16.

    python benchmarks/network.py [--preset NAME]... [--device cpu|cuda] [--threads 2] [--repeats N] [--json FILE]
    python benchmarks/network.py --paper

With random weights and the built-in morphable model; every face starts frontal and stays near it, so all maps are drawn
with a whole face in them. Works are timed in turns; a ratio is the median of the ratios of each turn. ``zeros`` is the
same trunk with a map of zeros in place of the layer, ``layer`` the layer's calls alone. Of a cascade the step is the
mean over its stages, which take equal shares of the steps. On a CPU float32, on CUDA bfloat16 convolutions (autocast).

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
from pifa_model.losses import AlignmentLoss
from pifa_model.network import Network
from pifa_model.optimizer import make_optimizer
from pifa_model.shape import Landmarks
from pifa_model.trainer import stages_of

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

    def __init__(self, config: Config, model: MorphableModel, device: torch.device) -> None:
        torch.manual_seed(0)
        self.config, self.device = config, device
        points = len(model.landmarks[SCHEME])
        self.network = Network(config.network, model, SIZE, points).to(device)
        self.network.initial[:8] = frontal(model).to(device)
        self.layer = self.network.visualization
        self.landmarks = Landmarks(model, SCHEME).to(device)
        self.loss = AlignmentLoss(config.losses, torch.ones(8 + model.n_coefficients)).to(device)
        self.optimizer = make_optimizer(config.optimizer, self.network.parameters())

    def images(self, batch: int) -> Tensor:
        images = torch.randint(0, 255, (batch, 3, SIZE, SIZE), dtype=torch.uint8, device=self.device)
        return images.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor, *, layer: bool = True, blocks: int | None = None) -> Callable[[], None]:
        """Alignment, with the layer or with zeros in its place."""

        def work() -> None:
            self.network.eval()
            self.network.visualization = self.layer if layer else Zeros()
            with torch.inference_mode(), self._autocast():
                self.network(images, blocks=blocks)
            self.network.visualization = self.layer
            self._wait()

        return work

    def layer_alone(self, batch: int) -> Callable[[], None]:
        """The layer's calls of one forward pass: the first map once, then one a block and face."""
        params = self.network.initial.expand(batch, -1).contiguous()

        def work() -> None:
            with torch.inference_mode():
                self.layer(params[:1], SIZE, 1)
                for _ in self.network.blocks[1:]:
                    self.layer(params, SIZE // self.network.stride, self.network.stride)
            self._wait()

        return work

    def step(self, images: Tensor, block: int | None = None) -> Callable[[], None]:
        """An optimiser step of all blocks, or of a cascade's stage."""
        batch = len(images)
        truth = self.network.initial.expand(batch, -1).clone()
        marching = torch.ones(batch, dtype=torch.bool, device=self.device)
        labels = self.landmarks(truth, marching) + 1
        visibility = torch.full(labels.shape[:2], 2, device=self.device)

        def work() -> None:
            self.network.train()
            self.network.requires_grad_(block is None)
            if block is not None:
                self.network.blocks[:block].eval()
                self.network.blocks[block].requires_grad_(True)
            with self._autocast():
                out = self.network(images, blocks=None if block is None else block + 1)
                targets = (truth, labels, visibility, marching, self.landmarks)
                loss = self.loss(out.params, *targets, spread=out.spread, block=block)
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.training.clip)
            self.optimizer.step()
            self._wait()

        return work

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
    """All figures of one preset."""
    device, blocks = subject.device.type, len(subject.network.blocks)
    state = subject.network.state_dict().values()
    found: dict[str, Any] = {
        "checkpoint_bytes": sum(tensor.numel() * tensor.element_size() for tensor in state),
        "forward": {},
        "step": {},
    }
    for batch in BATCHES[device]:
        images = subject.images(batch)
        works = {"whole": subject.forward(images), "zeros": subject.forward(images, layer=False)}
        works |= {"layer": subject.layer_alone(batch)}
        works |= {f"block {k}": subject.forward(images, blocks=k) for k in range(1, blocks)}
        times = in_turns(works, repeats)
        whole = times["whole"]
        found["forward"][batch] = {
            "ms_a_face": 1e3 * float(np.median(whole)) / batch,
            "faces_a_second": batch / float(np.median(whole)),
            "over_zeros": float(np.median(whole / times["zeros"])),
            "layer_share": float(np.median(times["layer"] / whole)),
            "until_block": [float(np.median(times[f"block {k}"] / whole)) for k in range(1, blocks)],
        }
    stages = stages_of(
        subject.config.model_copy(update={"training": subject.config.training.model_copy(update={"cascade": True})}),
        600,
    )
    for batch in STEPS[device]:
        images = subject.images(batch)
        works = {"end to end": subject.step(images)}
        works |= {f"stage {s.number}": subject.step(images, s.block) for s in stages}
        works |= {"forward": subject.forward(images)}
        times = in_turns(works, repeats)
        whole = times["end to end"]
        of_stages = [float(np.median(times[f"stage {s.number}"] / whole)) for s in stages]
        found["step"][batch] = {
            "ms_a_face": 1e3 * float(np.median(whole)) / batch,
            "faces_a_second": batch / float(np.median(whole)),
            "over_forward": float(np.median(whole / times["forward"])),
            "cascade_over_end_to_end": float(np.mean(of_stages)),
            "stages": of_stages,
        }
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['checkpoint_bytes'] / 1e6:.1f} MB float32")
    print("forward, batch     ms/face   faces/s  /zeros  layer  share of the whole until block 1, 2, …")
    for batch, row in found["forward"].items():
        until = " ".join(f"{share:.2f}" for share in row["until_block"])
        print(f"{batch:14d} {row['ms_a_face']:11.3f} {row['faces_a_second']:9.0f} {row['over_zeros']:7.2f} ", end="")
        print(f"{row['layer_share']:6.0%}  {until}")
    print("step, batch        ms/face   faces/s  /forw.  casc.  each stage over end to end")
    for batch, row in found["step"].items():
        stages = " ".join(f"{share:.2f}" for share in row["stages"])
        print(f"{batch:14d} {row['ms_a_face']:11.3f} {row['faces_a_second']:9.0f} {row['over_forward']:7.2f} ", end="")
        print(f"{row['cascade_over_end_to_end']:6.2f}  {stages}")


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
            found[name] = measure(Subject(load_config(name), model, device), arguments.repeats)
            show(name, found[name])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
