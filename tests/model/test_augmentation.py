"""Augmentation: labels move exactly with the pixels, nothing depends on device, rank or order, off is off."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic import make_model
from torch import Tensor

from pifa_data.errors import ConfigError
from pifa_data.schemes import get_scheme
from pifa_data.store import Store
from pifa_model.augmentation import NUMBERS, augment, crop_motion, draw, move_landmarks, move_params
from pifa_model.batches import TrainingStream, to_device, to_tensors
from pifa_model.config import AugmentationConfig, Config, load_config
from pifa_model.crops import cut_crops
from pifa_model.rows import Batch
from pifa_model.shape import Landmarks
from pifa_model.store_rows import StoreRows

CPU = torch.device("cpu")
SIZE, LARGE = 114, 148
OFF = ("training.brightness=0.0", "training.contrast=0.0")
MOVED = (*OFF, "augmentation.rotation=40", "augmentation.scale=0.3", "augmentation.shift=0.1")
EVERYTHING = (
    *MOVED[2:],
    *("augmentation.saturation=0.5", "augmentation.tint=0.2"),
    *("augmentation.blur=0.5", "augmentation.occlusion=0.5"),
)


def config_of(*settings: str) -> Config:
    return load_config("compact", settings)


@pytest.fixture(scope="module", params=["crops", "faces"])
def data(request: pytest.FixtureRequest, layouts: dict[str, Path]) -> StoreRows:
    return StoreRows(Store(layouts[request.param]))


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    return Landmarks(make_model(), "ibug68")


def batch_of(data: StoreRows, count: int = 12, seed: int = 0) -> dict[str, Tensor]:
    rows = data.rows_of(np.ones(len(data.subjects), bool))[:count]
    turned = np.arange(count) % 3 == 0
    batch = data.batch(rows, data.read_pictures(rows, turned), turned)
    tensors = to_device(batch, CPU)
    return tensors | {"draws": torch.from_numpy(draw(np.random.default_rng(seed), count))}


def draws_of(count: int, **values: float) -> Tensor:
    """What changes nothing, but for some numbers: 0.5 is in the middle of all changes."""
    draws = torch.full((count, len(NUMBERS)), 0.5, dtype=torch.float64)
    draws[:, [NUMBERS.index("blur"), NUMBERS.index("occlusion")]] = 1.0
    for name, value in values.items():
        draws[:, NUMBERS.index(name)] = value
    return draws


def crops_of(data: StoreRows, tensors: dict[str, Tensor]) -> Tensor:
    windows = tensors.get("windows")
    return tensors["images"] if windows is None else cut_crops(tensors["images"], windows, data.size)


def test_nothing_changes_when_all_is_off(data: StoreRows) -> None:
    tensors = batch_of(data)
    out = augment(tensors, config_of(*OFF), data.size)
    assert set(out) == {"images", "params", "landmarks", "visibility", "marching"}
    assert out["images"].dtype == torch.float32
    assert out["images"].is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(out["images"], crops_of(data, tensors).float())
    for name in ("params", "landmarks", "visibility", "marching"):
        assert out[name] is tensors[name]


def test_presets_have_what_they_had() -> None:
    for preset in ("paper", "compact", "small"):
        config = load_config(preset)
        change = config.augmentation
        sizes = {"blur_sigma", "occlusion_size"}
        assert not any(getattr(change, name) for name in AugmentationConfig.model_fields if name not in sizes)


def test_numbers_in_the_middle_change_nothing(data: StoreRows) -> None:
    tensors = batch_of(data) | {"draws": draws_of(12)}
    out = augment(tensors, config_of(*EVERYTHING), data.size)
    # Crops that are cut elsewhere are rounded, and outside of their picture black.
    inside = slice(16, -16)
    away = (out["images"] - crops_of(data, tensors))[..., inside, inside].abs()
    assert away.max() < 0.52
    np.testing.assert_allclose(out["params"], tensors["params"], atol=1e-5)
    np.testing.assert_allclose(out["landmarks"], tensors["landmarks"], atol=1e-5)


@pytest.mark.parametrize("marching", [False, True])
def test_projection_moves_with_the_crop(data: StoreRows, marching: bool) -> None:
    landmarks = Landmarks(data.store.model, "ibug68")
    tensors = batch_of(data, 48)
    kind = torch.full((48,), marching)
    out = augment(tensors, config_of(*MOVED), data.size)
    motion = crop_motion(dict(zip(NUMBERS, tensors["draws"].T, strict=True)), config_of(*MOVED).augmentation, data.size)
    before, after = (landmarks(params, kind).double() for params in (tensors["params"], out["params"]))
    expected = before @ motion[:, :, :2].mT + motion[:, None, :, 2]
    assert (after - expected).abs().max() < 1e-4
    assert (after - before).norm(dim=2).mean() > 5, "they were moved"
    moved = tensors["landmarks"].double() @ motion[:, :, :2].mT + motion[:, None, :, 2]
    seen = tensors["visibility"] > 0
    assert (out["landmarks"] - moved)[seen].abs().max() < 1e-4
    assert not out["landmarks"][~seen].any()
    np.testing.assert_array_equal(out["params"][:, 8:], tensors["params"][:, 8:])


numbers = st.floats(0, 1, exclude_max=True)


@given(st.lists(numbers, min_size=4, max_size=4), st.floats(0, 180), st.floats(0, 1), st.floats(0, 0.5))
def test_motion_is_a_scaled_rotation_about_the_middle(
    drawn: list[float], rotation: float, scale: float, shift: float
) -> None:
    config = AugmentationConfig(rotation=rotation, scale=scale, shift=shift)
    values = {name: torch.tensor([value], dtype=torch.float64) for name, value in zip(NUMBERS, drawn, strict=False)}
    [motion] = crop_motion(values, config, SIZE).numpy()
    a, b = motion[:, :2], motion[:, 2]
    k = np.sqrt(np.linalg.det(a))
    np.testing.assert_allclose(a @ a.T, k**2 * np.eye(2), atol=1e-12)
    assert 1 / (1 + scale) - 1e-9 <= k <= 1 + scale + 1e-9
    assert np.degrees(np.arccos(np.clip(a[0, 0] / k, -1, 1))) <= rotation + 1e-5
    middle = np.full(2, (SIZE - 1) / 2)
    assert np.abs(a @ middle + b - middle).max() <= shift * SIZE + 1e-9


@given(st.integers(0, 2**32 - 1))
def test_any_face_moves_with_its_crop(landmarks: Landmarks, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = AugmentationConfig(rotation=180, scale=1, shift=0.5)
    values = dict(zip(NUMBERS, torch.from_numpy(draw(rng, 1)).T, strict=True))
    motion = crop_motion(values, config, SIZE)
    count = len(landmarks.shape.basis)
    params = torch.from_numpy(np.r_[rng.normal(0, 4, 8), rng.normal(0, 1, count)])[None].float()
    params[:, [3, 7]] = torch.from_numpy(rng.uniform(0, SIZE, (1, 2))).float()
    fixed = torch.zeros(1, dtype=torch.bool)
    before, after = landmarks(params, fixed), landmarks(move_params(params, motion.float()), fixed)
    moved = move_landmarks(before, torch.ones(before.shape[:2]), motion.float())
    assert (after - moved).abs().max() < 2e-4


def dotted(points: np.ndarray, size: int) -> np.ndarray:
    """Pictures ``(N, S, S, 3)`` uint8 with a round dot at each point."""
    places = np.arange(size)
    away = [(places[None] - x) ** 2 + (places[:, None] - y) ** 2 for x, y in points]
    return np.round(250 * np.exp(-np.array(away) / (2 * 2.0**2)))[..., None].repeat(3, 3).astype(np.uint8)


@pytest.mark.parametrize("windowed", [False, True])
def test_a_dot_at_a_landmark_is_at_the_moved_landmark(windowed: bool) -> None:
    count = 40
    rng = np.random.default_rng(0)
    points = rng.uniform(35, 78, (count, 1, 2))  # near enough to the middle to stay inside
    windows, pictures = None, dotted(points[:, 0], SIZE)
    if windowed:
        middle, half = rng.normal(0, 0.04, (count, 2)), np.repeat(rng.uniform(0.7, 0.8, (count, 1)), 2, 1)
        half[::2, 0] *= -1  # flipped
        windows = np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)
        inner = (2 * points[:, 0] + 1) / SIZE - 1
        pictures = dotted((middle + half * inner + 1) * LARGE / 2 - 0.5, LARGE)
    batch = Batch(
        images=pictures,
        windows=windows,
        params=np.zeros((count, 10), np.float32),
        landmarks=points.astype(np.float32),
        visibility=np.full((count, 1), 2, np.uint8),
        marching=np.ones(count, bool),
        rows=np.arange(count),
        draws=draw(rng, count),
    )
    out = augment(to_device(batch, CPU), config_of(*MOVED), SIZE)
    images, places = out["images"].mean(1).numpy(), np.arange(SIZE)
    # Its reflection beyond the picture's edge may be in a corner.
    x, y = out["landmarks"][:, 0, :, None].numpy().transpose(1, 0, 2)
    images *= (x - places)[:, None] ** 2 + (y - places)[:, :, None] ** 2 < 12**2
    mass = images.sum((1, 2))
    found = np.stack([(images.sum(1) * places).sum(1), (images.sum(2) * places).sum(1)], axis=1) / mass[:, None]
    np.testing.assert_allclose(found, out["landmarks"][:, 0], atol=0.05)
    assert np.abs(found - points[:, 0]).max() > 10


def sample(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear, one pixel, inside."""
    column, row = int(np.floor(x)), int(np.floor(y))
    u, v = x - column, y - row
    (a, b), (c, d) = picture[row : row + 2, column : column + 2]
    return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)


