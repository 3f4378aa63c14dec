"""``pifa morphable get``, against a web server in this process."""

import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner
from originals import spread, write_ict
from serving import serving

from cli import main
from pifa_data.errors import MorphableError
from pifa_data.morphable import MorphableModel, ict_facekit
from pipelines import fetch_models
from pipelines.fetch_models import AT_ONCE, COMMIT, run_get
from pipelines.sources import find_model, model_folder
from zoo import transfer

LICENCE = "MIT License\n\nCopyright (c) the test\n"


@dataclass
class Server:
    """Serves a folder with ranges, and can be told to misbehave."""

    folder: Path
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)  # path → bytes after which the connection breaks, once
    busy: dict[str, int] = field(default_factory=dict)  # path → times it answers 503
    ranges: bool = True
    together: threading.Barrier | None = None  # how many must ask at once, or it answers none
    callers: set[int] = field(default_factory=set)  # a connection's port at its other end


def handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.removeprefix("/kit/")
            wanted = self.headers.get("Range") if server.ranges else None
            server.asked.append((path, self.headers.get("Range")))
            server.callers.add(self.client_address[1])
            if server.together is not None and len(server.asked) <= server.together.parties:
                server.together.wait(timeout=30)
            if server.busy.get(path, 0) > 0:
                server.busy[path] -= 1
                self.send_error(503)
                return
            if not (server.folder / path).is_file():
                self.send_error(404)
                return
            whole = (server.folder / path).read_bytes()
            start = int(re.match(r"bytes=(\d+)-$", wanted)[1]) if wanted else 0  # type: ignore[index]
            if start >= len(whole):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
            self.send_header("Content-Length", str(len(whole) - start))
            self.end_headers()
            end = server.cut.pop(path, None)
            self.wfile.write(whole[start:end])
            if end is not None:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

    return Handler


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory, model: MorphableModel) -> Path:
    """The synthetic head as the kit's repository. Copied before it is changed."""
    folder = tmp_path_factory.mktemp("kit")
    write_ict(folder / "FaceXModel", spread(model, 9409, ict_facekit.LANDMARKS))
    (folder / "LICENSE").write_text(LICENCE)
    return folder


@pytest.fixture
def server(kit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """The server, with its files pinned, and a cache of the test's own."""
    pinned = {
        path.relative_to(kit).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kit.rglob("*"))
        if path.is_file()
    }
    for module in (fetch_models, ict_facekit):
        monkeypatch.setattr(module, "published_files", lambda: pinned)
    monkeypatch.setenv("PIFA_HOME", str(tmp_path / "home"))
    state = Server(kit)
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(state))) as listening:
        state.url = f"http://127.0.0.1:{listening.server_port}/kit"
        yield state


FAST = (0.01, 0.01)
NEUTRAL = "FaceXModel/generic_neutral_mesh.obj"


def cache(home: Path) -> Path:
    return home / "home" / "downloads" / f"ict-{COMMIT[:12]}"


def part_of(path: Path) -> Path:
    """Where a file that is still coming is kept."""
    return path.with_name(f".{path.name}.{fetch_models.published_files()[NEUTRAL][:16]}.part")


def test_whole_then_from_the_cache(server: Server, tmp_path: Path) -> None:
    model, fetched, licence = run_get("ict", server.url + "/", pauses=FAST)
    assert fetched == len(server.asked) == 11  # the neutral mesh, 6 identities, 3 expressions, the licence
    assert licence == LICENCE.strip()
    assert model.name == "ict"
    assert find_model("ict").fingerprint == model.fingerprint
    assert not list(cache(tmp_path).rglob("*.part"))
    again, fetched, _ = run_get("ict", server.url, pauses=FAST)
    assert (fetched, len(server.asked)) == (0, 11)
    assert again.fingerprint == model.fingerprint
    # A file that was damaged on the disk is fetched again, and it alone.
    (cache(tmp_path) / NEUTRAL).write_text("damaged")
    assert run_get("ict", server.url, pauses=FAST)[1] == 1
    assert server.asked[11:] == [(NEUTRAL, None)]


def test_four_at_once_over_four_connections(server: Server) -> None:
    server.together = threading.Barrier(AT_ONCE)
    assert run_get("ict", server.url, pauses=())[1] == 11
    assert len(server.callers) == AT_ONCE


def test_a_broken_download_goes_on_in_the_middle(server: Server) -> None:
    server.cut[NEUTRAL] = 40_000
    model, fetched, _ = run_get("ict", server.url, pauses=FAST)
    assert fetched == 11
    asked = [wanted for path, wanted in server.asked if path == NEUTRAL]
    assert asked == [None, "bytes=40000-"]
    assert len(model.mean) >= 9409


