"""The preset `paper`: its size with the paper's own morphable model, and a step of its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pifa_data.morphable import MorphableModel
from pifa_model.config import load_config
from pifa_model.losses import AlignmentLoss
from pifa_model.network import Network
from pifa_model.optimizer import make_optimizer
from pifa_model.shape import Landmarks

IDENTITY, EXPRESSION = 199, 29
"""Modes of the Basel Face Model and of FaceWarehouse (section 3.1)."""


def test_table_1_by_the_paper_s_numbers(model: MorphableModel) -> None:
    """The derivation in docs/method.md, number by number."""
    sized = replace(
        model,
        identity=np.resize(model.identity, (IDENTITY, *model.mean.shape)),
        expression=np.resize(model.expression, (EXPRESSION, *model.mean.shape)),
        expression_names=(),
    )
    with torch.device("meta"):
        network = Network(load_config("paper").network, sized)
    counts = {"convolutions": 0, "norms": 0, "first": 0, "second": 0}
    for block in network.blocks:
        for layer in block.features.modules():
            kind = {torch.nn.Conv2d: "convolutions", torch.nn.BatchNorm2d: "norms"}.get(type(layer))
            if kind is not None:
                counts[kind] += sum(p.numel() for p in layer.parameters())
        first, second = block.update[0], block.update[3]
        assert (first.out_features, second.out_features) == (800, 236)
        counts["first"] += sum(p.numel() for p in first.parameters())
        counts["second"] += sum(p.numel() for p in second.parameters())
    assert counts == {
        # Image, features and V in, kernels of 5x5 and 3x3: blocks 1 to 6.
        "convolutions": 6_000 + 7_920 + 15_120 + 24_624 + 30_240 + 30_240,
        "norms": 2 * (12 + 16 + 20 + 24 + 28 + 32 + 36 + 40 + 4 * 40),
        "first": 499_046_400 + 6 * 800,
        "second": 6 * 801 * 236,
    }
    assert sum(p.numel() for p in network.parameters()) == sum(counts.values()) == 500_300_296


def test_a_step_as_printed_lowers_the_loss(model: MorphableModel) -> None:
    """SGD with the printed rate, losses and decay, on one batch; smaller, and without dropout, which is chance."""
    config = load_config("paper", ("network.hidden=8", "network.visualization.vertices=300", "network.dropout=0.0"))
    torch.manual_seed(0)
    network = Network(config.network, model)
    truth = torch.zeros(2, 8 + model.n_coefficients)
    truth[:, :8] = torch.tensor([[3.6, 0.2, 0, 54, 0.2, -3.6, 0, 60], [4.4, -0.2, 0, 58, -0.2, -4.4, 0, 55]])
    network.initial.copy_(truth.mean(0))
    network.step.fill_(1.0)
    landmarks, marching = Landmarks(model, "ibug68"), torch.ones(2, dtype=torch.bool)
    loss_of = AlignmentLoss(config.losses, torch.ones(truth.shape[1]))
    labels = (truth, landmarks(truth, marching), torch.full((2, 68), 2), marching, landmarks)
    images = torch.randint(0, 255, (2, 3, 114, 114), dtype=torch.uint8)
    optimizer = make_optimizer(config.optimizer, network.parameters())
    losses = []
    for _ in range(8):
        loss = loss_of(network(images).params, *labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]
    assert losses[-1] < losses[1]
