"""The expressions of the builtin model."""

from __future__ import annotations

import numpy as np
import pytest

from pifa_data.morphable.making import Surface, expression_mirror, expression_modes, warp

FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def modes(surface: Surface) -> dict[str, np.ndarray]:
    names, offsets = expression_modes(surface)
    assert len(names) == len(set(names)) == 29
    assert offsets.shape == (29, len(surface.vertices), 3)
    return dict(zip(names, offsets, strict=True))


def _landmarks(surface: Surface, offsets: np.ndarray) -> np.ndarray:
    return (surface.vertices + offsets)[surface.landmarks]


def test_sizes_are_natural(modes: dict[str, np.ndarray]) -> None:
    for name, offsets in modes.items():
        assert np.isfinite(offsets).all()
        largest = np.linalg.norm(offsets, axis=1).max()
        assert 2 < largest < (45 if name == "jaw_open" else 13), f"{name}: {largest:.1f} mm"


def test_mirror_images_are_in_the_model(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    permutation, signs = expression_mirror()
    offsets = np.array(list(modes.values()))
    assert np.array_equal(permutation[permutation], np.arange(29))
    assert set(signs.tolist()) == {-1.0, 1.0}
    mirrored = offsets[:, surface.mirror] * FLIP
    assert np.allclose(mirrored, signs[:, None, None] * offsets[permutation], atol=1e-12)


def test_expressions_are_independent(modes: dict[str, np.ndarray]) -> None:
    flat = np.array([offsets.ravel() / np.linalg.norm(offsets) for offsets in modes.values()])
    assert np.linalg.svd(flat, compute_uv=False).min() > 0.05


def test_eyeballs_and_ears_stay(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    still = surface.parts["eyeball"].copy()
    still[surface.lines["helix"]] = True
    for name, offsets in modes.items():
        assert np.abs(offsets[still]).max() < 0.5, name


def test_jaw_open_lowers_the_chin_and_parts_the_lips(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    before, after = _landmarks(surface, 0 * modes["jaw_open"]), _landmarks(surface, modes["jaw_open"])
    assert after[8, 1] < before[8, 1] - 14
    assert after[8, 2] < before[8, 2] - 5, "the chin goes back as it goes down"
    assert after[62, 1] - after[66, 1] > 15
    assert np.allclose(after[27:36], before[27:36], atol=0.5)
    assert np.allclose(after[36:48], before[36:48], atol=0.1)


def test_blink_brings_the_upper_lids_to_the_lower(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    before, after = _landmarks(surface, 0 * modes["blink"]), _landmarks(surface, modes["blink"])
    for up, low in ((43, 47), (44, 46), (37, 41), (38, 40)):
        opening = before[up, 1] - before[low, 1]
        assert after[up, 1] - after[low, 1] < 0.2 * opening
        # The lid stays in front of the eyeball that it slides over.
        ball = surface.vertices[surface.parts["eyeball"]]
        near = np.linalg.norm(ball[:, :2] - after[up, :2], axis=1).argmin()
        assert after[up, 2] > ball[near, 2]


def test_half_a_blink_and_a_wink_close_one_eye(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    opening = np.ptp(_landmarks(surface, 0 * modes["blink"])[[43, 47], 1])
    after = _landmarks(surface, 0.5 * modes["blink"] + modes["wink"])
    assert after[43, 1] - after[47, 1] < 0.2 * opening
    assert after[38, 1] - after[40, 1] > 0.8 * opening


def test_mouth_corners(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    corner = {name: offsets[surface.landmarks[54]] for name, offsets in modes.items()}
    assert corner["smile"][0] > 3
    assert corner["smile"][1] > 3
    assert corner["frown"][1] < -3
    assert corner["mouth_stretch"][0] > 4
    assert corner["pucker"][0] < -5
    left = modes["mouth_sideways"][surface.landmarks[48]]
    assert corner["mouth_sideways"][0] > 3
    assert left[0] > 3


def test_brows(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    inner, outer = surface.landmarks[[21, 22]], surface.landmarks[[17, 26]]
    assert (modes["brow_inner_up"][inner, 1] > 4).all()
    assert (modes["brow_outer_up"][outer, 1] > 4).all()
    assert (modes["brow_down"][inner, 1] < -3).all()


def test_lips_do_not_pass_through_each_other(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    upper, lower = surface.landmarks[[61, 62, 63]], surface.landmarks[[67, 66, 65]]
    for name, offsets in modes.items():
        if name.endswith("sideways"):
            continue
        moved = surface.vertices + offsets
        assert (moved[upper, 1] - moved[lower, 1] > -1.0).all(), name


def test_no_expression_turns_the_skin_inside_out(surface: Surface, modes: dict[str, np.ndarray]) -> None:
    def areas(vertices: np.ndarray) -> np.ndarray:
        a, b, c = (vertices[surface.triangles[:, k]] for k in range(3))
        return np.cross(b - a, c - a)

    rest = areas(surface.vertices)
    for name, offsets in modes.items():
        turned = (areas(surface.vertices + offsets) * rest).sum(1) < 0
        assert turned.mean() < 0.01, f"{name}: {turned.sum()} triangles"


def test_expressions_of_a_warped_face(surface: Surface) -> None:
    p = surface.vertices[surface.landmarks]
    longer = warp(surface, p * [0.95, 1.06, 1.0])
    names, offsets = expression_modes(longer)
    _, signs = expression_mirror()
    assert np.allclose(offsets[:, longer.mirror] * FLIP, signs[:, None, None] * offsets, atol=1e-12)
    after = (longer.vertices + offsets[names.index("blink")])[longer.landmarks]
    assert after[43, 1] - after[47, 1] < 2
