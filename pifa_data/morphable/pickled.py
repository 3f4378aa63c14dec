"""A reader of pickles that builds arrays and plain containers, and nothing else.

FLAME is handed out as a Python pickle, which is a program: the standard library's unpickler imports what it names and
calls it. This file does not use that unpickler. It is a small machine of its own for the pickle language, in which a
name of a module is only a name: the few below stand for actions written here, any other one ends the reading. NumPy
arrays are built from their bytes (``numpy.frombuffer``: no objects, no more bytes than the file has); objects of chumpy
and scipy.sparse become a `Record` of their class's name and their state.

Against what a hostile file could still do: dictionaries take only short plain keys, so nothing nested is ever hashed;
nothing here walks nested values, so depth is harmless; the memo is a dictionary, so a large memo number costs nothing;
lengths are checked against what is left of the file; and what strings and arrays may be copied is bounded.
"""

from __future__ import annotations

import codecs
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import MorphableError
from pifa_data.morphable.importing import require_file

_NUMBER_TYPE = re.compile("[<>=|]?[fiub][1248]")
_MOST_OPERATIONS = 5_000_000
"""FLAME's pickles need a few thousand."""
_COPIES = 4
"""Times the file's size that may be copied in all: a Python 2 string is decoded and encoded again, for example."""


@dataclass
class Record:
    """An object that is not built: the name of its class, and the state it was saved with."""

    kind: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass
class Array:
    """An array: a pickle makes it empty and fills it later."""

    value: np.ndarray | None = None


class _Type:
    """A ``numpy.dtype`` of plain numbers; the byte order comes with its state."""

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(name)


@dataclass(frozen=True)
class _Name:
    """A module's member, as ``module.member``."""

    text: str


class _Mark:
    """Where a list of arguments begins on the stack."""


_MARK = _Mark()

