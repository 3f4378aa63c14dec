"""Objects cut out of JSON of any size: the same as a parser of the whole gives, and errors where it gives one."""

import io
import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pifa_data.readers import json_arrays
from pifa_data.readers.json_arrays import JsonArrays, JsonError

WANTED = frozenset({"images", "annotations"})

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
documents = st.dictionaries(
    st.sampled_from(["images", "annotations", "info", "{", '"', "\\", "categories"]),
    st.lists(values, max_size=6) | values,
).map(lambda d: {key: v if isinstance(v, list) or key not in WANTED else [v] for key, v in d.items()})


def read(text: bytes) -> list[tuple[str, int, object]]:
    found = JsonArrays(io.BytesIO(text)).objects(WANTED)
    return [(name, n, None if part is None else json.loads(part)) for name, n, part in found]


@given(documents, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from([1, 2, 7, 64, 1 << 18]))
def test_it_is_what_the_whole_document_says(document: dict, indent: int | str | None, ascii_: bool, chunk: int) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    expected = []
    for name, elements in document.items():
        if name in WANTED:
            expected.append((name, 0, None))
            expected += [(name, n, e if isinstance(e, dict) else None) for n, e in enumerate(elements, 1)]
    before = json_arrays.CHUNK
    json_arrays.CHUNK = chunk
    try:
        assert read(text) == expected
        assert read(b"\xef\xbb\xbf \r\n" + text + b"\n") == expected
    finally:
        json_arrays.CHUNK = before


@given(documents, st.integers(0, 400), st.binary(max_size=3), st.sampled_from([3, 1 << 18]))
def test_any_damage_gives_objects_or_an_error(document: dict, at: int, junk: bytes, chunk: int) -> None:
    text = json.dumps(document).encode()
    before = json_arrays.CHUNK
    json_arrays.CHUNK = chunk
    try:
        for _, _, part in JsonArrays(io.BytesIO(text[:at] + junk + text[at + 1 :])).objects(WANTED):
            assert part is None or (part[:1], part[-1:]) == (b"{", b"}")
    except JsonError:
        pass
    finally:
        json_arrays.CHUNK = before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "byte 0: the file ends in the middle"),
        (b"[]", "byte 0: expected {, found b'\\[\\]'"),
        (b'{"images": [{"a": 1}', "byte 20: the file ends"),
        (b'{"images": [{"a": 1} {"b": 2}]}', "byte 21: expected ,"),
        (b'{"images": [{"a": 1}, ]}', "byte 22: expected a value"),
        (b'{"images": {}}', "byte 11: expected \\["),
        (b'{"images": [], "images": []}', 'expected each key once, found "images" again'),
        (b"{images: []}", "byte 1: expected a key in quotes"),
        (b'{"info" []}', "byte 8: expected :"),
        (b'{"info": }', "byte 9: expected a value"),
        (b'{"images": [{"a": "}]}', "the file ends"),
        (b'{"' + b"k" * 3_000_000, "found a longer one"),
        (b'{"images": [{"a": "' + b"{" * 3_000_000, "found a longer one"),
        (b'{"images": [{"a": ' + b"9" * 3_000_000, "found a longer one"),
        (b'{"info": ' + b"9" * 3_000_000, "expected a number, true, false or null"),
    ],
)
def test_a_broken_document_is_told_by_its_byte(text: bytes, reason: str) -> None:
    with pytest.raises(JsonError, match=reason):
        read(text)


def test_what_is_not_wanted_may_be_of_any_length() -> None:
    class Long(io.RawIOBase):
        """A document of 20 MB, made as it is read."""

        def __init__(self) -> None:
            self.parts = self.text()

        def text(self) -> Iterator[bytes]:
            blank = b" " * 100_000
            yield b'{"info": ['
            yield from (blank for _ in range(80))
            yield from (b'{"a": [1, 2, "]}"]}, ' * 1000 for _ in range(80))
            yield b'"' + b"x" * 900_000 + b'"]'
            yield from (blank for _ in range(80))
            yield b', "deep": ' + b"[" * 200_000 + b"]" * 200_000
            yield b', "images": ['
            yield from (b'{"id": 1}' + b" " * 999 + b"," for _ in range(2000))
            yield b'{"id": 2}]}'

        def read(self, size: int = -1) -> bytes:
            return next(self.parts, b"")

    tracemalloc.start()
    try:
        count = sum(1 for _ in JsonArrays(Long()).objects(WANTED))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1 + 2001
    assert peak < 4e6
