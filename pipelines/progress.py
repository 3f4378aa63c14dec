"""Progress bars on stderr, where stderr is a terminal; silent elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Advance(Protocol):
    """Called with the number of units done since the last call, and a note shown at the end of the bar."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """A bar for ``total`` units of work, with the time left; None where nobody knows how many there are."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # The time left is told by the last five minutes: a step may take longer than Rich's own half a minute.
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300) as bar:
        task = bar.add_task(what, total=total, note="")

        def advance(done: int, note: str = "") -> None:
            bar.update(task, advance=done, note=note)

        yield advance


@contextmanager
def download_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for a download, which is told how many bytes are there, of how many; shown once the first have come."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    task = bar.add_task(what, total=None)

    def advance(there: int, size: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=there, total=size)

    try:
        yield advance
    finally:
        bar.stop()
