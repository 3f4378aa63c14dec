"""An old index was signed once too: what has expired, is older than one seen, or is another of the same serial."""

import datetime as dt
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from zoo.entry import Index
from zoo.errors import RegistryError, StaleIndexError, ZooError
from zoo.signatures import freshness
from zoo.signatures.freshness import check_fresh, was_signed_by
from zoo.signatures.keys import TrustedKey

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
WHERE = "https://example.org/index.json"


def index(serial: int, expires: dt.datetime | None = None) -> Index:
    return Index(serial=serial, updated=NOW - dt.timedelta(days=1), expires=expires)


def sha(serial: int) -> str:
    return f"{serial:064x}"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "zoo" / "registries" / "seen.json"


def see(state: Path, serial: int, content: int | None = None, expires: dt.datetime | None = None) -> None:
    check_fresh(index(serial, expires), sha(serial if content is None else content), state, WHERE, NOW)


def serial_in(state: Path) -> int:
    found = json.loads(state.read_text())["serial"]
    assert isinstance(found, int)
    return found


def test_serials_go_up(state: Path) -> None:
    for serial in (3, 3, 4, 9):
        see(state, serial)
        assert json.loads(state.read_text()) == {
            "schema_version": 1,
            "serial": serial,
            "sha256": sha(serial),
            "updated": "2026-02-28T12:00:00Z",
            "signed_by": None,
        }
    assert sorted(path.name for path in state.parent.iterdir()) in (["seen.json"], ["seen.json", "seen.json.lock"])


def test_the_first_index_may_have_serial_0(state: Path) -> None:
    see(state, 0)
    see(state, 0)
    assert serial_in(state) == 0


def test_roll_back(state: Path) -> None:
    see(state, 9)
    before = state.read_bytes()
    with pytest.raises(StaleIndexError) as caught:
        see(state, 8)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: expected serial 9")
    assert "found 8" in message
    assert f"delete {state}" in message
    assert "\n" not in message
    assert isinstance(caught.value, RegistryError)
    assert state.read_bytes() == before
    see(state, 9)


def test_two_contents_of_one_serial(state: Path) -> None:
    see(state, 9)
    with pytest.raises(StaleIndexError, match=f"SHA-256 {sha(9)}.*found another .{sha(7)}"):
        see(state, 9, content=7)
    see(state, 10, content=7)
    assert serial_in(state) == 10


def test_a_signature_that_was_checked(state: Path) -> None:
    ours, theirs = (TrustedKey("", letter * 64, "") for letter in "ab")
    assert was_signed_by(sha(9), [ours], state) is None
    see(state, 9)
    assert was_signed_by(sha(9), [ours], state) is None
    check_fresh(index(9), sha(9), state, WHERE, NOW, ours)
    assert was_signed_by(sha(9), [theirs, ours], state) == ours
    assert was_signed_by(sha(9), [theirs], state) is None  # not trusted any more
    assert was_signed_by(sha(8), [ours], state) is None
    check_fresh(index(9), sha(9), state, WHERE, NOW, theirs)
    assert was_signed_by(sha(9), [ours], state) is None
    assert was_signed_by(sha(9), [theirs], state) == theirs
    state.write_bytes(b"{")
    with pytest.raises(ZooError, match="delete it only if"):
        was_signed_by(sha(9), [theirs], state)


@pytest.mark.parametrize("late", [dt.timedelta(0), dt.timedelta(seconds=1), dt.timedelta(days=999)])
def test_expired(state: Path, late: dt.timedelta) -> None:
    expires = (NOW - late).astimezone(dt.timezone(dt.timedelta(hours=5)))
    with pytest.raises(StaleIndexError) as caught:
        see(state, 9, expires=expires)
    message = str(caught.value)
    assert "2026-03-01 12:00:00+00:00" in message
    assert expires.isoformat(sep=" ") in message
    assert "clock" in message
    assert not state.exists()  # it is not what later ones are compared with
    see(state, 3, expires=NOW + dt.timedelta(seconds=1))
    assert serial_in(state) == 3


