"""``--where EXPR``: choose faces by what their labels say, as ``abs(yaw) > 45 and size >= 100``.

The expression is in Python's grammar, of which comparisons, ``and``, ``or``, ``not``, ``in``, arithmetic and a few
functions are taken. It is walked here, never run: a command line out of a script may come from anywhere.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from pifa_data.boxes import box_size, tight_box
from pifa_data.errors import PifaError
from pifa_data.faces import Face

LONGEST = 1000
"""Characters of an expression; with Python's limit on nesting, a bound on the work for each face."""

Value = Any
Getter = Callable[[Face], Value]


class _Unknown(Exception):
    """The data set does not say it of this face."""


def _angle(number: int) -> Getter:
    def get(face: Face) -> float:
        if face.pose is None:
            raise _Unknown
        return float(np.degrees(face.pose[number]))

    return get


def _box_size(face: Face) -> float:
    if face.box is None:
        raise _Unknown
    return float(box_size(face.box))


NAMES: dict[str, tuple[str, Getter]] = {
    "yaw": ("degrees, the data set's own; > 0: the nose to the image's left", _angle(0)),
    "pitch": ("degrees, the data set's own; > 0: up", _angle(1)),
    "roll": ("degrees, the data set's own; > 0: the head tips to the image's right", _angle(2)),
    "size": (
        "pixels, √(w·h) of the box around the labelled points",
        lambda face: float(box_size(tight_box(face.landmarks, face.visibility))),
    ),
    "box_size": ("pixels, √(w·h) of the data set's own box", _box_size),
    "points": ("labelled points", lambda face: int(np.count_nonzero(face.visibility))),
    "visible": ("labelled points that are visible", lambda face: int(np.count_nonzero(face.visibility == 2))),
    "occluded": ("labelled points that are occluded", lambda face: int(np.count_nonzero(face.visibility == 1))),
    "id": ("the face's name", lambda face: face.id),
    "file": ("path of the image", lambda face: face.file),
    "subject": ("who it is", lambda face: face.subject),
    "split": ("the data set's split", lambda face: face.split),
    "subsets": ('the data set\'s other parts, as in "largepose" in subsets', lambda face: face.subsets),
    "scheme": ("landmark scheme", lambda face: face.scheme),
    "kind": ('"2d" or "3d"', lambda face: face.kind),
}
"""What an expression can ask of a face: its meaning, and how it is found."""

_FUNCTIONS: dict[str, Callable[..., Value]] = {"abs": abs, "min": min, "max": max, "len": len}
_ARITHMETIC: dict[type, Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type, Callable[[Value, Value], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def parse_where(text: str) -> Callable[[Face], bool]:
    """The test that an expression means; a face of which the data set does not say what is asked fails it.

    Raises:
        PifaError: not such an expression, or (from the test) one that compares what can't be compared.
    """
    try:
        if len(text) > LONGEST:
            raise SyntaxError(f"longer than {LONGEST} characters")
        evaluate = _compile(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = getattr(error, "msg", None) or str(error) or "too deeply nested"
        raise PifaError(
            f"--where {text[:200]!r}: {why}; expected an expression as 'abs(yaw) > 45 and size >= 100' of "
            f"{', '.join(NAMES)}"
        ) from None

    def test(face: Face) -> bool:
        try:
            return bool(evaluate(face))
        except _Unknown:
            return False
        except (TypeError, ValueError, ZeroDivisionError, OverflowError, RecursionError) as error:
            raise PifaError(f"--where {text[:200]!r}: {error} (for the face {face.id})") from None

    return test


def _compile(node: ast.expr) -> Getter:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return lambda face: value
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name][1]
        case ast.Tuple(elts=items) | ast.List(elts=items):
            parts = [_compile(item) for item in items]
            return lambda face: tuple(part(face) for part in parts)
        case ast.BoolOp(op=op, values=values):
            parts, every = [_compile(value) for value in values], isinstance(op, ast.And)
            return lambda face: (all if every else any)(part(face) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compile(operand)
            return lambda face: not inner(face)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile(operand)
            return lambda face: -_number(inner(face))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            a, b, calculate = _compile(left), _compile(right), _ARITHMETIC[type(op)]
            return lambda face: calculate(_number(a(face)), _number(b(face)))
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in _COMPARISONS for op in ops):
            return _comparison(
                [_compile(part) for part in (left, *comparators)], [_COMPARISONS[type(op)] for op in ops]
            )
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
            function, parts = _FUNCTIONS[name], [_compile(arg) for arg in args]
            return lambda face: function(*(part(face) for part in parts))
        case ast.Name(id=name):
            raise SyntaxError(f"{name!r} is not known")
    raise SyntaxError(f"{ast.unparse(node)[:80]!r} is not taken")


def _comparison(parts: list[Getter], tests: list[Callable[[Value, Value], bool]]) -> Getter:
    def evaluate(face: Face) -> bool:
        values = [part(face) for part in parts]
        return all(test(a, b) for test, a, b in zip(tests, values, values[1:], strict=False))

    return evaluate


def _number(value: Value) -> int | float:
    # "a" * 10**9 would fill the memory.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {type(value).__name__}")
    return value
