"""``pifa morphable render``: pictures to check a mapping by eye."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from synthetic import SCHEME

from cli import main
from pifa_data.drawing import mesh_depth
from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.mapping import complete_model
from pifa_data.schemes import SCHEMES
from pipelines.models import RENDER_SIZE, run_render

GREEN, DIM = (0, 220, 0), (120, 90, 90)


@pytest.fixture(scope="module")
def whole(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model with every scheme."""
    arrays = {name: getattr(model, name) for name in ("mean", "identity", "expression", "triangles")}
    path = tmp_path_factory.mktemp("render") / "whole.safetensors"
    made = complete_model(
        name="whole", ibug68=model.landmarks[SCHEME], units="centimetre", licence="MIT", source="", **arrays
    )
    made.save(path)
    return path


def picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image[..., ::-1]


def count(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((image == colour).all(2).sum())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_drawn(whole: Path, tmp_path: Path, scheme: str) -> None:
    run_render(str(whole), tmp_path / "plain.png")
    run_render(str(whole), tmp_path / "marked.png", landmarks=True, scheme=scheme)
    plain, marked = picture(tmp_path / "plain.png"), picture(tmp_path / "marked.png")
    assert marked.shape == (RENDER_SIZE, RENDER_SIZE, 3)
    assert count(plain, GREEN) == 0
    assert count(marked, GREEN) > 10 * len(SCHEMES[scheme])


def test_points_that_look_away_are_dimmed(whole: Path, tmp_path: Path) -> None:
    dimmed = []
    for yaw in (0.0, 80.0):
        run_render(str(whole), tmp_path / "a.png", yaw=yaw, landmarks=True)
        dimmed.append(count(picture(tmp_path / "a.png"), DIM))
    assert dimmed[1] > 2 * dimmed[0]


def test_contour_lines_change_the_picture_and_landmarks_stay_on_top(whole: Path, tmp_path: Path) -> None:
    run_render(str(whole), tmp_path / "a.png", landmarks=True)
    run_render(str(whole), tmp_path / "b.png", landmarks=True, contours=True)
    before, after = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    assert (before != after).any(axis=2).sum() > 2000
    assert count(after, GREEN) == pytest.approx(count(before, GREEN), rel=0.01)


def test_a_scheme_that_is_not_there_is_named(synthetic: Path, whole: Path, tmp_path: Path) -> None:
    bare = str(synthetic / "model.safetensors")  # with ibug68 alone
    with pytest.raises(MorphableError, match="no landmark vertices for the scheme wflw98; it has ibug51, ibug68"):
        run_render(bare, tmp_path / "a.png", landmarks=True, scheme="wflw98")
    with pytest.raises(MorphableError, match="no contour lines for cofw29; it has ibug68, lapa106, pifa34, wflw98"):
        run_render(str(whole), tmp_path / "a.png", contours=True, scheme="cofw29")
    with pytest.raises(MorphableError, match="coefficients"):
        run_render(bare, tmp_path / "a.png", coefficients=(0.0,) * 1000)
    assert not (tmp_path / "a.png").exists()


def test_the_command(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    options = ["--landmarks", "--scheme", "wflw98", "--contours", "--yaw", "-45", "--coefficients", "1,-1"]
    result = CliRunner().invoke(main, ["morphable", "render", str(whole), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    assert picture(out).shape == (RENDER_SIZE, RENDER_SIZE, 3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("options", [["--coefficients", "nan"], ["--coefficients", "0,inf"], ["--yaw", "inf"]])
def test_what_is_no_number_is_refused(whole: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "a.png"
    result = CliRunner().invoke(main, ["morphable", "render", str(whole), "--out", str(out), "--landmarks", *options])
    assert result.exit_code == 1
    assert "can't be drawn" in result.stderr
    assert not out.exists()


def test_mesh_depth_keeps_the_nearest_surface() -> None:
    square = np.array([[10.0, 10], [90, 10], [90, 90], [10, 90]])
    points = np.concatenate([square, square / 2 + 25])
    depth = np.r_[np.full(4, 5.0), np.full(4, 2.0)]
    triangles = np.array([[4, 5, 6], [4, 6, 7], [0, 1, 2], [0, 2, 3]])
    picture = mesh_depth(points, depth, triangles, (100, 100))
    assert (picture[50, 50], picture[15, 50], picture[2, 2]) == (2, 5, np.inf)
