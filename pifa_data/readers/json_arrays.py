"""The objects of a JSON document's arrays, one after the other, of a file of any size.

A COCO file is one object with a few arrays of many small objects. Each object is cut out of the file as text, by
searches that run in C, and parsed by itself; so memory is that of one object, and one that is broken costs no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 256 * 1024
"""Bytes read at once."""

LONGEST = 1024 * 1024
"""Bytes of one object, or one string; an annotation with 133 points and an outline takes 20,000."""

_MARK = b"\xef\xbb\xbf"  # some editors begin UTF-8 with it
_BRACE, _QUOTE = b'{"'
_SPACE = re.compile(rb"[ \t\r\n]*+")
_NEXT = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+(?=\{)")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_BRACKET_OR_STRING = re.compile(rb'[][{}]|"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_SCALAR = re.compile(rb'[^][{}",: \t\r\n]*+')


class JsonError(ValueError):
    """The document's own structure is broken, from some byte on."""


class JsonArrays:
    """Walks through a document once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = b""
        self._at = 0
        self._before = 0  # bytes of the file before the text

    def objects(self, wanted: frozenset[str]) -> Iterator[tuple[str, int, bytes | None]]:
        """The objects of the wanted arrays of the document's outermost object.

        Yields:
            Name of the array, number in it from 1, and the object's text, from ``{`` to ``}``, not looked into; None
            for what is no object. Before the first, number 0 says that there is such an array.

        Raises:
            JsonError: what holds the objects together is broken; or an object longer than LONGEST.
        """
        while len(self._text) < len(_MARK) and self._fill():
            pass
        if self._text.startswith(_MARK):
            self._at = len(_MARK)
        self._expect(b"{")
        seen: set[str] = set()
        while self._char() != b"}":
            name = self._key()
            if name in wanted:
                if name in seen:
                    raise self._error(f'expected each key once, found "{name}" again')
                seen.add(name)
                self._expect(b"[")
                yield name, 0, None
                yield from self._elements(name)
            else:
                self._skip()
            if self._char() != b"}":
                self._expect(b",")

    def _elements(self, name: str) -> Iterator[tuple[str, int, bytes | None]]:
        number = 0
        more = self._char() != b"]"
        while more:
            number += 1
            if self._text[self._at] == _BRACE:
                yield name, number, self._object()
            else:
                self._skip()
                yield name, number, None
            if match := _NEXT.match(self._text, self._at):
                self._at = match.end()
            elif more := self._char() != b"]":
                self._expect(b",")
                self._char()
        self._at += 1

    def _object(self) -> bytes:
        """The text of the object that begins here."""
        while True:
            text, at = self._text, self._at
            end = text.find(b"}", at) + 1
            if end:
                found = text[at:end]
                # One brace each way, and as many quotes before the last as there must be outside of a string.
                if found.count(b"{") == 1 and b"\\" not in found and not found.count(b'"') % 2:
                    self._at = end
                    return found
                end = self._end(at)
                if end:
                    self._at = end
                    return text[at:end]
            self._more()

    def _end(self, at: int) -> int:
        """Where the object or array that begins at ``at`` ends; 0 if not in the text so far."""
        depth = 0
        for match in _BRACKET_OR_STRING.finditer(self._text, at):
            first = self._text[match.start()]
            if first == _QUOTE:
                if not match[1]:
                    return 0
            elif first in b"{[":
                depth += 1
            else:
                depth -= 1
                if not depth:
                    return match.end()
        return 0

    def _key(self) -> str:
        if self._char() != b'"':
            raise self._error("expected a key in quotes")
        start, end = self._string()
        name = self._text[start + 1 : end - 1].decode(errors="replace")
        self._expect(b":")
        return name

    def _string(self) -> tuple[int, int]:
        """Pass over a string; where it begins and ends in the text."""
        while True:
            match = _STRING.match(self._text, self._at)
            if match is not None and match[1]:
                self._at = match.end()
                return match.span()
            self._more()

    def _skip(self) -> None:
        """Pass over a value of any kind and length, keeping none of it."""
        first = self._char()
        if first == b'"':
            self._string()
        elif first in (b"{", b"["):
            self._skip_nested()
        elif first in (b"}", b"]", b",", b":"):
            raise self._error("expected a value")
        else:
            while (end := _SCALAR.match(self._text, self._at).end()) == len(self._text) and self._fill():  # type: ignore[union-attr]
                if end - self._at > LONGEST:
                    raise self._error("expected a number, true, false or null")
            self._at = end

    def _skip_nested(self) -> None:
        depth = 0
        while True:
            end = len(self._text)
            for match in _BRACKET_OR_STRING.finditer(self._text, self._at):
                first = self._text[match.start()]
                if first == _QUOTE:
                    if not match[1]:
                        end = match.start()
                        break
                elif first in b"{[":
                    depth += 1
                else:
                    depth -= 1
                    if not depth:
                        self._at = match.end()
                        return
            self._at = end
            self._more()

    def _char(self) -> bytes:
        """The next character that is no white space."""
        while (at := _SPACE.match(self._text, self._at).end()) == len(self._text):  # type: ignore[union-attr]
            self._at = at
            self._more()
        self._at = at
        return self._text[at : at + 1]

    def _expect(self, char: bytes) -> None:
        found = self._char()
        if found != char:
            raise self._error(f"expected {char.decode()}")
        self._at += 1

    def _more(self) -> None:
        """Read on: what stands here is not complete."""
        if len(self._text) - self._at > LONGEST:
            raise self._error(f"expected objects and names of at most {LONGEST} bytes, found a longer one")
        if not self._fill():
            raise JsonError(f"byte {self._before + len(self._text)}: the file ends in the middle")

    def _fill(self) -> bool:
        """Read a chunk and let go what is behind; whether there was one."""
        chunk = self._file.read(CHUNK)
        self._text, self._before, self._at = self._text[self._at :] + chunk, self._before + self._at, 0
        return bool(chunk)

    def _error(self, what: str) -> JsonError:
        found = self._text[self._at : self._at + 20]
        return JsonError(f"byte {self._before + self._at}: {what}, found {found!r}")
