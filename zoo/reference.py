"""References to entries: ``NAME``, ``NAME@1``, ``NAME@1.2``, ``NAME@1.2.3``, ``NAME@^1``, ``NAME@^1.2``.

``NAME`` is the newest version, ``NAME@1`` the newest 1.x.y, ``NAME@^1.2`` the newest from 1.2.0 up to, not
including, the next version that may break: 2.0.0 (for ``^0.2``: 0.3.0, as in npm's caret ranges).
"""

import difflib
import re
import warnings
from dataclasses import dataclass

from zoo.entry import NAME_PATTERN, Entry, Index, version_key
from zoo.errors import UnknownEntryError, YankedWarning
from zoo.plain import plain

_REFERENCE = re.compile(rf"({NAME_PATTERN})(?:@(\^?)((?:0|[1-9][0-9]{{0,8}})(?:\.(?:0|[1-9][0-9]{{0,8}})){{0,2}}))?")


@dataclass(frozen=True)
class Reference:
    """A parsed reference: versions ``low <= v < high``, no upper bound where ``high`` is None.

    ``version`` is set where the reference pins one version exactly.
    """

    text: str
    name: str
    low: tuple[int, ...]
    high: tuple[int, ...] | None
    version: str | None

    def matches(self, entry: Entry) -> bool:
        """Whether the entry is one of those meant, yanked or not."""
        key = version_key(entry.version)
        return entry.name == self.name and self.low <= key and (self.high is None or key < self.high)


def parse_reference(text: str) -> Reference:
    """Parse a reference.

    Raises:
        UnknownEntryError: the text is not one.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise UnknownEntryError(
            f"reference {text!r}: expected NAME, NAME@1, NAME@1.2, NAME@1.2.3 or NAME@^1.2 with NAME of "
            "lower-case letters, digits, '.', '_' and '-' (at most 64); correct it, or see `pifa zoo list`"
        )
    name, caret, version = match.groups()
    if version is None:
        return Reference(text, name, (0, 0, 0), None, None)
    parts = tuple(int(part) for part in version.split("."))
    # The bound raises the first non-zero part under a caret, else the last one given.
    last = len(parts) - 1
    raised = next((i for i, part in enumerate(parts) if part), last) if caret else last
    high = (*parts[:raised], parts[raised] + 1)
    exact = version if len(parts) == 3 and not caret else None
    return Reference(text, name, parts, high, exact)


def matching(index: Index, ref: str) -> list[Entry]:
    """All entries that the reference means, oldest version first, yanked ones too.

    Raises:
        UnknownEntryError: the reference is malformed or nothing matches it.
    """
    reference = parse_reference(ref)
    found = [entry for entry in index.entries if reference.matches(entry)]
    if found:
        return sorted(found, key=lambda entry: version_key(entry.version))
    raise UnknownEntryError(f"{ref}: {_what_there_is(index, reference.name)}")


def resolve(index: Index, ref: str) -> Entry:
    """The newest entry that the reference means and that is not yanked.

    A yanked version is given only where it is pinned exactly, with a `YankedWarning`.

    Raises:
        UnknownEntryError: the reference is malformed, or nothing matches it, or only yanked versions do.
    """
    found = matching(index, ref)
    for entry in reversed(found):
        if entry.yanked is None:
            return entry
    newest = found[-1]
    if parse_reference(ref).version is None:
        raise UnknownEntryError(
            f"{ref}: expected a version in use, found only withdrawn ones, the newest {newest.label} "
            f"({plain(newest.yanked or '')}); to have it all the same, ask for {newest.label}"
        )
    reason = plain(newest.yanked or "")
    warnings.warn(f"{newest.label} was withdrawn by its publisher: {reason}", YankedWarning, stacklevel=2)
    return newest


def _what_there_is(index: Index, name: str) -> str:
    versions = sorted((entry.version for entry in index.entries if entry.name == name), key=version_key)
    if versions:
        return f"no such version in the registry, found {', '.join(versions[-8:])}; ask for one of these"
    names = sorted({entry.name for entry in index.entries})
    if not names:
        return "the registry has no entries; choose another with --registry or PIFA_REGISTRY"
    shown = difflib.get_close_matches(name, names) or names[:8]
    return f"no such name in the registry, found {', '.join(shown)}; see `pifa zoo list`"
