"""Publishing a checkpoint: the version's folder appears whole, then the index names it.

A publication that is killed leaves at most a hidden temporary folder, or a version folder that the index does
not name yet; publishing the same again finishes it.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from zoo.addresses import shown_address
from zoo.backends import open_writer
from zoo.checkpoint import Header, read_header
from zoo.documents import dump_json, explain
from zoo.entry import CARD, CONFIG, MAX_FILE_BYTES, PAGE, VERSION_PATTERN, WEIGHTS, Entry, FileEntry, Index, Metric
from zoo.errors import CheckpointError, PublishError
from zoo.metrics import read_metric
from zoo.pages.pictures import MAX_PICTURE_BYTES, picture_suffix
from zoo.signatures.signer import Signer
from zoo.storage import copy_hashed, read_up_to, write_new
from zoo.update import read_for_change, update_index


def publish(
    registry: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str],
    name: str,
    version: str,
    metrics: Sequence[str | os.PathLike[str]] = (),
    pictures: Sequence[tuple[Path, str]] = (),
    architecture: str | None = None,
    licence: str | None = None,
    limits: Sequence[str] = (),
    source_commit: str | None = None,
    min_pifa: str | None = None,
    morphable_where: str | None = None,
    mirrors: Sequence[str] = (),
    created: dt.date | None = None,
    staging: str | os.PathLike[str] | None = None,
    signer: Signer | None = None,
) -> Entry:
    """Publish one checkpoint as ``NAME@VERSION``; what is published never changes.

    Args:
        registry: a folder (made if it does not exist), ``file://``, ``s3://`` or ``hf://``; with ``staging`` also one
            that can only be read.
        weights: a safetensors file with PIFA's metadata.
        name: lower-case letters, digits, ``.``, ``_``, ``-``; at most 64.
        version: ``X.Y.Z``.
        metrics: files that ``pifa eval --json`` wrote for these weights.
        pictures: PNG or JPEG files for the card, each with a line that says what it shows.
        architecture: the network in a line.
        licence: of the weights, one line; the card says "not stated" without it.
        limits: lines for the card's "Limits".
        source_commit: the commit that the weights were trained with.
        min_pifa: the oldest pifa that runs them, ``X.Y.Z``; by default the one that wrote them.
        morphable_where: where others get the morphable model.
        mirrors: addresses of folders with the version's files.
        created: by default today (UTC).
        staging: folder for what is to be copied to the registry by other means.
        signer: the key to sign the weights and the index with.

    Returns:
        The entry as the index now has it.

    Raises:
        CheckpointError: ``weights`` is not a PIFA checkpoint.
        PublishError: an argument or metric is refused, the version is published already, or the version's
            folder holds something else.
        SignatureError: the registry is signed, and not by the signer's key.
        ZooError: the registry cannot be read or written.
    """
    from zoo.pages.card import make_card  # not needed by who only reads
    from zoo.pages.page import make_page

    url = os.fspath(registry)
    writer = open_writer(url, Path(staging) if staging is not None else None)
    writer.prepare()
    _refuse_published(read_for_change(writer, url, signer)[0], name, version, url)
    with writer.new_folder() as made:
        header, files = _copy_checkpoint(Path(weights), made)
        shown, picture_files = _copy_pictures(pictures, made)
        measured, metric_files = _copy_metrics(metrics, files[0], made)
        config = header.config
        written_by = config.pifa_version if re.fullmatch(VERSION_PATTERN, config.pifa_version) else None
        facts = {
            "name": name,
            "version": version,
            "created": created or dt.datetime.now(dt.UTC).date(),
            "files": (*files, *picture_files, *metric_files),
            "preset": config.preset,
            "architecture": architecture,
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
            "metrics": measured,
            "licence": licence,
            "source_commit": source_commit,
            "min_pifa": min_pifa or written_by,
            "mirrors": tuple(mirrors),
            "pictures": tuple(shown),
        }
        entry = _entry(facts)
        text = make_card(entry, header, limits)
        card = write_new(made / CARD, text).named(CARD)
        page = write_new(made / PAGE, make_page(entry, text)).named(PAGE)
        entry = _entry({**facts, "files": (*entry.files, card, page)})
        if signer is not None:
            signer.sign_weights(writer, made / WEIGHTS, files[0])
        writer.put_version(made, f"{entry.name}/{entry.version}", entry.files)

    def added(index: Index) -> tuple[Entry, ...]:
        _refuse_published(index, name, version, url)
        return (*index.entries, entry)

    update_index(writer, url, added, signer)
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


def _copy_pictures(pictures: Sequence[tuple[Path, str]], made: Path) -> tuple[list[dict[str, str]], list[FileEntry]]:
    """Copy the pictures as ``picture-1.png`` and so on; what they show, and their files."""
    shown, files = [], []
    for number, (source, caption) in enumerate(pictures, 1):
        try:
            with source.open("rb") as stream:
                data = read_up_to(stream, MAX_PICTURE_BYTES + 1)
        except OSError as error:
            raise PublishError(f"{source}: expected a picture, found {error.strerror or error}") from error
        name = f"picture-{number}{picture_suffix(data, str(source))}"
        files.append(write_new(made / name, data).named(name))
        shown.append({"file": name, "caption": caption})
    return shown, files


def _copy_metrics(
    metrics: Sequence[str | os.PathLike[str]], weights: FileEntry, made: Path
) -> tuple[tuple[Metric, ...], list[FileEntry]]:
    """Copy the evaluations whole, as ``evaluation-1.json`` and so on; what the index says of them, and the files."""
    measured, files = [], []
    for number, path in enumerate(metrics, 1):
        metric, data = read_metric(Path(path), weights)
        measured.append(metric)
        name = f"evaluation-{number}.json"
        files.append(write_new(made / name, data).named(name))
    return tuple(measured), files


def _entry(facts: dict[str, object]) -> Entry:
    try:
        return Entry.model_validate(facts)
    except ValidationError as error:
        raise PublishError(f"{facts['name']}@{facts['version']}: {explain(error)}") from error


def _refuse_published(index: Index, name: str, version: str, url: str) -> None:
    if index.get(name, version) is not None:
        raise PublishError(
            f"{name}@{version}: expected a new version, found it published in {shown_address(url)}; "
            "a published version never changes: raise the version"
        )
