"""Face detectors: Haar cascades on the photograph that Matplotlib's wheel ships, YuNet on a model made here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data

from pifa_data.detection import Detection, Detector, input_box, open_detector
from pifa_data.detection.overlap import keep_apart, same_face
from pifa_data.detection.yunet import LARGEST, tight_of_points
from pifa_data.errors import DetectorError

EYES = (266.0, 189.0)
"""Between Grace Hopper's eyes, read off the picture."""
CHIN = 325.0


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    image = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def haar() -> Detector:
    return open_detector("haar")


def check_face(face: Detection, x: float = 0.0, scale: float = 1.0) -> None:
    """The boxes lie about Hopper's face, in a picture scaled and moved to the right."""
    eyes, chin = (EYES[0] * scale + x, EYES[1] * scale), CHIN * scale
    x0, y0, x1, y1 = face.tight
    assert x0 < eyes[0] < x1
    assert y0 < eyes[1] < (y0 + y1) / 2
    assert abs(y1 - chin) < 0.2 * (y1 - y0)
    assert face.box[1] < y0
    assert 0 < face.score < 1


def test_haar_finds_the_face_of_a_photograph(hopper: np.ndarray, haar: Detector) -> None:
    [face] = haar(hopper)
    check_face(face)
    assert input_box(face, "tight") is face.tight
    assert input_box(face, "detector") is face.box
    [large] = haar(cv2.resize(hopper, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
    check_face(large, scale=3)
    np.testing.assert_allclose(large.box, 3 * face.box, atol=60)


def test_haar_finds_several_and_none(hopper: np.ndarray, haar: Detector) -> None:
    part = hopper[:450]
    two = haar(np.concatenate([part, part[:, ::-1]], axis=1))
    assert len(two) == 2
    first, second = sorted(two, key=lambda face: float(face.box[0]))
    check_face(first)
    # The mirror image's boxes are the face's, mirrored.
    mirrored = 2 * hopper.shape[1] - 1 - second.tight[[2, 1, 0, 3]]
    np.testing.assert_allclose(mirrored[[0, 2]], first.tight[[0, 2]], atol=20)
    assert haar(np.full((300, 200, 3), 90, np.uint8)) == []
    for shape in ((1, 1, 3), (1, 5000, 3), (20, 20, 3)):
        assert haar(np.zeros(shape, np.uint8)) == []


def test_threads_share_a_detector(hopper: np.ndarray, haar: Detector) -> None:
    small = cv2.resize(hopper, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    pictures = [small, small[:, ::-1], small[20:], small[:, 20:]]
    alone = [haar(picture) for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(haar, pictures * 2))
    for one, other in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal([face.box for face in one], [face.box for face in other])


def test_opencv_without_cascades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(DetectorError, match=r"comes without Haar cascades; .*opencv-python<5"):
        open_detector("haar")


def test_unknown_names_list_the_choices() -> None:
    for name in ("mtcnn", "", "face.pt"):
        with pytest.raises(DetectorError, match=r"expected haar, or the file of a YuNet model \(\.onnx\)"):
            open_detector(name)


def detection(x: float, size: float, score: float) -> Detection:
    box = np.array([x, 0, x + size, size])
    return Detection(box, box, score)


def test_what_overlaps_is_one_face() -> None:
    preferred, same, nose, other = (
        detection(*of) for of in ((0, 100, 0.5), (20, 90, 0.9), (40, 20, 0.8), (95, 90, 0.7))
    )
    assert keep_apart([preferred, same, nose, other]) == [other, preferred]
    assert not same_face(preferred.box, other.box)


def test_the_tight_box_of_five_points_follows_the_head() -> None:
    points = np.array([[-30.0, 0], [30, 0], [0, 35], [-22, 70], [22, 70]])
    box = tight_of_points(points)
    assert (box[0] + box[2]) / 2 == pytest.approx(0)
    np.testing.assert_allclose(tight_of_points(2 * points + (100, 50)), 2 * box + (100, 50, 100, 50))
    # A nose that points to the left: the jaw is on the right.
    assert tight_of_points(points - [[0, 0], [0, 0], [20, 0], [0, 0], [0, 0]])[0] > box[0]
    assert np.isfinite(tight_of_points(np.zeros((5, 2)))).all()


@pytest.fixture(scope="module")
def yunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with YuNet's outputs that finds a face of 32 pixels in each bright cell of 32, and none of 8 or 16."""
    onnx = pytest.importorskip("onnx", reason="the model of this test is written with onnx (pip install 'pifa[onnx]')")
    make, arrays = onnx.helper, onnx.numpy_helper
    nodes, constants, outputs = [], [arrays.from_array(np.array([1, -1, 1], np.int64), "one")], []
    for stride in (8, 16, 32):
        for name, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            key = f"{name}_{stride}"
            weight = np.zeros((channels, 3, stride, stride), np.float32)
            bias = np.zeros(channels, np.float32)
            if channels == 1:  # above 200 of 255 in the mean
                weight += (1 if stride == 32 else 0) / (3 * stride**2)
                bias -= 200
            else:  # centres in the middle of the cell
                bias += np.resize([0.5, 0.5, 0, 0] if channels == 4 else [0.5], channels).astype(np.float32)
            constants += [arrays.from_array(weight, f"w_{key}"), arrays.from_array(bias, f"b_{key}")]
            constants.append(arrays.from_array(np.array([1, -1, channels], np.int64), f"s_{key}"))
            sides = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
            nodes.append(make.make_node("Conv", ["input", f"w_{key}", f"b_{key}"], [f"c_{key}"], **sides))
            nodes.append(make.make_node("Transpose", [f"c_{key}"], [f"t_{key}"], perm=[0, 2, 3, 1]))
            last = f"r_{key}" if channels == 1 else key
            nodes.append(make.make_node("Reshape", [f"t_{key}", f"s_{key}"], [last]))
            if channels == 1:
                nodes.append(make.make_node("Sigmoid", [last], [key]))
            outputs.append(make.make_tensor_value_info(key, 1, [1, None, channels]))
    picture = make.make_tensor_value_info("input", 1, [1, 3, 64, 64])
    graph = make.make_graph(nodes, "yunet", [picture], outputs, constants)
    path = tmp_path_factory.mktemp("yunet") / "yunet.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_yunet_gives_boxes_in_the_images_pixels(yunet: Path) -> None:
    detector = open_detector(yunet)
    assert detector.name == "yunet.onnx"
    image = np.zeros((480, 640, 3), np.uint8)
    image[64:96, 128:160] = 255
    image[320:352, 512:544] = 240
    faces = detector(image)
    np.testing.assert_allclose([face.box for face in faces], [[127.5, 63.5, 159.5, 95.5], [511.5, 319.5, 543.5, 351.5]])
    assert 1 >= faces[0].score >= faces[1].score > 0.9
    twice = detector(cv2.resize(image, (1280, 960), interpolation=cv2.INTER_NEAREST))
    np.testing.assert_allclose(twice[0].box, 2 * faces[0].box + 0.5)
    assert detector(np.zeros((50, 33, 3), np.uint8)) == []
    with ThreadPoolExecutor(3) as pool:
        assert [len(found) for found in pool.map(detector, [image, image[:200], image[:40]])] == [2, 1, 0]


def test_a_wrong_model_is_one_line(tmp_path: Path, yunet: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = yunet.read_bytes()
    for name, content in {
        "text": b"not a model",
        "empty": b"",
        "half": data[: len(data) // 2],
        "other": data.replace(b"cls_8", b"xls_8"),
        "large": bytes(LARGEST + 1),
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(DetectorError, match=f"{name}.onnx: expected a YuNet model") as error:
            open_detector(path)
        assert "\n" not in str(error.value)
    with pytest.raises(DetectorError, match="can't be read"):
        open_detector(tmp_path / "none.onnx")
    assert capfd.readouterr().err == ""
