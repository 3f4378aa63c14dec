"""Beginning a training with the weights of a checkpoint instead of random ones (``pifa train --init``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
    """Copy the weights of a checkpoint that fit a network by name and shape; the others stay.

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
