"""Pictures for a card: charts of a run, and a publisher's own without their metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pifa_data.errors import ImageError
from pipelines.report_entries import ReportError
from pipelines.zoo_pictures import LARGEST_SIDE, checked_picture, run_pictures
from zoo.errors import ZooError
from zoo.pages.pictures import MAX_PICTURE_BYTES, picture_suffix

ROUNDS = "stage,step,train_loss,val_nme_block1,val_nme_block2\n1,10,80.5,12.0,11.0\n1,20,40.25,9.0,6.5\n"


def evaluation(path: Path, **changes: Any) -> Path:
    values = {
        **{"faces": 6, "normaliser": "tight", "nme": 4.25, "nme_per_block": [9.5, 4.25], "nme_initial": 20.0},
        **{"nme_by_yaw": {"0-30": 4.0, "30-60": 5.0, "60-90": None}, "source": "faces", "boxes": "tight"},
    }
    path.write_text(json.dumps(values | changes))
    return path


def as_file(folder: Path, image: np.ndarray, name: str) -> Path:
    assert cv2.imwrite(str(folder / name), image)
    return folder / name


def test_charts_of_a_run(tmp_path: Path) -> None:
    run, one, two = (tmp_path / name for name in ("run", "one", "two"))
    for folder in (run, one, two):
        folder.mkdir()
    (run / "metrics.csv").write_text(ROUNDS)
    metrics = [
        evaluation(tmp_path / "a.json"),
        evaluation(tmp_path / "b.json", source="$x_<b>", boxes="detector"),
        evaluation(tmp_path / "c.json", normaliser="box", nme_by_yaw={}),
    ]
    found = run_pictures(run, metrics, one)
    assert [(path.relative_to(one).as_posix(), caption) for path, caption in found] == [
        ("training.png", "Learning curves: training loss, and validation error after each block"),
        ("blocks.png", "Error after each block, % of the tight box"),
        ("blocks-2.png", "Error after each block, % of the data set's box"),
        ("yaw.png", "Error by yaw, % of the tight box"),
    ]
    for path, _ in found:
        data = path.read_bytes()
        assert picture_suffix(data, path.name) == ".png"
        assert b"tEXt" not in data  # no name of a program, no date
        image = cv2.imread(str(path))
        assert image is not None
        assert 0.6 < (image == 255).all(-1).mean() < 0.98
    assert run_pictures(run, [], two)[0][0].read_bytes() == found[0][0].read_bytes()


def test_what_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    assert run_pictures(None, [], tmp_path) == []
    assert run_pictures(tmp_path / "gone", [], tmp_path) == []
    bare = evaluation(tmp_path / "a.json", nme_per_block=[], nme_initial=None, nme_by_yaw={"0-30": None})
    assert run_pictures(None, [bare], tmp_path) == []
    (tmp_path / "b.json").write_text('{"faces": 1}')
    with pytest.raises(ZooError, match=r"b\.json"):
        run_pictures(None, [tmp_path / "b.json"], tmp_path)
    with pytest.raises(ReportError, match="no such"):
        run_pictures(None, [tmp_path / "c.json"], tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == []


def test_a_picture_is_written_anew(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    source = as_file(tmp_path, image, "a.png")
    source.write_bytes(source.read_bytes() + b"GPS: here")
    written = tmp_path / "own-0.png"
    checked_picture(source, written)
    assert b"GPS" not in written.read_bytes()
    assert np.array_equal(cv2.imread(str(written)), image)

    photo = as_file(tmp_path, image, "a.jpg").read_bytes()
    exif = b"\xff\xe1\x00\x10Exif\0\0GPS here"
    (tmp_path / "a.dat").write_bytes(photo[:2] + exif + photo[2:])  # its name does not say what it is
    written = tmp_path / "own-1.5.jpg"
    checked_picture(tmp_path / "a.dat", written)
    assert b"GPS" not in written.read_bytes()
    found = cv2.imread(str(written))
    assert found is not None
    assert found.shape == image.shape
    assert picture_suffix(written.read_bytes(), "") == ".jpg"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_transparent_becomes_white(tmp_path: Path, kind: type) -> None:
    image = np.zeros((4, 6, 4), kind)
    image[:, :2, 3] = np.iinfo(kind).max  # black
    image[:, 4:, 3] = np.iinfo(kind).max // 2  # half of it
    checked_picture(as_file(tmp_path, image, "a.png"), tmp_path / "b.png")
    found = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.shape == (4, 6, 3)
    assert found[0, :, 0].tolist() == [0, 0, 255, 255, 128, 128]


def test_a_large_picture_is_shrunk_to_what_a_registry_takes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (LARGEST_SIDE + 500, LARGEST_SIDE + 900, 3), dtype=np.uint8)

    def shrunk(image: np.ndarray) -> tuple[int, ...]:
        checked_picture(as_file(tmp_path, image, "a.bmp"), tmp_path / "b.png")
        found = cv2.imread(str(tmp_path / "b.png"))
        assert found is not None
        return found.shape

    assert shrunk(noise) == (round((LARGEST_SIDE + 500) * LARGEST_SIDE / (LARGEST_SIDE + 900)), LARGEST_SIDE, 3)
    assert shrunk(noise[:1]) == (1, LARGEST_SIDE, 3)
    # The largest there is: square, and noise again.
    assert shrunk(noise[:LARGEST_SIDE, :LARGEST_SIDE]) == (LARGEST_SIDE, LARGEST_SIDE, 3)
    assert 0.9 * MAX_PICTURE_BYTES < (tmp_path / "b.png").stat().st_size <= MAX_PICTURE_BYTES


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    good = as_file(tmp_path, np.full((40, 60, 3), 90, np.uint8), "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.png").write_text("<svg/>")
    bomb = good[:16] + (60_000).to_bytes(4, "big") * 2 + good[24:]
    (tmp_path / "bomb.png").write_bytes(bomb)
    for name in ("cut.png", "text.png", "bomb.png", "gone.png", "."):
        with pytest.raises(ImageError):
            checked_picture(tmp_path / name, tmp_path / "b.png")
    with pytest.raises(ImageError, match="ends in"):
        checked_picture(tmp_path / "a.png", tmp_path / "b.svg")
    assert not list(tmp_path.glob("b.*"))