def test_pixels_are_read_once_where_they_come_from(data: StoreRows) -> None:
    """The obvious way: each pixel alone, back through the motion and the window, in float64."""
    tensors = batch_of(data, 3, seed=3)
    settings = (*OFF, "augmentation.rotation=20", "augmentation.scale=0.1", "augmentation.shift=0.05")
    out = augment(tensors, config_of(*settings), SIZE)["images"].numpy()
    values = dict(zip(NUMBERS, tensors["draws"].T, strict=True))
    motion = crop_motion(values, config_of(*settings).augmentation, SIZE).numpy()
    pictures = tensors["images"].permute(0, 2, 3, 1).double().numpy()
    side, checked = pictures.shape[1], 0
    windows = tensors.get("windows", torch.tensor([[-1.0, -1, 1, 1]]).expand(3, -1)).double().numpy()
    for picture, window, move, found in zip(pictures, windows, motion, out, strict=True):
        for row, column in np.ndindex(SIZE, SIZE):
            if (3 * row + column) % 17:
                continue
            u = np.linalg.solve(move[:, :2], np.array([column, row]) - move[:, 2])
            n = window[:2] + (window[2:] - window[:2]) * (u + 0.5) / SIZE
            x, y = (n + 1) * side / 2 - 0.5
            if 0 <= x < side - 1 and 0 <= y < side - 1:
                np.testing.assert_allclose(found[:, row, column], sample(picture, x, y), atol=0.02)
                checked += 1
    assert checked > 1500


