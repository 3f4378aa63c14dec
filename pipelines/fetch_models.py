"""``pifa morphable get``: download a model file by file, check it against pinned hashes, import it and keep it.

Files go to ``$PIFA_HOME/downloads/NAME-COMMIT/``. A later run goes on in the middle of a file (`zoo.transfer`), and a
file whose hash is right is never asked for again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pifa_data.errors import MorphableError
from pifa_data.morphable import BUILTIN, MorphableModel, import_ict
from pifa_data.morphable.ict_facekit import published_files
from pipelines.models import keep_model
from pipelines.progress import progress
from pipelines.sources import home
from zoo.backends.web import WebBackend
from zoo.errors import UnreachableError, ZooError
from zoo.storage import hash_file, locked, writing
from zoo.transfer import PAUSES, Source, download

COMMIT = "da5f95a607f5e6b37755b38d3385d7f2853732e5"
ICT_URL = f"https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/{COMMIT}"
LICENCE = "LICENSE"

AT_ONCE = 4
"""Downloads beside each other: a request's round trip is longer than its 2.5 MB take on a fast line."""

LOCK_SECONDS = 10.0


def run_get(name: str, url: str | None = None, *, pauses: Sequence[float] = PAUSES) -> tuple[MorphableModel, int, str]:
    """Download what is missing of the model, import it, and keep it by its name.

    Args:
        url: folder to fetch from instead of the owner's.
        pauses: as `zoo.transfer.PAUSES`.

    Returns:
        The model, how many files were fetched, and its licence's text.

    Raises:
        MorphableError: a file can't be had, or is not what is pinned.
    """
    if name == BUILTIN:
        raise MorphableError(f"{name}: ships with the program; there is nothing to fetch")
    if name != "ict":
        raise MorphableError(f"{name}: expected the name of a model that can be fetched (ict)")
    url = url or ICT_URL
    if not url.startswith(("http://", "https://")):
        raise MorphableError(f"{url}: expected an http:// or https:// address, found another; correct PIFA_ICT_URL")
    folder = home() / "downloads" / f"{name}-{COMMIT[:12]}"
    try:
        fetched = fetch_files(published_files(), url, folder, pauses)
    except UnreachableError as error:
        raise MorphableError(f"{error}; files that came are kept: run the same command again") from error
    except ZooError as error:
        raise MorphableError(str(error)) from error
    model = import_ict([folder])
    keep_model(model)
    return model, fetched, (folder / LICENCE).read_text(encoding="utf-8").strip()


def fetch_files(files: dict[str, str], url: str, folder: Path, pauses: Sequence[float]) -> int:
    """Bring every file of path → SHA-256 into ``folder``; returns how many were not there.

    Raises:
        HashError: a file is not what its hash says; the others stay.
        RegistryError: a file can't be had; what came stays.
        ZooError: the folder can't be written, or another process is fetching into it.
    """
    with writing(folder):
        for parent in {(folder / path).parent for path in files}:
            parent.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", LOCK_SECONDS):
        missing = [path for path, sha256 in files.items() if not _holds(folder / path, sha256)]
        if not missing:
            return 0
        own = _Own(url)

        def bring(path: str) -> None:
            download([Source(own.backend, path)], _Pinned(files[path]), folder / path, pauses=pauses)

        with ThreadPoolExecutor(AT_ONCE) as pool, progress("fetch", len(files), "files") as advance:
            advance(len(files) - len(missing))
            jobs = [pool.submit(bring, path) for path in missing]
            try:
                for job in as_completed(jobs):
                    job.result()
                    advance(1)
            except BaseException:
                for job in jobs:
                    job.cancel()
                raise
    return len(missing)


class _Own(threading.local):
    """What each thread has for itself: requests does not promise that a session can be shared."""

    def __init__(self, url: str) -> None:
        self.backend = WebBackend(url)


@dataclass(frozen=True)
class _Pinned:
    """A file of which only the hash is pinned."""

    sha256: str
    size: None = None


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and hash_file(path).sha256 == sha256
