"""SQLite databases that nobody vouches for: a few columns of a few plain tables, read and nothing else.

A database file is a program as much as data: its views, triggers, generated columns and expressions run inside the
reader's own queries, and its pages can be laid out so that a table without end is met in a few kilobytes. So the file
is opened read-only and immutable (no journal, no lock, no other file is ever looked for), an authorizer lets pass reads
of the named columns alone, every name asked for must be a plain table without generated columns, and how many steps
queries take and how many rows they give is bounded by the file's own size.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pifa_data.errors import AnnotationError

Row = tuple[Any, ...]

LARGEST = 2**30
"""Bytes of a database; AFLW's, with 25,993 faces, has about 50 MB. The work on a hostile one is bounded by its size:
0.14 s a megabyte."""

LONGEST_VALUE = 4096
"""Bytes of one text or blob: file names are all that is read of them, and thousands of rows are held at once."""

LONGEST_SQL = 64 * 1024
"""Bytes of the definition of a table, or of anything else in the database."""

STEPS_A_BYTE = 5
"""Steps of SQLite's virtual machine that all queries together may take for each byte of the file; AFLW's take 0.3."""

ROW_BYTES = 8
"""Bytes of the smallest row in its page. A query that gives more rows than fit in the file reads a page again."""

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: LONGEST_SQL,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: LONGEST_SQL,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 8,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

_CALL_EVERY = 10_000
"""Steps between two looks at how many there were."""


class Database:
    """A database that is open for reading; use it as a context manager.

    Args:
        path: the file.
        tables: the columns that may be read, by table.

    Raises:
        AnnotationError: no regular file, too large, no SQLite database, a damaged one, or one in which a name is
            missing, or is no plain table with such columns.
    """

    def __init__(self, path: Path, tables: Mapping[str, tuple[str, ...]]) -> None:
        self._path = path
        self._size = _size_of(path)
        self._allowed = {table.lower(): {c.lower() for c in columns} for table, columns in tables.items()}
        self._steps = 0
        with self._errors():
            # A thread other than the one that opened it may go on reading: streams are handed on.
            uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
            try:
                self._guard()
                for table, columns in tables.items():
                    self._check(table, columns)
                self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
                self._connection.set_authorizer(self._authorize)
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def rows(self, query: str) -> Iterator[Row]:
        """Stream a query's rows; text comes as bytes. Raises as ``blocks`` does."""
        return itertools.chain.from_iterable(self.blocks(query, 2048))

    def blocks(self, query: str, count: int) -> Iterator[list[Row]]:
        """Stream a query's rows, so many at a time: a generator for each row costs more than a column of it.

        Raises:
            AnnotationError: the database is damaged, or laid out to be read without end.
        """
        with self._errors():
            most = self._size // ROW_BYTES
            cursor = self._connection.execute(query)
            while rows := cursor.fetchmany(count):
                most -= len(rows)
                if most < 0:
                    raise self._endless()
                yield rows

    def _guard(self) -> None:
        """Set all limits, before the first byte of the database is looked at."""
        connection = self._connection
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_progress_handler(self._too_many_steps, _CALL_EVERY)
        connection.text_factory = bytes  # names that are no UTF-8 are one face's trouble, not the whole file's
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "query_only=ON", "mmap_size=0", "cache_size=-16384"):
            connection.execute(f"PRAGMA {pragma}")

    def _check(self, table: str, columns: tuple[str, ...]) -> None:
        found = self._connection.execute(
            "SELECT type, rootpage FROM sqlite_master "
            "WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view') LIMIT 2",
            (table,),
        ).fetchall()
        if len(found) != 1:
            raise AnnotationError(f"{self._path}: expected a table {table}, found none of that name")
        if found[0][0] != b"table" or not isinstance(found[0][1], int) or found[0][1] <= 0:
            raise AnnotationError(f"{self._path}: expected a plain table {table}, found a view or a virtual table")
        # Column 6: 1 hidden, 2 and 3 generated.
        rows = self._connection.execute(f"PRAGMA table_xinfo({table})")
        info = {row[1].decode(errors="replace").lower(): row[6] for row in rows}
        missing = [column for column in columns if column.lower() not in info]
        if missing:
            raise AnnotationError(f"{self._path}: table {table} has no column {', '.join(missing)}")
        if any(info.values()):
            raise AnnotationError(f"{self._path}: table {table} has computed columns; expected plain ones")

    def _authorize(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and (second or "").lower() in self._allowed.get((first or "").lower(), ()):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def _too_many_steps(self) -> int:
        self._steps += _CALL_EVERY
        return self._steps > 1_000_000 + STEPS_A_BYTE * self._size

    def _endless(self) -> AnnotationError:
        return AnnotationError(f"{self._path}: the database takes more work than its size explains; it is damaged")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if self._steps > 1_000_000 + STEPS_A_BYTE * self._size:
                raise self._endless() from error
            raise AnnotationError(f"{self._path}: not a sound SQLite database ({error})") from error
        except (UnicodeDecodeError, OverflowError) as error:
            raise AnnotationError(f"{self._path}: not a sound SQLite database ({error})") from error


def _size_of(path: Path) -> int:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path}: can't be read ({error})") from error
    if not stat.S_ISREG(status.st_mode):
        raise AnnotationError(f"{path}: expected a SQLite database, found no regular file")
    if status.st_size > LARGEST:
        raise AnnotationError(f"{path}: {status.st_size} bytes, expected {LARGEST} at most")
    return status.st_size
