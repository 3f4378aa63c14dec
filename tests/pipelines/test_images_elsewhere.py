"""``pifa prep --images``: labels in one place, images in another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import good, pifa

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face
from pifa_data.store import Store
from pipelines.sources import stream_faces


def files(source: str, images: str | None) -> list[str]:
    return [face.file for face in stream_faces([source], images=images) if isinstance(face, Face)]


@pytest.fixture
def labels(synthetic: Path, tmp_path: Path) -> Path:
    """The synthetic faces' labels without their images."""
    (tmp_path / "labels").mkdir()
    shutil.copy(synthetic / "faces" / "keypoints.csv", tmp_path / "labels")
    return tmp_path / "labels"


@pytest.mark.parametrize("images", ["s3://bucket/faces", "s3://bucket/faces/", "elsewhere"])
@pytest.mark.parametrize("source", ["labels", "labels/", "./labels", "keypoints-csv:labels", "absolute"])
def test_images_are_looked_up_below_the_place(
    labels: Path, source: str, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(labels.parent)
    found = files(str(labels) if source == "absolute" else source, images)
    assert len(found) == 24
    assert all(file.startswith(f"{images.rstrip('/')}/images/t") and "//t" not in file for file in found)


def test_images_beside_the_labels_are_then_not_taken(synthetic: Path) -> None:
    assert files(str(synthetic / "faces"), "elsewhere")[0].startswith("elsewhere/images/")


def test_labels_of_300w_name_their_images_without_them(tmp_path: Path) -> None:
    rows = "\n".join(f"{x} {x * x / 9}" for x in range(68))
    for name in ("helen/trainset/1_1", "lfpw/testset/image_0001", "ibug/image_003_1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    (tmp_path / "ibug" / "image_003_1.png").write_bytes(b"")  # which tells the suffix
    assert sorted(files(f"300w:{tmp_path}", "s3://bucket/300W")) == [
        "s3://bucket/300W/helen/trainset/1_1.jpg",
        "s3://bucket/300W/ibug/image_003_1.png",
        "s3://bucket/300W/lfpw/testset/image_0001.png",
    ]


def test_labels_of_wflw_name_their_images_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path("WFLW") / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    (tmp_path / place).mkdir(parents=True)
    numbers = " ".join(f"{10 + i % 50}.5 {20 + i}" for i in range(98)) + " 5 5 90 130 0 0 0 0 0 0"
    (tmp_path / place / "list_98pt_rect_attr_train.txt").write_text(f"{numbers} 0--Parade/a.jpg\n")
    monkeypatch.chdir(tmp_path)
    assert files("wflw:WFLW", "s3://bucket/WFLW") == ["s3://bucket/WFLW/WFLW_images/0--Parade/a.jpg"]
    with pytest.raises(AnnotationError, match="would not be below WFLW/WFLW_annotations, the source's own folder"):
        files("wflw:WFLW/WFLW_annotations", "s3://bucket/WFLW")


def test_a_store_of_images_elsewhere_is_the_same(synthetic: Path, labels: Path, tmp_path: Path) -> None:
    model = synthetic / "model.safetensors"
    options = ("--morphable", model, "--copies", 1, "--size", 32, "--limit", 3, "--workers", 1)
    store = tmp_path / "S.zarr"
    good("prep", labels, "--images", synthetic / "faces", "--store", store, *options)
    assert Store(store).read("valid").all()
    assert np.ptp(Store(store).read("images"))
    wrong = pifa("prep", labels, "--images", tmp_path, "--store", tmp_path / "T.zarr", *options)
    assert wrong.exit_code == 1
    assert "these are labels alone, none of the 3 images is there (the first would be" in wrong.output
