"""What a server lets a client take: bytes, pixels, seconds, and places in the queue."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from pipelines.serve.problems import Refusal

T = TypeVar("T")

DRAIN = 4
"""A body that is too large is read up to so many times the limit before it is refused: a client that is still sending
would take the closed connection for an error, and never see the reason."""

WARMING = 60
"""Seconds for all threads to start."""


@dataclass(frozen=True)
class Limits:
    """The limits of a server.

    Attributes:
        bytes: of a photo's file.
        pixels: of a photo, width times height. An uncompressed one takes up to 18 bytes a pixel while it is decoded.
        seconds: that a photo may take to arrive, and again to be answered.
        concurrency: photos worked on at once.
        waiting: photos that may wait or still be arriving besides.
    """

    bytes: int = 20 * 2**20
    pixels: int = 2**25
    seconds: float = 20.0
    concurrency: int = 2
    waiting: int = 16


class Queue:
    """Places for photos, and the threads that work on them.

    A thread can't be stopped. So a photo that takes too long is answered with 504, but its thread keeps its place until
    it is done: what is too much is refused with 503 instead of being started.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = limits.concurrency + limits.waiting
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="pifa-serve")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """A place, from before the photo is read until nothing is done with it any more.

        Raises:
            Refusal: 503, none is free.
        """
        if not self._places:
            raise Refusal(503, "busy: too many photos at once; try again later", retry_after=2)
        self._places -= 1
        place = Place(self._limits, self._threads)
        try:
            yield place
        finally:
            if place.running is None or place.running.done():
                self._leave()
            else:
                place.running.add_done_callback(self._leave)

    def _leave(self, _: object = None) -> None:
        self._places += 1

    def warm(self, work: Callable[[], object]) -> None:
        """Let every thread do some work once, so that no photo waits for what a thread does but once."""
        together = threading.Barrier(self._limits.concurrency)

        def begin() -> None:
            together.wait(WARMING)
            work()

        for future in [self._threads.submit(begin) for _ in range(self._limits.concurrency)]:
            future.result()

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Place:
    """One photo's place in the queue."""

    def __init__(self, limits: Limits, threads: ThreadPoolExecutor) -> None:
        self._limits, self._threads = limits, threads
        self.running: asyncio.Future[object] | None = None

    async def body(self, request: Request) -> bytes:
        """The request's body, whole.

        Raises:
            Refusal: 400 none, 408 too slow, 413 too large.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await _read(request, self._limits.bytes)
        except TimeoutError:
            raise Refusal(408, f"the photo did not arrive within {self._limits.seconds:g} s") from None
        except ClientDisconnect:
            raise Refusal(400, "the connection ended before the photo was whole") from None

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives, done in a thread.

        Raises:
            Refusal: 503 it was not even begun in time, 504 it was not done in time.
        """
        submitted = self._threads.submit(work)
        running = asyncio.wrap_future(submitted)
        self.running = running  # type: ignore[assignment]
        done, _ = await asyncio.wait([running], timeout=self._limits.seconds)
        if done:
            return running.result()
        running.add_done_callback(_forget)
        if submitted.cancel():
            raise Refusal(503, "busy: the photo's turn did not come in time; try again later", retry_after=5)
        raise Refusal(504, f"not done within {self._limits.seconds:g} s; send a smaller photo")


async def _read(request: Request, most: int) -> bytes:
    claimed = request.headers.get("content-length", "0")
    size = int(claimed) if claimed.isdecimal() and len(claimed) < 19 else math.inf
    parts, length = [], 0
    if size > most and "expect" in request.headers:  # the client asks before it sends
        raise Refusal(413, _too_large(most))
    async for part in request.stream():
        length += len(part)
        if length <= most:
            parts.append(part)
        elif length > DRAIN * most or size > DRAIN * most:
            break
    if length > most or size > most:
        raise Refusal(413, _too_large(most))
    if not length:
        raise Refusal(400, "expected an image's bytes as the body, found none")
    return b"".join(parts)


def _too_large(most: int) -> str:
    return f"expected a file of at most {most} bytes; scale the photo down or compress it more"


def _forget(future: asyncio.Future[T]) -> None:
    """Take what comes too late, so that nobody warns of an exception that was never looked at."""
    if not future.cancelled():
        future.exception()


def now() -> float:
    """Seconds, for differences."""
    return time.perf_counter()
