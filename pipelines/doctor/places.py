"""Where things are kept: caches, registries, trusted keys, morphable models. The network is not used."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

from pipelines.doctor.rows import Row, looked, one_line, size_text

KEPT = ("zoo", "morphable", "downloads", "exported")
"""Folders of the cache."""

LITTLE = 1e9
"""Bytes free on a disk below which it is worth a look: a store of 25,000 crops."""


def place_rows(*, known: bool = False) -> list[Row]:
    """All places, each looked at for itself; ``known`` as in ``looked``."""
    looks = {
        "caches": cache_rows,
        "temporary files": temporary_rows,
        "bundled registry": bundled_rows,
        "registry": registry_rows,
        "trusted keys": trust_rows,
        "morphable models": morphable_rows,
        "OpenCV": opencv_rows,
    }
    return [row for name, look in looks.items() for row in looked(name, look, known=known)]


def cache_rows() -> list[Row]:
    """The folder that PIFA_HOME names, and how much is in it."""
    from zoo import cache_folder

    folder = cache_folder()
    named = "PIFA_HOME" if os.environ.get("PIFA_HOME") else "caches"
    row = _folder_row(named, folder, "set PIFA_HOME to a folder that you may write to")
    parts = {name: _size_of(folder / name) for name in KEPT if (folder / name).is_dir()}
    if not parts:
        return [row]
    kept = ", ".join(f"{name} {size_text(size)}" for name, size in parts.items())
    more = "; `exported` may be deleted, and is made again" if "exported" in parts else ""
    value = f"{kept}; `pifa zoo prune` removes old checkpoints{more}"
    return [row, Row("kept there", value, details={"bytes": parts})]


def temporary_rows() -> list[Row]:
    """The folder for temporary files."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError as error:  # it has tried to write to each
        return [Row("temporary files", one_line(error), "broken", "set TMPDIR to a folder that you may write to")]
    return [_folder_row("temporary files", Path(folder), "set TMPDIR to a folder with more space")]


