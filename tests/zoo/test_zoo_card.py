"""The card and its page: what they say, and that foreign texts stay texts."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from html_page import HOSTILE, Page
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo.pages.page import MAX_CARD_BYTES, make_page, section
from zoo.pages.rendering import markdown_html
from zoo.pages.texts import is_link, markdown, number, size
from zoo.plain import plain

Make = Callable[..., Path]

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 16


def card_of(registry: Path, entry: zoo.Entry) -> str:
    return zoo.Registry(registry).read(entry, "card.md").decode()


def test_the_card_says_what_the_numbers_measure(registry: Path, checkpoint: Make, metric: Make, tmp_path: Path) -> None:
    weights = checkpoint(
        training={"data": ["ytf68"], "train_subjects": ["a", "b", "c"], "val_subjects": ["d"], "step": 7},
        config={"optimizer": {"name": "adamw", "steps": []}, "losses": {"blocks": ["landmarks", "parameters"]}},
    )
    (tmp_path / "a.png").write_bytes(PNG)
    interval = {"low": 3.0, "high": 3.5, "level": 0.95, "people": 9}
    entry = zoo.publish(
        registry,
        weights=weights,
        name="face",
        version="1.0.0",
        metrics=[metric(weights, crops=24, skipped=2, nme_interval=interval, subset="held-out")],
        pictures=[(tmp_path / "a.png", "One face")],
        architecture="two blocks",
        mirrors=["https://example.org/face"],
        morphable_where="https://example.org/model",
    )
    card = card_of(registry, entry)
    for part in (
        "| architecture | two blocks |",
        "| where to get that model | <https://example.org/model> |",
        "| the same files also at | <https://example.org/face> |",
        "| people trained on | 3 |",
        "| people held out | 1 |",
        "| step | 7 |",
        "| optimizer.name | adamw |",
        "| losses.blocks | landmarks, parameters |",
        "- faces: 12, 24 crops, 2 skipped",
        "- subset: held-out: only people that it was not trained on",
        "- boxes: tight: the box around the labelled points",
        "- landmarks: 2d: jaw points on the visible silhouette",
        "- normaliser: tight: √(w·h) of the box around the labelled points",
        "- 95 % interval: 3.00 to 3.50 %, by the bootstrap over 9 people",
        "\n## Pictures\n\n![One face](picture-1.png)\n\nOne face\n",
    ):
        assert part in card, part
    page = Page(zoo.Registry(registry).read(entry, "card.html").decode())
    assert page.open == []
    assert "face@1.0.0" in page.text
    assert "held-out: only people that it was not trained on" in page.text
    assert ("src", "picture-1.png") in page.attributes
    assert ("href", "https://example.org/model") in page.attributes
    assert page.tags.count("table") == 5


def test_the_same_publication_gives_the_same_page(tmp_path: Path, checkpoint: Make) -> None:
    pages = []
    for folder in ("one", "two"):
        entry = zoo.publish(tmp_path / folder, weights=checkpoint(), name="face", version="1.0.0")
        pages.append((tmp_path / folder / "face" / "1.0.0" / "card.html").read_bytes())
    assert pages[0] == pages[1] == make_page(entry, card_of(tmp_path / "one", entry).encode())


HARM = [
    HOSTILE,
    "![x](https://evil.example/a.png)",
    "[click](javascript:alert(1))",
    "# heading",
    "1. list",
    "- list",
    "+",
    "> quotation",
    "---",
    "``` fence",
    "~~~ fence",
    "a | b `code` *bold* \\ [x]: https://evil.example",
    "<https://evil.example>",
    "&lt;b&gt;",
    "\u202etxt.exe\u2066\u200b",
    "x" * 3000,
]


@pytest.mark.parametrize("text", HARM)
def test_a_hostile_text_is_shown_as_it_is(text: str) -> None:
    """In a paragraph, in a list and in a table, as Markdown and as a page."""
    lines = (markdown(text), f"- {markdown(text)}", "| a |\n| --- |\n| " + markdown(text).replace("|", "\\|") + " |")
    for line, frame in zip(
        lines, (["p"], ["ul", "li"], ["div", "table", "thead", "tr", "th", "tbody", "tr", "td"]), strict=True
    ):
        page = Page(markdown_html(line))
        assert page.tags == frame
        assert page.attributes in ([], [("class", "wide")])
        # Entities stand in the words as the characters that they are.
        assert plain(text) in "".join(page.words)


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("#*_-+=>~`[]()!<>&;\\|:./ \t\nab19\u202e\u00a0{}\"'@"), min_size=1, max_size=30)
)
def test_any_text_is_shown_as_it_is(text: str) -> None:
    expected = plain(text)
    page = Page(markdown_html(markdown(text)))
    assert page.tags == (["p"] if expected else [])
    assert "".join(page.words).strip() == expected


def test_a_card_of_hostile_texts(registry: Path, checkpoint: Make, metric: Make, tmp_path: Path) -> None:
    words = "| <script>alert(1)</script> [x](javascript:alert(2)) ![y](https://evil.example/y.png)"
    weights = checkpoint(
        preset=words,
        scheme=words,
        boxes=words,
        morphable={"name": words, "fingerprint": f"`{words}"},
        training={"data": [words], words: words},
    )
    (tmp_path / "a.png").write_bytes(PNG)
    entry = zoo.publish(
        registry,
        weights=weights,
        name="face",
        version="1.0.0",
        metrics=[metric(weights, source=words, subset=words, normaliser=words, nme_by_yaw={words: 1.0}, scheme=words)],
        pictures=[(tmp_path / "a.png", words)],
        limits=[words],
        licence=words,
        morphable_where=f"javascript:{words}",
    )
    page = Page(zoo.Registry(registry).read(entry, "card.html").decode())
    assert page.open == []
    assert set(page.tags) <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "thead", "tbody", "tr"),
        *("th", "td", "ul", "li", "code", "pre", "strong", "img"),
    }
    assert page.tags.count("img") == 1
    assert {name for name, _ in page.attributes} <= {
        *("lang", "charset", "name", "content", "http-equiv", "class", "src", "alt", "loading"),
    }
    assert "<script>alert(1)</script>" in page.text


def test_the_page_asks_for_nothing_and_runs_nothing(published: Path) -> None:
    text = (published / "face" / "1.0.0" / "card.html").read_text(encoding="utf-8")
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy == ["default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"]
    assert "script" not in Page(text).tags


def test_only_safe_links_and_pictures_of_a_card_become_such() -> None:
    """A card of somebody else's registry is as hostile as its texts."""
    page = Page(
        markdown_html(
            "[a](https://example.org/x) [b](javascript:x) [c](//example.org) [d](/etc) [e](../x) [f](card.md) "
            "[g](http://example.org) ![h](picture-1.png) ![i](https://example.org/i.png) ![j](data:image/png;base64,x)"
        )
    )
    assert [value for name, value in page.attributes if name == "href"] == ["https://example.org/x", "card.md"]
    assert [value for name, value in page.attributes if name == "src"] == ["picture-1.png"]
    assert Page(markdown_html("<b>x</b>\n\n<script>\n</script>")).tags == ["p", "p"]


