"""Where records go: text on stdout as they come, a list, or by way of a journal into a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pipelines.align.database import write_database
from pipelines.align.formats import as_text, write_pts
from pipelines.align.inputs import Item, files_for
from pipelines.align.journal import Journal
from pipelines.align.records import Record


class Sink(Protocol):
    """Takes the records of an item, and is told when it has them all."""

    def add(self, record: Record) -> None: ...

    def finish(self, item: str) -> None: ...


class ListSink:
    """Keeps all records, for ``--json`` and callers in Python."""

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    def add(self, record: Record) -> None:
        self._records.append(record)

    def finish(self, item: str) -> None:
        pass


class TextSink:
    """Gives text to ``say`` as soon as an item is done."""

    def __init__(self, say: Callable[[str], None], form: str, points: int, coefficients: int) -> None:
        self._say, self._form, self._sizes = say, form, (points, coefficients)
        self._waiting: list[Record] = []
        if form == "csv":
            say("".join(as_text([], form, *self._sizes)))

    def add(self, record: Record) -> None:
        self._waiting.append(record)
        if len(self._waiting) >= 100:  # a video gives thousands
            self._flush()

    def finish(self, item: str) -> None:
        self._flush()

    def _flush(self) -> None:
        pieces = list(as_text(self._waiting, self._form, *self._sizes))
        self._say("".join(pieces[1:] if self._form == "csv" else pieces))
        self._waiting.clear()


def write_output(out: Path, form: str, journal: Journal, items: Sequence[Item], points: int, coefficients: int) -> None:
    """Make the output of a finished journal; a reader sees the old file or the new one, never half.

    Raises:
        OSError: no space or right; the journal stays.
    """
    if form == "pts":
        names = files_for(out, items, ".pts", "--out")
        write_pts(out, journal.records(), {str(path): file for path, file in names.items()})
        journal.remove()
        return
    temporary = out.with_name(f".{out.name}.partial")
    temporary.unlink(missing_ok=True)
    try:
        if form == "sqlite":
            write_database(temporary, journal.records(), {str(item.path): item.name.as_posix() for item in items})
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.writelines(as_text(journal.records(), form, points, coefficients))
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    journal.remove()
