"""Reading a repository of a model hub, ``hf://owner/repo[@revision][/folder]``: Hugging Face's, or one like it.

Files are read as from any web server. The hub's address (``HF_ENDPOINT``) and the token (``HF_TOKEN``, or that of
``hf auth login``) are found as huggingface_hub finds them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from zoo.backends.base import Opened
from zoo.backends.web import PASSING, READ_SECONDS, WebBackend
from zoo.errors import OfflineError, RegistryError, UnreachableError
from zoo.plain import LONGEST_SAID, first_line, plain

# As huggingface_hub writes such addresses: a slash in a revision is %2F, but for the hub's own refs.
_NAME = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_ADDRESS = re.compile(
    rf"hf://(?P<repo>{_NAME}/{_NAME})"
    r"(?:@(?P<revision>refs/pr/[0-9]+|[^/@]+))?"
    rf"(?P<folder>(?:/{_NAME})*)/?"
)
_REVISION = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9_][A-Za-z0-9._/-]*")
_OTHER_KINDS = {"models", "datasets", "spaces", "kernels", "buckets"}

COMMIT = re.compile(r"[0-9a-f]{40}")

_COMES_LATE = {409, 412}


class HubReader(WebBackend):
    """A model repository, or a folder in one, at a branch, a tag or a commit.

    Raises:
        RegistryError: no such address, or huggingface_hub is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import huggingface_hub  # noqa: F401
        except ImportError as error:
            raise RegistryError(
                f"{url}: needs a package that is not installed: pip install 'pifa[hf]' ({error})"
            ) from error
        self._repo, self._revision, self._folder = _parts(url)
        super().__init__(url)

    def exists(self) -> bool:
        """Whether there is such a repository, with such a revision."""
        self._head()
        return True

    @contextmanager
    def open(self, path: str, start: int = 0) -> Iterator[Opened]:
        _refuse_offline(self.where(path))
        with super().open(path, start) as opened:
            yield opened

    def _inside(self, path: str) -> str:
        """A path below the registry's root as one below the repository's."""
        return f"{self._folder}/{path}" if self._folder else path

    def _address(self, path: str) -> str:
        from huggingface_hub import hf_hub_url

        return str(hf_hub_url(self._repo, self._inside(path), revision=self._revision, endpoint=_endpoint()))

    def _credentials(self) -> Mapping[str, str]:
        from huggingface_hub import constants, get_token

        # Not by build_hf_headers: its description of the program may ask the hub first.
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _fault(self, status: int, headers: Mapping[str, str], where: str) -> RegistryError:
        code = headers.get("X-Error-Code", "")
        found = plain(f"{status} {headers.get('X-Error-Message') or code}", LONGEST_SAID)
        if code == "RevisionNotFound":
            return RegistryError(
                f"{where}: expected a revision {self._revision!r}, found none ({found}); correct --registry"
            )
        if status in (401, 403) or code in ("RepoNotFound", "GatedRepo"):
            return NotThereError(
                f"{where}: expected to be let in, found {found}; correct --registry, or set HF_TOKEN (or run "
                "`hf auth login`) to a token with the right to it"
            )
        return super()._fault(status, headers, where)

    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=_endpoint(), library_name="pifa")

    def _head(self) -> str:
        """The commit that the revision is at."""
        with self._asking(self.url):
            sha = self._api().repo_info(self._repo, revision=self._revision, timeout=READ_SECONDS).sha
        if not isinstance(sha, str) or not COMMIT.fullmatch(sha):
            raise RegistryError(f"{self.url}: expected a repository with a commit, found none; correct --registry")
        return sha

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
                f"{where}: expected an answer, found {first_line(error)}; check the connection and HF_ENDPOINT"
            ) from error
        except RuntimeError as error:  # an upload's
            if isinstance(error.__cause__, HfHubHTTPError):
                raise self._refused(error.__cause__, where) from error
            raise UnreachableError(
                f"{where}: expected the upload to succeed, found {first_line(error.__cause__ or error)}; publish again"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"{where}: expected a model hub's answer, found what huggingface_hub can't use "
                f"({type(error).__name__}: {first_line(error)}); check HF_ENDPOINT"
            ) from error

    def _refused(self, error: Any, where: str) -> RegistryError:
        status = int(error.response.status_code)
        if status in _COMES_LATE:
            return LateError(f"{where}: expected to be the next, found that another's commit came before ({status})")
        if status in PASSING | {401, 403, 404}:
            return self._fault(status, error.response.headers, where)
        said = first_line(error.server_message or error)
        return RegistryError(f"{where}: expected the hub to do as asked, found {status} {said}; do as it says")


class NotThereError(RegistryError):
    """No such repository, or none for the one who asks: a hub does not tell which."""


class LateError(RegistryError):
    """A commit of another came before."""


def _parts(url: str) -> tuple[str, str, str]:
    """Repository, revision and folder of an address."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    fault = RegistryError(f"registry {url!r}: expected hf://owner/repo[@revision][/folder]; correct --registry")
    match = _ADDRESS.fullmatch(url)
    if match is None:
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
    return str(endpoint)


def _refuse_offline(where: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OfflineError(
            f"{where}: expected to ask the hub, found HF_HUB_OFFLINE set; unset it, or use what is in the cache"
        )
