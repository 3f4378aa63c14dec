"""Every file of a store damaged in every way: it is named, or what the store says is what it said; and it is mended.

A few cases drawn at random; all of them with ``PIFA_KILLS`` above 50 (``make faults``).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from command_line import good, pifa
from crashing import run_tasks_here

from pifa_data.store import Store

ALL = int(os.environ.get("PIFA_KILLS", "3")) >= 50

Damage = Callable[[Path, Path], None]


def flip(share: float, bit: int) -> Damage:
    """One bit of the byte so far into the file."""

    def damage(path: Path, _: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(share * (len(data) - 1))] ^= 1 << bit
        path.write_bytes(data)

    return damage


def cut(share: float) -> Damage:
    """All but the end, by share or (below 0) by bytes."""

    def damage(path: Path, _: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data)) if share >= 0 else int(share)])

    return damage


def folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


DAMAGES: dict[str, Damage] = {
    "missing": lambda path, _: path.unlink(),
    "empty": cut(0),
    "half": cut(0.5),
    "last byte missing": cut(-1),
    "a byte more": lambda path, _: path.write_bytes(path.read_bytes() + b"\0"),
    "another's": lambda path, other: shutil.copy(other, path),
    "a folder": folder,
    **{f"bit {bit} at {share}": flip(share, bit) for share, bit in [(0, 0), (0.03, 5), (0.3, 1), (0.6, 0), (1, 3)]},
    **{f"bit {bit} at {share:.2f}": flip(share, bit) for share, bit in [(0.15, 2), (0.45, 0), (0.75, 4), (0.9, 6)]},
}


@pytest.fixture(scope="module")
def source(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve faces, of which one lacks its image, and a thirteenth that can't be used at all."""
    made = tmp_path_factory.mktemp("source")
    (made / "images").symlink_to(synthetic / "faces" / "images")
    rows = (synthetic / "faces" / "keypoints.csv").read_text().splitlines()[:14]
    rows[5] = rows[5].replace(".png", "_gone.png").replace(".jpg", "_gone.jpg")
    rows[9] = rows[9].rpartition(",")[0]
    (made / "keypoints.csv").write_text("\n".join(rows) + "\n")
    return made


@pytest.fixture(scope="module")
def prep(source: Path, synthetic: Path) -> list[Any]:
    """``pifa prep``; the store is to be added."""
    options = ("--morphable", synthetic / "model.safetensors", "--copies", 2, "--size", 32, "--shard-faces", 4)
    return ["prep", source, *options, "--store"]


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Builds without worker processes, which would take seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        run_tasks_here(patch)
        yield


@pytest.fixture(scope="module")
def built(prep: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three shards."""
    store = tmp_path_factory.mktemp("built") / "S.zarr"
    good(*prep, store)
    return store


@pytest.fixture(scope="module")
def whole(built: Path) -> dict[str, bytes]:
    """Its files."""
    return {p.relative_to(built).as_posix(): p.read_bytes() for p in sorted(built.rglob("[!.]*")) if p.is_file()}


def spoken(store: Path) -> tuple[object, ...]:
    """All that a store says."""
    opened = Store(store)
    arrays = {name: opened.read(name).tobytes() for name in opened.layout.columns()}
    model = opened.model
    about = (model.fingerprint, model.name, model.units, model.licence, model.source, model.expression_names)
    return arrays, opened.attributes, opened.entries, opened.skipped(), about


def one_line(result: Result, store: Path) -> bool:
    """Whether a command did well; if not, it said why in lines that name the store."""
    assert result.exit_code in (0, 1)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    if result.exit_code:
        assert str(store) in result.output
        assert "Traceback" not in result.output
    return result.exit_code == 0


def other_of(key: str, keys: list[str]) -> str:
    """A file of the same kind: another shard's, another array's."""
    name = key.rpartition("/")[2]
    alike = [k for k in keys if k != key and k.rpartition("/")[2] == name and k.split("/")[:-3] == key.split("/")[:-3]]
    return (alike or [k for k in keys if k != key])[0]


def cases(keys: list[str], few: int) -> list[tuple[str, str]]:
    every = [(key, damage) for key in keys for damage in DAMAGES]
    return every if ALL else random.Random(few).sample(every, few)


@pytest.fixture
def damaged(built: Path, whole: dict[str, bytes]) -> Callable[[str, str], AbstractContextManager[None]]:
    """Damage one file for a while."""
    keys = sorted(whole)

    @contextmanager
    def damage(key: str, how: str) -> Iterator[None]:
        path = built / key
        DAMAGES[how](path, built / other_of(key, keys))
        try:
            yield
        except BaseException as error:
            error.add_note(f"{key}: {how}")
            raise
        finally:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            path.write_bytes(whole[key])

    return damage


Damaged = Callable[[str, str], AbstractContextManager[None]]


def name_of(key: str) -> str:
    """How a message calls a file."""
    if "/c/" in key:
        return f"shard {key.split('/c/')[1].split('/')[0]}, {key.split('/c/')[0]}: "
    return f"shard {int(key[-11:-5])}: " if key.startswith("manifest/") else key


def test_damage_is_named_or_changes_nothing(built: Path, whole: dict[str, bytes], damaged: Damaged) -> None:
    said = spoken(built)
    for key, how in [*cases(list(whole), 12), *cases(["zarr.json", "skipped.json", "manifest/000001.json"], 8)]:
        with damaged(key, how):
            verified = pifa("store", "verify", built)
            if one_line(verified, built):
                assert spoken(built) == said
            else:
                assert name_of(key) in verified.output
            one_line(pifa("store", "info", built), built)
    assert spoken(built) == said


def test_damage_is_mended(
    built: Path, whole: dict[str, bytes], damaged: Damaged, prep: list[Any], synthetic: Path, pifa_home: Path
) -> None:
    (pifa_home / "morphable").mkdir(exist_ok=True)
    shutil.copy(synthetic / "model.safetensors", pifa_home / "morphable" / "synthetic.safetensors")
    for key, how in [*cases(list(whole), 6), *cases(["zarr.json", "skipped.json", "morphable.safetensors"], 4)]:
        with damaged(key, how):
            mended = pifa("store", "repair", built)
            if key != "zarr.json":
                assert one_line(mended, built), mended.output
            elif not one_line(mended, built):
                good(*prep, built, "--resume")
            good("store", "verify", built)
            found = {
                p.relative_to(built).as_posix(): p.read_bytes() for p in sorted(built.rglob("[!.]*")) if p.is_file()
            }
            if found[key] != whole[key]:  # a byte that is never read
                assert spoken(built)
            assert {k: v for k, v in found.items() if k != key} == {k: v for k, v in whole.items() if k != key}


def test_a_model_that_is_nowhere_is_told(
    built: Path, damaged: Damaged, prep: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path))
    with damaged("morphable.safetensors", "half"):
        result = pifa("store", "repair", built)
        assert not one_line(result, built)
        assert "import it with `pifa morphable import`, or run the same `pifa prep` with --resume" in result.output
        good(*prep, built, "--resume")
        good("store", "verify", built)
