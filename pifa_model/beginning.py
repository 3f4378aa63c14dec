"""Beginning a training with the weights of a checkpoint instead of random ones (``pifa train --init``).

A network with more filters or hidden units than the checkpoint's begins as the same function (Chen et al., Net2Net,
ICLR 2016): what it has more is random as always, but nothing that was there before listens to it yet, by weights of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pifa_data.errors import CheckpointError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Header, load_checkpoint, read_header
from pifa_model.network import Network
from pifa_model.translation import translate


@dataclass(frozen=True)
class Beginning:
    """What a network took over: the checkpoint's header, and names of its tensors taken and left as they were."""

    header: Header
    taken: list[str]
    left: list[str]


def begin_with(network: Network, model: MorphableModel, file: Path, find: Callable[[str], MorphableModel]) -> Beginning:
    """Copy the weights of a checkpoint that fit a network by name and shape, or are fewer; the others stay.

    With another morphable model P means something else: they are translated (``translation.py``).

    Args:
        network: changed in place.
        model: its morphable model.
        file: the checkpoint.
        find: a morphable model by its fingerprint.

    Raises:
        CheckpointError: not a checkpoint, damaged, or nothing of it fits.
        MorphableError: the checkpoint's morphable model can't be had, or models have no landmarks in common.
    """
    fingerprint = read_header(file).morphable.fingerprint
    same = fingerprint == model.fingerprint
    old = load_checkpoint(file, model if same else find(fingerprint))
    tensors = old.network.state_dict() if same else translate(old, network, model)
    tensors |= _widened(old.network, tensors, network)
    taken, left = [], []
    for name, tensor in network.state_dict().items():
        found = tensors.get(name)
        if found is None or found.shape != tensor.shape:
            left.append(name)
        else:
            tensor.copy_(found)
            taken.append(name)
    if not any(name.endswith("weight") for name in taken):
        raise CheckpointError(f"{file}: none of its weights fits this network; its preset is {old.header.preset!r}")
    return Beginning(old.header, taken, left)


def _widened(old: Network, tensors: dict[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Those of a network's tensors that are larger than the old one's, made of both; none if they differ otherwise."""
    own = network.state_dict()
    if own.keys() != tensors.keys() or (old.inputs, old.stride) != (network.inputs, network.stride):
        return {}
    found = {}
    for name, small in tensors.items():
        large = own[name]
        if small.shape == large.shape or small.ndim != large.ndim or name in ("initial", "step"):
            continue
        if any(a > b for a, b in zip(small.shape, large.shape, strict=True)) or small.shape[2:] != large.shape[2:]:
            return {}
        wide = large.clone()
        wide[: len(small)] = 0
        if small.ndim == 1:
            wide[: len(small)] = small
        elif name.endswith("features.0.0.weight"):
            wide[: len(small), _places(old, network, int(name.split(".")[1]))] = small
        else:
            wide[: len(small), : small.shape[1]] = small
        found[name] = wide
    return found


def _places(old: Network, network: Network, block: int) -> list[int]:
    """Where the channels that went into a block's first convolution are among those that go into it now."""
    places: list[int] = []
    begin, now = 0, network.channels_of(block)
    for name, count in old.channels_of(block).items():
        places += range(begin, begin + count)
        begin += now[name]
    return places
