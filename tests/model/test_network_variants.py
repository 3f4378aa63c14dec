"""Every variant of the network that a configuration names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from pifa_data.camera import camera, project, rotation
from pifa_data.errors import ConfigError
from pifa_data.morphable import MorphableModel
from pifa_model.block import Anchors, sample
from pifa_model.config import NetworkConfig, VisualizationConfig, load_config
from pifa_model.fusing import for_inference
from pifa_model.network import Network
from pifa_model.shape import nearest_rotation

FEW = {"hidden": 8, "head": "pool", "visualization": VisualizationConfig(vertices=200)}
IMAGES = torch.randint(0, 255, (2, 3, 114, 114), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(model: MorphableModel, points: int = 0, **settings: object) -> Network:
    torch.manual_seed(0)
    made = Network(NetworkConfig(**{**FEW, **settings}), model, points=points).eval()
    made.initial[:8] = torch.tensor([4.0, 0, 0, 57, 0, -4.0, 0, 57])
    return made


@pytest.mark.parametrize(
    ("inputs", "first", "second"),
    [
        (("image", "features", "map"), 4, 3 + 16 + 1),
        (("features", "map"), 4, 16 + 1),
        (("image", "map"), 4, 3 + 1),
        (("image", "features"), 3, 3 + 16),
    ],
)
def test_inputs_of_figure_6(model: MorphableModel, inputs: tuple[str, ...], first: int, second: int) -> None:
    made = network(model, inputs=inputs)
    channels = [next(m.in_channels for m in block.modules() if isinstance(m, torch.nn.Conv2d)) for block in made.blocks]
    assert channels[:2] == [first, second]
    before = made(IMAGES).params[-1]
    made.visualization.forward = lambda params, size, stride: torch.ones(len(params), 1, size, size)  # type: ignore[method-assign]
    assert torch.equal(before, made(IMAGES).params[-1]) == ("map" not in inputs)


def test_inputs_that_make_no_network_are_refused() -> None:
    for inputs in (("map",), ("image", "image"), ("pixels",), ()):
        with pytest.raises(ValidationError):
            NetworkConfig(inputs=inputs)


@pytest.mark.parametrize("filters", [((4, 4, 4),) * 4, ((4, 4, 4, 4),) * 3, ((4,),)])
def test_blocks_times_convolutions_of_table_8(model: MorphableModel, filters: tuple[tuple[int, ...], ...]) -> None:
    made = network(model, filters=filters, kernels=(5,) + (3,) * (len(filters) - 1))
    assert len(made(IMAGES).params) == len(filters)


@pytest.mark.parametrize("head", ["pool", "sample"])
def test_stopping_after_a_block_gives_what_the_whole_gives_there(model: MorphableModel, head: str) -> None:
    made = network(model, head=head)
    whole, part = made(IMAGES).params, made(IMAGES, blocks=2).params
    assert len(part) == 2
    assert all(torch.equal(a, b) for a, b in zip(whole, part, strict=False))


@pytest.mark.parametrize("trunk", ["plain", "depthwise", "residual"])
@pytest.mark.parametrize("stride", [2, 4])
def test_trunks_and_grids(model: MorphableModel, trunk: str, stride: int) -> None:
    made = network(model, trunk=trunk, stride=stride, head="sample").train()
    made.blocks[-1].update[-1].weight.data.normal_()
    found = made(IMAGES, maps=True)
    assert [v.shape[-1] for v in found.maps] == [114] + [114 // stride] * 5
    found.params[-1].square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize(("x", "y"), [(61.0, 43.0), (30.3, 97.6)])
def test_image_and_features_that_the_second_block_sees_lie_on_one_grid(
    model: MorphableModel, stride: int, x: float, y: float
) -> None:
    """A bright spot is at the same place of the crop in the image, in its means and in the first block's features."""
    made = network(model, stride=stride, kernels=(1,) + (3,) * 5)
    for conv in (m for m in made.blocks[0].modules() if isinstance(m, torch.nn.Conv2d)):
        conv.weight.data.abs_()  # what is brighter stays brighter
    made.visualization.forward = lambda params, size, stride: torch.zeros(len(params), 1, size, size)  # type: ignore[method-assign]
    place = torch.arange(114.0)
    spot = torch.exp(-((place - x) ** 2 + (place[:, None] - y) ** 2) / (2 * 7.0**2))
    seen: list[torch.Tensor] = []
    made.blocks[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    with torch.no_grad():
        made((127.5 + 64 * spot).expand(1, 3, 114, 114))
    image, features = seen[0][:3].sum(0), seen[0][3:-1].sum(0)
    for values in (image, features):
        values = values / values.max()
        values = (values - 0.2).relu()  # the spot without its foot
        on_grid = torch.arange(float(len(values)))
        found = torch.stack([(values.sum(0) * on_grid).sum(), (values.sum(1) * on_grid).sum()]) / values.sum()
        torch.testing.assert_close((found + 0.5) * stride - 0.5, torch.tensor([x, y]), atol=0.25, rtol=0)


def test_anchors_read_the_maps_where_the_vertices_are(model: MorphableModel) -> None:
    """Maps that hold their own pixels' places, read at the anchors, give the places of the vertices."""
    rng = np.random.default_rng(1)
    m = camera(np.full(3, 3.0), rotation(rng.uniform(-1, 1, 3), 0.2, 0.1), np.full((3, 2), 56.0))
    p = 0.5 * rng.normal(size=(3, model.n_coefficients))
    params = torch.from_numpy(np.concatenate([m.reshape(3, 8), p], axis=1)).float()
    anchors = Anchors(model, 20)
    vertices = model.vertices(p)
    for stride in (2, 4):
        size = 114 // stride
        index = (torch.arange(size) + 0.5) * stride - 0.5  # crop pixels
        maps = torch.stack([index.expand(size, size), index[:, None].expand(size, size)]).expand(3, -1, -1, -1)
        read = sample(maps, anchors(params, size * stride)).transpose(1, 2).numpy()
        flat = anchors.shape.mean.T.numpy()
        which = [int(np.abs(model.mean - row).sum(1).argmin()) for row in flat]
        assert len(set(which)) == 20
        assert (model.normals[which, 2] > 0).all()
        np.testing.assert_allclose(read, project(vertices[:, which], m), atol=1e-2)


def test_more_anchors_than_the_front_has_vertices_are_refused(model: MorphableModel) -> None:
    front = int((model.normals[:, 2] > 0).sum())
    with pytest.raises(ConfigError, match=f"network.anchors: expected at most {front}.*found {front + 1}"):
        network(model, head="sample", anchors=front + 1)


def test_a_step_moves_the_anchors_with_the_gradient(model: MorphableModel) -> None:
    made = network(model, head="sample", inputs=("image", "features"))
    found = made(IMAGES)
    # Without V and with the first block's own loss left out, P reaches later blocks through the anchors alone.
    update = (found.params[1] - found.params[0]).square().sum()
    (gradient,) = torch.autograd.grad(update, made.blocks[0].update[-1].bias)
    assert gradient.abs().max() > 0


def test_nearest_rotation() -> None:
    rng = np.random.default_rng(2)
    a = torch.from_numpy(rng.normal(size=(6, 10)))
    a[0, :8] *= 1e-4  # pixels a micrometre, the unit of Basel's model of 2009
    found = nearest_rotation(a)
    rows = found[:, :8].reshape(-1, 2, 4)[..., :3]
    gram = rows @ rows.mT
    assert torch.allclose(gram, gram[:, :1, :1] * torch.eye(2), atol=1e-9)
    for before, after in zip(a[:, :8].reshape(-1, 2, 4)[..., :3], rows, strict=True):  # Frobenius: s = mean of σ
        u, s, vt = torch.linalg.svd(before, full_matrices=False)
        assert torch.allclose(after, s.mean() * u @ vt, rtol=1e-6, atol=1e-12)
    assert torch.equal(found[:, [3, 7, 8, 9]], a[:, [3, 7, 8, 9]])
    assert torch.allclose(nearest_rotation(found), found, atol=1e-9)
    assert torch.autograd.gradcheck(nearest_rotation, (a[1:3].requires_grad_(),))


def test_the_camera_option_keeps_every_blocks_camera_a_rotation(model: MorphableModel) -> None:
    made = network(model, camera="rotation", visualization=VisualizationConfig(vertices=50))
    for block in made.blocks:
        block.update[-1].weight.data.normal_(std=0.1)
    for params in made(IMAGES).params:
        rows = params[:, :8].reshape(-1, 2, 4)[..., :3]
        gram = rows @ rows.mT
        assert torch.allclose(gram[:, 0, 0], gram[:, 1, 1], rtol=1e-4)
        assert (gram[:, 0, 1].abs() < 1e-4 * gram[:, 0, 0]).all()


def test_spread_is_learnt_without_a_change_of_p(model: MorphableModel) -> None:
    made = network(model, points=68, uncertainty=True)
    found = made(IMAGES)
    assert [tuple(spread.shape) for spread in found.spread] == [(2, 68)] * 6
    sum(spread.sum() for spread in found.spread).backward()
    touched = {name.split(".", 2)[2].split(".")[0] for name, p in made.named_parameters() if p.grad is not None}
    assert touched == {"spread"}
    assert network(model)(IMAGES).spread == []
    with pytest.raises(ConfigError, match="number of landmarks"):
        network(model, uncertainty=True)


@pytest.mark.parametrize("trunk", ["plain", "depthwise", "residual"])
def test_made_faster_it_gives_the_same(model: MorphableModel, trunk: str) -> None:
    made = network(model, trunk=trunk, head="sample").train()
    for block in made.blocks:
        block.update[-1].weight.data.normal_(std=0.02)
    for _ in range(3):  # batch norm's statistics are no longer those of the beginning
        made(IMAGES)
    made.eval()
    fast = for_inference(made)
    with torch.inference_mode():
        expected, found = made(IMAGES, maps=True), fast(IMAGES, maps=True)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fast.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())  # and the first one is as it was
    assert made.first_map is None
    for a, b in zip(expected.params, found.params, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)
    assert torch.equal(expected.maps[0], found.maps[0])
    assert "first_map" not in fast.state_dict()


@pytest.mark.parametrize("preset", ["compact", "small"])
def test_a_network_of_no_memory_draws_no_random_numbers(
    model: MorphableModel, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch imports 800 modules for the first one on the meta device, which every loading of a checkpoint uses."""

    def drawn(tensor: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        assert not tensor.is_meta
        return tensor

    monkeypatch.setattr(torch.nn.init, "normal_", drawn)
    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", drawn)
    with torch.device("meta"):
        Network(load_config(preset).network, model)


def test_small_has_half_of_the_multiply_adds_of_compact(model: MorphableModel) -> None:
    def multiply_adds(preset: str) -> float:
        made = Network(load_config(preset).network, model).eval()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            made(IMAGES[:1])
        return counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2

    assert multiply_adds("small") == pytest.approx(multiply_adds("compact") / 2, rel=0.15)
