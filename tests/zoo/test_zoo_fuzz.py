"""Mutated indexes and mutated headers of checkpoints: refused in one line, or read as what they then say."""

import copy
import json
import pickle
import random
import resource
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_header import header_of
from fuzzing import COUNT, mutants

import zoo
from pifa_data.errors import PifaError
from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import load_checkpoint, save_checkpoint
from pifa_model.config import load_config
from pifa_model.network import Network
from zoo.checkpoint import read_header
from zoo.index import dump_index, parse_index

Make = Callable[..., Path]

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**64, 10**30, 0.5, -0.0, 1e308),
    *("", "x", "1.0.0", "../../x", "/etc/passwd", "\x1b[2J", "\n", "\ud800", "x" * 3000, "http://[", "file:///etc"),
    *([], {}, [[]], [None], {"x": 1}, [0, 0], [0, 2**62], [2**62, 0], [-1, 4]),
)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document, as its container and key."""
    for key in range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ():
        yield value, key
        yield from nodes(value[key])


def restructured(good: Any, count: int = COUNT) -> Iterator[Any]:
    """Copies of a JSON document with values replaced, removed, doubled, exchanged, or under another key."""
    rng = random.Random(0)
    for _ in range(count):
        document = copy.deepcopy(good)
        for _ in range(rng.randint(1, 3)):
            places = list(nodes(document))
            if not places:
                break
            (holder, key), (other, other_key) = rng.choice(places), rng.choice(places)
            kind = rng.randrange(5)
            if kind == 0:
                del holder[key]
            elif kind == 1 and isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            elif kind == 2:
                holder[key] = copy.deepcopy(other[other_key])
            elif kind == 3 and isinstance(holder, dict):
                holder[rng.choice(["", "x", "\x1b", f"{key} "])] = holder.pop(key)
            else:
                holder[key] = copy.deepcopy(rng.choice(HOSTILE))
        yield document


def in_words(error: Exception) -> None:
    """An error's text is one line that a terminal can show, and not as long as what it is about."""
    text = str(error)
    assert text.isprintable(), repr(text)
    assert len(text) < 4000


@pytest.fixture
def rich(registry: Path, checkpoint: Make, metric: Make) -> Path:
    """A registry with all that an index can hold."""
    for number, version in enumerate(("1.0.0", "1.1.0", "2.0.0")):
        weights = checkpoint(number)
        zoo.publish(
            registry,
            weights=weights,
            name="face",
            version=version,
            metrics=[metric(weights)],
            mirrors=["https://127.0.0.1:9/x"],
            licence="MIT",
        )
    zoo.yank(registry, "face", "2.0.0", "old")
    return registry


def look(registry: Path) -> bool:
    """Whether a registry is read, and then it must be sound; its files are those of `rich`."""
    files = {path: path.read_bytes() for path in registry.rglob("*") if path.is_file()}
    home = zoo.cache_folder()
    try:
        index = zoo.Registry(registry).index()
    except zoo.ZooError as error:
        in_words(error)
        return False
    assert parse_index(dump_index(index), "again") == index
    for entry in index.entries:
        assert zoo.parse_reference(entry.label).version == entry.version
        assert all("/" not in file.name and not file.name.startswith(".") for file in entry.files)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", zoo.YankedWarning)
            try:
                path = zoo.fetch(entry.label, registry, offline=True)
            except zoo.ZooError as error:
                in_words(error)
                continue
        assert path.parent.parent == home / "zoo"
        assert path.read_bytes() in files.values()
    assert {path: path.read_bytes() for path in registry.rglob("*") if path.is_file()} == files
    return True


def test_mutated_indexes(rich: Path) -> None:
    good = (rich / "index.json").read_bytes()
    assert look(rich)
    read = 0
    for data in mutants(good):
        (rich / "index.json").write_bytes(data)
        read += look(rich)
    for document in restructured(json.loads(good)):
        (rich / "index.json").write_text(json.dumps(document))
        read += look(rich)
    assert 0 < read < 2 * COUNT


