"""``pifa doctor``: made-up packages that are missing, old, broken, malicious, or end the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.doctor import packages, run_doctor
from pipelines.doctor.importing import Failure, broken_imports
from pipelines.doctor.packages import import_cure, package_rows
from pipelines.doctor.rows import Row

ROOT = Path(__file__).resolve().parents[2]
NO_GL = "libGL.so.1: cannot open shared object file: No such file or directory"


class Site:
    """A folder of made-up packages that stands before the real ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, version: str, *requires: str, extras: tuple[str, ...] = (), **modules: str) -> None:
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires] + [f"Provides-Extra: {extra}" for extra in extras]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        for module, text in modules.items():
            (self.folder / f"{module}.py").write_text(text)
        files = [f"{module}.py,," for module in modules]
        (info / "RECORD").write_text("\n".join([*files, f"{info.name}/METADATA,,"]) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Before the real packages, also in other processes."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Site(folder)


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_missing_and_old_packages_have_their_cure(site: Site) -> None:
    site.add("pifa", "1.0", "aaa<3,>=2", "bbb>=1", "ccc", 'never; python_version < "3"', "ddd[more]")
    site.add("aaa", "1.9", aaa="")
    site.add("ccc", "1", "below>=2", "gone", 'also; extra == "unasked"', ccc="")
    site.add("below", "1.5")
    site.add("ddd", "1", 'part>=7; extra == "more"', extras=("more",), ddd="")
    rows, extras = package_rows()
    found = by_name(rows)
    assert (found["aaa"].state, found["aaa"].value) == ("broken", "1.9, expected >=2,<3")
    assert found["aaa"].cure == "pip install 'aaa>=2,<3'"
    assert (found["bbb"].state, found["bbb"].cure) == ("broken", "pip install 'bbb>=1'")
    assert (found["ccc"].state, found["ccc"].value) == ("ok", "1")
    # What another package asks for in vain: a version may do all the same, nothing can't.
    assert (found["below"].state, found["below"].value) == ("warning", "1.5, expected >=2 by ccc")
    assert (found["gone"].state, found["gone"].value) == ("broken", "missing by ccc")
    assert (found["part"].state, found["part"].details["by"]) == ("broken", "ddd[more]")
    assert {"never", "also"}.isdisjoint(found)
    assert extras == []


def test_extras_are_those_of_the_metadata(site: Site) -> None:
    of = {"whole": ["have"], "none": ["gone>=1"], "half": ["have", "gone"], "bad": ["bad"], "dev": ["pifa[whole]", "x"]}
    requires = [f'{name}; extra == "{extra}"' for extra, names in of.items() for name in names]
    site.add("pifa", "1.0", *requires, extras=tuple(of))
    site.add("have", "1", have="")
    site.add("bad", "1", bad=f"raise ImportError({NO_GL!r})")
    rows, extras = package_rows()
    found = by_name(extras)
    assert rows == []
    assert {name: row.state for name, row in found.items()} == {
        "pifa[whole]": "ok",
        "pifa[none]": "absent",
        "pifa[half]": "warning",
        "pifa[bad]": "warning",
        "pifa[dev]": "absent",
    }
    assert found["pifa[none]"].cure == "pip install 'pifa[none]'"
    assert found["pifa[half]"].value == "missing: gone"
    assert found["pifa[bad]"].cure.startswith("apt install libgl1")
    assert found["pifa[dev]"].details["packages"] == {"have": "1", "x": None}


def test_a_malicious_upload_is_not_imported(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    site.add("pifa", "1.0", "lightning>=2.6.4")
    site.add("lightning", "2.6.3", lightning=f"open({str(mark)!r}, 'w')")
    [row] = package_rows()[0]
    assert row.state == "broken"
    assert "malicious" in row.value
    assert row.cure.startswith("pip uninstall lightning, change every password")
    assert not mark.exists()


def test_opencv_may_be_any_of_its_distributions_but_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "OPENCV", ("opencv-fake", "opencv-fake-headless"))
    monkeypatch.setattr(packages, "WHY", {"opencv-fake": "no cascades"})
    site.add("pifa", "1.0", "opencv-fake>=4.14,<5")
    site.add("opencv-fake-headless", "4.14.0", cv2_fake="")
    [row] = package_rows()[0]
    assert (row.name, row.state) == ("opencv-fake-headless", "ok")
    site.add("opencv-fake", "5.0.0", cv2_fake="")
    old, two = package_rows()[0]
    assert (old.value, old.state) == ("5.0.0, expected >=4.14,<5: no cascades", "broken")
    assert (two.name, two.state) == ("cv2", "warning")


def test_an_import_that_ends_the_process_is_told_and_the_next_is_tried(site: Site) -> None:
    site.add("a", "1", kills="import os, signal; os.kill(os.getpid(), signal.SIGILL)", talks="print('{}')")
    site.add("b", "1", exits="raise SystemExit(3)", raises="raise OSError('no\\x1b way\\nmore')", fine="x = 1")
    assert broken_imports(["talks", "kills", "raises", "exits", "fine"]) == {
        "kills": Failure("the import ended the process (SIGILL)", fatal=True),
        "raises": Failure("OSError: no way"),
        "exits": Failure("the import ended the process (status 3)", fatal=True),
    }


def test_an_import_that_never_ends_is_given_up(site: Site) -> None:
    site.add("a", "1", sleeps="import time; time.sleep(600)")
    assert broken_imports(["sleeps"], 0.5) == {"sleeps": Failure("the import did not end within 0.5 s", fatal=True)}


def test_the_time_is_each_imports_own(site: Site) -> None:
    names = [f"slow{i}" for i in range(5)]
    site.add("a", "1", **dict.fromkeys(names, "import time; time.sleep(0.6)"))
    assert broken_imports(names, 3) == {}


def test_nothing_is_imported_here_that_ends_a_process(site: Site) -> None:
    site.add("pifa", "1.0", "kills")
    site.add("kills", "1", kills="import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    report = run_doctor()
    assert [row.value for row in report.sections["places"]] == ["not looked at: importing kills ends the process"]
    assert [row.name for row in report.sections["devices"]] == ["CPU", "memory"]
    assert report.speed == []
    [row] = report.broken
    assert "lacks instructions" in row.cure


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (f"ImportError: {NO_GL}", "apt install libgl1 "),
        ("ImportError: libgthread-2.0.so.0: cannot open shared object file", "apt install libglib2.0-0 "),
        ("OSError: libcudart.so.13: cannot open shared object file", "pip install --force-reinstall 'x>=1'"),
        ("OSError: libgomp.so.1: cannot open shared object file", "install the system's package with that library"),
        ("ImportError: numpy.core.multiarray failed to import", "it was built for another NumPy: pip install"),
        ("ImportError: version `GLIBCXX_3.4.30' not found", "it was built for a newer system"),
        ("ModuleNotFoundError: No module named 'y'", "pip install --force-reinstall 'x>=1'"),
    ],
)
def test_what_to_do_by_what_an_import_raises(error: str, cure: str) -> None:
    assert import_cure(error, "'x>=1'").startswith(cure)


