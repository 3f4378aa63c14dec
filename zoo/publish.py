"""Publishing a checkpoint: the version's folder appears whole, then the index names it.

A publication that is killed leaves at most a hidden temporary folder, or a version folder that the index does
not name yet; publishing the same again finishes it.
"""

import datetime as dt
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from zoo.card import make_card
from zoo.checkpoint import Header, read_header
from zoo.documents import dump_json, explain
from zoo.entry import (
    CARD,
    CONFIG,
    MAX_FILE_BYTES,
    VERSION_PATTERN,
    WEIGHTS,
    Entry,
    FileEntry,
    Index,
)
from zoo.errors import CheckpointError, PublishError
from zoo.metrics import read_metric
from zoo.place import new_folder, place
from zoo.registry import Registry
from zoo.storage import copy_hashed, write_new, writing
from zoo.update import update_index, writable_folder


def publish(
    registry: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str],
    name: str,
    version: str,
    metrics: Sequence[str | os.PathLike[str]] = (),
    licence: str | None = None,
    limits: Sequence[str] = (),
    source_commit: str | None = None,
    min_pifa: str | None = None,
    morphable_where: str | None = None,
    mirrors: Sequence[str] = (),
    created: dt.date | None = None,
) -> Entry:
    """Publish one checkpoint as ``NAME@VERSION``; what is published never changes.

    Args:
        registry: a folder or ``file://`` URL; made if it does not exist.
        weights: a safetensors file with PIFA's metadata.
        name: lower-case letters, digits, ``.``, ``_``, ``-``; at most 64.
        version: ``X.Y.Z``.
        metrics: files that ``pifa eval --json`` wrote for these weights.
        licence: of the weights, one line; the card says "not stated" without it.
        limits: lines for the card's "Limits".
        source_commit: the commit that the weights were trained with.
        min_pifa: the oldest pifa that runs them, ``X.Y.Z``; by default the one that wrote them.
        morphable_where: where others get the morphable model.
        mirrors: URLs with the same files.
        created: by default today (UTC).

    Returns:
        The entry as the index now has it.

    Raises:
        CheckpointError: ``weights`` is not a PIFA checkpoint.
        PublishError: an argument or metric is refused, the version is published already, or the version's
            folder holds something else.
        ZooError: the registry cannot be read or written.
    """
    folder = writable_folder(registry)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_published(Registry(folder).index(), name, version, folder)
    with new_folder(folder) as made:
        header, files = _copy_checkpoint(Path(weights), made)
        config = header.config
        written_by = config.pifa_version if re.fullmatch(VERSION_PATTERN, config.pifa_version) else None
        facts = {
            "name": name,
            "version": version,
            "created": created or dt.datetime.now(dt.UTC).date(),
            "files": files,
            "preset": config.preset,
            "scheme": config.scheme,
            "landmark_kind": config.landmark_kind,
            "morphable": {
                **config.morphable.model_dump(include={"name", "fingerprint"}),
                "where": morphable_where,
            },
            "input_size": config.input_size,
            "boxes": config.boxes,
            "grow": config.grow,
            "training_data": config.training.data,
            "metrics": tuple(read_metric(Path(path), files[0]) for path in metrics),
            "licence": licence,
            "source_commit": source_commit,
            "min_pifa": min_pifa or written_by,
            "mirrors": tuple(mirrors),
        }
        card = write_new(made / CARD, make_card(_entry(facts), header, limits)).named(CARD)
        entry = _entry({**facts, "files": (*files, card)})
        place(made, folder / entry.name / entry.version, entry.files)

    def added(index: Index) -> tuple[Entry, ...]:
        _refuse_published(index, name, version, folder)
        return (*index.entries, entry)

    update_index(folder, added)
    return entry


def _copy_checkpoint(weights: Path, made: Path) -> tuple[Header, tuple[FileEntry, FileEntry]]:
    """Copy the weights and write their configuration, read from the copy: the source may still change."""
    try:
        stream = weights.open("rb")
    except OSError as error:
        raise CheckpointError(
            f"{weights}: expected a checkpoint's file, found {error.strerror or error}; "
            "give the safetensors file that `pifa train` wrote"
        ) from error
    with stream:
        copied = copy_hashed(stream, made / WEIGHTS, MAX_FILE_BYTES)
    header = read_header(made / WEIGHTS, str(weights))
    config = write_new(made / CONFIG, dump_json(header.document))
    return header, (copied.named(WEIGHTS), config.named(CONFIG))


def _entry(facts: dict[str, object]) -> Entry:
    try:
        return Entry.model_validate(facts)
    except ValidationError as error:
        raise PublishError(f"{facts['name']}@{facts['version']}: {explain(error)}") from error


def _refuse_published(index: Index, name: str, version: str, folder: Path) -> None:
    if index.get(name, version) is not None:
        raise PublishError(
            f"{name}@{version}: expected a new version, found it published in {folder}; "
            "a published version never changes: raise the version"
        )
