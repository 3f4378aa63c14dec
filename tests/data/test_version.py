"""The commit that a checkout stands at, for checkpoints to name."""

import subprocess
from pathlib import Path

import pytest

from pifa_data import version


def git(root: Path, *arguments: str) -> str:
    name = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    return subprocess.run(["git", "-C", root, *name, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pifa_data").mkdir()
    (tmp_path / "pifa_data" / "version.py").write_text("")
    monkeypatch.setattr(version, "__file__", str(tmp_path / "pifa_data" / "version.py"))
    return tmp_path


def test_a_checkout_names_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    assert version.source_commit() is None  # an installed wheel
    git(checkout, "init", "-q")
    assert version.source_commit() is None  # nothing committed yet
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "first")
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert version.source_commit() == commit
    (checkout / "notes").write_text("not the program's")
    assert version.source_commit() == commit
    (checkout / "pifa_data" / "version.py").write_text("changed")
    assert version.source_commit() == f"{commit}+changes"


def test_a_machine_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".git").mkdir()
    monkeypatch.setenv("PATH", "/nowhere")
    assert version.source_commit() is None
