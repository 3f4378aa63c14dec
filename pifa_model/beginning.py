"""Beginning a training with the weights of a checkpoint instead of random ones (``pifa train --init``).

What is taken is taken whole: a block's convolutions with their batch norm, then its fully connected layers, which are
of no use behind other convolutions. What does not fit stays random.

- A block with more filters or hidden units than the checkpoint's begins as the same function (Chen et al., Net2Net,
  ICLR 2016): what it has more is random as always, but nothing that was there before listens to it yet, by weights of
  0.
- Other numbers of anchors, and another morphable model: ``translation.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pifa_data.errors import CheckpointError, MorphableError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Header, load_checkpoint, read_header
from pifa_model.config import NetworkConfig
from pifa_model.network import Network
from pifa_model.translation import anchors_moved, translate


@dataclass(frozen=True)
class Beginning:
    """What a network took over: the checkpoint's header, and names of its tensors taken and left as they were."""

    header: Header
    taken: list[str]
    left: list[str]


def begin_with(
    network: Network,
    config: NetworkConfig,
    model: MorphableModel,
    file: Path,
    find: Callable[[str], MorphableModel],
    *,
    scheme: str,
    grow: float,
) -> Beginning:
    """Copy the weights of a checkpoint that fit a network; the others stay.

    Args:
        network: changed in place.
        config: what it was made of.
        model: its morphable model.
        file: the checkpoint.
        find: a morphable model by its fingerprint.
        scheme: landmarks that it is to give; the layers that tell their spread are taken for the same ones.
        grow: side of its crops over that of the box; P is in pixels of the crop, so this and its size must be the same.

    Raises:
        CheckpointError: not a checkpoint, damaged, of other crops, or nothing of it fits.
        MorphableError: the checkpoint's morphable model can't be had, or has no landmarks in common with this one.
    """
    header = read_header(file)
    for what, theirs, ours in (("pixels", header.input_size, network.size), ("times the box", header.grow, grow)):
        if abs(theirs - ours) > 1e-6:
            raise CheckpointError(
                f"{file}: expected a checkpoint for crops of {ours:g} {what}, as the stores have, found {theirs:g}"
            )
    same = header.morphable.fingerprint == model.fingerprint
    old = load_checkpoint(file, model if same else find(header.morphable.fingerprint))
    if same:
        tensors = dict(old.network.state_dict())
        tensors |= anchors_moved(tensors, old.network, network)
    else:
        try:
            tensors = translate(old, network, model)
        except MorphableError as error:
            raise MorphableError(f"--init {file}: can't be translated from {old.model.name}: {error}") from error
    own = network.state_dict()
    taken = ["initial", "step"]
    for index in range(len(network.blocks)):
        taken += _taken(index, old.header, tensors, config, own, scheme)
    if len(taken) == 2:
        raise CheckpointError(f"{file}: none of its weights fits this network; its preset is {header.preset!r}")
    for name in taken:
        own[name].copy_(_widened(name, tensors[name], own[name], old.network, network))
    return Beginning(header, taken, sorted(own.keys() - {*taken}))


def _taken(
    index: int, header: Header, tensors: dict[str, Tensor], config: NetworkConfig, own: dict[str, Tensor], scheme: str
) -> list[str]:
    """Names of a block's tensors that can be taken over: of its convolutions and, if so, of the layers behind."""
    theirs = header.network
    if index >= len(theirs.filters):
        return []

    def of(part: str) -> list[str]:
        return [name for name in own if name.startswith(f"blocks.{index}.{part}.")]

    def fit(names: list[str], *, wider: bool) -> bool:
        pairs = [(tensors.get(name), own[name]) for name in names]
        return all(a is not None and (a.shape == b.shape or (wider and _is_wider(a, b))) for a, b in pairs)

    alike = all(getattr(theirs, key) == getattr(config, key) for key in ("trunk", "inputs", "stride"))
    alike &= theirs.kernels[index] == config.kernels[index]
    alike &= len(theirs.filters[index]) == len(config.filters[index])
    # Only of plain convolutions is it known where the inputs of a wider one are.
    if not alike or not fit(of("features"), wider=config.trunk == "plain"):
        return []
    taken = of("features")
    if theirs.head == config.head and fit(of("update"), wider=True):
        taken += of("update")
        if scheme == header.scheme and fit(of("spread"), wider=True):
            taken += of("spread")
    return taken


def _is_wider(small: Tensor, large: Tensor) -> bool:
    same = small.ndim == large.ndim and small.shape[2:] == large.shape[2:]
    return same and all(a <= b for a, b in zip(small.shape, large.shape, strict=True))


def _widened(name: str, small: Tensor, large: Tensor, old: Network, network: Network) -> Tensor:
    """A tensor of the network's shape: what was there before, which has weights of 0 for all that is new."""
    if small.shape == large.shape:
        return small
    wide = large.clone()
    wide[: len(small)] = 0
    if small.ndim < 2:
        wide[: len(small)] = small
        return wide
    at = torch.arange(small.shape[1])
    if ".features.0." in name:
        at = _places(old, network, int(name.split(".")[1]))
    wide[: len(small), at] = small
    return wide


def _places(old: Network, network: Network, block: int) -> Tensor:
    """Where the channels that went into a block's first convolution are among those that go into it now."""
    places: list[int] = []
    begin, now = 0, network.channels_of(block)
    for name, count in old.channels_of(block).items():
        places += range(begin, begin + count)
        begin += now[name]
    return torch.tensor(places)
