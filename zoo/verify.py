"""Checking a registry: every file against the index, and every checkpoint against its entry."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.checkpoint import config_fault, disagreement, read_header
from zoo.entry import CONFIG, INDEX, MAX_INDEX_BYTES, WEIGHTS, Entry, Index, signature_path
from zoo.errors import MissingFileError, ZooError
from zoo.index import parse_index
from zoo.reference import matching
from zoo.registry import Registry, file_of, path_of
from zoo.storage import hash_bytes, read_up_to, temporary_folder


@dataclass(frozen=True)
class Problem:
    """One fault: the entry as ``NAME@VERSION`` (or ``index``), the file's name, and a message that says what to do."""

    entry: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.entry}: {self.message}"


def verify(ref: str | None = None, registry_url: str | os.PathLike[str] | None = None) -> list[Problem]:
    """Check every file of every entry that ``ref`` means (all where it is None), yanked ones too.

    Signatures are checked where a key is trusted for the registry; elsewhere those that its index speaks of must at
    least be there.

    Returns:
        The problems in the index's order; empty where everything is as promised.

    Raises:
        UnknownEntryError: nothing in the registry matches ``ref``.
        RegistryError: the index itself cannot be read or is at fault.
        ZooError: there is no folder for temporary files.
    """
    registry = Registry(registry_url)
    return problems_in(registry, registry.index(), ref)


def problems_in(registry: Registry, index: Index, ref: str | None = None) -> list[Problem]:
    """`verify`, of a registry whose index was read."""
    signed_by: tuple[str, ...] = ()
    found: list[Problem] = []
    if index.signed_by and not registry.keys:
        with registry.open(INDEX) as stream:
            data = read_up_to(stream, MAX_INDEX_BYTES + 1)
        index = parse_index(data, registry.where(INDEX))  # it may be a later one
        signed_by = index.signed_by
        found += _signatures(registry, "index", INDEX, hash_bytes(data).sha256, registry.where(INDEX), signed_by)
    entries = list(index.entries) if ref is None else matching(index, ref)
    for entry in entries:
        found += problems_of(registry, entry)
        sha256, where = file_of(entry, WEIGHTS).sha256, registry.where(path_of(entry, WEIGHTS))
        found += _signatures(registry, entry.label, WEIGHTS, sha256, where, signed_by)
    return found


def problems_of(registry: Registry, entry: Entry) -> list[Problem]:
    """What is wrong with an entry and its files."""
    found: list[Problem] = []
    with temporary_folder("pifa-verify-") as folder:
        for file in entry.files:
            try:
                registry.copy(entry, file.name, folder / file.name)
            except ZooError as error:
                found.append(Problem(entry.label, file.name, str(error)))
        if {WEIGHTS, CONFIG}.isdisjoint(problem.file for problem in found):
            found += _content(registry, entry, folder)
    return found


def _signatures(
    registry: Registry, label: str, file: str, sha256: str, where: str, keys: Sequence[str]
) -> Iterator[Problem]:
    """Which signatures by the keys with these fingerprints are missing, of the content with that hash."""
    for key in keys:
        try:
            with registry.open(signature_path(sha256, key)):
                pass
        except MissingFileError:
            message = f"{where}: expected a signature by {key[:16]}, which signed the index, found none"
            yield Problem(label, file, f"{message}; have it signed by `pifa zoo sign` with that key")
        except ZooError as error:
            yield Problem(label, file, str(error))


def _content(registry: Registry, entry: Entry, folder: Path) -> list[Problem]:
    """What is wrong with weights and configuration whose hashes are right."""
    try:
        header = read_header(folder / WEIGHTS, registry.where(path_of(entry, WEIGHTS)))
    except ZooError as error:
        return [Problem(entry.label, WEIGHTS, str(error))]
    found: list[Problem] = []
    try:
        registry.check_weights(entry, folder / WEIGHTS, registry.weights_signature(entry))
    except ZooError as error:
        found.append(Problem(entry.label, WEIGHTS, str(error)))
    if difference := disagreement(header, entry):
        message = f"{registry.where(path_of(entry, WEIGHTS))}: {difference}; publish it anew under a new version"
        found.append(Problem(entry.label, WEIGHTS, message))
    if fault := config_fault(folder / CONFIG, header, registry.where(path_of(entry, CONFIG))):
        found.append(Problem(entry.label, CONFIG, fault))
    return found