def test_the_ends_of_the_calendar(state: Path) -> None:
    zone = dt.timezone(dt.timedelta(hours=14))
    with pytest.raises(StaleIndexError, match="0001-01-01"):
        see(state, 1, expires=dt.datetime(1, 1, 1, tzinfo=zone))
    late = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.timezone(-dt.timedelta(hours=12)))
    early = dt.datetime(1, 1, 1, tzinfo=zone)
    check_fresh(Index(serial=2, updated=early, expires=late), sha(2), state, WHERE, NOW)
    with pytest.raises(StaleIndexError, match="0001-01-01"):
        see(state, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b'{"serial": 1}',
        b'{"schema_version": 2, "serial": 1, "sha256": "%s", "updated": "2026-01-01T00:00:00Z"}' % (b"0" * 64),
        b'{"schema_version": 1, "serial": "1", "sha256": "%s", "updated": "2026-01-01T00:00:00Z"}' % (b"0" * 64),
        b'{"schema_version": 1, "serial": 1, "sha256": "%s", "updated": "2026-01-01T00:00:00"}' % (b"0" * 64),
        b" " * 2**17,
    ],
)
def test_a_damaged_record_is_not_a_new_beginning(state: Path, data: bytes) -> None:
    see(state, 9)
    state.write_bytes(data)
    with pytest.raises(ZooError, match=r"seen\.json: .*delete it only if you trust") as caught:
        see(state, 10)
    assert "\n" not in str(caught.value)
    assert state.read_bytes() == data


def test_a_record_that_cannot_be_read_or_written(state: Path, tmp_path: Path) -> None:
    state.mkdir(parents=True)
    with pytest.raises(ZooError, match=r"seen\.json: expected to read it"):
        see(state, 1)
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="expected to write there"):
        see(tmp_path / "file" / "seen.json", 1)


def test_a_record_that_is_only_read(state: Path) -> None:
    ours, theirs = (TrustedKey("", letter * 64, "") for letter in "ab")
    check_fresh(index(9), sha(9), state, WHERE, NOW, ours)
    lock = state.with_name("seen.json.lock")
    lock.unlink(missing_ok=True)
    before = state.stat()
    check_fresh(index(9), sha(9), state, WHERE, NOW, ours)
    assert state.stat() == before
    assert not lock.exists()
    # Nobody can take the lock, as where the folder is another user's.
    lock.mkdir()
    for key in (ours, theirs, None):
        check_fresh(index(9), sha(9), state, WHERE, NOW, key)
    with pytest.raises(StaleIndexError):
        check_fresh(index(8), sha(8), state, WHERE, NOW, ours)
    with pytest.raises(ZooError, match=r"seen\.json\.lock: expected to write there"):
        check_fresh(index(10), sha(10), state, WHERE, NOW, ours)
    assert serial_in(state) == 9


def test_another_process_may_be_faster(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read without the lock is read again with it."""
    see(state, 9)
    locked = freshness.locked

    @contextmanager
    def late(path: Path, seconds: float) -> Iterator[None]:
        monkeypatch.setattr(freshness, "locked", locked)
        see(state, 11)
        with locked(path, seconds):
            yield

    monkeypatch.setattr(freshness, "locked", late)
    with pytest.raises(StaleIndexError):
        see(state, 10)
    assert serial_in(state) == 11


def test_threads_never_lower_it(state: Path) -> None:
    serials = list(range(40))
    random.Random(0).shuffle(serials)

    def accepted(serial: int) -> bool:
        try:
            see(state, serial)
        except StaleIndexError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = dict(zip(serials, pool.map(accepted, serials), strict=True))
    assert results[39]
    assert serial_in(state) == 39


PROCESS = """
import datetime as dt, sys
from pathlib import Path
from zoo.entry import Index
from zoo.errors import StaleIndexError
from zoo.signatures import freshness
from zoo.signatures.freshness import check_fresh
now = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
sys.stdin.readline()
for serial in map(int, sys.argv[2:]):
    try:
        check_fresh(Index(serial=serial, updated=now), f"{serial:064x}", Path(sys.argv[1]), "index.json", now)
        print("seen", serial)
    except StaleIndexError:
        print("stale", serial)
"""


def test_processes_never_lower_it(state: Path) -> None:
    turns = [list(range(first, 60, 3)) for first in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(state), *map(str, serials)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for serials in turns
    ]
    # Started before any of them may begin.
    outputs = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        outputs.append(process.communicate()[0].splitlines())
        assert process.returncode == 0
    assert [len(lines) for lines in outputs] == [20, 20, 20]
    assert "seen 59" in outputs[2]
    assert serial_in(state) == 59
