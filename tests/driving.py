"""A page in headless Chromium that a test acts on: the browser's own protocol over a pipe.

https://chromedevtools.github.io/devtools-protocol: JSON messages that end in a zero byte, file descriptor 3 to the
browser, 4 from it.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60
"""Seconds before a browser that says nothing is given up."""

NUMBERED = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 10) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes the browser, with the pipes where it expects them."""


class Driven:
    """One page. ``log`` has what its console said."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._rest, self._number = to_browser, from_browser, b"", 0
        self.log: list[str] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What the browser answers to a method of its protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._read()
            if reply.get("id") == self._number:
                assert "error" not in reply, (method, reply["error"])
                result: dict[str, Any] = reply["result"]
                return result

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of a script's last expression, awaited; the page's policy does not bind it."""
        found = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
            replMode=True,
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a script's expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}; the console said {self.log}"
            time.sleep(0.01)

    def place(self, selector: str) -> dict[str, float]:
        """Where an element is in the window: x, y, width, height."""
        found = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        place: dict[str, float] = self.run(f"(r => ({{x: r.x, y: r.y, width: r.width, height: r.height}}))({found})")
        return place

    def drop(self, file: Path, selector: str = "body") -> None:
        """Drop a file on an element."""
        at = self.place(selector)
        x, y = at["x"] + at["width"] / 2, at["y"] + 20
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, key: str, shift: bool = False) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0)

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """Give the window a size and the user a taste."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        wanted = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def picture(self, selector: str | None = None) -> bytes:
        """PNG of the page's window, or of one element."""
        clip = {"clip": {**self.place(selector), "scale": 1}} if selector else {}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            assert ready, "the browser says nothing"
            data = os.read(self._from, 2**20)
            assert data, "the browser has gone"
            self._rest += data
        message, self._rest = self._rest.split(b"\0", 1)
        event: dict[str, Any] = json.loads(message)
        if event.get("method") == "Runtime.consoleAPICalled":
            self.log.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in event["params"]["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.log.append(json.dumps(event["params"]["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded":
            self.log.append(event["params"]["entry"]["text"])
        return event


@contextmanager
def driving(chromium: str, home: Path, arguments: Sequence[str] = ()) -> Iterator[Driven]:
    """A page in a browser of its own, which ends with the block. WebGL is computed by the CPU."""
    (out_r, out_w), (in_r, in_w) = os.pipe(), os.pipe()
    command = [
        *(chromium, "--headless", "--remote-debugging-pipe", "--disable-dev-shm-usage", "--no-first-run"),
        # A container's root has no sandbox; the page is our own.
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
        *("--disable-background-networking", "--hide-scrollbars", "--use-angle=swiftshader"),
        *("--enable-unsafe-swiftshader", f"--user-data-dir={home}", *arguments, "about:blank"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", NUMBERED, str(out_r), str(in_w), *command],
        pass_fds=(out_r, in_w),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home)},
    )
    os.close(out_r)
    os.close(in_w)
    try:
        yield Driven(out_w, in_r)
    finally:
        os.close(out_w)  # at which the browser ends
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(in_r)
