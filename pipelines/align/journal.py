"""Results on disk as they come, so that a run that was stopped goes on where it was.

A file of JSON lines beside the output: the settings first, then the records of each item, and after them ``done`` with
the item's name. What stands behind the last ``done`` belongs to an item that was under way, and is cut off. Only when
all is there is the output made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pifa_data.errors import AnnotationError
from pipelines.align.records import Record, is_face


class Journal:
    """The journal of one output; close it, or use it in ``with``."""

    def __init__(self, out: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Begin or go on.

        Args:
            out: the output that is made of it in the end.
            settings: what the records depend on; a run goes on only with the same.
            resume: go on where a journal is.
            overwrite: a finished output is replaced, a journal begun anew.

        Raises:
            AnnotationError: there is an output or a journal and it was not said what to do; other settings; damage.
        """
        self.path = out.with_name(f"{out.name}.partial.jsonl")
        self.done: set[str] = set()
        self.faces = self.failures = 0
        # A journal means that to replace the output was agreed to when it was begun.
        going_on = self.path.exists() and resume
        empty = out.is_dir() and not any(out.iterdir())
        if out.exists() and not (overwrite or going_on or empty):
            raise AnnotationError(f"--out {out}: exists; name another, or replace it with --overwrite")
        if self.path.exists() and not resume and not overwrite:
            raise AnnotationError(
                f"--out {out}: a run that was stopped left {self.path}; go on with --resume, or begin anew with "
                "--overwrite"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        if going_on:
            self._read(settings)
        self._file = self.path.open("r+b" if going_on else "wb")
        if going_on:
            self._file.seek(self._end)
            self._file.truncate()
        else:
            self._write({"settings": settings})
            self._file.flush()

    def add(self, record: Record) -> None:
        """Keep a record of the item under way."""
        self._write(record)
        self.faces += is_face(record)
        self.failures += not is_face(record)

    def finish(self, item: str) -> None:
        """The item under way has all its records."""
        self._write({"done": item})
        self._file.flush()
        self.done.add(item)

    def records(self) -> Iterator[Record]:
        """All records, as they came."""
        self._file.flush()
        with self.path.open("rb") as file:
            for line in file:
                document = json.loads(line)
                if "image" in document:
                    yield document

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """The output is made: the journal has served."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(json.dumps(document).encode("utf-8") + b"\n")

    def _read(self, settings: dict[str, Any]) -> None:
        """Find what is done and where it ends."""
        self._end = faces = failures = at = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file):
                at += len(line)
                try:
                    document = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    document = None
                if not isinstance(document, dict):
                    break  # torn by a stop
                if number == 0:
                    self._check(document.get("settings"), settings)
                    self._end = at
                elif "done" in document:
                    self.done.add(document["done"])
                    self._end, self.faces, self.failures = at, faces, failures
                else:
                    faces += is_face(document)
                    failures += not is_face(document)
        if not self._end:
            raise AnnotationError(f"{self.path}: not a journal of `pifa align`; begin anew with --overwrite")

    def _check(self, found: Any, settings: dict[str, Any]) -> None:
        if not isinstance(found, dict):
            raise AnnotationError(f"{self.path}: not a journal of `pifa align`; begin anew with --overwrite")
        other = [name for name in settings if found.get(name) != settings[name]]
        if other:
            raise AnnotationError(
                f"{self.path}: was begun with other settings ({', '.join(other)}); give the same, or begin anew with "
                "--overwrite"
            )
