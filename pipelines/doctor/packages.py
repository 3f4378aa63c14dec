"""Versions: the program, Python, and every package that the program's metadata ask for, imported once."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from pifa_data.version import VERSION, source_commit
from pipelines.doctor.importing import Failure, broken_imports
from pipelines.doctor.rows import Row, State, error_text

if TYPE_CHECKING:
    from pipelines.doctor.requirements import Need

PROGRAM = "pifa"
CONTRIBUTORS = "dev"
"""The extra of those who work on the program: its packages are not imported."""

OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
"""Distributions of the one package ``cv2``: any will do, two overwrite each other's files."""

MALICIOUS = {"lightning": ("2.6.2", "2.6.3")}
"""Uploads by somebody who had stolen the right to: they are not even imported."""

WHY = dict.fromkeys(OPENCV, "OpenCV 5 has no cascades, which the built-in face detector is made of")
"""What goes wrong out of the range, where it is not plain."""

CURES = (
    (r"libGL\.so", "apt install libgl1 (Fedora: dnf install mesa-libGL)"),
    (r"libg(thread|lib)-2\.0\.so", "apt install libglib2.0-0 (Fedora: dnf install glib2)"),
    (r"DLL load failed", "install the Microsoft Visual C++ Redistributable, then {again}"),
    (r"GLIBC(XX)?_[\d.]+' not found", "it was built for a newer system: update the system, or take an older version"),
    (r"SIGILL", "this CPU lacks instructions that it was built with: take an older version of it"),
    (r"compiled using NumPy 1|numpy\.(core|_core)", "it was built for another NumPy: {again}"),
    (r"lib(cu|nv|torch|c10)\w*[.-].*so", "{again}"),
    (r"\blib[\w+.-]+\.so[.\d]*: cannot open", "install the system's package with that library"),
)
"""What to do by what an import raised, the first that matches; ``{again}`` installs the package once more."""


def import_cure(error: str, to_install: str) -> str:
    """What to do where a package that is there can't be imported."""
    again = f"pip install --force-reinstall {to_install}"
    cure = next((cure for pattern, cure in CURES if re.search(pattern, error)), "{again}")
    return cure.format(again=again)


def program_rows() -> list[Row]:
    """The program itself, Python and the system."""
    commit = source_commit()
    found = [Row(PROGRAM, VERSION + (f", commit {commit}" if commit else ""), details={"commit": commit})]
    try:
        asked = next(iter(metadata.metadata(PROGRAM).get_all("Requires-Python") or ()), None)
    except metadata.PackageNotFoundError:
        found = [Row(PROGRAM, "runs from a copy that is not installed", "broken", "pip install -e . in its folder")]
        asked = None
    python = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    state: State = "ok" if asked is None or _python_fits(asked) else "broken"
    found.append(Row("Python", python, state, "" if state == "ok" else f"install Python {asked}"))
    found.append(Row("system", platform.platform()))
    return found


