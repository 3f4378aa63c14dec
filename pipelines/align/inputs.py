"""What ``pifa align`` is pointed at: images, folders of them, videos, cameras."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pifa_data.errors import AnnotationError
from pifa_data.readers.base import IMAGE_SUFFIXES

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".mts"}

_SUFFIXES = {*IMAGE_SUFFIXES, ".pgm", ".pbm", ".pnm"} | VIDEO_SUFFIXES

_CAMERA = re.compile(r"camera:(\d{1,3})")


@dataclass(frozen=True)
class Item:
    """One thing to align.

    Attributes:
        path: the file, or ``camera:N``.
        name: the path below the folder that was given, or the file's name: what files made of it are called after.
        kind: ``image``, ``video`` or ``camera``.
    """

    path: Path
    name: Path
    kind: Literal["image", "video", "camera"]


def find_items(paths: Sequence[Path], besides: Collection[Path] = ()) -> Iterator[Item]:
    """Files as given, and the images and videos of folders and the folders below them, sorted, each once.

    Args:
        paths: what was given.
        besides: folders of outputs; what lies in them is none of the images, though a folder that was given holds them.

    Raises:
        AnnotationError: nothing is there at all.
    """
    seen: set[Path] = set()
    for path in paths:
        if _CAMERA.fullmatch(str(path)):
            yield Item(path, Path(str(path).replace(":", "")), "camera")
            continue
        for file, name in _files(path, besides):
            if file not in seen:
                seen.add(file)
                yield Item(file, name, "video" if file.suffix.lower() in VIDEO_SUFFIXES else "image")
    if not seen and not any(_CAMERA.fullmatch(str(path)) for path in paths):
        raise AnnotationError(
            f"{', '.join(map(str, paths))}: no images or videos found; "
            f"expected files that end in {', '.join(sorted(_SUFFIXES))}"
        )


def _files(path: Path, besides: Collection[Path]) -> Iterator[tuple[Path, Path]]:
    if not path.is_dir():
        yield path, Path(path.name)
        return
    own = [folder.resolve() for folder in besides if folder.resolve() != path.resolve()]
    for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file()):
        if not own or not any(file.resolve().is_relative_to(folder) for folder in own):
            yield file, file.relative_to(path)


def files_for(folder: Path, items: Sequence[Item], suffix: str, option: str) -> dict[Path, Path]:
    """A file in ``folder`` for each item: its name with another suffix, numbered where another item took that.

    A picture of a video is a video, ``.webm``.

    Raises:
        AnnotationError: a file would replace one of the items.
    """
    targets: dict[Path, Path] = {}
    inputs = {item.path.resolve() for item in items}
    taken = set(inputs)
    for item in items:
        ending = ".webm" if item.kind != "image" and suffix == ".png" else suffix
        target, number = folder / item.name.with_suffix(ending), 1
        if target.resolve() in inputs:
            raise AnnotationError(f"{option} {folder}: {target} is one of the images; name another folder")
        while target.resolve() in taken:
            target, number = folder / item.name.with_name(f"{item.name.stem}_{number}{ending}"), number + 1
        taken.add(target.resolve())
        targets[item.path] = target
    return targets
