"""The card's page (stub until the real one is merged)."""

from zoo.entry import Entry


def make_page(entry: Entry, card: bytes) -> bytes:
    return card
