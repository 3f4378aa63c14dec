"""A version's page: its card, rendered, to lie beside the card's pictures."""

from zoo.entry import Entry
from zoo.errors import ZooError
from zoo.pages.rendering import markdown_html, render
from zoo.plain import plain

MAX_CARD_BYTES = 2**20
"""A real card has ten kilobytes."""


def make_page(entry: Entry, card: bytes) -> bytes:
    """``card.html``: the card as one page without a script, UTF-8; the same bytes for the same card.

    Raises:
        ZooError: the card is over 1 MiB or not UTF-8.
    """
    title = plain(f"{entry.label}: {entry.preset}, {entry.scheme}", 120)
    return render("card.html.j2", title=title, card=markdown_html(card_text(card, entry.label))).encode()


def card_text(card: bytes, label: str) -> str:
    """A card's text; ``label`` names its entry in messages.

    Raises:
        ZooError: it is over 1 MiB or not UTF-8.
    """
    cure = "tell the registry's publisher"
    if len(card) > MAX_CARD_BYTES:
        raise ZooError(f"{label}: expected a card of at most {MAX_CARD_BYTES} bytes, found {len(card)}; {cure}")
    try:
        text = card.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ZooError(f"{label}: expected a card in UTF-8, found other bytes ({error.reason}); {cure}") from error
    return "\n".join(_printable(line) for line in text.splitlines())


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


def section(text: str, title: str) -> str | None:
    """The Markdown under the heading ``## TITLE`` of a card's text, or None where there is no such heading."""
    lines = text.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith(("## ", "# "))]
    for start, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        if lines[start] == f"## {title}":
            return "\n".join(lines[start + 1 : end]).strip()
    return None
