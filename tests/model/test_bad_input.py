"""Pictures that are none: refused by name before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from test_config_checkpoint import make_checkpoint

from pifa_data.errors import ImageError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import load_checkpoint
from pifa_model.engine import TorchEngine
from pifa_model.inference import Aligner


@pytest.fixture(scope="module")
def aligner(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Aligner:
    file = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    make_checkpoint(file, model)
    return Aligner(TorchEngine(load_checkpoint(file, model)))


@pytest.fixture
def idle(aligner: Aligner) -> Iterator[Aligner]:
    """An aligner whose blocks and layer must not be reached."""

    def reached(*_: object) -> None:
        raise AssertionError("computed on what is no picture")

    layers = [aligner.torch("").network.visualization, *aligner.torch("").network.blocks]
    handles = [layer.register_forward_pre_hook(reached) for layer in layers]
    yield aligner
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 100, 100, dtype=torch.uint8), r"expected \(B, 3, 114, 114\), found \(2, 3, 100, 100\)$"),
        (torch.zeros(2, 1, 114, 114), r"expected \(B, 3, 114, 114\), found \(2, 1, 114, 114\)"),
        (torch.zeros(3, 114, 114), r"found \(3, 114, 114\)$"),
        (torch.zeros(2, 114, 114, 3), r"channels last: give images.permute\(0, 3, 1, 2\)"),
        (torch.zeros(2, 3, 114, 114, dtype=torch.int64), "expected uint8 or a floating-point type.*torch.int64"),
        (torch.zeros(2, 3, 114, 114, dtype=torch.bool), "found torch.bool"),
    ],
)
def test_the_network_takes_only_pictures(idle: Aligner, images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        idle.torch("").network(images)


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        (np.zeros((2, 3, 114, 114), np.uint8), r"crops: expected \(N, 114, 114, 3\) uint8 RGB.* \(2, 3, 114, 114\)"),
        (np.zeros((2, 100, 100, 3), np.uint8), r"found shape \(2, 100, 100, 3\)"),
        (np.zeros((2, 114, 114, 3), np.float32), "0-255, found float32"),
    ],
)
def test_the_aligner_takes_only_crops(idle: Aligner, crops: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        idle.align_crops(crops)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 200, 200), np.uint8), r"image: expected \(H, W, 3\) uint8 RGB, channels last"),
        (np.zeros((200, 200), np.uint8), r"found shape \(200, 200\)"),
        (np.zeros((200, 200, 4), np.uint8), r"found shape \(200, 200, 4\)"),
        (np.zeros((200, 200, 3)), "found float64"),
    ],
)
def test_the_aligner_takes_only_images(idle: Aligner, image: np.ndarray, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        idle(image, [[50, 50, 150, 150]])


def test_pictures_are_taken(aligner: Aligner) -> None:
    assert len(aligner(np.zeros((200, 200, 3), np.uint8), [[50, 50, 150, 150]])) == 1
    assert aligner.align_crops(np.zeros((0, 114, 114, 3), np.uint8)).landmarks.shape == (7, 0, 68, 2)
