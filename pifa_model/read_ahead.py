"""An iterator that works ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Failed:
    error: BaseException


def read_ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Run an iterator in a thread, ``depth`` items ahead; its errors are raised here."""
    ready: queue.Queue[T | _Failed | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | _Failed | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # handed over, not hidden
            put(_Failed(error))

    thread = threading.Thread(target=work, daemon=True, name="pifa-reader")
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()
