"""``pifa morphable get``: download a model file by file, check it against pinned hashes, import it and keep it.

Files go to ``$PIFA_HOME/downloads/NAME-COMMIT/``, each first as ``FILE.part``: a later run asks the server for the rest
of it only (HTTP Range), and a file whose hash is right is never asked for again.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pifa_data.errors import MorphableError
from pifa_data.morphable import BUILTIN, MorphableModel, import_ict
from pifa_data.morphable.ict_facekit import published_files
from pipelines.models import keep_model
from pipelines.progress import progress
from pipelines.sources import home
from zoo.errors import ZooError
from zoo.storage import hash_file, locked, writing

COMMIT = "da5f95a607f5e6b37755b38d3385d7f2853732e5"
ICT_URL = f"https://raw.githubusercontent.com/ICT-VGL/ICT-FaceKit/{COMMIT}"
LICENCE = "LICENSE"

AT_ONCE = 4
"""Downloads beside each other: a request's round trip is longer than its 2.5 MB take on a fast line."""

PAUSES = (1.0, 4.0, 15.0)
"""Seconds to wait before each further attempt."""

TIMEOUT = 60.0
"""Seconds without a byte before a connection is given up."""

LOCK_SECONDS = 10.0
_CHUNK = 2**18
_LARGEST = 2**24
"""Bytes of one file; the kit's largest has 2.6 MB. A server that sends more is not the kit's."""


def run_get(
    name: str, url: str | None = None, *, pauses: tuple[float, ...] = PAUSES
) -> tuple[MorphableModel, int, str]:
    """Download what is missing of the model, import it, and keep it by its name.

    Args:
        url: folder to fetch from instead of the owner's.
        pauses: see `PAUSES`.

    Returns:
        The model, how many files were fetched, and its licence's text.

    Raises:
        MorphableError: a file can't be had, or is not what is pinned.
    """
    if name == BUILTIN:
        raise MorphableError(f"{name}: ships with the program; there is nothing to fetch")
    if name != "ict":
        raise MorphableError(f"{name}: expected the name of a model that can be fetched (ict)")
    folder = home() / "downloads" / f"{name}-{COMMIT[:12]}"
    try:
        fetched = fetch_files(published_files(), (url or ICT_URL).rstrip("/"), folder, pauses)
    except ZooError as error:
        raise MorphableError(str(error)) from error
    model = import_ict([folder])
    keep_model(model)
    return model, fetched, (folder / LICENCE).read_text(encoding="utf-8").strip()


def fetch_files(files: dict[str, str], url: str, folder: Path, pauses: tuple[float, ...]) -> int:
    """Bring every file of path → SHA-256 into ``folder``; returns how many were not there.

    Raises:
        MorphableError: a file can't be had, or is not what its hash says; the others stay.
        ZooError: the folder can't be written, or another process is fetching into it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", LOCK_SECONDS):
        missing = [path for path, sha256 in files.items() if not _holds(folder / path, sha256)]
        if not missing:
            return 0
        with ThreadPoolExecutor(AT_ONCE) as pool, progress("fetch", len(files), "files") as advance:
            advance(len(files) - len(missing))
            jobs = [pool.submit(_fetch, f"{url}/{path}", folder / path, files[path], pauses) for path in missing]
            try:
                for job in as_completed(jobs):
                    job.result()
                    advance(1)
            except BaseException:
                for job in jobs:
                    job.cancel()
                raise
    return len(missing)


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and hash_file(path).sha256 == sha256


def _fetch(url: str, target: Path, sha256: str, pauses: tuple[float, ...]) -> None:
    """Fetch one file, trying again after each pause where the fault may pass."""
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    if _holds(part, sha256):  # a run that ended between the last byte and the new name
        part.replace(target)
        return
    for pause in (*pauses, None):
        try:
            resumed = _download(url, part)
        except _Refused:
            raise
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            if pause is None:
                raise MorphableError(
                    f"{url}: expected to fetch it, found {_reason(error)}; what is there stays: "
                    "check the connection and run the same command again, it goes on where it stopped"
                ) from error
            time.sleep(pause)
            continue
        if hash_file(part).sha256 == sha256:
            with writing(target):
                part.replace(target)
            return
        found = hash_file(part).sha256
        part.unlink()
        # A part of an earlier run may be at fault: once more from its beginning.
        if not resumed or pause is None:
            raise MorphableError(
                f"{url}: expected SHA-256 {sha256}, found {found}; nothing of it was kept: the server has another "
                "file, or something on the way changes it; try another connection or a mirror"
            )


class _Refused(MorphableError):
    """The server answered, and asking again will not help."""


def _download(url: str, part: Path) -> bool:
    """Fetch into ``part``, going on where it ends; returns whether it did. Raises OSError for what may pass."""
    start = part.stat().st_size if part.is_file() else 0
    with _opened(url, start) as response:
        resumed = start > 0 and response.status == http.HTTPStatus.PARTIAL_CONTENT and _starts_at(response, start)
        expected = response.length
        with writing(part):
            file = part.open("ab" if resumed else "wb")
        size, received = (start if resumed else 0), 0
        with file:
            while chunk := response.read(_CHUNK):
                size, received = size + len(chunk), received + len(chunk)
                if size > _LARGEST:
                    raise _Refused(f"{url}: expected at most {_LARGEST} bytes, found more; this is not the kit's file")
                with writing(part):
                    file.write(chunk)
    # A connection that breaks gives a short read with a length, not an error.
    if expected is not None and received < expected:
        raise OSError(f"the connection broke after {size} bytes")
    return resumed


@contextlib.contextmanager
def _opened(url: str, start: int) -> Iterator[http.client.HTTPResponse]:
    if not url.startswith(("http://", "https://")):
        raise _Refused(f"{url}: expected an http:// or https:// address")
    headers = {"User-Agent": "pifa", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                # All of it is there already, or more than all: the hash decides.
                with _opened(url, 0) as response:
                    yield response
                return
            passing = error.code >= 500 or error.code in (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.FORBIDDEN)
        if passing:
            raise OSError(f"{error.code} {error.reason}") from error
        raise _Refused(
            f"{url}: expected the file, found {error.code} {error.reason}; update pifa, or name a mirror"
        ) from error


def _starts_at(response: http.client.HTTPResponse, start: int) -> bool:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == start


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