def test_a_moved_window_is_a_window_then_a_motion(layouts: dict[str, Path]) -> None:
    data = StoreRows(Store(layouts["faces"]))
    tensors = batch_of(data)
    images = torch.from_numpy(cv2.GaussianBlur(np.random.default_rng(0).normal(size=(LARGE, LARGE, 3)), (0, 0), 4.0))
    images = (images * 600 + 128).clip(0, 255).byte().permute(2, 0, 1).expand(12, -1, -1, -1)
    once = augment(tensors | {"images": images}, config_of(*MOVED), SIZE)["images"]
    crops = {name: tensor for name, tensor in tensors.items() if name != "windows"}
    crops["images"] = cut_crops(images, tensors["windows"], SIZE)
    twice = augment(crops, config_of(*MOVED), SIZE)["images"]
    inside = slice(45, -45)  # of what is beyond the crop only the first has the pixels
    assert (once - twice)[..., inside, inside].abs().mean() < 1
    assert (once - twice)[..., inside, inside].abs().max() < 6


def test_beyond_a_picture_is_its_reflection() -> None:
    picture = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    picture[..., :10] = 200  # a strip at the left
    tensors = {
        "images": picture,
        "params": torch.zeros(1, 10),
        "landmarks": torch.zeros(1, 1, 2),
        "visibility": torch.zeros(1, 1),
        "draws": draws_of(1, shift_x=1.0),
    }
    out = augment(tensors, config_of(*OFF, "augmentation.shift=0.25"), SIZE)["images"][0, 0, 50]
    assert (out[20:36] == 200).all(), "28.5 pixels to the right: 9.5 beside the edge are the strip once more"
    assert not out[:18].any()
    assert not out[40:].any()


