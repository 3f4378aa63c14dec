"""Strict JSON from outside, and pydantic's complaints in this project's words."""

import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from zoo.errors import ZooError

Model = TypeVar("Model", bound=BaseModel)

_SHOWN_PROBLEMS = 4
_CURE = "get it anew, or tell its author"


class Document(BaseModel):
    """Base of every model here: frozen, no coercion ("5" is no number), unknown keys and NaN refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def load_json(data: bytes | str, where: str, error: type[ZooError] = ZooError) -> JsonValue:
    """Parse JSON as the standard has it: no NaN, no repeated keys, no control characters in text.

    Control characters (other than tab and newline) are refused because texts from a registry are printed on
    terminals, which obey them. ``where`` names the source in messages.

    Raises:
        ZooError: as the type ``error``, for anything else than such a document.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        found: JsonValue = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
        _refuse_control(found)
        return found
    except (ValueError, RecursionError) as problem:
        raise error(f"{where}: expected a JSON document, found something else ({problem}); {_CURE}") from problem


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
    lines = [f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}" for fault in faults]
    more = f"; and {len(lines) - _SHOWN_PROBLEMS} more" if len(lines) > _SHOWN_PROBLEMS else ""
    return "; ".join(lines[:_SHOWN_PROBLEMS]) + more


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; write null for a number that does not exist")


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError("a key is given twice in one object")
        _refuse_control(key)
        _refuse_control(value)
        found[key] = value
    return found


def _refuse_control(value: JsonValue) -> None:
    if isinstance(value, str) and any(
        (ord(c) < 0x20 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in value
    ):
        raise ValueError("a text holds control characters")
    if isinstance(value, list):
        for item in value:
            _refuse_control(item)
