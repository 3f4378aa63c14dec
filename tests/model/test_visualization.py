"""The visualization layer against a slow reference straight from the equations, its gradients, and bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pifa_data.camera import camera, rotation
from pifa_data.errors import ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model import spreading
from pifa_model.config import VisualizationConfig, load_config
from pifa_model.shape import check_params
from pifa_model.spreading import Grid, nearest_vertices
from pifa_model.visualization import VisualizationLayer

CONFIG = VisualizationConfig(vertices=400)
GRADIENT_BOUND = 2e-4  # stated in docs/method.md


def reference(layer: VisualizationLayer, params: np.ndarray, size: int, stride: int) -> np.ndarray:
    """Equations 8-10 with plain loops in float64, one face."""
    mean, basis = layer.shape.mean.double().numpy(), layer.shape.basis.double().numpy()
    normals, mask = -layer._frontward.double().numpy(), layer._mask.double().numpy()
    m = params[:8].reshape(2, 4)
    vertices = mean + (params[8:] @ basis).reshape(3, -1)
    r3 = np.cross(m[0, :3], m[1, :3]) / (np.linalg.norm(m[0, :3]) * np.linalg.norm(m[1, :3]))
    nearest: dict[tuple[int, int], tuple[float, int]] = {}
    places, g = [], []
    for q in range(vertices.shape[1]):
        x, y = (m[:, :3] @ vertices[:, q] + m[:, 3] + 0.5) / stride - 0.5
        places.append((x, y))
        g.append(max(0.0, -float(r3 @ normals[:, q])))
        pixel = (int(np.round(x)), int(np.round(y)))
        if g[q] == 0 or not (0 <= pixel[0] < size and 0 <= pixel[1] < size):
            continue
        depth = float(r3 @ vertices[:, q])
        if pixel not in nearest or depth < nearest[pixel][0]:
            nearest[pixel] = (depth, q)
    top, bottom = np.zeros((size, size)), np.zeros((size, size))
    for (px, py), (_, q) in nearest.items():
        x, y = places[q]
        for v in range(max(0, py - layer.radius), min(size, py + layer.radius + 1)):
            for u in range(max(0, px - layer.radius), min(size, px + layer.radius + 1)):
                w = math.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * layer.sigma**2))
                top[v, u] += g[q] * mask[q] * w
                bottom[v, u] += w
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def random_params(model: MorphableModel, seed: int, size: int, spread: float = 1.0) -> np.ndarray:
    """P of a random pose, yaw to ±90°, in a crop of ``size`` pixels; with a large ``spread`` partly or wholly outside.

    Its numbers are float32's, so that every precision gets the same face.
    """
    rng = np.random.default_rng(seed)
    extent = np.ptp(model.mean, axis=0).max()
    turn = rotation(rng.uniform(-np.pi / 2, np.pi / 2), rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5))
    place = size / 2 + rng.normal(0, spread * size / 6, 2)
    m = camera(np.array(rng.uniform(0.4, 1.1) * size / extent), turn, place)
    params = np.concatenate([m.ravel(), rng.normal(size=model.n_coefficients)])
    return params.astype(np.float32).astype(np.float64)


def batch(model: MorphableModel, count: int, size: int) -> Tensor:
    return torch.from_numpy(np.stack([random_params(model, seed, size) for seed in range(count)])).float()


def value_and_gradient(layer: VisualizationLayer, params: Tensor, size: int, stride: int) -> tuple[Tensor, Tensor]:
    leaf = params.clone().requires_grad_()
    drawn = layer(leaf, size, stride)
    direction = torch.linspace(-1, 1, drawn.numel(), dtype=drawn.dtype).reshape(drawn.shape)
    (drawn * direction).sum().backward()
    assert leaf.grad is not None
    return drawn.detach(), leaf.grad


# ---- exact


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_matches_the_slow_reference(model: MorphableModel, stride: int, seed: int) -> None:
    layer = VisualizationLayer(model, CONFIG)
    # Every second seed puts part of the face, or all of it, outside the map.
    params = random_params(model, seed, 24 * stride, spread=1.0 if seed % 2 else 3.0)
    expected = reference(layer, params, 24, stride)
    single = layer(torch.from_numpy(params)[None].float(), 24, stride)[0, 0]
    np.testing.assert_allclose(single.numpy(), expected, atol=1e-5)
    double = layer.double()(torch.from_numpy(params)[None], 24, stride)[0, 0]
    np.testing.assert_allclose(double.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(("size", "stride"), [(114, 1), (57, 2)])
def test_matches_the_slow_reference_on_the_networks_grids(model: MorphableModel, size: int, stride: int) -> None:
    layer = VisualizationLayer(model, VisualizationConfig())  # every vertex
    for seed in (1, 2):
        params = random_params(model, seed, 114)
        expected = reference(layer, params, size, stride)
        assert (expected != 0).mean() > 0.05
        double = VisualizationLayer(model, VisualizationConfig()).double()
        drawn = double(torch.from_numpy(params)[None], size, stride)[0, 0].numpy()
        np.testing.assert_allclose(drawn, expected, atol=1e-9)
        drawn = layer(torch.from_numpy(params)[None].float(), size, stride)[0, 0].numpy()
        np.testing.assert_allclose(drawn, expected, atol=1e-5)


@pytest.mark.parametrize(("radius", "sigma"), [(1, 0.25), (2, 0.36), (3, 2.0), (4, 0.65)])
def test_other_neighbourhoods(model: MorphableModel, radius: int, sigma: float) -> None:
    layer = VisualizationLayer(model, VisualizationConfig(vertices=300, radius=radius, sigma=sigma)).double()
    params = random_params(model, 3, 24)
    drawn = layer(torch.from_numpy(params)[None], 24, 1)[0, 0].numpy()
    np.testing.assert_allclose(drawn, reference(layer, params, 24, 1), atol=1e-9)
    found = value_and_gradient(layer, torch.from_numpy(params)[None], 24, 1)
    single = value_and_gradient(layer.float(), torch.from_numpy(params)[None].float(), 24, 1)
    np.testing.assert_allclose(single[0], found[0], atol=5e-5)
    assert (single[1] - found[1]).norm() < GRADIENT_BOUND * found[1].norm()


def test_a_model_of_one_vertex(model: MorphableModel) -> None:
    one = replace(
        model,
        mean=model.mean[:1],
        identity=model.identity[:, :1],
        expression=model.expression[:, :1],
        triangles=np.zeros((0, 3), np.int32),  # so its normal looks straight ahead
        landmarks={"ibug68": np.zeros(68, np.int32)},
        contours={},
        nose_tip=0,
    )
    layer = VisualizationLayer(one, VisualizationConfig(mask="none")).double()
    m = camera(np.array(1.0), rotation(0.3, 0.0, 0.0), np.zeros(2))
    m[:, 3] = np.array([5.3, 3.8]) - m[:, :3] @ model.mean[0]
    params = np.concatenate([m.ravel(), np.zeros(model.n_coefficients)])
    drawn = layer(torch.from_numpy(params)[None], 12, 1)[0, 0].numpy()
    np.testing.assert_allclose(drawn, reference(layer, params, 12, 1), atol=1e-9)
    np.testing.assert_allclose(drawn[2:7, 3:8], math.cos(0.3), atol=1e-9)  # its frontability, 5x5 pixels around (5, 4)
    assert np.count_nonzero(drawn) == 25


def test_faces_of_a_batch_do_not_touch(model: MorphableModel) -> None:
    """Also where a face runs out of every side of its map, and where a batch is drawn in pieces."""
    layer = VisualizationLayer(model, CONFIG).double()
    params = batch(model, 12, 57).double()
    params[:, :3] *= 2
    params[:, 4:7] *= 2
    alone = torch.cat([layer(p[None], 57, 1) for p in params])
    assert (alone[:, :, [0, -1]] != 0).any()
    assert (alone[..., [0, -1]] != 0).any()
    assert params.shape[0] * Grid(57, 2, 1.0).pitch ** 2 > spreading._PIECE
    np.testing.assert_allclose(layer(params, 57, 1), alone, atol=1e-12)


def test_pieces_change_nothing(model: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, params = VisualizationLayer(model, CONFIG).double(), batch(model, 3, 30).double()
    whole = value_and_gradient(layer, params, 30, 1)
    monkeypatch.setattr(spreading, "_PIECE", 100)
    for a, b in zip(value_and_gradient(layer, params, 30, 1), whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(114, 1), (57, 2)])
def test_both_grids_are_centred_in_the_crop(model: MorphableModel, size: int, stride: int) -> None:
    """Half a turn of the face about the crop's middle, 56.5, turns the map: so u₅₇ = (u₁₁₄ + 0.5)/2 − 0.5."""
    layer, params = VisualizationLayer(model, CONFIG).double(), batch(model, 3, 114).double()
    turned = params.clone()
    turned[:, :8] = -turned[:, :8]
    turned[:, [3, 7]] += 113
    torch.testing.assert_close(layer(turned, size, stride), layer(params, size, stride).flip(2, 3), rtol=0, atol=1e-9)