def test_a_stopped_run_is_resumed_by_the_next(server: Server, tmp_path: Path) -> None:
    part = part_of(cache(tmp_path) / NEUTRAL)
    whole = (server.folder / NEUTRAL).read_bytes()
    part.parent.mkdir(parents=True)
    part.write_bytes(whole[:1000])
    run_get("ict", server.url, pauses=FAST)
    assert (NEUTRAL, "bytes=1000-") in server.asked
    assert not part.exists()
    # All of it was there, and only the last step was missing.
    (cache(tmp_path) / NEUTRAL).rename(part)
    server.asked.clear()
    run_get("ict", server.url, pauses=FAST)
    assert not server.asked


@pytest.mark.parametrize("wrong", [b"x" * 1000, b"x" * 10**6], ids=["other bytes", "more than the file has"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_wrong_part_of_an_earlier_run_is_fetched_anew(
    server: Server, tmp_path: Path, wrong: bytes, ranges: bool
) -> None:
    server.ranges = ranges
    part = part_of(cache(tmp_path) / NEUTRAL)
    part.parent.mkdir(parents=True)
    part.write_bytes(wrong)
    run_get("ict", server.url, pauses=FAST)
    assert (cache(tmp_path) / NEUTRAL).read_bytes() == (server.folder / NEUTRAL).read_bytes()


def test_a_file_of_another_hash_is_refused_and_not_kept(
    server: Server, tmp_path: Path, kit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = fetch_models.published_files()
    monkeypatch.setattr(fetch_models, "published_files", lambda: pinned | {NEUTRAL: "0" * 64})
    with pytest.raises(MorphableError, match=rf"{NEUTRAL}: expected SHA-256 0{{64}}, found {pinned[NEUTRAL]}; it is"):
        run_get("ict", server.url, pauses=FAST)
    assert not list(cache(tmp_path).rglob("*generic_neutral_mesh*"))
    assert not (model_folder() / "ict.safetensors").exists()


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.busy[NEUTRAL] = 2
    run_get("ict", server.url, pauses=FAST)
    assert [path for path, _ in server.asked].count(NEUTRAL) == 3


def test_a_server_that_is_down_or_has_no_such_file(server: Server, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(MorphableError, match=r"expected an answer, found .*refused; .*run the same command again"):
            run_get("ict", url, pauses=FAST)
    server.busy.update(dict.fromkeys(fetch_models.published_files(), 9))
    with pytest.raises(MorphableError, match=r"found 503 .*run the same command again"):
        run_get("ict", server.url, pauses=FAST)
    server.busy.clear()
    with pytest.raises(MorphableError, match=r"expected a file, found none \(404"):
        run_get("ict", server.url + "/elsewhere", pauses=FAST)
    with pytest.raises(MorphableError, match="expected an http"):
        run_get("ict", (tmp_path / "kit").as_uri(), pauses=FAST)
    assert not (model_folder() / "ict.safetensors").exists()


def test_a_server_without_end_is_stopped(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transfer, "UNSIZED_BYTES", 10_000)
    with pytest.raises(MorphableError, match="expected at most 10000 bytes, found more"):
        run_get("ict", server.url, pauses=FAST)
    assert not list(cache(tmp_path).rglob("*.part"))


def test_the_command_shows_the_licence(server: Server) -> None:
    done = CliRunner().invoke(main, ["morphable", "get", "ict"], env={"PIFA_ICT_URL": server.url})
    assert done.exit_code == 0, done.output
    assert "MIT License" in done.stderr
    assert "11 files fetched" in done.stdout
    assert "fingerprint" in done.stdout
    server.folder = server.folder / "nowhere"
    again = CliRunner().invoke(main, ["morphable", "get", "ict", "--url", server.url])
    assert again.exit_code == 0
    assert "0 files fetched" in again.stdout


def test_what_is_pinned() -> None:
    files = ict_facekit.published_files()
    assert len(files) == 159
    assert sum("identity" in path for path in files) == 100
    assert {"LICENSE", NEUTRAL, "FaceXModel/jawOpen.obj"} <= set(files)
    assert all(re.fullmatch(r"[0-9a-f]{64}", sha256) for sha256 in files.values())
    assert not any(".." in path or path.startswith("/") for path in files)


def test_the_pinned_hashes_are_those_of_the_originals(shared_data: Path) -> None:
    files = ict_facekit.published_files()
    folder = shared_data / "morphable/ict_facekit"
    listed = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert {path: listed[path] for path in files} == files
    for path in folder.glob("*.obj"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == files[f"FaceXModel/{path.name}"]
