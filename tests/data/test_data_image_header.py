"""The size in a header is the size that OpenCV decodes, in every format that data sets come in."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzzing import mutants
from matlab import write_mat73
from PIL import Image

from pifa_data.errors import ImageError
from pifa_data.image_header import read_size
from pifa_data.images import LARGEST_PIXELS, decode_image, image_exists, image_size, read_image

PHOTO = cv2.resize(np.random.default_rng(0).integers(0, 255, (5, 8, 3), np.uint8), (80, 50))

FORMS: dict[str, dict[str, object]] = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "PNG": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "TIFF": {},
    "BMP": {},
    "PPM": {},
}


def encoded(form: str, orientation: int = 0) -> bytes:
    """The photograph, 80 wide and 50 high, by Pillow, with an EXIF orientation where the format has one."""
    name = form.partition(" ")[0]
    options = dict(FORMS[form])
    if orientation and name not in ("BMP", "PPM"):
        exif = Image.Exif()
        exif[0x112] = orientation
        options["exif"] = exif
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", [0, 1, 3, 5, 6, 8])
def test_the_size_is_the_decoded_one(tmp_path: Path, form: str, orientation: int) -> None:
    path = tmp_path / "é image"
    path.write_bytes(encoded(form, orientation))
    height, width = read_image(path).shape[:2]
    assert read_size(io.BytesIO(path.read_bytes())) == image_size(path) == (width, height)
    turned = orientation in (5, 6, 8) and form not in ("BMP", "PPM")
    assert (width, height) == ((50, 80) if turned else (80, 50))
    assert image_exists(path)


@pytest.mark.parametrize("form", FORMS)
def test_mutated_images_have_the_size_that_they_decode_to(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    same = 0
    for data in mutants(encoded(form, 6), 100):
        size = read_size(io.BytesIO(data))
        try:
            decoded = decode_image(data, "x").shape[1::-1]
        except ImageError:
            continue
        # A damaged orientation is read in one way or the other; more pixels than the header says, never come.
        assert size is not None
        assert sorted(size) == sorted(decoded)
        same += size == decoded
    assert same > 10 or form.startswith("PNG")  # whose checksums refuse nearly all
    capfd.readouterr()  # the decoders complain on stderr


def test_a_tiff_whose_directory_stands_at_its_end(tmp_path: Path) -> None:
    done, data = cv2.imencode(".tiff", np.zeros((700, 900, 3), np.uint8), [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    assert done
    (tmp_path / "a.tiff").write_bytes(data.tobytes())
    assert len(data) > 2**20
    assert image_size(tmp_path / "a.tiff") == (900, 700)


def test_a_format_that_only_opencv_knows_is_decoded_for_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    Image.fromarray(PHOTO).save(path, "JPEG2000")
    assert read_size(io.BytesIO(path.read_bytes())) is None
    assert image_size(path) == (80, 50)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    side = int(LARGEST_PIXELS**0.5) + 1
    png = bytearray(encoded("PNG"))
    png[16:24] = struct.pack(">2I", side, side)
    jpeg = bytearray(encoded("JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">2H", side, side)
    for name, data in (("a.png", png), ("a.jpg", jpeg)):
        (tmp_path / name).write_bytes(data)
        for read in (image_size, read_image):
            with pytest.raises(ImageError, match=rf"{name}: expected at most {LARGEST_PIXELS} pixels.*found {side}"):
                read(tmp_path / name)


def test_what_is_no_image_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("text")
    for path in (tmp_path / "none.jpg", tmp_path, tmp_path / "text.jpg", tmp_path / "a\0b", tmp_path / ("x" * 5000)):
        with pytest.raises(ImageError):
            image_size(path)
    assert not image_exists(tmp_path / "none.jpg")
    assert not image_exists(tmp_path)
    assert not image_exists(tmp_path / "a\0b")


def test_images_within_a_matlab_file(tmp_path: Path) -> None:
    other = np.array([[1.5, 2.5]])
    path = write_mat73(tmp_path / "set.mat", {"n": other}, {"Is": [PHOTO, PHOTO[..., 0], other, PHOTO[:0]]})
    np.testing.assert_array_equal(read_image(path / "Is" / "1"), PHOTO)
    np.testing.assert_array_equal(read_image(path / "Is" / "2"), np.repeat(PHOTO[..., :1], 3, axis=2))
    assert image_size(path / "Is" / "1") == image_size(f"{path}/Is/2") == (80, 50)
    assert image_exists(path / "Is" / "2")
    for name in (
        "Is/0",
        "Is/3",
        "Is/4",
        "Is/5",
        "Is/-1",
        "Is/x",
        "Is/1/1",
        "Is",
        "n/1",
        "none/1",
        "../other/1",
        "Is/9" + "9" * 30,
    ):
        for read in (image_size, read_image):
            with pytest.raises(ImageError, match=r"set\.mat|other"):
                read(path / name)
        assert not image_exists(path / name)


def test_mutated_matlab_files_give_images_or_our_errors(tmp_path: Path) -> None:
    path = write_mat73(tmp_path / "set.mat", {}, {"Is": [PHOTO[:8, :9], PHOTO[:5, :5, 0]]})
    for data in mutants(path.read_bytes(), 200):
        path.write_bytes(data)
        for number in (1, 2):
            try:
                image = read_image(path / "Is" / str(number))
            except ImageError:
                continue
            assert image.shape[2] == 3


def test_real_samples(shared_data: Path) -> None:
    paths = [path for suffix in ("jpg", "png") for path in sorted(shared_data.glob(f"samples/*/*.{suffix}"))]
    assert len(paths) > 5
    for path in paths:
        height, width = read_image(path).shape[:2]
        assert image_size(path) == (width, height)
