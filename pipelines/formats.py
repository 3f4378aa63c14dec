"""``pifa formats``: what can be read, and what its owners want to be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pifa_data.errors import PifaError
from pifa_data.readers import FORMATS, Format

_MEASURED = {
    "tight": "NME, --normaliser tight (the box around the labelled points)",
    "box": "NME, --normaliser box (the data set's own box)",
    "interocular": "NME, --normaliser interocular (the outer eye corners)",
    "mape": "MAPE, pixels",
    "": "",
}
"""How papers that use a data set measure, in the words of `pifa eval`."""

_TRIED = {"originals": "tried on originals", "layout": "layout only, not yet tried on originals"}


def chosen_formats(name: str | None) -> list[Format]:
    """The format of that name, or all.

    Raises:
        PifaError: there is none of that name.
    """
    if name is None:
        return list(FORMATS.values())
    if name not in FORMATS:
        raise PifaError(f"format {name!r} is not known; known: {', '.join(FORMATS)}")
    return [FORMATS[name]]


def describe(fmt: Format) -> dict[str, Any]:
    """Everything about one format, as ``pifa formats --json`` gives it."""
    return {
        "name": fmt.name,
        "layout": fmt.layout,
        "schemes": list(fmt.schemes),
        "tried": fmt.tried,
        "splits": {name: {"text": split.text, "count": split.count} for name, split in fmt.splits.items()},
        "options": dict(fmt.options),
        "licence": fmt.licence,
        "citation": fmt.citation,
        "homepage": fmt.homepage,
        "normaliser": fmt.normaliser,
    }


def overview(formats: Sequence[Format], *, whole: bool) -> str:
    """A line a format, or with ``whole`` all that is known of each."""
    lines: list[str] = []
    for fmt in formats:
        lines.append(f"{fmt.name:14} {fmt.layout}")
        if not whole:
            continue
        lines += ["", f"landmarks      {', '.join(fmt.schemes)}", f"reader         {_TRIED[fmt.tried]}"]
        for title, entries in (
            ("splits", {name: _with_count(split.text, split.count) for name, split in fmt.splits.items()}),
            ("options", {f"{key}=": text for key, text in fmt.options.items()}),
        ):
            if entries:
                width = max(map(len, entries))
                lines += ["", title, *(f"  {key:{width}}  {text}" for key, text in entries.items())]
        about = {"measured by": _MEASURED[fmt.normaliser], "licence": fmt.licence, "home page": fmt.homepage}
        lines += ["", *(f"{key:14} {text}" for key, text in about.items() if text)]
        if fmt.citation:
            lines += ["", fmt.citation]
    return "\n".join(lines)


def _with_count(text: str, count: int | None) -> str:
    return text if count is None else f"{text} ({count:,} faces)"
