"""The moving average of a network's weights."""

from __future__ import annotations

import pytest
import torch

from pifa_data.morphable import MorphableModel
from pifa_model.averaging import Average
from pifa_model.config import NetworkConfig
from pifa_model.network import Network


@pytest.fixture
def network(model: MorphableModel) -> Network:
    torch.manual_seed(0)
    return Network(NetworkConfig(filters=((4, 4),), kernels=(3,), head="pool", hidden=4), model)


@torch.no_grad()
def test_a_weight_follows_as_it_is_written(network: Network) -> None:
    weight = network.blocks[0].update[0].weight
    weight.fill_(1.0)
    average = Average(network, 0.5)
    kept = average.network.blocks[0].update[0].weight
    for step, value in enumerate((2.0, 3.0, 4.0)):
        weight.fill_(value)
        average.update(network, step)
    # Step 0 keeps 1/10 of the average, step 1 2/11, step 2 3/12, all below 0.5: 1.9, 2.8, 3.7.
    assert torch.allclose(kept, torch.full_like(kept, 3.7))
    weight.fill_(0.0)
    average.update(network, 10_000)  # 0.5 by now
    assert torch.allclose(kept, torch.full_like(kept, 1.85))
    assert (weight == 0).all(), "the network is not changed"


def test_statistics_of_batch_norm_are_averaged_and_counters_taken(network: Network) -> None:
    average = Average(network, 0.5)
    norm, kept = (
        next(m for m in n.modules() if isinstance(m, torch.nn.BatchNorm2d)) for n in (network, average.network)
    )
    assert norm.running_mean is not None
    norm.running_mean.fill_(1.0)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.fill_(7)
    average.update(network, 0)
    torch.testing.assert_close(kept.running_mean, torch.full_like(norm.running_mean, 0.9))
    assert kept.num_batches_tracked == 7
    assert not any(p.requires_grad for p in average.network.parameters())
