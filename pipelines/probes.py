"""What a trained network does on held-out people, as it is and with parts of it disturbed (``pifa paper``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pifa_model.block import VisualizationBlock
from pifa_model.fusing import for_inference
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.validation import HeldOut

NOISE = 0.05
"""Standard deviation of the noise on a fully connected weight, as a share of that weight. The paper (section 4.3) says
"5 % noise" and no more."""
BATCH, REPEATS = 32, 9
Change = Callable[[Tensor], Tensor]


def shuffled(maps: Tensor) -> Tensor:
    """Each face gets the V of the one before it in the batch."""
    return maps.roll(1, 0)


@contextmanager
def maps_changed(network: Network, change: Change, block: int | None = None) -> Iterator[None]:
    """Let every block, or the one of that index, see ``change(V)``. The first one's V is drawn once for all faces."""
    drawn = count()

    def start(*_: object) -> None:
        nonlocal drawn
        drawn = count()

    def hook(module: nn.Module, inputs: object, maps: Tensor) -> Tensor | None:
        return change(maps) if block in (None, next(drawn)) else None

    handles = [network.register_forward_pre_hook(start), network.visualization.register_forward_hook(hook)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def weights_changed(block: VisualizationBlock, share: float = NOISE, seed: int = 0) -> Iterator[None]:
    """Multiply every weight and bias of a block's fully connected layers by 1 + ``share``·N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for layer in block.update.modules() if isinstance(layer, nn.Linear) for p in layer.parameters()]
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            p.mul_(1 + share * torch.randn(p.shape, generator=generator).to(p.device))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, old in zip(parameters, kept, strict=True):
                p.copy_(old)


def blocks_of(network: Network) -> list[VisualizationBlock]:
    """The blocks by their type, which a list of modules forgets."""
    return [block for block in network.blocks if isinstance(block, VisualizationBlock)]


def probe(network: Network, landmarks: Landmarks, held_out: HeldOut, *, each_block: bool) -> dict[str, Any]:
    """Errors of every face, percent of the tight box, as the network is and disturbed.

    Args:
        network: in evaluation mode.
        landmarks: f(P).
        held_out: faces, in an order in which neighbours are of different people.
        each_block: also zero and shuffle the V of each block alone.

    Returns:
        ``errors`` after each block; of the last block ``zeroed`` and ``shuffled`` (V in all blocks),
        ``zeroed_block`` and ``shuffled_block`` (in one), ``noise`` (on one block's fully connected weights); and
        ``prior``, the mean of p².
    """
    squares: list[Tensor] = []
    handle = network.register_forward_hook(lambda *call: squares.append(call[-1].params[-1][:, 8:].square().mean(1)))
    errors = held_out.errors(network, landmarks)
    handle.remove()
    found: dict[str, Any] = {"errors": errors.tolist(), "prior": float(torch.cat(squares).mean())}

    def last() -> list[float]:
        return held_out.errors(network, landmarks)[-1].tolist()

    changes: dict[str, Change] = {"zeroed": torch.zeros_like, "shuffled": shuffled} if "map" in network.inputs else {}
    for name, change in changes.items():
        with maps_changed(network, change):
            found[name] = last()
        if each_block:
            found[f"{name}_block"] = []
            for index in range(len(network.blocks)):
                with maps_changed(network, change, index):
                    found[f"{name}_block"].append(last())
    found["noise"] = []
    for block in blocks_of(network):
        with weights_changed(block):
            found["noise"].append(last())
    return found


@torch.no_grad()
def cost(network: Network) -> dict[str, float]:
    """Weights; multiply-adds of convolutions and matrix products a face; milliseconds a face of a batch.

    As networks are used: see ``for_inference``. The clock's time is of a machine that may do other things too.
    """
    weights, network = sum(p.numel() for p in network.parameters()), for_inference(network)
    images = torch.randint(0, 255, (BATCH, 3, network.size, network.size), dtype=torch.uint8)
    images = images.to(network.initial.device).contiguous(memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as counter:
        network(images[:1])
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        network(images).params[-1].cpu()
        seconds.append(time.perf_counter() - start)
    return {
        "weights": weights,
        "multiply_adds": counter.get_total_flops() / 2,
        "ms_a_face": 1e3 * float(np.median(seconds[1:])) / BATCH,
    }


def filter_means(network: Network) -> list[dict[str, float]]:
    """Figure 7: mean absolute weight of each block's first convolution for each of its inputs, and their channels.

    The paper says "the average of the filter weights, across both the kernel size and the number of maps". Signed
    weights have a mean near zero, so their sizes are taken.
    """
    found = []
    for index, block in enumerate(blocks_of(network)):
        weight = next(m for m in block.features.modules() if isinstance(m, nn.Conv2d)).weight.detach().abs()
        means, start = {}, 0
        for name, channels in network.channels_of(index).items():
            means[name] = float(weight[:, start : start + channels].mean())
            means[f"{name}_channels"] = float(channels)
            start += channels
        found.append(means)
    return found
