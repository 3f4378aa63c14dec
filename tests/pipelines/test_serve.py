"""``pifa serve`` as a client meets it: a real server on a free port."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from matplotlib.cbook import get_sample_data
from web_server import web_server

from pifa_data.detection import Detection, open_detector
from pifa_data.errors import ConfigError, PifaError
from pifa_model import Aligner
from pipelines.align.records import face_record
from pipelines.checkpoints import load_aligner
from pipelines.serve import connection, work
from pipelines.serve.answers import Aligned, AlignQuery
from pipelines.serve.guard import HEADERS
from pipelines.serve.limits import Limits
from pipelines.serve.run import run_serve
from pipelines.serve.work import Worker

BOX = "58,52,128,117"


@pytest.fixture(scope="module")
def hopper() -> bytes:
    """A photograph with one face (Grace Hopper's, by the US Navy), JPEG, 179 × 158 pixels."""
    image = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    assert image is not None
    return cv2.imencode(".jpg", cv2.resize(image[:450], None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA))[
        1
    ].tobytes()


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    """The bundled checkpoint."""
    return load_aligner("pifa68-small", device="cpu")[0]


@pytest.fixture(scope="module")
def worker(aligner: Aligner) -> Worker:
    return Worker(aligner, open_detector("haar"), Limits(), "pifa68-small")


@pytest.fixture(scope="module")
def address(worker: Worker) -> Iterator[str]:
    with web_server(worker) as found:
        yield found


class Cold(Worker):
    """Starts at once."""

    def warm(self) -> None:
        pass


class Held(Cold):
    """Works on a photo until it is told to go on."""

    begun: threading.Semaphore = threading.Semaphore(0)
    go: threading.Event = threading.Event()

    def align(self, data: bytes, query: AlignQuery) -> Aligned:
        self.begun.release()
        assert self.go.wait(30)
        return Aligned(width=1, height=1, faces=[], found=0, milliseconds=0)


@pytest.fixture
def cold(worker: Worker) -> Worker:
    return Cold(worker.aligner, worker.detector, worker.limits, worker.checkpoint)


def held(worker: Worker, **limits: Any) -> Held:
    made = Held(worker.aligner, worker.detector, replace(worker.limits, **limits), "held")
    Held.begun, Held.go = threading.Semaphore(0), threading.Event()
    return made


def post(
    address: str, data: Any, path: str = "/api/align", kind: str = "image/jpeg", **query: Any
) -> requests.Response:
    return requests.post(address + path, data=data, params=query, headers={"Content-Type": kind}, timeout=30)


def refused(reply: requests.Response, status: int) -> str:
    """The reason, of a reply that must be an error's."""
    assert reply.status_code == status, reply.text
    problem = reply.json()
    assert set(problem) == {"status", "reason"}
    assert problem["status"] == status
    return str(problem["reason"])


def encoded(image: np.ndarray, ending: str = ".png") -> bytes:
    return cv2.imencode(ending, image)[1].tobytes()


def test_a_photo_gets_what_pifa_align_gives(address: str, worker: Worker, hopper: bytes) -> None:
    reply = post(address, hopper)
    assert reply.status_code == 200
    found = reply.json()
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(hopper, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert (found["width"], found["height"]) == pixels.shape[1::-1]
    [expected] = worker.aligner.find([pixels], worker.detector)[0]
    assert found["faces"] == [face_record(expected) | {"vertices": None}]
    assert found["found"] == 1
    for name, value in HEADERS.items():
        assert reply.headers[name] == value
    assert reply.headers["Cache-Control"] == "no-store"
    assert "server" not in reply.headers


def test_boxes_and_the_most_faces(address: str, worker: Worker, hopper: bytes) -> None:
    boxes = ["58,52,128,117", "64,47,122,122"]
    found = post(address, hopper, box=boxes).json()
    pixels = cv2.cvtColor(cv2.imdecode(np.frombuffer(hopper, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    expected = worker.aligner(pixels, [[58, 52, 128, 117], [64, 47, 122, 122]])
    assert found["faces"] == [face_record(face) | {"vertices": None} for face in expected]
    cut = post(address, hopper, box=boxes, faces=1).json()
    assert (len(cut["faces"]), cut["found"]) == (1, 2)


@pytest.mark.parametrize("box", [[], ["58,52,128,117"]])
def test_the_landmark_kind_is_passed_on(
    worker: Worker, hopper: bytes, box: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[str | None] = []
    real = Aligner.batch

    def batch(self: Aligner, images: Any, boxes: Any, kind: str | None = None, size: int = 32) -> Any:
        kinds.append(kind)
        return real(self, images, boxes, kind, size)

    monkeypatch.setattr(Aligner, "batch", batch)
    for kind in (None, "2d", "3d"):
        worker.align(hopper, AlignQuery(box=box, landmarks=kind))
    assert list(dict.fromkeys(kinds)) == [None, "2d", "3d"]


def test_a_photo_without_a_face_has_none(address: str) -> None:
    assert post(address, encoded(np.full((80, 90, 3), 90, np.uint8)), kind="image/png").json()["faces"] == []


def test_a_face_that_scores_too_low_is_none(worker: Worker, hopper: bytes) -> None:
    [face] = worker.align(hopper, AlignQuery()).faces
    assert len(replace(worker, least=face.score - 0.01).align(hopper, AlignQuery()).faces) == 1
    strict = replace(worker, least=face.score + 0.01)
    found = strict.align(hopper, AlignQuery())
    assert (found.faces, found.found) == ([], 0)
    assert len(strict.align(hopper, AlignQuery(box=[BOX])).faces) == 1  # whoever gives a box knows


class Fixed:
    """A detector that sees in every photo what it was told."""

    name = "fixed"

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        self.faces = [Detection(np.array(box, float), np.array(box, float), 1.0) for box in boxes]

    def __call__(self, image: np.ndarray) -> list[Detection]:
        return self.faces


def test_false_alarms_and_doubles_take_no_faces_place(worker: Worker, hopper: bytes) -> None:
    here, almost, nothing = (58.0, 52.0, 128.0, 117.0), (60.0, 54.0, 129.0, 118.0), (2.0, 110.0, 40.0, 150.0)
    [true] = replace(worker, detector=Fixed(here)).align(hopper, AlignQuery()).faces
    both = replace(worker, detector=Fixed(nothing, here))
    surest, other = both.align(hopper, AlignQuery()).faces
    assert surest.score == pytest.approx(true.score, abs=0.01)
    assert surest.score > other.score + 0.05
    cut = both.align(hopper, AlignQuery(faces=1))
    assert (cut.faces, cut.found) == ([surest], 2)
    strict = replace(worker, detector=Fixed(nothing, here, almost), least=(true.score + other.score) / 2)
    cut = strict.align(hopper, AlignQuery(faces=1))
    assert (len(cut.faces), cut.found) == (1, 1)
    assert cut.faces[0].score > true.score - 0.01


def test_a_large_face_is_coloured_from_a_smaller_copy(
    worker: Worker, hopper: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    real = work.vertex_colours

    def colours(mesh: Any, pixels: np.ndarray, model: Any) -> np.ndarray:
        sizes.append(pixels.shape)
        return real(mesh, pixels, model)

    monkeypatch.setattr(work, "vertex_colours", colours)
    whole = worker.mesh(hopper, BOX, "obj")
    monkeypatch.setattr(work, "COLOURED", 60)
    small = worker.mesh(hopper, BOX, "obj")
    assert max(sizes[0][:2]) > 80
    assert max(sizes[1][:2]) == 60
    rows = [
        np.array([line.split()[1:] for line in text.decode().splitlines() if line.startswith("v ")], float)
        for text in (whole, small)
    ]
    assert np.array_equal(rows[0][:, :3], rows[1][:, :3])
    assert 0 < np.abs(rows[0][:, 3:] - rows[1][:, 3:]).mean() < 0.05


def test_places_are_those_of_the_photo_as_it_was_sent(worker: Worker, hopper: bytes) -> None:
    """One that is decoded at half its size."""
    image = cv2.resize(cv2.imdecode(np.frombuffer(hopper, np.uint8), cv2.IMREAD_COLOR), None, fx=3, fy=3)
    query = AlignQuery(box=["174,156,384,351"], mesh=True)
    with pytest.MonkeyPatch.context() as patch:
        whole = worker.align(encoded(image, ".jpg"), query)
        patch.setattr("pifa_data.photos.SANE_PIXELS", 150_000)
        half = worker.align(encoded(image, ".jpg"), query)
    assert (half.width, half.height) == (whole.width, whole.height) == image.shape[1::-1]
    assert half.faces[0].box == pytest.approx(whole.faces[0].box, abs=0.01)
    assert np.abs(np.subtract(half.faces[0].landmarks, whole.faces[0].landmarks)).max() < 12
    assert half.faces[0].landmarks != whole.faces[0].landmarks


def test_meshes(address: str, worker: Worker, hopper: bytes) -> None:
    face = post(address, hopper, mesh=True).json()["faces"][0]
    model = requests.get(f"{address}/api/model", timeout=30)
    triangles = np.frombuffer(base64.b64decode(model.json()["triangles"]), "<i4").reshape(-1, 3)
    assert np.array_equal(triangles, worker.aligner.model.triangles)
    vertices = np.frombuffer(base64.b64decode(face["vertices"]), "<f4").reshape(-1, 3)
    camera = np.array(face["camera"]).reshape(2, 4)
    shape = worker.aligner.model.vertices(np.array(face["coefficients"]))
    assert np.abs(shape @ camera[:, :3].T + camera[:, 3] - vertices[:, :2]).max() < 0.05
    box = ",".join(map(str, face["box"]))
    obj = post(address, hopper, "/api/mesh", box=box, format="obj")
    assert obj.headers["Content-Disposition"] == 'attachment; filename="face.obj"'
    rows = [line.split()[1:] for line in obj.text.splitlines() if line.startswith("v ")]
    assert np.abs(np.array(rows, float)[:, :3] * (1, -1, -1) - vertices).max() < 0.2
    assert np.array(rows, float)[:, 3:].std(0).min() > 0.05  # colours of the photo
    ply = post(address, hopper, "/api/mesh", box=box)
    assert ply.content.startswith(b"ply\nformat binary_little_endian 1.0\n")
    assert len(ply.content) < 500_000


def test_what_stays_is_sent_once(address: str) -> None:
    for path in ("/api/model", "/", "/page.js"):
        first = requests.get(address + path, timeout=30)
        again = requests.get(address + path, headers={"If-None-Match": first.headers["ETag"]}, timeout=30)
        assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
        assert requests.get(address + path, headers={"If-None-Match": '"x"'}, timeout=30).content == first.content


def test_bodies_that_are_no_photo(address: str, hopper: bytes) -> None:
    assert "none" in refused(post(address, b""), 400)
    for data in (b"hello", b"\xff\xd8\xff\xe0 hello", hopper[:-2000], b"\x89PNG\r\n\x1a\n" + bytes(50), bytes(1000)):
        assert refused(post(address, data), 400).startswith("photo: ")
    assert "image/" in refused(post(address, hopper, kind="application/x-www-form-urlencoded"), 415)
    squeezed = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    reply = requests.post(f"{address}/api/align", data=zlib.compress(hopper), headers=squeezed, timeout=30)
    assert "Content-Encoding" in refused(reply, 415)


def test_a_header_that_claims_a_huge_image_is_refused_before_it_is_decoded(address: str) -> None:
    small = encoded(np.zeros((4, 4, 3), np.uint8))
    size = (30000).to_bytes(4, "big") * 2
    chunk = b"IHDR" + size + small[24:29]
    huge = small[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + small[33:]
    assert "30000 × 30000" in refused(post(address, huge), 413)


def test_a_photo_of_one_pixel(address: str) -> None:
    assert post(address, encoded(np.zeros((1, 1, 3), np.uint8)), kind="image/png").json()["faces"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"box": "1,2,3"}, "box.0"),
        ({"box": "1,2,3,nan"}, "box.0"),
        ({"box": "9,9,1,1"}, "area"),
        ({"box": "900,900,990,990"}, "meets the image"),
        ({"landmarks": "4d"}, "landmarks"),
        ({"faces": 0}, "faces"),
        ({"boxes": "1,2,3,4"}, "boxes"),
        ({"box": ["1,2,3,4"] * 65}, "box"),
    ],
)
def test_queries_that_are_wrong(address: str, hopper: bytes, query: dict[str, Any], said: str) -> None:
    assert said in refused(post(address, hopper, **query), 422)


def test_addresses_that_are_not_there(address: str) -> None:
    for path in ("/nix", "/../app.py", "/page/", "/%2e%2e/work.py", "/docs", "/api/align/"):
        assert refused(requests.get(address + path, timeout=30), 404)
    reply = requests.get(f"{address}/api/align", timeout=30)
    refused(reply, 405)
    assert reply.headers["Allow"] == "POST"


def test_other_sites_are_kept_out(address: str, cold: Worker, hopper: bytes) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1:80"):
        refused(requests.get(f"{address}/api/health", headers={"Host": host}, timeout=30), 421)
    for host in ("localhost:1", "[::1]:80", "127.0.0.1"):
        assert requests.get(f"{address}/api/health", headers={"Host": host}, timeout=30).status_code == 200
    own = {"Origin": address}
    assert requests.post(f"{address}/api/align", data=hopper, headers=own, timeout=30).status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        reply = requests.post(f"{address}/api/align", data=hopper, headers={"Origin": origin}, timeout=30)
        refused(reply, 403)
        assert "Access-Control-Allow-Origin" not in reply.headers
    with web_server(cold, "0.0.0.0") as everywhere:
        reply = requests.get(f"{everywhere}/api/health", headers={"Host": "server.example"}, timeout=30)
        assert reply.status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_names_let_a_web_server_stand_in_front(cold: Worker, hopper: bytes, host: str) -> None:
    with web_server(cold, host, ["face.example"]) as address:
        for named in ("face.example", "FACE.example:443", "127.0.0.1"):
            headers = {"Host": named, "Origin": "https://face.example"}
            assert requests.post(f"{address}/api/align", data=hopper, headers=headers, timeout=30).status_code == 200
        refused(requests.get(f"{address}/api/health", headers={"Host": "evil.example"}, timeout=30), 421)
        for origin in ("https://evil.example", "https://face.example.evil.example", "null", "http://[::1"):
            headers = {"Host": "face.example", "Origin": origin}
            refused(requests.get(f"{address}/api/health", headers=headers, timeout=30), 403)
    with pytest.raises(ConfigError, match="expected a host's name"):
        run_serve("pifa68-small", name=["http://face.example"], say=print)


def test_connections_that_say_nothing_are_closed(cold: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SECONDS", 0.1)
    with web_server(cold) as address:
        for said in (b"", b"GET /api/health HTTP/1.1\r\nHost: loc"):
            assert spoken(address, said) == b""
        whole = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as talking:
            talking.sendall(whole)
            assert talking.recv(4096).startswith(b"HTTP/1.1 200")
            talking.sendall(b"GET")
            while data := talking.recv(4096):
                assert not data.startswith(b"HTTP")


def test_connections_beyond_the_limit_are_closed_and_no_other(cold: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS", 3)
    with web_server(cold) as address:
        port = int(address.rpartition(":")[2])
        silent = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(3)]
        assert spoken(address, b"") == b""
        silent[0].sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[0].recv(4096).startswith(b"HTTP/1.1 200")
        for one in silent:
            one.close()


def test_eight_at_once_get_what_one_gets(address: str, hopper: bytes) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: post(address, hopper), range(8)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({json.dumps(reply.json()["faces"]) for reply in replies}) == 1


def test_bytes_are_counted(cold: Worker, hopper: bytes) -> None:
    with web_server(replace(cold, limits=Limits(bytes=len(hopper) - 1))) as address:
        assert str(len(hopper) - 1) in refused(post(address, hopper), 413)
        refused(post(address, io.BytesIO(hopper)), 413)
        refused(post(address, iter([hopper[:5000], hopper[5000:]])), 413)  # its length is not told
        refused(post(address, hopper, "/api/mesh", box=BOX), 413)
        asked = (
            b"POST /api/align HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert spoken(address, asked).startswith(b"HTTP/1.1 413")
    with web_server(replace(cold, limits=Limits(pixels=100))) as address:
        refused(post(address, hopper), 413)


def spoken(address: str, data: bytes) -> bytes:
    """The first that a server says after some bytes."""
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(data)
        return connection.recv(4096)


def test_a_photo_that_does_not_arrive(cold: Worker) -> None:
    with web_server(replace(cold, limits=Limits(seconds=0.1))) as address:
        begun = b"POST /api/align HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc"
        assert spoken(address, begun).startswith(b"HTTP/1.1 408")


def test_a_full_queue_refuses_and_recovers(worker: Worker) -> None:
    made = held(worker, concurrency=1, waiting=1)
    with web_server(made) as address, ThreadPoolExecutor(2) as pool:
        try:
            taken = [pool.submit(post, address, b"a") for _ in range(2)]
            assert made.begun.acquire(timeout=30)
            end = time.monotonic() + 30
            while (reply := post(address, b"b")).status_code != 503:  # the second one may not have come yet
                assert time.monotonic() < end
            assert "busy" in refused(reply, 503)
            assert int(reply.headers["Retry-After"]) > 0
            assert requests.get(f"{address}/api/health", timeout=30).status_code == 200
        finally:
            made.go.set()
        assert [future.result().status_code for future in taken] == [200, 200]
        assert post(address, b"a").status_code == 200


def test_a_photo_that_takes_too_long_keeps_its_thread_until_it_is_done(worker: Worker) -> None:
    made = held(worker, concurrency=1, waiting=0, seconds=0.2)
    with web_server(made) as address:
        try:
            assert "0.2 s" in refused(post(address, b"a"), 504)
            refused(post(address, b"b"), 503)
        finally:
            made.go.set()
        end = time.monotonic() + 30
        while post(address, b"c").status_code != 200:
            assert time.monotonic() < end


def test_a_turn_that_does_not_come(worker: Worker) -> None:
    made = held(worker, concurrency=1, waiting=1, seconds=0.3)
    with web_server(made) as address, ThreadPoolExecutor(2) as pool:
        try:
            replies = [pool.submit(post, address, b"a") for _ in range(2)]
            assert sorted(future.result().status_code for future in replies) == [503, 504]
        finally:
            made.go.set()


def test_what_goes_wrong_inside_is_told_in_the_same_shape(
    worker: Worker, hopper: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Cold):
        def align(self, data: bytes, query: AlignQuery) -> Aligned:
            raise RuntimeError("a secret")

    with web_server(Broken(worker.aligner, worker.detector, worker.limits, "broken")) as address:
        reply = post(address, hopper)
        assert "secret" not in refused(reply, 500)
        assert reply.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_the_log_says_who_asked_for_what_and_no_more(
    address: str, hopper: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "pifa.serve"):
        post(address, hopper, box=BOX)
        requests.get(f"{address}/%1b[31m%0aPOST", timeout=30)
        deadline = time.monotonic() + 30  # a line is written when its reply is on its way
        while len(lines := [r.getMessage() for r in caplog.records if r.name == "pifa.serve"]) < 2:
            assert time.monotonic() < deadline, lines
            time.sleep(0.01)
    assert len(lines) == 2
    assert lines[0].startswith("POST /api/align 200 ")
    assert lines[0].endswith(" ms")
    assert lines[1].startswith("GET /?[31m?POST 404 ")


def test_what_the_command_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port"):
        run_serve("pifa68-small", port=taken.getsockname()[1], device="cpu", say=print)
    with pytest.raises(PifaError, match="detector"):
        run_serve("pifa68-small", detector="nix", say=print)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pifa\[serve\]'"):
        run_serve("pifa68-small", say=print)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hopper: bytes) -> None:
    """As the terminal runs it, but in this process: options reach the limits, and Ctrl+C ends it."""
    from click.testing import CliRunner

    from pipelines.commands.serve import COMMANDS

    [serve] = COMMANDS
    seen: list[str] = []

    def run(server: Any, sockets: list[socket.socket]) -> None:
        address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        thread = threading.Thread(target=real, args=(server, sockets))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        seen.append(refused(post(address, hopper), 413))
        seen.append(requests.get(f"{address}/api/model", timeout=30).json()["checkpoint"])
        server.should_exit = True
        thread.join()

    import uvicorn

    real = uvicorn.Server.run
    monkeypatch.setattr(uvicorn.Server, "run", run)
    arguments = ["pifa68-small", "--port", "0", "--max-bytes", "2000", "--device", "cpu", "--host", "0.0.0.0"]
    result = CliRunner().invoke(serve, arguments)
    assert result.exit_code == 0, result.output or repr(result.exception)
    assert "2000 bytes" in seen[0]
    assert seen[1] == "pifa68-small"
    assert "warning: 0.0.0.0" in result.stderr
    assert "serves pifa68-small; Ctrl+C stops it" in result.stderr