@pytest.fixture(scope="module")
def real(model: MorphableModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network that can be loaded."""
    config = load_config("compact", ("network.hidden=8", "network.visualization.vertices=100"))
    header = header_of(config, model, training={"data": ["300W"]})
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("real") / "model.safetensors"
    save_checkpoint(path, header, Network(config.network, model))
    return path


def split(path: Path) -> tuple[bytes, bytes]:
    """The header's text and the tensors' bytes of a safetensors file."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + size], data[8 + size :]


def join(header: bytes, tensors: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + tensors


def survives(path: Path, model: MorphableModel) -> bool:
    """Whether both readers take a file; what they refuse they refuse in words."""
    taken = 0
    for read in (lambda: read_header(path), lambda: load_checkpoint(path, model)):
        try:
            read()
        except (zoo.ZooError, PifaError) as error:
            in_words(error)
        else:
            taken += 1
    return taken == 2


def peak() -> int:
    """The most memory that this process had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_mutated_headers(real: Path, model: MorphableModel, tmp_path: Path) -> None:
    header, tensors = split(real)
    assert survives(real, model)
    path, before, taken = tmp_path / "model.safetensors", peak(), 0
    count = COUNT // 4
    documents = (json.dumps(document).encode() for document in restructured(json.loads(header), count))
    configuration = json.loads(json.loads(header)["__metadata__"]["pifa"])
    for data in (*mutants(header, count), *documents):
        path.write_bytes(join(data, tensors))
        taken += survives(path, model)
    for document in restructured(configuration, count):
        changed = json.loads(header)
        changed["__metadata__"]["pifa"] = json.dumps(document)
        path.write_bytes(join(json.dumps(changed).encode(), tensors))
        taken += survives(path, model)
    for data in mutants(real.read_bytes()[: len(header) + 8], count):
        path.write_bytes(data + tensors)
        taken += survives(path, model)
    assert 0 < taken < 4 * count
    assert peak() - before < 2**28


def with_tensor(header: bytes, name: str, **changes: Any) -> bytes:
    document = json.loads(header)
    document[name] |= changes
    return json.dumps(document).encode()


def tricks(header: bytes, tensors: bytes) -> dict[str, bytes]:
    """Files that are made to hurt, by name."""
    document = json.loads(header)
    first, second = [name for name in document if name != "__metadata__"][:2]
    begin, end = document[first]["data_offsets"]
    # Without the spaces that fill it up: with them the second description would stand behind the end.
    two = header.rstrip()[:-1] + b',"' + first.encode() + b'":' + json.dumps(document[first]).encode() + b"}"
    evil = {**document, "\x1b[2J\n": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**40]}}
    good = join(header, tensors)
    return {
        "overlapping": join(with_tensor(header, second, data_offsets=document[first]["data_offsets"]), tensors),
        "backwards": join(with_tensor(header, first, data_offsets=[end, begin]), tensors),
        "beyond the end": join(with_tensor(header, first, data_offsets=[begin, 2**40]), tensors),
        "huge shape": join(with_tensor(header, first, shape=[2**40, 2**40]), tensors),
        "huge shape of nothing": join(with_tensor(header, first, shape=[0, 2**62]), tensors),
        "another type": join(with_tensor(header, first, dtype="I32"), tensors),
        "no such type": join(with_tensor(header, first, dtype="OBJECT"), tensors),
        "a name with control characters": join(json.dumps(evil).encode(), tensors),
        "a key twice": join(two, tensors),
        "not UTF-8": join(header.replace(b"pifa", b"pif\xff"), tensors),
        "deep": join(b'{"a":' * 100_000, tensors),
        "length of 2^63": struct.pack("<Q", 2**63) + good[8:],
        "length of all": struct.pack("<Q", len(good) - 8) + good[8:],
        "length of nothing": struct.pack("<Q", 0) + good[8:],
        "eight bytes": good[:8],
        "cut": good[:-1],
        "longer": good + b"\0",
        "pickle": pickle.dumps({"state_dict": list(range(1000))}),
        "gzip": b"\x1f\x8b\x08\0" + bytes(1000),
        "tensors alone": join(json.dumps({k: v for k, v in document.items() if k != "__metadata__"}).encode(), tensors),
    }


TRICKS = tuple(tricks(b'{"a":{"data_offsets":[0,0]},"b":{}}', b""))


@pytest.mark.parametrize("trick", TRICKS)
def test_headers_made_to_hurt(real: Path, model: MorphableModel, tmp_path: Path, trick: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tricks(*split(real))[trick])
    before = peak()
    with pytest.raises(PifaError) as refused:
        load_checkpoint(path, model)
    in_words(refused.value)
    try:
        read_header(path)  # knows nothing of the network, and need not find all of it
    except zoo.CheckpointError as error:
        in_words(error)
    assert peak() - before < 2**27


def test_an_archive_and_a_folder(model: MorphableModel, tmp_path: Path) -> None:
    archive, folder = tmp_path / "archive.safetensors", tmp_path / "folder.safetensors"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps([1]))
    folder.mkdir()
    for path in (archive, folder, tmp_path / "missing.safetensors"):
        with pytest.raises(zoo.CheckpointError) as refused:
            read_header(path)
        in_words(refused.value)
        with pytest.raises(PifaError) as also:
            load_checkpoint(path, model)
        in_words(also.value)


BITS = {"F4": 4, "F6_E2M3": 6, "F8_E8M0": 8, "F8_E4M3": 8, "BF16": 16, "F16": 16, "F64": 64, "C64": 64}
BITS |= {"BOOL": 8, "I8": 8, "U16": 16, "U32": 32, "I64": 64, "U64": 64}


@pytest.mark.parametrize("kind", BITS)
def test_weights_of_another_type(real: Path, model: MorphableModel, tmp_path: Path, kind: str) -> None:
    header, tensors = split(real)
    document = json.loads(header)
    name = max(set(document) - {"__metadata__"}, key=lambda name: document[name]["data_offsets"])
    assert document[name]["dtype"] == "F32"
    begin, size = document[name]["data_offsets"][0], int(np.prod(document[name]["shape"])) * BITS[kind] // 8
    document[name] |= {"dtype": kind, "data_offsets": [begin, begin + size]}
    path = tmp_path / "model.safetensors"
    path.write_bytes(join(json.dumps(document).encode(), tensors[:begin] + bytes(size)))
    with pytest.raises(PifaError, match=r"numbers of type F32, found|not a safetensors checkpoint") as refused:
        load_checkpoint(path, model)
    in_words(refused.value)


def test_a_huge_header_takes_no_memory(tmp_path: Path, model: MorphableModel) -> None:
    """90 MB of a header with a million tensors of nothing."""
    path = tmp_path / "model.safetensors"
    names = ",".join(f'"{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for number in range(1_500_000))
    path.write_bytes(join(f"{{{names}}}".encode(), b""))
    before = peak()
    with pytest.raises(zoo.CheckpointError, match="header") as refused:
        read_header(path)
    in_words(refused.value)
    with pytest.raises(PifaError, match="header") as also:
        load_checkpoint(path, model)
    in_words(also.value)
    assert peak() - before < 2**26


def test_a_file_with_more_than_the_network_has_is_not_read(real: Path, model: MorphableModel, tmp_path: Path) -> None:
    """A tensor of 8 GiB (of a file with a hole) that no network asks for."""
    header, tensors = split(real)
    document, size = json.loads(header), 2**33
    document["extra"] = {"dtype": "U8", "shape": [size], "data_offsets": [len(tensors), len(tensors) + size]}
    path = tmp_path / "model.safetensors"
    path.write_bytes(data := join(json.dumps(document).encode(), tensors))
    with path.open("r+b") as file:
        file.truncate(len(data) + size)
    before = peak()
    with pytest.raises(PifaError, match=r"unexpected: .*extra"):
        load_checkpoint(path, model)
    assert peak() - before < 2**26