# ---- gradients


@pytest.mark.parametrize(("seed", "stride"), [(7, 1), (1, 1), (2, 1), (3, 2), (12, 2)])
def test_gradients_of_camera_and_coefficients(model: MorphableModel, seed: int, stride: int) -> None:
    layer = VisualizationLayer(model, VisualizationConfig(vertices=120)).double()
    params = torch.from_numpy(random_params(model, seed, 12 * stride))[None].requires_grad_()
    assert layer(params, 12, stride).abs().sum() > 0
    assert torch.autograd.gradcheck(lambda p: layer(p, 12, stride), (params,), eps=1e-7, atol=1e-6, rtol=1e-5)


def test_gradients_of_a_wide_neighbourhood_without_a_mask(model: MorphableModel) -> None:
    layer = VisualizationLayer(model, VisualizationConfig(vertices=60, radius=3, sigma=1.5, mask="none")).double()
    params = torch.from_numpy(np.stack([random_params(model, seed, 10) for seed in (1, 2)])).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: layer(p, 10, 1), (params,), eps=1e-7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(114, 1), (57, 2)])
def test_float32_gradients_are_those_of_float64(model: MorphableModel, size: int, stride: int) -> None:
    params = batch(model, 6, 114)
    single = value_and_gradient(VisualizationLayer(model, CONFIG), params, size, stride)[1]
    double = value_and_gradient(VisualizationLayer(model, CONFIG).double(), params.double(), size, stride)[1]
    scale = double.abs().amax(0)
    assert ((single - double).abs().amax(0) / scale).max() < GRADIENT_BOUND


