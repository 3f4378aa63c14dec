"""The size in a header is the size that OpenCV decodes, in every format that data sets come in."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from fuzzing import mutants
from matlab import cell, write_mat73
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


@pytest.mark.parametrize("form", ["JPEG2000", "GIF"])
def test_a_format_that_only_opencv_knows_is_refused(tmp_path: Path, form: str) -> None:
    """OpenCV decodes them, and a GIF of 54 bytes that claims 12,000 x 12,000 pixels fills a gigabyte."""
    path = tmp_path / "a.jpg"
    Image.fromarray(PHOTO).save(path, form)
    assert read_size(io.BytesIO(path.read_bytes())) is None
    for read in (image_size, read_image):
        with pytest.raises(ImageError, match=r"a\.jpg: not an image, or none of JPEG, PNG.*convert it"):
            read(path)


def app1(orientation: int, *, order: str = "<", kind: int = 3, prefix: bytes = b"Exif\0\0", tag: int = 0x112) -> bytes:
    """A JPEG's segment of EXIF with one field."""
    value = struct.pack(order + ("I" if kind == 4 else "H2x"), orientation)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = prefix + mark + struct.pack(order + "IHHHI", 8, 1, tag, kind, 1) + value + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


JPEG = encoded("JPEG")
FRAME_END = JPEG.index(b"\xff\xc4")


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:2] + app1(6, order=">") + JPEG[2:],
        JPEG[:2] + app1(6, kind=4) + JPEG[2:],
        JPEG[:2] + app1(6, order=">", kind=4) + JPEG[2:],
        JPEG[:2] + app1(6, kind=1) + JPEG[2:],
        JPEG[:2] + app1(6, prefix=b"http:/") + JPEG[2:],
        JPEG[:2] + app1(6, prefix=b"http:/") + app1(6) + JPEG[2:],
        JPEG[:2] + app1(1, tag=0x128) + app1(6) + JPEG[2:],
        *(JPEG[:2] + app1(first) + app1(second) + JPEG[2:] for first, second in ((1, 6), (6, 1), (9, 6), (0, 6))),
        JPEG[:FRAME_END] + app1(6) + JPEG[FRAME_END:],
    ],
)
def test_exif_counts_where_it_does_for_opencv(data: bytes) -> None:
    assert read_size(io.BytesIO(data)) == decode_image(data, "x").shape[1::-1]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("animated", [False, True])
@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
def test_exif_of_a_png_stands_before_or_behind_its_pixels(place: bytes, animated: bool) -> None:
    png = encoded("PNG")
    if animated:
        file = io.BytesIO()
        frames = [Image.fromarray(PHOTO), Image.fromarray(255 - PHOTO)]
        frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
        png = file.getvalue()
    at = png.index(place) - 4
    data = png[:at] + chunk(b"eXIf", app1(6)[10:]) + png[at:]
    assert read_size(io.BytesIO(data)) == decode_image(data, "x").shape[1::-1] == ((80, 50) if animated else (50, 80))


def test_the_first_of_two_sizes_in_a_tiff_counts() -> None:
    """As for OpenCV, else a small second one would hide a large first."""
    fields = [(256, 3, 80), (256, 3, 8), (257, 3, 50), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    fields += [(273, 4, 250), (277, 3, 1), (278, 3, 50), (279, 4, 4000)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in fields)
    data = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(5000)
    assert read_size(io.BytesIO(data)) == decode_image(data, "x").shape[1::-1] == (80, 50)


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
    path = write_mat73(tmp_path / "set.mat", {"n": other, "Is": cell(PHOTO, PHOTO[..., 0], other, PHOTO[:0])})
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
    path = write_mat73(tmp_path / "set.mat", {"Is": cell(PHOTO[:8, :9], PHOTO[:5, :5, 0])})
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
