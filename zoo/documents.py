"""Strict JSON from outside, and pydantic's complaints in this project's words."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from zoo.errors import ZooError
from zoo.plain import plain

Model = TypeVar("Model", bound=BaseModel)

_SHOWN_PROBLEMS = 4
_LONGEST = 100
"""Characters of a field's place that are shown: its keys are the document's."""
_CURE = "get it anew, or tell its author"

_DIGITS = 308
"""Of a whole number that a double holds, too."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# How such a character can stand in UTF-8: raw, or as an escape. Only where one may does every text of a document is
# looked at: an index of a thousand entries has 80,000.
_RAW, _ESCAPE = re.compile(rb"\xc2[\x80-\x9f]"), re.compile(rb"\\[bfru]")


class Document(BaseModel):
    """Base of every model here: frozen, no coercion ("5" is no number), unknown keys and NaN refused."""

    # Built when first used: a command uses three of a dozen, and each takes 5 ms.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def load_json(data: bytes | str, where: str, error: type[ZooError] = ZooError) -> JsonValue:
    """Parse JSON as the standard has it: no NaN, no number beyond a double's range, no repeated keys, no control
    characters in text.

    Control characters (other than tab and newline) are refused because texts from a registry are printed on
    terminals, which obey them. ``where`` names the source in messages.

    Raises:
        ZooError: as the type ``error``, for anything else than such a document.
    """
    try:
        raw = data if isinstance(data, bytes) else data.encode("utf-8")
        text = raw.decode("utf-8")
        found: JsonValue = json.loads(
            text, parse_constant=_refuse_constant, parse_float=_float, parse_int=_int, object_pairs_hook=_object
        )
        if b"\x7f" in raw or _RAW.search(raw) or _ESCAPE.search(raw):
            _refuse_control(found)
        return found
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: expected a JSON document, found something else ({problem}); {_CURE}") from problem


def read_document(model: type[Model], path: Path, max_bytes: int, cure: str) -> Model | None:
    """Read a small document of the program's own; None where there is none.

    ``cure`` ends the message about a damaged one.

    Raises:
        ZooError: it cannot be read, is too large, or is no such document.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ZooError(f"{path}: expected to read it, found {error.strerror or error}; make it readable") from error
    if len(data) > max_bytes:
        raise ZooError(f"{path}: expected at most {max_bytes} bytes, found more; {cure}")
    try:
        return parse(model, data, str(path))
    except ZooError as error:
        raise ZooError(f"{error}; {cure}") from error


def dump_json(value: object) -> bytes:
    """The JSON that people read and `load_json` accepts: indented by 2, UTF-8, ends in a newline."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8")


def parse(model: type[Model], data: bytes | str, where: str, error: type[ZooError] = ZooError) -> Model:
    """Parse ``data`` as JSON strictly and validate it as ``model``.

    Raises:
        ZooError: as the type ``error``, listing the first few fields at fault.
    """
    load_json(data, where, error)  # the checks that pydantic's own parser does not make
    return validated(model, data, where, error)


def validated(model: type[Model], data: bytes | str, where: str, error: type[ZooError] = ZooError) -> Model:
    """Validate as ``model`` what `load_json` accepted.

    Raises:
        ZooError: as the type ``error``, listing the first few fields at fault.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as problem:
        raise error(f"{where}: {explain(problem)}") from problem


def explain(problem: ValidationError) -> str:
    """The first few faults of a document, fields but no values, on one line."""
    faults = problem.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults[:_SHOWN_PROBLEMS]]
    more = f"; and {len(faults) - _SHOWN_PROBLEMS} more" if len(faults) > _SHOWN_PROBLEMS else ""
    return "; ".join(lines) + more


def _place(keys: Sequence[int | str]) -> str:
    return plain(".".join(map(str, keys)), _LONGEST) or "document"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; write null for a number that does not exist")


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {plain(text, 20)} is too large")
    return number


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"the number {plain(text, 20)} is too large")
    return int(text)


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice in one object")
    return found


def _refuse_control(value: JsonValue) -> None:
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError("a text holds control characters")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_control(key)
            _refuse_control(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_control(item)
