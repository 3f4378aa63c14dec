"""The page of ``pifa serve`` in a browser: headless Chromium, where it is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browsing import POINTS, coloured
from driving import Driven, driving
from matplotlib.cbook import get_sample_data
from web_server import web_server

from pifa_data.detection import open_detector
from pipelines.checkpoints import load_aligner
from pipelines.serve.limits import Limits
from pipelines.serve.work import Worker


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures: of one face (Grace Hopper's, by the US Navy), two, none; too large a file; a text."""
    folder = tmp_path_factory.mktemp("photos")
    image = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    assert image is not None
    one = cv2.resize(image[:450], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "one.jpg"), one)
    cv2.imwrite(str(folder / "one.tiff"), one)
    cv2.imwrite(str(folder / "two.png"), np.concatenate([one, one[:, ::-1]], axis=1))
    cv2.imwrite(str(folder / "none.png"), np.full((200, 300, 3), (90, 120, 60), np.uint8))
    (folder / "large.bmp").write_bytes(b"BM" + bytes(1_200_000))
    (folder / "text.jpg").write_text("hello")
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    aligner, _ = load_aligner("pifa68-small", device="cpu")
    with web_server(Worker(aligner, open_detector("haar"), Limits(bytes=1_000_000), "pifa68-small")) as found:
        yield found


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    with driving(chromium, tmp_path_factory.mktemp("home")) as page:
        yield page


@pytest.fixture
def page(browser: Driven, address: str) -> Iterator[Driven]:
    """The page, as one finds it; at the end its console must have said nothing."""
    browser.log.clear()
    browser.look(1200, 900)
    browser.open(address)
    browser.wait("document.getElementById('served').textContent !== ''")
    yield browser
    assert browser.log == []


def dropped(page: Driven, photo: Path, faces: int) -> None:
    """Drop a photo and wait for its landmarks."""
    page.drop(photo)
    page.wait("document.getElementById('busy').hidden && !document.getElementById('result').hidden")
    assert page.run("document.getElementById('status').textContent").startswith(("No", "1", "2")[faces] + " face")


def pixels(data: bytes) -> np.ndarray:
    """``(N, 3)`` int RGB of a PNG."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture[..., ::-1].reshape(-1, 3).astype(int)


MESH = "document.getElementById('no-mesh').textContent === '' && !document.getElementById('face').hidden"


def turned(page: Driven, before: bytes) -> bytes:
    """The mesh's picture once it is another."""
    end = time.monotonic() + 30
    while (now := page.picture("#mesh")) == before:
        assert time.monotonic() < end, "the mesh does not change"
    return now


def test_a_photo_gets_landmarks_pose_and_a_mesh(page: Driven, photos: Path, address: str) -> None:
    blank = page.picture("#empty")
    assert coloured(pixels(blank), POINTS) == 0
    dropped(page, photos / "one.jpg", 1)
    assert coloured(pixels(page.picture("#photo")), POINTS) > 300
    page.run("document.querySelector('[data-show=points]').click()")
    assert coloured(pixels(page.picture("#photo")), POINTS) < 300
    page.run("document.querySelector('[data-show=points]').click()")
    assert page.run("document.getElementById('yaw').textContent").endswith("°")
    page.wait(MESH)
    time.sleep(0.05)
    first = turned(page, b"")
    page.run("document.getElementById('mesh').focus()")
    page.press("ArrowRight")
    second = turned(page, first)
    assert len(np.unique(pixels(second), axis=0)) > 1000  # a photo's colours
    page.run("document.querySelector('[name=skin][value=clay]').click()")
    turned(page, second)
    loaded = page.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(loaded) > 5
    assert all(name.startswith((address, "blob:")) for name in loaded)


def test_downloads(page: Driven, photos: Path, tmp_path: Path) -> None:
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    dropped(page, photos / "two.png", 2)
    page.wait("document.querySelectorAll('#faces button').length === 2")
    page.run("document.querySelectorAll('#faces button')[1].click()")
    page.wait(MESH)
    names = {"json": "two.json", "pts": "two_2.pts", "ply": "two_2.ply", "obj": "two_2.obj", "png": "two_faces.png"}
    for kind, name in names.items():
        page.run(f"document.querySelector('[data-get={kind}]').click()")
        end = time.monotonic() + 30
        while not (tmp_path / name).is_file():
            assert time.monotonic() < end, f"{name} does not come: {list(tmp_path.iterdir())}"
            time.sleep(0.01)
    time.sleep(0.1)
    record = json.loads((tmp_path / "two.json").read_text())
    assert (record["image"], len(record["faces"])) == ("two.png", 2)
    rows = (tmp_path / "two_2.pts").read_text().split("{\n")[1].split("\n}")[0].splitlines()
    points = np.array([row.split() for row in rows], float)
    assert np.abs(points - 1 - record["faces"][1]["landmarks"]).max() < 0.001
    assert (tmp_path / "two_2.ply").read_bytes().startswith(b"ply\nformat binary")
    assert (tmp_path / "two_2.obj").read_text().startswith("# x right")
    drawn, photo = cv2.imread(str(tmp_path / "two_faces.png")), cv2.imread(str(photos / "two.png"))
    assert drawn is not None
    assert photo is not None
    assert drawn.shape == photo.shape
    assert 0.005 < (np.abs(drawn.astype(int) - photo) > 30).any(-1).mean() < 0.2


