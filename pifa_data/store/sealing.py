"""JSON objects that carry their own SHA-256: a bit that flips in a store's attributes or manifest is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "checksum"
"""Key of the SHA-256 over the other keys, as ``json.dumps(…, sort_keys=True, separators=(",", ":"))`` writes them."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its checksum, in place of an older one."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return rest | {CHECKSUM: _checksum(rest)}


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The object without its checksum.

    Raises:
        ValueError: it is not what it was when it was sealed.
    """
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    if content.get(CHECKSUM) != _checksum(rest):
        raise ValueError("the checksum does not match")
    return rest


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
