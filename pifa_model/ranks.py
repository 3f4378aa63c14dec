"""Training by several processes, each with a device: who this one is, and what they tell each other.

Lightning starts the processes (``--devices``), or finds them started by torchrun or by SLURM. Before it has, a process
knows its number only from the environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pifa_data.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """How many processes train: ``devices`` on each of ``nodes`` machines; ``first`` is the one that writes."""

    devices: int
    nodes: int
    first: bool
    launcher: Literal["Lightning", "torchrun", "SLURM"] = "Lightning"

    @property
    def world(self) -> int:
        return self.devices * self.nodes


def find_ranks(devices: int | None) -> Ranks:
    """The processes of this training.

    Args:
        devices: what the user asked for; None for what the launcher says, else one.

    Raises:
        ConfigError: the launcher says another number of devices than the user.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        here = int(env["LOCAL_WORLD_SIZE"])
        found = Ranks(here, int(env["WORLD_SIZE"]) // here, env["RANK"] == "0", "torchrun")
    elif int(env.get("SLURM_NTASKS", 1)) > 1 and "SLURM_PROCID" in env:
        nodes = int(env.get("SLURM_NNODES", 1))
        found = Ranks(int(env["SLURM_NTASKS"]) // nodes, nodes, env["SLURM_PROCID"] == "0", "SLURM")
    else:  # by Lightning, which starts all but the first with a number
        return Ranks(devices or 1, 1, env.get("LOCAL_RANK", "0") == "0")
    if devices not in (None, found.devices):
        raise ConfigError(
            f"--devices {devices}: {found.launcher} started {found.devices} processes here; leave --devices out"
        )
    return found


def gather(value: T) -> list[T]:
    """What each rank has, by rank; the own alone where there is one."""
    if not dist.is_initialized():
        return [value]
    found: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def mean_of_ranks(value: Tensor) -> Tensor:
    """Mean of a tensor over the ranks, as a new one; nothing waits for it."""
    value = value.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def equalise(tensors: list[Tensor]) -> None:
    """Give every rank the first one's, in place."""
    if dist.is_initialized():
        with torch.no_grad():
            for tensor in tensors:
                dist.broadcast(tensor, 0)