def test_a_face_that_is_not_found_can_be_marked_by_keys_and_by_pointer(page: Driven, photos: Path) -> None:
    dropped(page, photos / "none.png", 0)
    assert not page.run("document.getElementById('none').hidden")
    page.run("document.getElementById('photo').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.press(key)
    page.press("ArrowRight", shift=True)
    page.press("Enter")
    page.wait("document.getElementById('status').textContent.startsWith('Face 1 added')")
    page.run("document.getElementById('mark').click()")
    at = page.place("#photo")
    x, y = at["x"] + 0.2 * at["width"], at["y"] + 0.2 * at["height"]
    for kind, by in (("mousePressed", 0), ("mouseMoved", 150), ("mouseReleased", 150)):
        page.call("Input.dispatchMouseEvent", type=kind, x=x + by, y=y + by, button="left", buttons=1, clickCount=1)
    page.wait("document.getElementById('status').textContent.startsWith('Face 2 added')")
    assert page.run("document.querySelectorAll('#faces button').length") == 2


def test_the_mesh_of_a_photo_that_the_browser_cannot_show_has_its_colours(page: Driven, photos: Path) -> None:
    dropped(page, photos / "one.tiff", 1)
    assert "can't show the photo" in page.run("document.getElementById('status').textContent")
    page.wait(MESH)
    time.sleep(0.05)
    drawn = pixels(turned(page, b""))
    assert (drawn.max(1) - drawn.min(1) > 40).mean() > 0.02  # skin


def test_nothing_can_be_marked_before_there_is_a_reply(page: Driven, photos: Path) -> None:
    page.run(
        "const real = window.fetch; window.fetch = (where, ...more) => String(where).startsWith('/api/align') ? "
        'Promise.resolve(new Response(\'{"status": 503, "reason": "busy"}\', {status: 503})) : real(where, ...more)'
    )
    page.drop(photos / "none.png")
    page.wait("document.querySelector('#alert p').textContent === 'busy'")
    assert page.run("document.getElementById('mark').disabled")


def test_the_camera_is_on_once_and_then_off(page: Driven, photos: Path) -> None:
    page.run(
        "window.streams = []; navigator.mediaDevices.getUserMedia = async () => {"
        " const made = document.createElement('canvas').captureStream(); window.streams.push(made); return made; }"
    )
    live = "window.streams.filter((s) => s.getTracks().some((t) => t.readyState === 'live')).length"
    page.run("for (let i = 0; i < 2; i++) document.querySelector('#empty [data-do=camera]').click()")
    page.wait("!document.getElementById('shooting').hidden")
    assert (page.run("window.streams.length"), page.run(live)) == (2, 1)
    assert page.run("document.getElementById('again').hidden")
    dropped(page, photos / "one.jpg", 1)
    assert page.run(live) == 0


def test_errors_are_told_in_words(page: Driven, photos: Path) -> None:
    said = "document.querySelector('#alert p').textContent"
    page.drop(photos / "large.bmp")
    page.wait(f"{said}.includes('at most 1.0 MB')")
    page.drop(photos / "text.jpg")
    page.wait(f"{said}.includes('not an image')")
    assert not page.run("document.getElementById('empty').hidden")
    page.run("document.querySelector('#alert button').click()")
    assert page.run("document.getElementById('alert').hidden")
    [refused] = page.log  # Chromium itself logs a reply of 400
    assert "400" in refused
    page.log.clear()


def test_a_browser_without_webgl_is_told(page: Driven, photos: Path) -> None:
    page.run(
        "const real = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, options) {"
        "  return kind === 'webgl2' ? null : real.call(this, kind, options); }"
    )
    dropped(page, photos / "one.jpg", 1)
    page.wait("document.getElementById('no-mesh').textContent.includes('WebGL')")
    assert coloured(pixels(page.picture("#photo")), POINTS) > 300


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_it_scrolls_down_only(page: Driven, photos: Path, dark: bool) -> None:
    page.look(360, 740, dark)
    wide = "document.documentElement.scrollWidth"
    assert page.run(wide) == 360
    dropped(page, photos / "two.png", 2)
    assert page.run(wide) == 360
    ground = pixels(page.picture())[:50].mean()
    assert ground < 60 if dark else ground > 200
