"""``pifa store repair``: what is damaged is built again from the sources, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import good, pifa

from pifa_data.store import Store


@pytest.fixture(scope="module")
def built(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three shards."""
    store = tmp_path_factory.mktemp("repair") / "S.zarr"
    options = ("--copies", 2, "--size", 32, "--shard-faces", 8, "--workers", 1)
    good("prep", synthetic / "faces", "--store", store, "--morphable", synthetic / "model.safetensors", *options)
    return store


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A store to damage."""
    return Path(shutil.copytree(built, tmp_path / "S.zarr"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DAMAGE: dict[str, tuple[Callable[[Path], None], list[int]]] = {
    "images/c/1/0/0/0": (flip, [1]),
    "params/c/0/0": (cut, [0]),
    "faces/id/c/2/0": (Path.unlink, [2]),
    "manifest/000001.json": (cut, [1]),
    "manifest/000002.json": (Path.unlink, [2]),
    "images/zarr.json": (Path.unlink, []),
    "faces/pose/zarr.json": (flip, []),
    "morphable.safetensors": (flip, []),
}


@pytest.mark.parametrize("key", DAMAGE)
def test_a_repaired_store_is_the_store_it_was(
    copy: Path, built: Path, synthetic: Path, key: str, pifa_home: Path
) -> None:
    damage, shards = DAMAGE[key]
    damage(copy / key)
    assert pifa("store", "verify", copy).exit_code == 1
    (pifa_home / "morphable").mkdir(exist_ok=True)
    shutil.copy(synthetic / "model.safetensors", pifa_home / "morphable" / "synthetic.safetensors")
    untouched = {p: p.stat().st_mtime_ns for p in (copy / "manifest").glob("*.json") if int(p.stem) not in shards}
    found = json.loads(good("store", "repair", copy, "--json", "--workers", 1).stdout)
    assert found["shards"] == shards
    assert found["same_digest"]
    assert found["digest"] == Store(built).attributes["digest"]
    assert all(p.stat().st_mtime_ns == t for p, t in untouched.items())
    assert "every array is as built" in good("store", "verify", copy).output
    for p in built.rglob("*"):
        if p.is_file() and p.name not in (".lock",):
            assert (copy / p.relative_to(built)).read_bytes() == p.read_bytes(), p


def test_nothing_is_done_to_a_sound_store(copy: Path) -> None:
    assert "nothing to repair" in good("store", "repair", copy).output


def test_sources_that_are_gone_or_changed_are_told(copy: Path, synthetic: Path, tmp_path: Path) -> None:
    faces = Path(shutil.copytree(synthetic / "faces", tmp_path / "faces"))
    options = ("--copies", 2, "--size", 32, "--morphable", synthetic / "model.safetensors", "--workers", 1)
    good("prep", faces, "--store", tmp_path / "T.zarr", *options)
    cut(tmp_path / "T.zarr" / "boxes" / "c" / "0" / "0")
    table = (faces / "keypoints.csv").read_text().splitlines()
    (faces / "keypoints.csv").write_text("\n".join(table[:-1]) + "\n")
    result = pifa("store", "repair", tmp_path / "T.zarr")
    assert result.exit_code == 1
    assert "begun with other faces" in result.output
    shutil.rmtree(faces)
    result = pifa("store", "repair", tmp_path / "T.zarr")
    assert result.exit_code == 1
    assert "can't be repaired, since its sources can't be read" in result.output