def test_bfloat16_is_only_a_rounding_of_the_map(model: MorphableModel) -> None:
    """Coordinates stay float32 under autocast; a convolution in bfloat16 sees V to 8 bits (docs/method.md)."""
    layer, params = VisualizationLayer(model, CONFIG), batch(model, 4, 114)
    exact = layer(params, 57, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(params, 57, 2), exact)
    assert exact.abs().max() <= layer._mask.abs().max()  # an average of g·a, and g is at most 1
    assert (exact.bfloat16().float() - exact).abs().max() <= 2.0**-8 * layer._mask.abs().max()


# ---- the same every time


def test_the_same_bits_every_time(model: MorphableModel) -> None:
    layer, params = VisualizationLayer(model, CONFIG), batch(model, 12, 114)
    threads = torch.get_num_threads()
    try:
        torch.use_deterministic_algorithms(True)
        found = []
        for count in (1, 2, 2, 1):
            torch.set_num_threads(count)
            found.append(value_and_gradient(layer, params, 57, 2))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    for drawn, gradient in found[1:]:
        assert torch.equal(drawn, found[0][0])
        # M's and p's are matrix products over the vertices, whose order of sums BLAS may choose by threads.
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-5, atol=1e-4)
    assert torch.equal(found[0][1], found[3][1])
    assert torch.equal(found[1][1], found[2][1])


def test_no_gradient_asked_for_is_the_same_map(model: MorphableModel) -> None:
    layer, params = VisualizationLayer(model, CONFIG), batch(model, 3, 57)
    drawn, _ = value_and_gradient(layer, params, 57, 1)
    with torch.inference_mode():
        assert torch.equal(layer(params, 57, 1), drawn)