def _python_fits(asked: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True  # told by package_rows
    return SpecifierSet(asked).contains(platform.python_version(), prereleases=True)


def package_rows(said: Callable[[str], None] = lambda _: None) -> tuple[list[Row], list[Row]]:
    """A row a required package, with what those ask for in vain in turn; and a row an extra.

    Args:
        said: told what is being done, as that takes seconds.
    """
    try:
        from pipelines.doctor import requirements as asks
    except ImportError as error:
        cure = import_cure(str(error), "packaging")
        return [
            Row("packaging", f"can't be imported ({error_text(error)}); nothing else was checked", "broken", cure)
        ], []
    try:
        needs = asks.direct_needs(PROGRAM)
        extras = {extra: asks.direct_needs(PROGRAM, extra) for extra in asks.extras_of(PROGRAM)}
    except metadata.PackageNotFoundError:
        return [], []  # told by program_rows
    needs = [_with_opencv(need) for need in needs]
    used = [*needs, *(need for extra, parts in extras.items() if extra != CONTRIBUTORS for need in parts)]
    modules = {need.name: asks.modules_of(need.name) for need in used if need.found and not _malicious(need)}
    said(f"importing {len(modules)} packages")
    errors = broken_imports(list(dict.fromkeys(module for group in modules.values() for module in group)))
    broken = {name: errors[module] for name, group in modules.items() for module in group if module in errors}

    required = [_package(need, broken) for need in sorted(needs, key=lambda need: need.name)]
    direct = {need.name for need in needs}
    required += [_unmet(need, needed=True) for need in asks.unmet_below(sorted(direct)) if need.name not in direct]
    required += _two_opencvs()
    return required, [_extra(extra, parts, broken) for extra, parts in extras.items()]


def _package(need: Need, broken: Mapping[str, Failure]) -> Row:
    """The row of a required package."""
    asked = f" ({need.asked})" if need.asked else ""
    details = {"installed": need.found, "asked": need.asked or None, "by": need.by}
    if need.found is None:
        return Row(need.name, f"missing{asked}", "broken", f"pip install {need.to_install}", details)
    if _malicious(need):
        cure = (
            f"pip uninstall {need.name}, change every password and key that this machine had, then "
            f"pip install {need.to_install}"
        )
        return Row(need.name, f"{need.found} is a malicious upload; not imported", "broken", cure, details)
    if not need.fits:
        why = f": {WHY[need.name]}" if need.name in WHY else ""
        value = f"{need.found}, expected {need.asked}{why}"
        return Row(need.name, value, "broken", f"pip install {need.to_install}", details)
    if need.name in broken:
        error = broken[need.name].error
        value = f"{need.found} can't be imported ({error})"
        return Row(
            need.name,
            value,
            "broken",
            import_cure(error, need.to_install),
            {**details, "error": error, "fatal": broken[need.name].fatal},
        )
    return Row(need.name, f"{need.found}{asked}", details=details)


def _unmet(need: Need, *, needed: bool) -> Row:
    """The row of a package that another package asks for in vain."""
    found = "missing" if need.found is None else f"{need.found}, expected {need.asked}"
    state: State = "broken" if needed and need.found is None else "warning"
    details = {"installed": need.found, "asked": need.asked or None, "by": need.by}
    return Row(need.name, f"{found} by {need.by}", state, f"pip install {need.to_install}", details)


def _extra(extra: str, parts: Iterable[Need], broken: Mapping[str, Failure]) -> Row:
    """The row of an extra: its packages, and what of them is missing or can't be used."""
    rows = [_package(need, broken) for need in parts]
    bad = [row for row in rows if row.state != "ok"]
    details = {"packages": {row.name: row.details["installed"] for row in rows}}
    cure = f"pip install '{PROGRAM}[{extra}]'"
    name = f"{PROGRAM}[{extra}]"
    if not bad:
        found = (f"{row.name} {row.details['installed']}" for row in rows)
        return Row(name, ", ".join(found) if extra != CONTRIBUTORS else f"{len(rows)} packages", details=details)
    missing = [row.name for row in bad if row.details["installed"] is None]
    if len(missing) == len(bad):
        # Half of an extra is somebody's accident, or comes with other packages: only the first is worth a look.
        have = [row for row in rows if row.state == "ok"]
        state: State = "warning" if have and extra != CONTRIBUTORS and len(have) < len(rows) else "absent"
        return Row(name, f"missing: {', '.join(missing)}", state, cure, details)
    first = next(row for row in bad if row.details["installed"] is not None)
    cure = first.cure if "error" in first.details else cure
    return Row(name, "; ".join(f"{row.name} {row.value}" for row in bad), "warning", cure, details)


def _malicious(need: Need) -> bool:
    return need.found in MALICIOUS.get(need.name, ())


def _opencvs() -> list[str]:
    from pipelines.doctor.requirements import installed_version

    return [name for name in OPENCV if installed_version(name)]


def _distribution(need: Need) -> str:
    """The distribution that meets a need."""
    return next(iter(_opencvs()), need.name) if need.name in OPENCV else need.name


def _with_opencv(need: Need) -> Need:
    """A need of OpenCV, met by whichever of its distributions is there."""
    from packaging.requirements import Requirement

    from pipelines.doctor.requirements import make_need

    if need.name not in OPENCV or need.found is not None:
        return need
    other = _distribution(need)
    return replace(make_need(Requirement(need.name + need.asked), need.by, version_of=other), name=other)


def _two_opencvs() -> list[Row]:
    found = _opencvs()
    if len(found) < 2:
        return []
    cure = f"pip uninstall {' '.join(found)}, then pip install --force-reinstall one of them"
    return [Row("cv2", f"{' and '.join(found)} overwrite each other's files", "warning", cure)]
