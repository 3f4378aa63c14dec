"""A registry in a repository of a model hub: what is published are commits, a version's files one.

Each commit is made on the condition that no other came since the one that was looked at, so that publishers lose
nothing without a lock. Uploads are huggingface_hub's.
"""

from __future__ import annotations

import copy
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from zoo.backends.hub_reading import COMMIT, HubReader, LateError, NotThereError
from zoo.entry import INDEX, MAX_INDEX_BYTES, FileEntry
from zoo.errors import PublishError
from zoo.storage import Digest, hash_bytes, read_up_to, temporary_folder

ATTEMPTS = 50
PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before the second attempt at a commit and between the last: every commit of others is in its way."""


class HubBackend(HubReader):
    """A model repository to read and to publish to; see `HubReader`."""

    def prepare(self) -> None:
        """A repository is never made silently: whose it is, and who may see it, is for its owner to say."""
        try:
            self._head()
        except NotThereError as error:
            raise PublishError(f"{error}; if there is none, make it: hf repos create {self._repo}") from error

    def new_folder(self) -> AbstractContextManager[Path]:
        return temporary_folder("pifa-publish-")

    def put_version(self, made: Path, path: str, files: Sequence[FileEntry]) -> None:
        from huggingface_hub import CommitOperationAdd

        # The same for every attempt: they know what is uploaded already.
        additions = [CommitOperationAdd(self._inside(f"{path}/{file.name}"), made / file.name) for file in files]
        for head in self._heads():
            if self._has(made, path, files, head):
                return
            if commit := self._commit(additions, f"Add {path}", head):
                if self._has(made, path, files, commit):
                    return
                raise PublishError(
                    f"{self.where(path)}: expected the files to be there after a commit of them, found some missing; "
                    "see whether the repository's .gitignore leaves them out, and publish again"
                )

    def put_file(self, path: str, data: bytes) -> None:
        for head in self._heads():
            info = self._infos([path], head).get(path)
            if (info is not None and _is_same(info, hash_bytes(data), lambda: data)) or self._add(path, data, head):
                return

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_indexes(self) -> tuple[list[bytes], str | None]:
        head = self._head()
        if (tag := self._tag(head)) is None:
            return [], None
        pinned = copy.copy(self)
        pinned._revision = head
        with pinned.open(INDEX) as opened:
            return [read_up_to(opened.stream, MAX_INDEX_BYTES + 1)], tag

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        """See `Writer.swap_index`; commits of others that leave the index alone do not matter."""
        for head in self._heads():
            if self._tag(head) != tag:
                return False
            if self._add(INDEX, data, head):
                return True
        return False

    def _heads(self) -> Iterator[str]:
        """The commit to build on, and the next one after each that came before one's own.

        Raises:
            PublishError: that happened too often.
        """
        for attempt in range(ATTEMPTS):
            yield self._head()
            time.sleep(random.uniform(0, min(PAUSE * 2**attempt, LONGEST_PAUSE)))
        raise PublishError(
            f"{self.url}: changed {ATTEMPTS} times while it was being changed; let fewer publish at once, and publish "
            "again"
        )

    def _commit(self, additions: Sequence[Any], message: str, parent: str) -> str | None:
        """Commit files on top of ``parent``; the new commit, or None where another came before."""
        if COMMIT.fullmatch(self._revision):
            raise PublishError(
                f"{self.url}: expected a branch to publish to, found a commit, which never changes; name a branch"
            )
        where = {"revision": self._revision, "parent_commit": parent}
        try:
            with self._asking(self.url):
                return str(self._api().create_commit(self._repo, additions, commit_message=message, **where).oid)
        except LateError:
            return None

    def _add(self, path: str, data: bytes, parent: str) -> str | None:
        from huggingface_hub import CommitOperationAdd

        message = f"{'Update' if path == INDEX else 'Add'} {path}"
        return self._commit([CommitOperationAdd(self._inside(path), data)], message, parent)

    def _infos(self, paths: Sequence[str], commit: str) -> dict[str, Any]:
        """What the hub says about those of the files that are there."""
        from huggingface_hub.hf_api import RepoFile

        asked = {self._inside(path): path for path in paths}
        with self._asking(self.url):
            infos = self._api().get_paths_info(self._repo, list(asked), revision=commit)
        return {asked[info.path]: info for info in infos if isinstance(info, RepoFile) and info.path in asked}

    def _tag(self, commit: str) -> str | None:
        info = self._infos([INDEX], commit).get(INDEX)
        return None if info is None else str(info.blob_id)

    def _has(self, made: Path, path: str, files: Sequence[FileEntry], commit: str) -> bool:
        """Whether the version's files are there.

        Raises:
            PublishError: another is in the place of one.
        """
        infos = self._infos([f"{path}/{file.name}" for file in files], commit)
        for file in files:
            info = infos.get(f"{path}/{file.name}")
            if info is not None and not _is_same(info, file, (made / file.name).read_bytes):
                raise PublishError(
                    f"{self.where(path)}: expected no such folder, found one with another {file.name} that the index "
                    "does not name, left by a publication that was killed or is under way; if none is under way, "
                    "remove that folder and publish again"
                )
        return len(infos) == len(files)


def _is_same(info: Any, file: FileEntry | Digest, read: Callable[[], bytes]) -> bool:
    """Whether a file on the hub is the one made here: by its SHA-256, or where it is in git itself by git's hash."""
    if info.size != file.size:
        return False
    if info.lfs is not None:
        return bool(info.lfs.sha256 == file.sha256)
    data = read()
    return bool(info.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())
