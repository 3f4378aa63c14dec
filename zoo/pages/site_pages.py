"""What the pages of a site say: the list, and a page about a version."""

import base64
import functools
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from zoo.entry import CARD, WEIGHTS, Entry, Index, Metric, version_key
from zoo.pages.card import KINDS, LIMITS, TRAINING, columns
from zoo.pages.page import card_text, section
from zoo.pages.protocol import measured_on, protocol
from zoo.pages.rendering import markdown_html, render
from zoo.pages.site_charts import Chart, block_chart, yaw_chart
from zoo.pages.texts import is_link, value
from zoo.version import pifa_version

UNNAMED = "REGISTRY"
"""Stands in commands for a registry whose address nobody gave."""

OPEN = 3
"""Metrics whose details are shown without a click."""


@dataclass(frozen=True)
class Checkpoint:
    """All versions of one name, newest first; ``newest`` is the newest that is not withdrawn, or None."""

    name: str
    versions: tuple[Entry, ...]
    newest: Entry | None

    @property
    def shown(self) -> Entry:
        """The version that the name's own page is about."""
        return self.newest or self.versions[0]


@dataclass(frozen=True)
class Measured:
    """One metric as a page shows it."""

    title: str
    protocol: list[tuple[str, str]]
    charts: list[Chart]
    row: list[str]


def checkpoints(index: Index) -> list[Checkpoint]:
    """The checkpoints of a registry, by name."""
    by_name: dict[str, list[Entry]] = {}
    for entry in index.entries:
        by_name.setdefault(entry.name, []).append(entry)
    found = []
    for name, entries in sorted(by_name.items()):
        versions = sorted(entries, key=lambda entry: version_key(entry.version), reverse=True)
        newest = next((entry for entry in versions if entry.yanked is None), None)
        found.append(Checkpoint(name, tuple(versions), newest))
    return found


def list_page(index: Index, found: Sequence[Checkpoint]) -> str:
    """``index.html``: the newest version of every checkpoint, and what was withdrawn."""
    return _page(
        "site_list.html.j2",
        "search.js",
        index=index,
        entries=[checkpoint.newest for checkpoint in found if checkpoint.newest is not None],
        withdrawn=[entry for checkpoint in found for entry in checkpoint.versions if entry.yanked is not None],
    )


class VersionPage:
    """The page about one version, to be written to its own folder and, where it is the newest, to its name's.

    Args:
        entry: the version.
        checkpoint: its name's versions.
        card: the bytes of ``card.md``, or None where it has none.
        pictures: file names of the entry's pictures on the site.
        address: the registry's, for commands and links, or `UNNAMED`; None leaves it out.

    Raises:
        ZooError: the card is too large or not UTF-8.
    """

    def __init__(
        self,
        entry: Entry,
        checkpoint: Checkpoint,
        card: bytes | None,
        pictures: Sequence[str],
        address: str | None,
    ) -> None:
        text = "" if card is None else card_text(card, f"{entry.label}, {CARD}")
        shown = columns(entry.metrics)
        files = f"{address.rstrip('/')}/{entry.name}/{entry.version}/" if address else ""
        # What does not depend on where the page lies is rendered once: of a thousand checkpoints that is seconds.
        facts = render(
            "site_facts.html.j2",
            entry=entry,
            kind=KINDS[entry.landmark_kind],
            columns=[title for _, title in shown],
            metrics=[_measured(metric, shown) for metric in entry.metrics],
            open=OPEN,
            training=_section_html(text, TRAINING),
            limits=_section_html(text, LIMITS),
            files=files if is_link(files) else "",
        )
        self._values = {
            "entry": entry,
            "checkpoint": checkpoint,
            "weights": entry.file(WEIGHTS),
            "commands": _commands(entry, address),
            "unnamed": UNNAMED if address == UNNAMED else "",
            "pictures": list(zip(pictures, entry.pictures, strict=True)),
            "facts": facts,
        }

    def html(self, root: str, here: str, listing: bool) -> str:
        """The page.

        Args:
            root: from the page to the site's top, as ``../../``.
            here: from the page to the version's folder, as ``1.0.0/`` or nothing.
            listing: whether the name's versions are listed.
        """
        return _page("site_version.html.j2", "copy.js", root=root, here=here, listing=listing, **self._values)


def _page(template: str, script: str, **values: Any) -> str:
    text, digest = _script(script)
    return render(template, script=text, script_hash=digest, made_by=f"pifa {pifa_version()}".strip(), **values)


@functools.cache
def _script(name: str) -> tuple[str, str]:
    """A script's text, and its hash as a page's policy names it."""
    text = resources.files("zoo.pages").joinpath("templates", name).read_text(encoding="utf-8")
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _commands(entry: Entry, address: str | None) -> list[tuple[str, str]]:
    registry = f" --registry {shlex.quote(address)}" if address else ""
    file = f"{entry.name}-{entry.version}.safetensors"
    weights = entry.file(WEIGHTS)
    digest = weights.sha256 if weights else ""
    newer = f", version {entry.min_pifa} or newer" if entry.min_pifa else ""
    return [
        (f"Install pifa{newer}, in a clone of it", "pip install ."),
        (
            "Align faces (this fetches the checkpoint first)",
            f"pifa align {entry.label} photo.jpg --boxes boxes.csv{registry}",
        ),
        ("Fetch the weights, checked, to a file", f"pifa zoo get {entry.label}{registry} --out {file}"),
        ("Check a file that you have from elsewhere", f"echo '{digest}  {file}' | sha256sum --check"),
    ]


def _measured(metric: Metric, shown: Sequence[tuple[str, str]]) -> Measured:
    values = metric.model_dump()
    charts = [chart for chart in (block_chart(metric), yaw_chart(metric)) if chart is not None]
    row = [value(found) if not isinstance(found := values.get(key), dict | list) else "–" for key, _ in shown]
    return Measured(measured_on(metric), protocol(metric), charts, row)


def _section_html(text: str, title: str) -> str:
    found = section(text, title)
    return markdown_html(found) if found else ""