def test_mirroring_and_moving_commute(data: StoreRows) -> None:
    """The flipped crop, moved, is the crop moved the other way round, flipped; and flipping twice is nothing."""
    rows = data.rows_of(np.ones(len(data.subjects), bool))[:12]
    plain, flipped = (
        to_device(data.batch(rows, data.read_pictures(rows, turned), turned), CPU)
        for turned in (np.zeros(12, bool), np.ones(12, bool))
    )
    draws = torch.from_numpy(draw(np.random.default_rng(5), 12))
    turned = draws.clone()
    for name in ("rotation", "shift_x"):
        turned[:, NUMBERS.index(name)] = 1 - draws[:, NUMBERS.index(name)]
    a = augment(plain | {"draws": draws}, config_of(*MOVED), SIZE)
    b = augment(flipped | {"draws": turned}, config_of(*MOVED), SIZE)
    assert (a["images"] - b["images"].flip(3)).abs().max() < 0.1
    mirror = get_scheme("ibug68").mirror
    back = b["landmarks"][:, mirror] * torch.tensor([-1, 1]) + torch.tensor([SIZE - 1, 0])
    np.testing.assert_allclose(a["landmarks"], back, atol=1e-3)


def test_a_batch_is_changed_alike_on_any_number_of_ranks(data: StoreRows) -> None:
    rows = data.rows_of(np.ones(len(data.subjects), bool))
    config = config_of(*EVERYTHING)

    def changed(first: int, rank: int, world: int) -> list[dict[str, Tensor]]:
        stream = TrainingStream(data, rows, 8, seed=3, mirror=0.5, rank=rank, world=world)
        return [augment(to_device(batch, CPU), config, SIZE) for batch in stream.read(first, 7 - first)]

    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    whole, resumed = changed(0, 0, 1), changed(4, 0, 1)
    assert (torch.random.get_rng_state() == state).all(), "dropout's random numbers are not used up"
    for name, tensor in whole[4].items():
        np.testing.assert_array_equal(tensor, resumed[0][name])
    for parts in zip(whole, changed(0, 0, 2), changed(0, 1, 2), strict=True):
        for name, tensor in parts[0].items():
            np.testing.assert_array_equal(tensor, torch.cat([part[name] for part in parts[1:]]), name)
    assert (whole[0]["images"] != whole[1]["images"]).any()


