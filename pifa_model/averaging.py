"""The exponential moving average of a network's weights (Polyak and Juditsky, SIAM J. Control Optim. 1992).

After step n (from 0) the average takes 1 − d of the network's weights, d = min(decay, (1 + n) / (10 + n)): early on it
follows quickly, or the random weights of the beginning would stay in it for long.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from pifa_model.network import Network


class Average(nn.Module):
    """An average of a network's weights and of batch norm's statistics, in a network of its own."""

    def __init__(self, network: Network, decay: float) -> None:
        """Begin with the network as it is.

        Args:
            network: whose weights are averaged.
            decay: share of the old average that a step keeps, 0 to 1.
        """
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights after ``step``, the first of which is 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        ours, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, tensor in ours.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([ours[name] for name in floats], [theirs[name] for name in floats], share)
        for name in ours.keys() - floats:  # batch norm's counters
            ours[name].copy_(theirs[name])
