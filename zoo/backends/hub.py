"""A registry in a repository of a model hub, ``hf://owner/repo[@revision][/folder]``: Hugging Face's, or one like it.

Files are read as from any web server. What is published are commits: a version's files appear by one. Each commit is
made on the condition that none came since the one that was looked at, so that publishers lose nothing without a lock.
The hub's address (``HF_ENDPOINT``), the token (``HF_TOKEN`` or that of ``hf auth login``) and uploads are
huggingface_hub's.
"""

from __future__ import annotations

import copy
import hashlib
import os
import random
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from zoo.backends.base import Opened
from zoo.backends.web import PASSING, READ_SECONDS, WebBackend, safe_line
from zoo.entry import INDEX, MAX_INDEX_BYTES, FileEntry
from zoo.errors import OfflineError, PublishError, RegistryError, UnreachableError
from zoo.storage import read_up_to

ATTEMPTS = 50
PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before the second attempt at a commit and between the last: every commit of others is in its way."""

# As huggingface_hub writes such addresses: a slash in a revision is %2F, but for the hub's own refs.
_ADDRESS = re.compile(
    r"hf://(?P<repo>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/pr/[0-9]+|[^/@]+))?"
    r"(?P<folder>(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*)/?"
)
_REVISION = re.compile(r"[A-Za-z0-9_](?!.*(?:\.\.|//))[A-Za-z0-9._/-]*")
_OTHER_KINDS = {"models", "datasets", "spaces", "kernels", "buckets"}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_COMES_LATE = {409, 412}


class HubBackend(WebBackend):
    """A model repository, or a folder in one, at a branch, a tag or a commit.

    Raises:
        RegistryError: no such address, or huggingface_hub is not installed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        try:
            import huggingface_hub  # noqa: F401
        except ImportError as error:
            raise RegistryError(
                f"{url}: needs a package that is not installed: pip install 'pifa[hf]' ({error})"
            ) from error
        self._repo, self._revision, self._folder = _parts(url)

    def exists(self) -> bool:
        """Whether there is such a repository, with such a revision."""
        self._head()
        return True

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        _refuse_offline(self.where(path))
        with super().open(path, start) as opened:
            yield opened

    def prepare(self) -> None:
        """A repository is never made silently: who may see it, and whose it is, is for its owner to say."""
        try:
            self._head()
        except _NotThereError as error:
            raise PublishError(f"{error}; if there is none, make it: hf repos create {self._repo}") from error

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="pifa-publish-") as folder:
            yield Path(folder)

    def put_version(self, made: Path, path: str, files: Sequence[FileEntry]) -> None:
        from huggingface_hub import CommitOperationAdd

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
            if self._infos([path], head) or self._add(path, data, head):
                return

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read_index(self) -> tuple[bytes | None, str | None]:
        head = self._head()
        if (tag := self._tag(head)) is None:
            return None, None
        with self._at(head).open(INDEX) as opened:
            return read_up_to(opened.stream, MAX_INDEX_BYTES + 1), tag

    def swap_index(self, data: bytes, tag: str | None) -> bool:
        """See `Writer.swap_index`; commits of others that leave the index alone do not matter."""
        for head in self._heads():
            if self._tag(head) != tag:
                return False
            if self._add(INDEX, data, head):
                return True
        return False

    def _inside(self, path: str) -> str:
        return f"{self._folder}/{path}" if self._folder else path

    def _address(self, path: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self._repo, self._inside(path), revision=self._revision, endpoint=_endpoint())

    def _credentials(self) -> Mapping[str, str]:
        from huggingface_hub import constants, get_token

        # Not by build_hf_headers: its description of the program may ask the hub first.
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _fault(self, status: int, headers: Mapping[str, str], where: str) -> RegistryError:
        code = headers.get("X-Error-Code", "")
        found = safe_line(f"{status} {headers.get('X-Error-Message') or code}".strip())
        if code == "RevisionNotFound":
            return RegistryError(
                f"{where}: expected a revision {self._revision!r}, found none ({found}); correct --registry"
            )
        if status in (401, 403) or code in ("RepoNotFound", "GatedRepo"):
            return _NotThereError(
                f"{where}: expected to be let in, found {found}; correct --registry, or set HF_TOKEN (or run "
                "`hf auth login`) to a token with the right to it"
            )
        return super()._fault(status, headers, where)

    def _at(self, commit: str) -> HubBackend:
        """The repository as it is at a commit."""
        pinned = copy.copy(self)
        pinned._revision = commit
        return pinned

    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=_endpoint(), library_name="pifa")

    def _head(self) -> str:
        """The commit that the revision is at."""
        with self._asking(self.url):
            sha = self._api().repo_info(self._repo, revision=self._revision, timeout=READ_SECONDS).sha
        if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
            raise RegistryError(f"{self.url}: expected a repository with a commit, found none; correct --registry")
        return sha

    def _heads(self) -> Iterator[str]:
        """`_head`, again after each commit of others that came before one's own."""
        for attempt in range(ATTEMPTS):
            yield self._head()
            time.sleep(random.uniform(0, min(PAUSE * 2**attempt, LONGEST_PAUSE)))
        raise PublishError(
            f"{self.url}: changed {ATTEMPTS} times while it was being changed; let fewer publish at once, and publish "
            "again"
        )

    def _commit(self, additions: Sequence[Any], message: str, parent: str) -> str | None:
        """Commit files on top of ``parent``; the new commit, or None where another came before."""
        if _COMMIT.fullmatch(self._revision):
            raise PublishError(
                f"{self.url}: expected a branch to publish to, found a commit, which never changes; name a branch"
            )
        try:
            with self._asking(self.url):
                return self._api().create_commit(
                    self._repo, additions, commit_message=message, revision=self._revision, parent_commit=parent
                ).oid  # fmt: skip
        except _LateError:
            return None

    def _add(self, path: str, data: bytes, parent: str) -> str | None:
        from huggingface_hub import CommitOperationAdd

        message = f"{'Update' if path == INDEX else 'Add'} {path}"
        return self._commit([CommitOperationAdd(self._inside(path), data)], message, parent)

    def _infos(self, paths: Sequence[str], commit: str) -> dict[str, Any]:
        """What the hub says about those of the files that are there."""
        asked = {self._inside(path): path for path in paths}
        with self._asking(self.url):
            infos = self._api().get_paths_info(self._repo, list(asked), revision=commit)
            return {asked[info.path]: info for info in infos if info.path in asked}

    def _tag(self, commit: str) -> str | None:
        info = self._infos([INDEX], commit).get(INDEX)
        return info.blob_id if info else None

    def _has(self, made: Path, path: str, files: Sequence[FileEntry], commit: str) -> bool:
        """Whether the version's files are there.

        Raises:
            PublishError: others are.
        """
        infos = self._infos([f"{path}/{file.name}" for file in files], commit)
        for file in files:
            info = infos.get(f"{path}/{file.name}")
            if info is not None and not _is_same(info, file, made / file.name):
                raise PublishError(
                    f"{self.where(path)}: expected no such folder, found one with another {file.name} that the index "
                    "does not name, left by a publication that was killed or is under way; if none is under way, "
                    "remove that folder and publish again"
                )
        return len(infos) == len(files)

    @contextmanager
    def _asking(self, where: str) -> Iterator[None]:
        """Turn what huggingface_hub raises into the zoo's errors."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError

        _refuse_offline(where)
        try:
            yield
        except HfHubHTTPError as error:
            raise self._refused(error, where) from error
        except (HTTPError, OSError) as error:
            raise UnreachableError(
                f"{where}: expected an answer, found {_line(error)}; check the connection and HF_ENDPOINT"
            ) from error
        except RuntimeError as error:
            if isinstance(error.__cause__, HfHubHTTPError):
                raise self._refused(error.__cause__, where) from error
            raise UnreachableError(
                f"{where}: expected the upload to succeed, found {_line(error.__cause__ or error)}; publish again"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"{where}: expected a model hub's answer, found what huggingface_hub can't use "
                f"({type(error).__name__}: {_line(error)}); check HF_ENDPOINT"
            ) from error

    def _refused(self, error: Any, where: str) -> RegistryError:
        status = int(error.response.status_code)
        if status in _COMES_LATE:
            return _LateError(f"{where}: changed by another")
        if status in PASSING | {401, 403, 404}:
            return self._fault(status, error.response.headers, where)
        said = _line(error.server_message or error)
        return RegistryError(f"{where}: expected the hub to do as asked, found {status} {said}; do as it says")


class _NotThereError(RegistryError):
    pass


class _LateError(RegistryError):
    pass


def _parts(url: str) -> tuple[str, str, str]:
    """Repository, revision and folder of an address."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    fault = RegistryError(f"registry {url!r}: expected hf://owner/repo[@revision][/folder]; correct --registry")
    match = _ADDRESS.fullmatch(url)
    if match is None or not url.isascii():
        raise fault
    repo, revision = match["repo"], unquote(match["revision"] or "main")
    if repo.partition("/")[0] in _OTHER_KINDS:
        raise RegistryError(f"registry {url!r}: expected a model repository, hf://owner/repo; correct --registry")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise fault from error
    if not _REVISION.fullmatch(revision):
        raise fault
    return repo, revision, match["folder"].strip("/")


def _endpoint() -> str:
    """The hub's address as the environment has it now; huggingface_hub looks once."""
    from huggingface_hub import constants

    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise RegistryError(f"HF_ENDPOINT: expected the hub's address, https://…, found {endpoint!r}; correct it")
    return endpoint


def _refuse_offline(where: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OfflineError(
            f"{where}: expected to ask the hub, found HF_HUB_OFFLINE set; unset it, or use what is in the cache"
        )


def _is_same(info: Any, file: FileEntry, source: Path) -> bool:
    """Whether a file on the hub is the one made here: by its SHA-256, or for small ones by git's hash."""
    if info.size != file.size:
        return False
    if info.lfs is not None:
        return bool(info.lfs.sha256 == file.sha256)
    data = source.read_bytes()
    return bool(info.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def _line(error: object) -> str:
    return safe_line(str(error).strip().partition("\n")[0]) or type(error).__name__