BROKEN = {"cv2": f"ImportError({NO_GL!r})", "torch": "OSError('libtorch_cpu.so: no')", "numpy": "ImportError('no')"}
BROKEN["pydantic"] = "RuntimeError('half installed')"


def test_it_starts_where_every_heavy_package_is_broken(site: Site) -> None:
    names = {"cv2": "opencv-python", "torch": "torch", "numpy": "numpy", "pydantic": "pydantic"}
    site.add("pifa", "1.0", *names.values())
    for module, name in names.items():
        site.add(name, "4.14", **{module: f"raise {BROKEN[module]}"})
    command = [sys.executable, "-c", "from pipelines.commands.doctor import doctor; doctor()", "--json"]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": f"{site.folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=site.folder,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    versions = {row["name"]: row for row in found["versions"]}
    assert versions["opencv-python"]["value"] == f"4.14 can't be imported (ImportError: {NO_GL})"
    assert versions["opencv-python"]["cure"].startswith("apt install libgl1")
    assert versions["torch"]["cure"] == "pip install --force-reinstall torch"
    assert versions["pydantic"]["state"] == versions["numpy"]["state"] == "broken"
    assert {row["name"] for row in found["devices"]} >= {"CPU", "memory", "PyTorch"}
    assert found["speed"] == []
    assert found["speed_note"] == "not measured, as packages are broken"
    assert found["ok"] is False