def test_augmentation_changes_no_input_and_ignores_autocast(data: StoreRows) -> None:
    tensors = batch_of(data)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    out = augment(tensors, config_of(*EVERYTHING), SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        again = augment(tensors, config_of(*EVERYTHING), SIZE)
    for name, tensor in before.items():
        assert torch.equal(tensors[name], tensor), name
    for name, tensor in out.items():
        assert torch.equal(again[name], tensor), name
    assert out["images"].min() >= 0
    assert out["images"].max() <= 255


def test_stored_pictures_without_random_numbers_are_for_measuring(data: StoreRows) -> None:
    rows = data.rows_of(np.ones(len(data.subjects), bool))[:4]
    batch = data.batch(rows, data.read_pictures(rows), np.zeros(4, bool))
    assert batch.draws is None
    assert "draws" not in to_device(batch, CPU)
    stream = TrainingStream(data, rows, 4, seed=0, mirror=0.0)
    assert "draws" not in to_tensors(next(stream.read(0, 1)), SIZE, CPU)


def images_of(count: int = 6) -> dict[str, Tensor]:
    noise = np.random.default_rng(0).integers(0, 256, (count, 40, 40, 3), np.uint8)
    labels = {
        "params": torch.zeros(count, 10),
        "landmarks": torch.zeros(count, 1, 2),
        "visibility": torch.zeros(count, 1),
    }
    return labels | {"images": torch.from_numpy(noise).permute(0, 3, 1, 2)}


def test_brightness_and_contrast_are_about_the_mean() -> None:
    tensors = images_of() | {"draws": draws_of(6, brightness=0.75, contrast=0.0)}
    out = augment(tensors, config_of("training.brightness=0.2", "training.contrast=0.3"), 40)["images"]
    images = tensors["images"].float()
    middle = images.mean((1, 2, 3), keepdim=True)
    np.testing.assert_allclose(out, ((images - middle) * 0.7 + middle + 0.1 * 255).clamp(0, 255), atol=1e-3)


def test_saturation_and_tint() -> None:
    tensors = images_of() | {"draws": draws_of(6, saturation=0.0)}
    grey = augment(tensors, config_of(*OFF, "augmentation.saturation=1.0"), 40)["images"]
    assert (grey.amax(1) - grey.amin(1)).max() < 1e-3, "no saturation is grey"
    assert (grey.mean(1) - tensors["images"].float().mean(1)).abs().max() < 80
    tensors["draws"] = draws_of(6, red=0.0, blue=1.0)
    tinted = augment(tensors, config_of(*OFF, "augmentation.tint=0.5"), 40)["images"]
    factors = torch.tensor([0.5, 1.0, 1.5])[:, None, None]
    np.testing.assert_allclose(tinted, (tensors["images"] * factors).clamp(max=255), atol=1e-3)


def test_blur_is_a_gaussian_of_those_that_it_was_drawn_for() -> None:
    tensors = images_of() | {"draws": draws_of(6, blur=0.9, blur_sigma=0.75)}
    tensors["draws"][:3, NUMBERS.index("blur")] = 0.1
    out = augment(tensors, config_of(*OFF, "augmentation.blur=0.5", "augmentation.blur_sigma=2.0"), 40)["images"]
    np.testing.assert_array_equal(out[3:], tensors["images"][3:])
    for image, blurred in zip(tensors["images"][:3].permute(0, 2, 3, 1).numpy(), out, strict=False):
        expected = cv2.GaussianBlur(image.astype(np.float64), (13, 13), 1.5, borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(blurred.permute(1, 2, 0), expected, atol=1e-3)


@pytest.mark.parametrize("filling", [0.1, 0.5, 0.9])
def test_occlusion_covers_one_rectangle_of_those_that_it_was_drawn_for(filling: float) -> None:
    shape = {"x": 0.5, "y": 0.25, "width": 0.99999, "height": 0.0}
    tensors = images_of() | {"draws": draws_of(6, filling=filling, grain=0.8, fill_red=0.9, **shape)}
    tensors["draws"][:3, NUMBERS.index("occlusion")] = 0.1
    settings = (*OFF, "augmentation.occlusion=0.5", "augmentation.occlusion_size=0.5")
    out = augment(tensors, config_of(*settings), 40)["images"]
    images = tensors["images"].float()
    np.testing.assert_array_equal(out[3:], images[3:])
    # 20 pixels wide about 19.5, 6 high about 9.75.
    inside = torch.zeros(40, 40, dtype=torch.bool)
    inside[7:13, 10:30] = True
    np.testing.assert_array_equal(out[:3, :, ~inside], images[:3, :, ~inside])
    patch = out[:3, :, inside]
    assert (patch != images[:3, :, inside]).float().mean() > 0.9
    if filling < 1 / 3:
        np.testing.assert_allclose(patch, torch.tensor([0.9, 0.5, 0.5])[None, :, None].expand_as(patch) * 255)
    elif filling < 2 / 3:
        assert patch.std() > 20
    else:
        np.testing.assert_array_equal(patch, images[:3].flip(2, 3)[:, :, inside])


def test_no_crops_are_none() -> None:
    tensors = {name: tensor[:0] for name, tensor in images_of().items()} | {"draws": draws_of(0)}
    assert augment(tensors, config_of(*EVERYTHING), 40)["images"].shape == (0, 3, 40, 40)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("augmentation.rotation=200", "augmentation.rotation"),
        ("augmentation.shift=-0.1", "augmentation.shift"),
        ("augmentation.blur=1.5", "augmentation.blur"),
        ("augmentation.occlusion_size=0.0", "augmentation.occlusion_size"),
        ("augmentation.shear=0.1", "augmentation.shear: Extra inputs"),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        config_of(setting)
