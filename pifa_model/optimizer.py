"""The optimiser of a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from pifa_model.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimiser of those parameters that take a gradient; biases and batch norm's factors are not shrunk."""
    decay: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in parameters:
        if parameter.requires_grad:
            (decay if parameter.ndim > 1 else free).append(parameter)
    groups = [
        {"params": decay, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate)
