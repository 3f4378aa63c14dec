"""Downloads of which only the hash is known beforehand."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from zoo import transfer
from zoo.backends import Opened
from zoo.errors import HashError, UnreachableError
from zoo.transfer import Source, download

CONTENT = bytes(range(256)) * 20


@dataclass(frozen=True)
class Pinned:
    sha256: str = hashlib.sha256(CONTENT).hexdigest()
    size: None = None


@dataclass(eq=False)
class Place:
    """Serves one file; each reply breaks off after so many bytes, the last not."""

    content: bytes = CONTENT
    says_size: bool = True
    cuts: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    url: str = "memory:"
    folder: Path | None = None

    def where(self, path: str) -> str:
        return self.url + path

    def exists(self) -> bool:
        return True

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        self.asked.append(start)
        rest = self.content[start:]
        cut = self.cuts.pop(0) if self.cuts else len(rest)
        yield Opened(io.BytesIO(rest[:cut]), start, len(self.content) if self.says_size else None)


def bring(place: Place, folder: Path) -> bytes:
    download([Source(place, "file")], Pinned(), folder / "file", pauses=(0.0,))
    assert [path.name for path in folder.iterdir()] == ["file"]
    return (folder / "file").read_bytes()


def test_it_goes_on_where_it_broke(tmp_path: Path) -> None:
    place = Place(cuts=[1000, 0])
    with pytest.raises(UnreachableError, match=r"memory:file: expected 5120 bytes, .* broken after 1000; .* are kept"):
        bring(place, tmp_path)
    assert bring(place, tmp_path) == CONTENT
    assert place.asked == [0, 1000, 1000]


def test_a_part_that_is_whole_is_not_asked_for(tmp_path: Path) -> None:
    place = Place()
    (tmp_path / f".file.{Pinned.sha256[:16]}.part").write_bytes(CONTENT)
    assert bring(place, tmp_path) == CONTENT
    assert not place.asked


@pytest.mark.parametrize("begun", [b"x" * 1000, CONTENT[:1000], CONTENT + b"x"])
def test_where_no_size_is_told_the_hash_decides(tmp_path: Path, begun: bytes) -> None:
    place = Place(says_size=False)
    (tmp_path / f".file.{Pinned.sha256[:16]}.part").write_bytes(begun)
    assert bring(place, tmp_path) == CONTENT
    assert place.asked == ([1000] if begun == CONTENT[:1000] else [len(begun), 0])


@pytest.mark.parametrize("says_size", [True, False])
@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", bytes(len(CONTENT))])
def test_another_file_is_refused(tmp_path: Path, content: bytes, says_size: bool) -> None:
    with pytest.raises(HashError, match=f"memory:file: expected SHA-256 {Pinned.sha256}, found "):
        bring(Place(content, says_size), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("says_size", [True, False])
def test_it_may_not_be_huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says_size: bool) -> None:
    monkeypatch.setattr(transfer, "UNSIZED_BYTES", len(CONTENT))
    assert bring(Place(says_size=says_size), tmp_path) == CONTENT
    (tmp_path / "file").unlink()
    monkeypatch.setattr(transfer, "UNSIZED_BYTES", len(CONTENT) - 1)
    with pytest.raises(HashError, match="expected at most 5119 bytes, found more"):
        bring(Place(says_size=says_size), tmp_path)
    assert not list(tmp_path.iterdir())
