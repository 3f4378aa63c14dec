"""Checking a registry: every file against the index, and every checkpoint against its entry."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from zoo.checkpoint import config_fault, disagreement, read_header
from zoo.entry import CONFIG, WEIGHTS, Entry
from zoo.errors import ZooError
from zoo.reference import matching
from zoo.registry import Registry, path_of


@dataclass(frozen=True)
class Problem:
    """One fault: the entry as ``NAME@VERSION``, the file's name, and a message that says what to do."""

    entry: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.entry}: {self.message}"


def verify(ref: str | None = None, registry_url: str | os.PathLike[str] | None = None) -> list[Problem]:
    """Check every file of every entry that ``ref`` means (all where it is None), yanked ones too.

    Returns:
        The problems in the index's order; empty where everything is as promised.

    Raises:
        UnknownEntryError: nothing in the registry matches ``ref``.
        RegistryError: the index itself cannot be read or is at fault.
    """
    registry = Registry(registry_url)
    index = registry.index()
    entries = list(index.entries) if ref is None else matching(index, ref)
    return [problem for entry in entries for problem in problems_of(registry, entry)]


def problems_of(registry: Registry, entry: Entry) -> list[Problem]:
    """What is wrong with an entry and its files."""
    found: list[Problem] = []
    with tempfile.TemporaryDirectory(prefix="pifa-verify-") as folder:
        for file in entry.files:
            try:
                registry.copy(entry, file.name, Path(folder) / file.name)
            except ZooError as error:
                found.append(Problem(entry.label, file.name, str(error)))
        if {WEIGHTS, CONFIG}.isdisjoint(problem.file for problem in found):
            found += _content(registry, entry, Path(folder))
    return found


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
