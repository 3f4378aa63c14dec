"""A registry behind real web servers, and what tests ask about the cache and about errors."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certificates import Certificates
from nginx import Nginx
from upstream import Upstream

import zoo

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Served:
    """A registry with ``face@1.0.0`` behind real web servers, as ``nginx.url/plain/registry`` and so on."""

    folder: Path
    nginx: Nginx
    upstream: Upstream
    certificates: Certificates
    weights: bytes

    def at(self, place: str) -> str:
        """The registry's address below a place of `tests/nginx.py`."""
        return f"{self.nginx.url}/{place}/registry"

    def copy(self, name: str, change: Callable[[Any], None]) -> Path:
        """A copy of the registry, served beside it, its index changed by hand."""
        folder = self.folder / name
        shutil.copytree(self.folder / "registry", folder)
        document = json.loads((folder / "index.json").read_text())
        change(document)
        (folder / "index.json").write_text(json.dumps(document))
        return folder


def cached(home: Path | None = None) -> dict[str, int]:
    """The files of checkpoints in the cache and their sizes, without locks."""
    found = (home or zoo.cache_folder()).glob("zoo/*/*")
    return {
        path.name: path.stat().st_size for path in found if path.name != ".lock" and path.parent.name != "registries"
    }


def part(served: Served, size: int) -> dict[str, int]:
    """The cache with the first ``size`` bytes of the weights and nothing else."""
    (entry,) = zoo.Registry(served.folder / "registry").index().entries
    return {f".{WEIGHTS}.{entry.files[0].sha256[:16]}.part": size}


def refused(error: BaseException, where: str) -> None:
    """An error as the style guide wants it: one line with the address, expected, found, and a cure."""
    text = str(error)
    assert text.isprintable(), text
    assert re.fullmatch(rf"{re.escape(where)}\S*: expected .*, found .+; .+", text), text