def test_a_damaged_card_is_refused(published: Path) -> None:
    entry = zoo.resolve(zoo.Registry(published).index(), "face")
    with pytest.raises(zoo.ZooError, match=r"face@1\.0\.0: expected a card of at most"):
        make_page(entry, b"x" * (MAX_CARD_BYTES + 1))
    with pytest.raises(zoo.ZooError, match=r"face@1\.0\.0: expected a card in UTF-8"):
        make_page(entry, b"\xff")
    assert b"\xe2\x80\xae" not in make_page(entry, "\u202eabc".encode())


def test_sections_of_a_card() -> None:
    text = "# a\n\nx\n\n## b\n\ny\n\n### c\n\n## d\n"
    assert [section(text, title) for title in ("b", "d", "e")] == ["y\n\n### c", "", None]


def test_numbers_and_sizes_for_people() -> None:
    found = [number(None), number(3.14159), number(0.0), number(1e308), number(1e-9), number(-2.5), number(11.25, 1)]
    assert found == ["–", "3.14", "0.00", "1e+308", "1e-09", "-2.50", "11.2"]
    assert [size(n) for n in (0, 999, 1000, 5_923_264, 2**34)] == ["0 bytes", "999 bytes", "1 kB", "5.92 MB", "17.2 GB"]
    assert is_link("https://example.org:8080/a?b=c#d")
    for text in ("http://example.org", "https://", "https://a b", 'https://a/"', "https://a/<", "javascript:x", "x"):
        assert not is_link(text)


def test_a_card_does_not_grow_without_end(registry: Path, checkpoint: Make) -> None:
    weights = checkpoint(training={"data": ["x"], **{f"key{i}": i for i in range(5000)}}, config={"losses": None})
    entry = zoo.publish(registry, weights=weights, name="face", version="1.0.0")
    assert len(card_of(registry, entry)) < 10_000
    assert json.loads((registry / "face" / "1.0.0" / "config.json").read_text())["training"]["key4999"] == 4999