def test_it_exports_with_any_batch(model: MorphableModel) -> None:
    class Map(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = VisualizationLayer(model, CONFIG)

        def forward(self, params: Tensor) -> Tensor:
            return self.layer(params, 24, 2)

    module, params = Map().eval(), batch(model, 5, 48)
    with torch.no_grad():
        program = torch.export.export(module, (params[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.testing.assert_close(program.module()(params), module(params), rtol=0, atol=1e-6)


# ---- who is seen


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


def seen(points: list[tuple[float, float, float]], facing: list[bool], size: int) -> dict[tuple[int, int], int]:
    """(column, row) of every pixel that keeps a vertex, and the vertex."""
    grid = Grid(size, 2, 1.0)
    x, y, depth = torch.tensor(points).T
    winner, _ = nearest_vertices(torch.stack([x, y]).round()[None], depth[None], torch.tensor([facing]), grid)
    places = (winner[0] < len(points)).nonzero().flatten().tolist()
    return {(place % grid.pitch, place // grid.pitch): int(winner[0, place]) for place in places}


def test_the_nearest_vertex_of_a_pixel_wins_and_backs_are_pruned() -> None:
    # Figure 5: four vertices in one pixel, two facing away; of the others the nearer one is kept.
    points = [(5.1, 3.0, 1.0), (4.9, 3.1, 2.0), (5.2, 2.9, 3.0), (5.0, 3.0, 4.0)]
    assert seen(points, [False, True, True, False], 8) == {(5, 3): 1}


def test_ties_in_depth_go_to_the_lower_number() -> None:
    assert seen([(9.0, 9.0, 0.0), (2.0, 2.0, -7.5), (2.2, 2.0, -7.5)], [True] * 3, 8) == {(2, 2): 1}
    assert seen([(2.2, 2.0, -7.5), (2.0, 2.0, -8.5)], [True] * 2, 8) == {(2, 2): 1}


def test_far_points_and_what_is_not_a_number_are_not_seen() -> None:
    nan, inf = float("nan"), float("inf")
    points = [(1e30, -1e30, 0.0), (nan, 0.0, 0.0), (0.0, nan, 0.0), (inf, 1.0, 0.0), (3.0, 1.0, 1e30), (-0.6, 0, 0)]
    assert seen(points, [True] * 6, 4) == {(3, 1): 4}


def test_empty_batches(model: MorphableModel) -> None:
    layer, none = VisualizationLayer(model, CONFIG), torch.zeros(0, 8 + model.n_coefficients)
    assert layer(none, 57, 2).shape == (0, 1, 57, 57)
    drawn, gradient = value_and_gradient(layer, none, 57, 2)
    assert drawn.shape == (0, 1, 57, 57)
    assert gradient.shape == none.shape


def test_a_degenerate_camera_draws_nothing_that_is_not_finite(model: MorphableModel) -> None:
    drawn, gradient = value_and_gradient(
        VisualizationLayer(model, CONFIG), torch.zeros(1, 8 + model.n_coefficients), 57, 2
    )
    assert torch.isfinite(drawn).all()
    assert torch.isfinite(gradient).all()


# ---- bad input


@pytest.mark.parametrize("wrong", [(2, 7), (2, 18), (17,), (1, 2, 17)])
def test_params_of_another_shape_are_refused(model: MorphableModel, wrong: tuple[int, ...]) -> None:
    assert 8 + model.n_coefficients == 17
    with pytest.raises(ValueError, match=r"params: expected \(B, 17\).*9 coefficients.*found \("):
        VisualizationLayer(model, CONFIG)(torch.zeros(wrong), 24, 1)


@pytest.mark.parametrize("wrong", [torch.bfloat16, torch.float64, torch.int64])
def test_params_of_another_type_are_refused(model: MorphableModel, wrong: torch.dtype) -> None:
    with pytest.raises(ValueError, match=rf"params: expected torch.float32.*found {wrong}"):
        VisualizationLayer(model, CONFIG)(torch.zeros(2, 17, dtype=wrong), 24, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("at", [0, 3, 10])
def test_a_face_that_is_not_finite_touches_no_other(model: MorphableModel, value: float, at: int) -> None:
    layer, params = VisualizationLayer(model, CONFIG), batch(model, 3, 24)
    with pytest.raises(ValueError, match=r"params: expected finite numbers.*row 1"):
        check_params(
            params.index_put((torch.tensor(1), torch.tensor(at)), torch.tensor(value)), layer.shape.basis, finite=True
        )
    check_params(params, layer.shape.basis, finite=True)
    good = value_and_gradient(layer, params, 24, 1)
    params[1, at] = value
    bad = value_and_gradient(layer, params, 24, 1)
    for a, b in zip(bad, good, strict=True):
        torch.testing.assert_close(a[[0, 2]], b[[0, 2]])
    assert (bad[0][1] == 0).all()


@pytest.mark.parametrize("setting", ["vertices=0", "vertices=2000000", "radius=5", "sigma=0.1", "mask=ears"])
def test_settings_out_of_range_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"network.visualization.{setting.split('=')[0]}"):
        load_config("compact", (f"network.visualization.{setting}",))


def test_weights_that_leave_float32_are_refused() -> None:
    """The gradient was NaN where a pixel's only vertex is many σ away."""
    with pytest.raises(ConfigError, match=r"sigma: expected at least 0.65 for radius 4, found 0.4"):
        load_config("compact", ("network.visualization.radius=4", "network.visualization.sigma=0.4"))
