"""What the doctor finds: rows of a name, a text, how it is, and the cure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "absent", "warning", "broken"]
"""Of a row: as it should be; not there, and not needed; works, but look at it; needed, and does not work."""


@dataclass(frozen=True)
class Row:
    """One finding.

    Attributes:
        name: what was looked at.
        value: what was found, one line.
        state: how that is.
        cure: what to do, where something is to be done.
        details: more for ``--json``.
    """

    name: str
    value: str
    state: State = "ok"
    cure: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {"name": self.name, "value": self.value, "state": self.state, "cure": self.cure or None, **self.details}

    def __str__(self) -> str:
        return f"{self.name}: {self.value}" + (f"; {self.cure}" if self.cure else "")


def one_line(text: object, longest: int = 300) -> str:
    """A text from outside as one line that a terminal can show.

    The zoo's ``plain`` does the same, but the zoo can't be imported where pydantic is broken.
    """
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    shown = " ".join(shown.split())
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def error_text(error: BaseException) -> str:
    """Kind and first line of an error."""
    first = one_line(str(error).strip().partition("\n")[0])
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def looked(name: str, look: Callable[[], list[Row]], *, known: bool = False) -> list[Row]:
    """The rows that ``look`` finds; one that says why in their place where looking fails.

    Args:
        known: packages are known to be broken, so that an import that fails is no other fault.
    """
    try:
        return look()
    except Exception as error:  # whatever a broken installation raises is what the doctor is asked about
        if known and isinstance(error, ImportError):
            return [Row(name, f"not looked at ({error_text(error)})", "absent")]
        return [Row(name, f"can't be looked at ({error_text(error)})", "broken", "install pifa again")]


def size_text(size: float) -> str:
    """Bytes for a person: ``1.4 GB``, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit in ("B", "kB") or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
