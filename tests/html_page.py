"""An HTML page taken apart, to see that it is whole."""

import re
from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\u202e{{ 7 * 7 }}"
"""A name that does harm on a page that does not escape it."""


class Page(HTMLParser):
    """Tags, attributes and text of a page, and whether every tag is closed by its own."""

    VOID = frozenset({"meta", "br", "img", "input", "source"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return re.sub(r"\s+", " ", " ".join(self.words))


def whole_page(text: str, hostile: bool = True) -> Page:
    """A page's parts, after checking that it is whole, asks for nothing, runs nothing, and shows HOSTILE as text."""
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert not page.open
    assert not {"script", "iframe", "link", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value or "" for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", address) for address in addresses)
    outside = re.sub(r"data:[^\"]*", "", text)
    assert not re.search(r"https?:|//|url\(|@import|alert\(1\)<", outside)
    assert "\u202e" not in text
    if hostile:
        assert "<script>alert(1)</script>" in page.text
        assert "{{ 7 * 7 }}" in page.text
    return page
