"""What the installed program's own metadata ask for, and whether it is there.

Needs `packaging`, which Dask, Zarr and Lightning bring; where that is broken, importing this module raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion


@dataclass(frozen=True)
class Need:
    """A package that another one asks for.

    Attributes:
        name: of the distribution, normalised.
        asked: versions that will do, as ``>=2.2,<3``; empty: any.
        by: who asks for it.
        found: the installed version, or None.
        fits: it is installed, and its version will do.
    """

    name: str
    asked: str
    by: str
    found: str | None
    fits: bool

    @property
    def to_install(self) -> str:
        """As pip takes it, quoted for a shell."""
        return f"'{self.name}{self.asked}'" if self.asked else self.name


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None: it is not there, or only its remains are."""
    try:
        return metadata.version(name) or None
    except metadata.PackageNotFoundError:
        return None


def make_need(requirement: Requirement, by: str, version_of: str | None = None) -> Need:
    """A requirement compared with what is installed, of another distribution where ``version_of`` names one."""
    name = canonicalize_name(requirement.name)
    found = installed_version(version_of or name)
    asked = ",".join(sorted(map(str, requirement.specifier), reverse=True))  # >= before <
    try:
        fits = found is not None and requirement.specifier.contains(found, prereleases=True)
    except InvalidVersion:
        fits = False
    return Need(name, asked, by, found, fits)


def extras_of(program: str) -> tuple[str, ...]:
    """The extras that a distribution offers."""
    return tuple(metadata.metadata(program).get_all("Provides-Extra") or ())


def requirements_of(name: str, extra: str = "") -> Iterator[Requirement]:
    """What a distribution asks for on this machine; with ``extra``, what it asks for through that alone.

    A requirement that can't be read, or a distribution that is not installed, is left out.
    """
    try:
        lines = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always if not extra else not always and marker is not None and marker.evaluate({"extra": extra}):
            yield requirement


def direct_needs(program: str, extra: str = "") -> list[Need]:
    """What the program asks for itself, or through one of its extras.

    What it asks for through an extra of another package (``dask[distributed]``) counts as its own, and its own extras
    (``pifa[s3]`` in ``dev``) are followed.
    """
    found: dict[str, Need] = {}
    own = canonicalize_name(program)
    waiting, seen = [extra], {extra}
    while waiting:
        for requirement in requirements_of(program, waiting.pop()):
            name = canonicalize_name(requirement.name)
            if name == own:
                waiting += requirement.extras - seen
                seen |= requirement.extras
                continue
            found.setdefault(name, make_need(requirement, program))
            for other in sorted(requirement.extras):
                for part in requirements_of(name, other):
                    found.setdefault(canonicalize_name(part.name), make_need(part, f"{name}[{other}]"))
    return list(found.values())


def unmet_below(names: Iterable[str]) -> list[Need]:
    """What installed packages, and those that they ask for in turn, ask for in vain; extras not followed."""
    unmet: list[Need] = []
    waiting, seen = list(names), set(names)
    while waiting:
        by = waiting.pop()
        for requirement in requirements_of(by):
            need = make_need(requirement, by)
            if not need.fits:
                unmet.append(need)
            if need.found is not None and need.name not in seen:
                seen.add(need.name)
                waiting.append(need.name)
    return unmet


def modules_of(name: str) -> tuple[str, ...]:
    """The modules to import of an installed distribution; none where its metadata don't tell."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return ()
    files = distribution.files or ()
    tops = set((distribution.read_text("top_level.txt") or "").split())
    tops |= {file.parts[0] for file in files if len(file.parts) == 2 and file.name == "__init__.py"}
    tops |= {file.stem for file in files if len(file.parts) == 1 and file.suffix == ".py"}
    public = sorted(top for top in tops if top.isidentifier() and not top.startswith("_"))
    own = name.replace("-", "_")
    return (own,) if own in public else tuple(public)
