"""What a person sees on a terminal while ``pifa prep`` works: the dashboard's address, rate and time left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, ROOT

pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")


def on_terminal(command: list[str]) -> str:
    """What a command writes to stderr, which is a terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "150"}
    build = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    told = b""
    try:
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            told += part
        assert build.wait(PATIENCE) == 0, told.decode()
    finally:
        build.kill()
        build.wait()
        os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.decode())


def test_dashboard_rate_and_time_left(command: list[str], store: Path) -> None:
    told = on_terminal([sys.executable, "-m", "cli", *command, "--workers", "1"])
    assert len(re.findall(r"Dask dashboard: http://127\.0\.0\.1:\d+/status", told)) == 1
    states = re.findall(r"preparing.*?(\d+)/48 faces (\d:\d\d:\d\d) left: (\S+) (?:(\d+) crops/s)?", told)
    done = [int(state[0]) for state in states]
    assert done == sorted(done)
    assert done[-1] == 48
    assert any(0 < int(state[0]) < 48 and int(state[3] or 0) > 0 for state in states)  # a rate while it works
    assert any(re.fullmatch(r"\d:\d\d:\d\d", state[2]) for state in states)
