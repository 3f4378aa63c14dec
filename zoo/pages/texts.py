"""Texts and numbers of registries and checkpoints, made safe to show: in Markdown, on a page."""

import re

from pydantic import JsonValue

from zoo.plain import plain

# Where a text begins a block, these would make it a heading, a list, a quotation, a fence or a rule.
_BLOCK = re.compile(r"#{1,6}(?:\s|$)|>|[-+](?:\s|$)|[-_~]{3}|\d{1,9}(?=[.)](?:\s|$))")
# An underscore within a word is one in Markdown too.
_MARKS = re.compile(r"[\\`*\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK = re.compile(r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[!#$%&'()*+,./0-9:;=?@A-Z_a-z~-]*)?")


def markdown(text: str, longest: int = 2000) -> str:
    """`plain` text as Markdown that shows exactly that: no HTML, no link, no picture, no heading of its own."""
    clean = _MARKS.sub(r"\\\g<0>", plain(text, longest)).replace("&", "&amp;").replace("<", "&lt;")
    block = _BLOCK.match(clean)
    if block is None:
        return clean
    at = block.end() if block[0][0].isdigit() else 0
    return f"{clean[:at]}\\{clean[at:]}"


def code(text: str, longest: int = 200) -> str:
    """`plain` text as Markdown code."""
    return f"`{plain(text, longest).replace('`', chr(39)) or ' '}`"


def link(text: str) -> str:
    """A text as Markdown, as a link where it is an ``https://`` address."""
    return f"<{text}>" if is_link(text) else markdown(text)


def is_link(text: str) -> bool:
    """Whether a text is an ``https://`` address of plain characters."""
    return len(text) <= 2000 and _LINK.fullmatch(text) is not None


def number(value: float | None, digits: int = 2) -> str:
    """A number with ``digits`` decimals, shorter where it is huge or tiny; – where there is none."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3g}"


def value(found: JsonValue) -> str:
    """A JSON value that is no list and no object, as text."""
    if found is None:
        return "–"
    if isinstance(found, bool):
        return "yes" if found else "no"
    return f"{found:.4g}" if isinstance(found, float) else plain(str(found), 500)


def size(count: int) -> str:
    """A file's size for people: bytes, kB, MB or GB of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} bytes"