def _folder_row(name: str, folder: Path, cure: str) -> Row:
    """Whether a folder can be written to, and the space on its disk; one that is not there yet is not made."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    details = {"path": str(folder)}
    if (fault := _writing_fault(there, made=there == folder)) is not None:
        return Row(name, f"{one_line(folder)} can't be written to ({fault})", "warning", cure, details)
    free = shutil.disk_usage(there).free
    value = f"{one_line(folder)}, {size_text(free)} free" + ("" if there == folder else ", not made yet")
    state, cure = ("warning", cure) if free < LITTLE else ("ok", "")
    return Row(name, value, "warning" if state == "warning" else "ok", cure, {**details, "free_bytes": free})


def _writing_fault(folder: Path, *, made: bool) -> str | None:
    """Why nothing can be written into a folder; None: it can. Tried, as rights don't tell of disks that are read only.

    Where the folder itself is to be ``made`` first, its parent is only asked for the right to.
    """
    if not folder.is_dir():
        return f"{one_line(folder)} is no folder"
    if not made:
        return None if os.access(folder, os.W_OK | os.X_OK) else f"no right to write to {one_line(folder)}"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return one_line(error.strerror or error)


def _size_of(folder: Path) -> int:
    """Bytes of all files below a folder; what goes away meanwhile does not count."""
    total = 0
    for where, _, files in os.walk(folder):
        for file in files:
            try:
                total += (Path(where) / file).lstat().st_size
            except OSError:
                continue
    return total


def bundled_rows() -> list[Row]:
    """The registry that ships with the program, every file of it compared with its hash."""
    from zoo.registry import BUNDLED, Registry
    from zoo.verify import problems_in

    cure = "install pifa again"
    source = Registry(BUNDLED)
    index = source.index()
    details = {"path": str(BUNDLED), "checkpoints": [entry.label for entry in index.entries]}
    if not index.entries:
        return [Row("bundled registry", f"{BUNDLED}: no checkpoints", "warning", cure, details)]
    problems = problems_in(source, index)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return [Row("bundled registry", f"{one_line(problems[0])}{more}", "broken", cure, details)]
    return [Row("bundled registry", f"{', '.join(details['checkpoints'])}: every file as published", details=details)]


def registry_rows() -> list[Row]:
    """The registry that PIFA_REGISTRY names: read where it is a folder, else only named."""
    if not (url := os.environ.get("PIFA_REGISTRY")):
        return []
    from zoo import Registry, ZooError
    from zoo.addresses import shown_address

    shown = one_line(shown_address(url))
    details = {"address": shown}
    try:
        source = Registry(url)
        if source.folder is None:
            value = f"{shown}: not asked, to use no network; `pifa zoo list` asks it"
            return [Row("PIFA_REGISTRY", value, details={**details, "asked": False})]
        count = len(source.index().entries)
    except (ZooError, OSError) as error:
        return [Row("PIFA_REGISTRY", one_line(error), "warning", "correct PIFA_REGISTRY, or unset it", details)]
    value = f"{shown}: {count} checkpoint{'s' * (count != 1)}"
    return [Row("PIFA_REGISTRY", value, details={**details, "asked": True, "checkpoints": count})]


def trust_rows() -> list[Row]:
    """The publishers' keys that are trusted, by PIFA_TRUST and by the record."""
    from zoo import ZooError, cache_folder, read_public_key, trusted

    rows: list[Row] = []
    named = [Path(path) for path in os.environ.get("PIFA_TRUST", "").split(os.pathsep) if path]
    for path in named:
        try:
            key = read_public_key(path)
            rows.append(Row("PIFA_TRUST", f"{one_line(path)}: key {key.fingerprint[:16]}, for every registry"))
        except ZooError as error:
            cure = "correct PIFA_TRUST: registries are refused until then"
            rows.append(Row("PIFA_TRUST", one_line(error), "warning", cure))
    try:
        for one in trusted(cache_folder()):
            rows.append(Row("trusted key", f"{one.key.fingerprint[:16]}, for {one_line(one.registry or 'all')}"))
    except ZooError as error:
        rows.append(Row("trusted keys", one_line(error), "warning", "`pifa zoo trust` tells more"))
    return rows or [Row("trusted keys", "none: signatures are not asked for", "absent")]


def morphable_rows() -> list[Row]:
    """The morphable models that can be named."""
    from pifa_data.morphable import BUILTIN
    from pipelines.models import list_models

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        models = list_models()
    rows = []
    for model in models:
        what = f"{len(model.identity)} identity and {len(model.expression)} expression modes"
        value = f"{one_line(model.name)}: {len(model.mean)} vertices, {what}"
        details = {"model": model.name, "fingerprint": model.fingerprint, "builtin": model.name == BUILTIN}
        rows.append(Row("morphable model", value, details=details))
    cure = "get or import it again (docs/morphable.md)"
    return rows + [Row("morphable model", one_line(warning.message), "warning", cure) for warning in said]


def opencv_rows() -> list[Row]:
    """What an OpenCV may lack: the cascades of the built-in detector, and what reads videos."""
    import cv2

    from pifa_data.detection import open_detector
    from pifa_data.errors import PifaError

    try:
        rows = [Row("face detector", f"{open_detector('haar').name}: its cascades are there")]
    except PifaError as error:
        rows = [Row("face detector", one_line(error), "warning", "pip install 'opencv-python<5', or give --boxes")]
    backends = [cv2.videoio_registry.getBackendName(which) for which in cv2.videoio_registry.getStreamBackends()]
    if "FFMPEG" in backends:
        return [*rows, Row("videos", "decoded by FFmpeg")]
    found = f"no FFmpeg in this OpenCV ({', '.join(backends) or 'nothing'})"
    return [*rows, Row("videos", found, "warning", "pip install opencv-python, whose wheels have it")]
