"""The visualization layer against a slow reference straight from the equations, and its gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pifa_data.camera import camera, rotation
from pifa_data.morphable import MorphableModel
from pifa_model.config import VisualizationConfig
from pifa_model.visualization import VisualizationLayer, nearest_vertices, nose_mask, spread_vertices

CONFIG = VisualizationConfig(vertices=400)


def reference(layer: VisualizationLayer, params: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Equations 8-11 with plain loops in float64, one face."""
    mean, basis = layer.shape.mean.double().numpy(), layer.shape.basis.double().numpy()
    normals, mask = layer._normals.double().numpy(), layer._mask.double().numpy()
    m = params[:8].reshape(2, 4)
    vertices = mean + (params[8:] @ basis).reshape(3, -1)
    r3 = np.cross(m[0, :3], m[1, :3]) / (np.linalg.norm(m[0, :3]) * np.linalg.norm(m[1, :3]))
    nearest: dict[tuple[int, int], tuple[float, int]] = {}
    places = []
    for q in range(vertices.shape[1]):
        x, y = (m[:, :3] @ vertices[:, q] + m[:, 3] + 0.5) / stride - 0.5
        places.append((x, y))
        g = max(0.0, -float(r3 @ normals[:, q]))
        pixel = (int(np.round(x)), int(np.round(y)))
        if g == 0 or not (0 <= pixel[0] < size and 0 <= pixel[1] < size):
            continue
        depth = float(r3 @ vertices[:, q])
        if pixel not in nearest or depth < nearest[pixel][0]:
            nearest[pixel] = (depth, q)
    out = np.zeros((size, size))
    for v in range(size):
        for u in range(size):
            top = bottom = 0.0
            for (px, py), (_, q) in nearest.items():
                if abs(px - u) <= layer.radius and abs(py - v) <= layer.radius:
                    x, y = places[q]
                    w = math.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * layer.sigma**2))
                    top += max(0.0, -float(r3 @ normals[:, q])) * mask[q] * w
                    bottom += w
            out[v, u] = top / bottom if bottom else 0.0
    return out


def random_params(model: MorphableModel, seed: int, size: int, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    extent = np.ptp(model.mean, axis=0).max()
    turn = rotation(rng.uniform(-1.4, 1.4), rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5))
    place = size / 2 + rng.normal(0, spread * size / 6, 2)
    m = camera(np.array(rng.uniform(0.4, 1.1) * size / extent), turn, place)
    return np.concatenate([m.ravel(), rng.normal(size=model.n_coefficients)])


@pytest.mark.parametrize(("grid", "stride"), [(24, 1), (24, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_matches_the_slow_reference(model: MorphableModel, grid: int, stride: int, seed: int) -> None:
    layer = VisualizationLayer(model, CONFIG).double()
    # The last seeds put part of the face, or all of it, outside the map.
    params = random_params(model, seed, grid * stride, spread=1.0 if seed < 2 else 3.0)
    drawn = layer(torch.from_numpy(params)[None], grid, stride)[0, 0].numpy()
    np.testing.assert_allclose(drawn, reference(layer, params, grid, stride), atol=1e-9)


def test_float32_is_close_to_float64(model: MorphableModel) -> None:
    params = torch.from_numpy(np.stack([random_params(model, seed, 57) for seed in range(4)]))
    exact = VisualizationLayer(model, CONFIG).double()(params, 57, 1)
    single = VisualizationLayer(model, CONFIG)(params.float(), 57, 1)
    # A vertex within rounding of a pixel's edge may change pixel; such pixels are few.
    off = (exact - single.double()).abs() > 1e-4
    assert off.float().mean() < 0.01


def test_gradients_of_camera_and_coefficients(model: MorphableModel) -> None:
    layer = VisualizationLayer(model, VisualizationConfig(vertices=120)).double()
    params = torch.from_numpy(random_params(model, 7, 12))[None].requires_grad_()
    assert layer(params, 12, 1).abs().sum() > 0
    assert torch.autograd.gradcheck(lambda p: layer(p, 12, 1), (params,), eps=1e-7, atol=1e-5)


def test_frontal_face_shows_the_nose_and_not_the_back(model: MorphableModel) -> None:
    extent = np.ptp(model.mean, axis=0).max()
    m = camera(np.array(90 / extent), rotation(0, 0, 0), np.array([57.0, 57.0]))
    row = m[:, :3]
    r3 = np.cross(row[0], row[1]) / (np.linalg.norm(row[0]) * np.linalg.norm(row[1]))
    g = np.maximum(0, -(model.normals @ r3))
    assert g[model.nose_tip] > 0.8
    back = model.normals[:, 2] < -0.1
    assert (g[back] == 0).all()
    # The nose tip is the nearest vertex: the smallest depth.
    assert (model.mean @ r3)[model.nose_tip] == pytest.approx((model.mean @ r3).min(), abs=1e-3 * float(extent))


def test_the_nearest_vertex_of_a_pixel_wins_and_backs_are_pruned() -> None:
    # Figure 5: four vertices in one pixel, two facing away; of the others the nearer one is kept.
    points = torch.tensor([[[5.1, 4.9, 5.2, 5.0], [3.0, 3.1, 2.9, 3.0]]])
    depth = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    facing = torch.tensor([[False, True, True, False]])
    winner, held = nearest_vertices(points, depth, facing, 8)
    assert held.sum() == 1
    assert winner[0, 3 * 8 + 5] == 1


def test_ties_far_points_and_empty_batches(model: MorphableModel) -> None:
    points = torch.tensor([[[2.0, 2.0, 1e30, float("nan")], [2.0, 2.0, -1e30, 0.0]]])
    winner, held = nearest_vertices(points, torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool), 4)
    assert held.sum() == 1
    assert winner[0, 2 * 4 + 2] == 0
    layer = VisualizationLayer(model, CONFIG)
    assert layer(torch.zeros(0, 8 + model.n_coefficients), 57, 2).shape == (0, 1, 57, 57)


def test_a_degenerate_camera_draws_nothing_that_is_not_finite(model: MorphableModel) -> None:
    drawn = VisualizationLayer(model, CONFIG)(torch.zeros(1, 8 + model.n_coefficients), 57, 2)
    assert torch.isfinite(drawn).all()


def test_mask_is_normalised_and_highest_at_the_nose(model: MorphableModel) -> None:
    mask = nose_mask(model, 0.35)
    assert mask.mean() == pytest.approx(0, abs=1e-4)
    assert mask.std() == pytest.approx(1, abs=1e-4)
    assert mask.argmax() == model.nose_tip
    assert mask[model.landmarks["ibug68"][[0, 16]]].max() < 0


def test_spread_vertices_are_distinct_and_well_apart(model: MorphableModel) -> None:
    chosen = spread_vertices(model.mean, 100)
    assert len(set(chosen.tolist())) == 100
    points = model.mean[chosen].astype(np.float64)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(100) * 1e9
    first = model.mean[:100].astype(np.float64)
    others = np.linalg.norm(first[:, None] - first[None], axis=2) + np.eye(100) * 1e9
    assert gaps.min() > 2 * others.min()
    assert (spread_vertices(model.mean, 10**6) == np.arange(len(model.mean))).all()