_RECONSTRUCT = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_SCALAR = {f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
_NEW_OBJECT = {"copy_reg._reconstructor", "copyreg._reconstructor", "copyreg.__newobj__", "copy_reg.__newobj__"}
_PLAIN = {"__builtin__.object", "builtins.object", "numpy.ndarray"}
_ENCODE = {"_codecs.encode"}
_DICTIONARY = {"collections.OrderedDict"}
_BYTES = {"__builtin__.bytes", "builtins.bytes"}  # of none: how protocols before 3 write an empty one
_DTYPE = {"numpy.dtype"}
_RECORDS = {"chumpy.ch.Ch", "chumpy.reordering.Select"} | {
    f"scipy.sparse.{module}.{form}_{shape}"
    for form in ("csc", "csr", "coo")
    for module in (form, f"_{form}")
    for shape in ("matrix", "array")
}
_ALLOWED = set().union(
    _RECONSTRUCT, _SCALAR, _FROM_BUFFER, _NEW_OBJECT, _PLAIN, _ENCODE, _DICTIONARY, _BYTES, _DTYPE, _RECORDS
)


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of numbers, strings, lists, tuples, dictionaries, `Array` and `Record`.

    Strings of Python 2 are read as Latin-1. Protocols 0 to 5, without buffers outside of the file.

    Raises:
        MorphableError: not a pickle, a damaged one, not of a dictionary, or one that names anything but arrays.
    """
    data = require_file(path).read_bytes()
    try:
        value = _Machine(data).run()
    except MorphableError as error:
        raise MorphableError(f"{path}: {error}") from error
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, AttributeError) as error:
        raise MorphableError(f"{path}: not a pickle of arrays, or a damaged one ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise MorphableError(f"{path}: expected a pickled dictionary of arrays, found {type(value).__name__}")
    return {str(key): item for key, item in value.items()}


class _Machine:
    """Runs one pickle. Faults that the data cause surface as the errors that ``read_pickle`` catches."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self) -> Any:
        for _ in range(_MOST_OPERATIONS):
            code = self._take(1)
            if code == b".":
                return self._pop()
            if (number := _CONSTANTS.get(code, _MARK)) is not _MARK:
                self.stack.append(number)
            elif code in _OPERATIONS:
                _OPERATIONS[code](self)
            else:
                raise MorphableError(f"not a pickle of arrays: operation {code!r} at byte {self.at - 1}")
        raise MorphableError(f"a pickle of more than {_MOST_OPERATIONS} operations; refused")

    # Reading the file.

    def _take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise MorphableError("a cut or damaged pickle: expected more bytes than there are")
        self.at += count
        return self.data[self.at - count : self.at]

    def _line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise MorphableError("a cut or damaged pickle: expected a line, found none")
        line = self.data[self.at : end]
        self.at = end + 1
        return line

    def _unsigned(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def sized(self, width: int) -> bytes:
        return self._spend(self._take(self._unsigned(width)))

    def _spend(self, value: bytes) -> bytes:
        self.copied += len(value)
        if self.copied > _COPIES * len(self.data) + 2**20:
            raise MorphableError("a pickle that copies its strings over and over; refused")
        return value

    # The stack.

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise MorphableError("a damaged pickle: expected a value, found none")
        return self.stack.pop()

    def _since_mark(self) -> list[Any]:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _MARK:
                values = self.stack[start + 1 :]
                del self.stack[start:]
                return values
        raise MorphableError("a damaged pickle: expected a mark, found none")

    def _top(self, kind: type) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise MorphableError(f"a damaged pickle: expected a {kind.__name__}, found {type(value).__name__}")
        return value

    # Operations.

    def long(self, width: int) -> None:
        size = self._unsigned(width)
        if size > 16:
            raise MorphableError("a pickle with a whole number of over 16 bytes; refused")
        self.stack.append(int.from_bytes(self._take(size), "little", signed=True))

    def number_line(self) -> None:
        text = self._line().strip().removesuffix(b"L")
        if len(text) > 64:
            raise MorphableError("a pickle with a number of over 64 digits; refused")
        booleans = {b"00": False, b"01": True}  # as protocol 0 writes them
        self.stack.append(booleans[text] if text in booleans else int(text))

    def float_line(self) -> None:
        self.stack.append(float(self._line()[:64]))

    def string_line(self) -> None:
        text = self._line().strip()
        if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
            raise MorphableError("a damaged pickle: expected a string in quotes")
        with warnings.catch_warnings(action="ignore"):  # an unknown escape stands for itself, as in Python 2
            value, _ = codecs.escape_decode(text[1:-1])
        self.stack.append(self._spend(value).decode("latin-1"))

    def unicode_line(self) -> None:
        self.stack.append(self._spend(self._line()).decode("raw-unicode-escape"))

    def extend(self) -> None:
        values = self._since_mark()
        self._top(list).extend(values)

    def append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def set_items(self, pairs: list[Any]) -> None:
        self.stack.append(self._filled(self._pop(), pairs))

    def _filled(self, target: Any, pairs: list[Any]) -> dict[Any, Any]:
        if not isinstance(target, dict) or len(pairs) % 2:
            raise MorphableError("a damaged pickle: expected a dictionary and pairs for it")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # A nested tuple as a key would be hashed recursively, without a limit.
            if type(key) not in (str, int, float, bool, type(None)):
                raise MorphableError(f"a pickle with a {type(key).__name__} as a dictionary's key; refused")
            target[key] = value
        return target

    def stacked_name(self) -> None:
        member, module = self._pop(), self._pop()
        if not isinstance(member, str) or not isinstance(module, str):
            raise MorphableError("a damaged pickle: expected the name of a module's member")
        self.name(module, member)

    def name(self, module: str, member: str) -> None:
        text = f"{module}.{member}"
        if text not in _ALLOWED:
            shown = text if len(text) < 100 and text.isprintable() else "something unnamed"
            raise MorphableError(
                f"a pickle that asks for {shown}: expected arrays and nothing else, so nothing of it was run; "
                "get the file from its owner again"
            )
        self.stack.append(_Name(text))

    def call(self) -> None:
        arguments = self._pop()
        name = self._top(_Name).text
        if not isinstance(arguments, tuple):
            raise MorphableError("a damaged pickle: expected arguments")
        self.stack[-1] = self._made(name, arguments)

    def _made(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name in _RECONSTRUCT:
            return Array()
        if name in _DTYPE:
            return self._type(arguments)
        if name in _SCALAR:
            return self._numbers(arguments[1], arguments[0], ())[()].item()
        if name in _FROM_BUFFER:
            raw, kind, shape, order, *axes = arguments
            value = self._numbers(raw, kind, shape, "F" if order == "F" else "C")
            # NumPy 2.3 and later add the order of the axes, for an array that is neither C's nor Fortran's.
            return Array(value.transpose(axes[0]) if axes and axes[0] is not None else value)
        if name in _ENCODE:
            text, coding = arguments
            if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
                raise MorphableError("a pickle that encodes something other than Latin-1; refused")
            return self._spend(text.encode("latin-1"))
        if name in _DICTIONARY | _BYTES and not arguments:
            return {} if name in _DICTIONARY else b""
        if name in _NEW_OBJECT and arguments and isinstance(arguments[0], _Name):
            return self._made_new(arguments[0].text)
        raise MorphableError(f"a pickle that calls {name} in a way that makes no array; refused")

    def _made_new(self, name: str) -> Any:
        if name not in _RECORDS:
            raise MorphableError(f"a pickle of a {name}; expected arrays")
        return Record(name)

    def new_object(self) -> None:
        self._pop()  # its arguments: the classes kept as records have none
        self.stack[-1] = self._made_new(self._top(_Name).text)

    def _type(self, arguments: tuple[Any, ...]) -> _Type:
        text = arguments[0]
        if not isinstance(text, str) or not _NUMBER_TYPE.fullmatch(text):
            raise MorphableError("a pickled array of something other than plain numbers; refused")
        return _Type(text)

    def build(self) -> None:
        state = self._pop()
        target = self.stack[-1]
        if isinstance(target, Array):
            _, shape, kind, fortran, raw = state
            target.value = self._numbers(raw, kind, shape, "F" if fortran else "C")
        elif isinstance(target, _Type):
            if not isinstance(state, tuple) or state[1] not in ("<", ">", "|", "="):
                raise MorphableError("a pickled array of an unknown byte order; refused")
            target.dtype = target.dtype.newbyteorder(state[1])
        elif isinstance(target, Record):
            if isinstance(state, tuple) and len(state) == 2:
                state = state[0]
            if not isinstance(state, dict):
                raise MorphableError(f"a pickled {target.kind} with a state that is no dictionary")
            target.state = state  # not copied: one dictionary may be the state of many
        else:
            raise MorphableError(f"a pickle that sets the state of a {type(target).__name__}; refused")

    def _numbers(self, raw: Any, kind: Any, shape: Any, order: Any = "C") -> np.ndarray:
        if isinstance(raw, str):  # bytes of Python 2
            raw = self._spend(raw.encode("latin-1"))
        if not isinstance(raw, bytes) or not isinstance(kind, _Type):
            raise MorphableError("a pickled array of something other than plain numbers; refused")
        if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 2**40 for n in shape) or len(shape) > 8:
            raise MorphableError("a pickled array of an impossible shape; refused")
        expected = math.prod(shape) * kind.dtype.itemsize
        if expected != len(raw):
            raise MorphableError(f"a pickled array of {expected} bytes with {len(raw)} in the file; it is damaged")
        return np.frombuffer(raw, dtype=kind.dtype).reshape(shape, order=order)


def _put(machine: _Machine, number: int) -> None:
    machine.memo[number] = machine.stack[-1]


def _tuple(machine: _Machine, count: int) -> None:
    values = [machine._pop() for _ in range(count)]
    machine.stack.append(tuple(reversed(values)))


_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False}

_OPERATIONS: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m._take(1),  # protocol
    b"\x95": lambda m: m._take(8),  # frame
    b"(": lambda m: m.stack.append(_MARK),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m._since_mark(),
    b"2": lambda m: m.stack.append(m.stack[-1]),
    # Numbers.
    b"I": _Machine.number_line,
    b"L": _Machine.number_line,
    b"F": _Machine.float_line,
    b"G": lambda m: m.stack.append(float(np.frombuffer(m._take(8), ">f8")[0])),
    b"J": lambda m: m.stack.append(int.from_bytes(m._take(4), "little", signed=True)),
    b"K": lambda m: m.stack.append(m._unsigned(1)),
    b"M": lambda m: m.stack.append(m._unsigned(2)),
    b"\x8a": lambda m: m.long(1),
    b"\x8b": lambda m: m.long(4),
    # Strings: of Python 2, Unicode, bytes.
    b"S": _Machine.string_line,
    b"V": _Machine.unicode_line,
    b"T": lambda m: m.stack.append(m.sized(4).decode("latin-1")),
    b"U": lambda m: m.stack.append(m.sized(1).decode("latin-1")),
    b"X": lambda m: m.stack.append(m.sized(4).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.stack.append(m.sized(1).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.stack.append(m.sized(8).decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.stack.append(m.sized(4)),
    b"C": lambda m: m.stack.append(m.sized(1)),
    b"\x8e": lambda m: m.stack.append(m.sized(8)),
    b"\x96": lambda m: m.stack.append(m.sized(8)),  # a bytearray; nothing here writes into it
    # Containers.
    b")": lambda m: m.stack.append(()),
    b"t": lambda m: m.stack.append(tuple(m._since_mark())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"]": lambda m: m.stack.append([]),
    b"l": lambda m: m.stack.append(m._since_mark()),
    b"a": _Machine.append,
    b"e": _Machine.extend,
    b"}": lambda m: m.stack.append({}),
    b"d": lambda m: m.stack.append(m._filled({}, m._since_mark())),
    b"s": lambda m: m.set_items([m._pop(), m._pop()][::-1]),
    b"u": lambda m: m.set_items(m._since_mark()),
    # The memo.
    b"p": lambda m: _put(m, int(m._line()[:20])),
    b"q": lambda m: _put(m, m._unsigned(1)),
    b"r": lambda m: _put(m, m._unsigned(4)),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"g": lambda m: m.stack.append(m.memo[int(m._line()[:20])]),
    b"h": lambda m: m.stack.append(m.memo[m._unsigned(1)]),
    b"j": lambda m: m.stack.append(m.memo[m._unsigned(4)]),
    # Names, and what is done with them.
    b"c": lambda m: m.name(m._line().decode("ascii"), m._line().decode("ascii")),
    b"\x93": _Machine.stacked_name,
    b"R": _Machine.call,
    b"\x81": _Machine.new_object,
    b"b": _Machine.build,
}
