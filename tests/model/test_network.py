"""Shapes and counts of the network, and f(P) against the NumPy side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pifa_data.camera import camera, project, rotation
from pifa_data.fitting import LandmarkFitter, silhouette
from pifa_data.morphable import MorphableModel
from pifa_model.config import NetworkConfig, load_config
from pifa_model.network import Network
from pifa_model.shape import Landmarks
from pifa_model.visualization import VisualizationLayer


def test_table_1_and_the_pooling_after_the_first_convolution(model: MorphableModel) -> None:
    network = Network(NetworkConfig(head="pool", hidden=8), model)
    kernels = [
        [
            (layer.out_channels, layer.kernel_size[0])
            for layer in block.features.modules()
            if isinstance(layer, torch.nn.Conv2d)
        ]
        for block in network.blocks
    ]
    assert kernels == [
        [(12, 5), (16, 5)],
        [(20, 3), (24, 3)],
        [(28, 3), (32, 3)],
        [(36, 3), (40, 3)],
        [(40, 3), (40, 3)],
        [(40, 3), (40, 3)],
    ]
    names = [type(layer).__name__ for layer in network.blocks[0].features]
    assert names.index("MaxPool2d") == 1
    assert all("MaxPool2d" not in [type(x).__name__ for x in block.features] for block in network.blocks[1:])


@pytest.mark.parametrize("head", ["pool", "flatten"])
def test_every_block_gives_parameters_and_a_map(model: MorphableModel, head: str) -> None:
    network = Network(NetworkConfig(head=head, hidden=4), model).eval()
    network.initial[:8] = torch.tensor([4.0, 0, 0, 57, 0, -4.0, 0, 57])
    found = network(torch.zeros(3, 3, 114, 114, dtype=torch.uint8), maps=True)
    outputs, maps = found.params, found.maps
    assert [tuple(p.shape) for p in outputs] == [(3, 8 + model.n_coefficients)] * 6
    assert [tuple(v.shape) for v in maps] == [(3, 1, 114, 114)] + [(3, 1, 57, 57)] * 5
    assert all(torch.isfinite(p).all() for p in outputs)


def test_losses_of_the_last_block_reach_the_first(model: MorphableModel) -> None:
    torch.manual_seed(0)
    network = Network(NetworkConfig(head="pool", hidden=16), model)
    network.initial[:8] = torch.tensor([4.0, 0, 0, 57, 0, -4.0, 0, 57])
    outputs = network(torch.randint(0, 255, (2, 3, 114, 114), dtype=torch.uint8)).params
    (outputs[-1] - outputs[-2]).square().sum().backward()
    gradient = network.blocks[0].update[-1].weight.grad
    # ΔP of block 1 does not enter this difference directly: only through V and the features of later blocks.
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_images_of_another_size_are_refused(model: MorphableModel) -> None:
    network = Network(NetworkConfig(head="pool", hidden=16), model)
    with pytest.raises(ValueError, match="expected \\(B, 3, 114, 114\\)"):
        network(torch.zeros(1, 3, 100, 100))


def test_landmarks_agree_with_numpy_and_march_as_in_the_fit(model: MorphableModel) -> None:
    rng = np.random.default_rng(3)
    turns = rotation(rng.uniform(-1.2, 1.2, 8), rng.uniform(-0.4, 0.4, 8), rng.uniform(-0.4, 0.4, 8))
    cameras = camera(np.full(8, 4.0), turns, np.full((8, 2), 57.0))
    p = rng.normal(size=(8, model.n_coefficients))
    params = torch.from_numpy(np.concatenate([cameras.reshape(8, 8), p], axis=1)).float()
    landmarks = Landmarks(model, "ibug68")
    fixed = landmarks(params, torch.zeros(8, dtype=torch.bool)).numpy()
    np.testing.assert_allclose(fixed, project(model.vertices(p, model.landmarks["ibug68"]), cameras), atol=2e-3)

    contour = model.contours["ibug68"]
    fitter = LandmarkFitter(model, "ibug68")
    lines = np.stack([project(model.vertices(p[i], contour.vertices.ravel()), cameras[i]) for i in range(8)])
    lines = lines.reshape(8, *contour.vertices.shape, 2)
    chosen = silhouette(lines, cameras, contour.side)
    expected = fixed.copy()
    expected[:, contour.points] = np.take_along_axis(lines, chosen[:, :, None, None], axis=2)[:, :, 0]
    marched = landmarks(params, torch.ones(8, dtype=torch.bool)).numpy()
    np.testing.assert_allclose(marched, expected, atol=2e-3)
    assert np.abs(marched - fixed).max() > 1
    assert fitter.modes == model.n_coefficients


def test_visibility_of_a_profile(model: MorphableModel) -> None:
    # The nose points to the image's left: the subject's right side is turned away.
    m = camera(np.array(4.0), rotation(np.radians(75), 0, 0), np.array([57.0, 57.0]))
    params = torch.zeros(1, 8 + model.n_coefficients)
    params[0, :8] = torch.from_numpy(m.ravel()).float()
    seen = Landmarks(model, "ibug68").visibility(params, torch.zeros(1, dtype=torch.bool))[0]
    assert not seen[0]
    assert seen[16]
    marching = Landmarks(model, "ibug68").visibility(params, torch.ones(1, dtype=torch.bool))[0]
    assert marching[:17].all()


def test_autocast_does_not_touch_coordinates(model: MorphableModel) -> None:
    """Lightning runs the whole training step, losses too, under autocast; f(P) and V must stay exact."""
    rng = np.random.default_rng(0)
    m = camera(np.full(4, 4.0), rotation(rng.uniform(-1, 1, 4), 0.1, 0.1), np.full((4, 2), 57.0))
    params = torch.from_numpy(np.concatenate([m.reshape(4, 8), rng.normal(size=(4, model.n_coefficients))], axis=1))
    params = params.float()
    landmarks, marching = Landmarks(model, "ibug68"), torch.ones(4, dtype=torch.bool)
    layer = VisualizationLayer(model, load_config("compact").network.visualization)
    exact = landmarks(params, marching), layer(params, 57, 2), landmarks.visibility(params, marching)
    with torch.autocast("cpu", torch.bfloat16):
        found = landmarks(params, marching), layer(params, 57, 2), landmarks.visibility(params, marching)
    for a, b in zip(exact, found, strict=True):
        assert torch.equal(a, b)
