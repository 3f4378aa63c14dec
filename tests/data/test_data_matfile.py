"""MATLAB files: SciPy and h5py say what is right, and what claims too much is refused before it takes memory."""

import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fuzzing import COUNT, mutants
from matlab import cell, write_mat73
from scipy.io import loadmat, savemat

from pifa_data.errors import AnnotationError
from pifa_data.mat73 import _check_chunks
from pifa_data.matfile import DEEPEST, Limit, numbers, read_mat

ARRAYS: dict[str, Any] = {
    "a": np.arange(6.0).reshape(2, 3) / 7,
    "whole": np.arange(600.0).reshape(2, 300),  # stored as uint8 and uint16
    "bytes": np.arange(5, dtype=np.uint8)[None],
    "text": "hällo",
    "empty_text": "",
    "rows": np.array(["abc", "de "]),
    "empty": np.zeros((0, 3)),
    "yes": np.array([[True, False]]),
    "deep": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
    "scalar": 3.5,
    "large": np.arange(2, dtype=np.uint64)[None] + 2**60,
}


@pytest.mark.parametrize("compressed", [False, True])
def test_version_5_as_scipy_reads_it(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, ARRAYS, do_compression=compressed)
    expected = loadmat(path, mat_dtype=True)
    found = read_mat(path, ARRAYS)
    assert set(found) == set(ARRAYS)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
        assert array.dtype.kind == expected[name].dtype.kind, name
    assert list(read_mat(path, ["yes", "none"])) == ["yes"]


@pytest.mark.parametrize("compressed", [False, True])
def test_cells_and_structs(tmp_path: Path, compressed: bool) -> None:
    boxes = cell(*({"imgName": f"{i}.jpg", "box": np.arange(4.0) + i, "inner": cell("x", 1.0)} for i in range(3)))
    savemat(tmp_path / "a.mat", {"boxes": boxes, "s": {"one": 1.0}, "no": cell()}, do_compression=compressed)
    found = read_mat(tmp_path / "a.mat", ("boxes", "s", "no"))
    assert found["boxes"].shape == (1, 3)
    entry = found["boxes"][0, 2].item()
    assert entry["imgName"].item() == "2.jpg"
    np.testing.assert_array_equal(entry["box"], [[2, 3, 4, 5]])
    assert entry["inner"][0, 0].item() == "x"
    assert found["s"].item() == {"one": np.array([[1.0]])}
    assert found["no"].size == 0


def test_version_4(tmp_path: Path) -> None:
    arrays = {"a": ARRAYS["a"], "text": "hallo", "bytes": ARRAYS["bytes"], "b": np.arange(4, dtype=np.int32)[None]}
    savemat(tmp_path / "a.mat", arrays, format="4")
    expected = loadmat(tmp_path / "a.mat")
    for name, array in read_mat(tmp_path / "a.mat", arrays).items():
        np.testing.assert_array_equal(array, expected[name])
    big = struct.pack(">5i", 1000, 1, 2, 0, 2) + b"x\0" + struct.pack(">2d", 1.5, -2)
    (tmp_path / "b.mat").write_bytes(big)
    np.testing.assert_array_equal(read_mat(tmp_path / "b.mat", ["x"])["x"], [[1.5, -2]])


def test_version_5_with_its_bytes_in_the_other_order(tmp_path: Path) -> None:
    def part(kind: int, data: bytes) -> bytes:
        return struct.pack(">2I", kind, len(data)) + data + bytes(-len(data) % 8)

    body = part(6, struct.pack(">2I", 6, 0)) + part(5, struct.pack(">2i", 1, 2)) + part(1, b"name")
    data = part(14, body + part(9, struct.pack(">2d", 1.5, -2)))
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + data)
    np.testing.assert_array_equal(read_mat(path, ["name"])["name"], [[1.5, -2]])
    np.testing.assert_array_equal(loadmat(path)["name"], [[1.5, -2]])


def test_version_7_3(tmp_path: Path) -> None:
    arrays = {name: np.atleast_2d(ARRAYS[name]) for name in ("a", "whole", "bytes", "yes", "deep")}
    cells = cell(arrays["a"], arrays["bytes"], shape=(2, 1))
    path = write_mat73(tmp_path / "a.mat", {**arrays, "text": "hällo", "c": cells})
    found = read_mat(path, [*arrays, "text", "c", "none"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert found["text"].tolist() == ["hällo"]
    assert found["c"].shape == (2, 1)
    np.testing.assert_array_equal(found["c"][0, 0], arrays["a"])
    assert "none" not in found


def test_real_files_as_scipy_reads_them(shared_data: Path) -> None:
    paths = sorted([*shared_data.glob("samples/*/*.mat"), *shared_data.glob("cofw68/*.mat")])
    assert len(paths) >= 25
    for path in paths:
        expected = {name: array for name, array in loadmat(path, mat_dtype=True).items() if name[0] != "_"}
        found = read_mat(path, expected)
        assert found.keys() == expected.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name])
            assert array.dtype == expected[name].dtype


@pytest.mark.parametrize("data", [b"", b"x" * 10, b"text\n" * 90, bytes(5000), b"\x89HDF\r\n\x1a\n", b"\xff" * 600])
def test_what_is_no_mat_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(data)
    for path in (tmp_path / "a.mat", tmp_path / "none.mat", tmp_path, tmp_path / "a\0.mat"):
        with pytest.raises(AnnotationError, match=path.name.replace("\0", "\0")):
            read_mat(path, ["a"])


def test_other_values_are_refused_by_what_they_are(tmp_path: Path) -> None:
    import scipy.sparse

    values = {"s": scipy.sparse.csc_matrix(np.eye(3)), "c": np.array([[1 + 2j]])}
    savemat(tmp_path / "a.mat", values)
    for name, what in (("s", "a sparse array"), ("c", "complex")):
        with pytest.raises(AnnotationError, match=rf"a\.mat: {name}: expected numbers.* found {what}"):
            read_mat(tmp_path / "a.mat", [name])


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], rest: bytes, name: bytes = b"a") -> bytes:
    """An array of version 5: class, shape, and what comes behind the name."""
    head = element(6, struct.pack("<2I", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name) + rest)


def whole(*elements: bytes) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements)


def deflated(data: bytes, level: int = 9) -> bytes:
    packed = zlib.compress(data, level)
    return struct.pack("<2I", 15, len(packed)) + packed


def nested(levels: int) -> bytes:
    inner = matrix(6, (1, 1), element(9, struct.pack("<d", 1)), b"")
    for _ in range(levels):
        inner = matrix(1, (1, 1), inner, b"")
    return matrix(1, (1, 1), inner)


def claim(size: int) -> bytes:
    """The head of an array that claims so many bytes."""
    body = matrix(6, (1, size // 8), b"")
    return struct.pack("<2I", 14, size) + body[8:] + struct.pack("<2I", 9, size - 200)


HOSTILE = {
    "cells without bytes": (whole(matrix(1, (2**15, 2**15), b"")), "more than it has bytes for"),
    "cells, deflated": (whole(deflated(matrix(1, (2**31 - 1, 2**31 - 1), bytes(800)))), "more than it has bytes for"),
    "numbers without bytes": (whole(matrix(6, (2**15, 2**15), element(9, bytes(8)))), "has 1 numbers"),
    "a negative shape": (whole(matrix(6, (-1, -1), element(9, bytes(8)))), "shape"),
    "no shape": (whole(matrix(6, (), element(9, bytes(8)))), r"shape|damaged"),
    "too many dimensions": (whole(matrix(6, (1,) * 40, element(9, bytes(8)))), "shape"),
    "deep cells": (whole(nested(100_000 // 56)), f"more than {DEEPEST} deep"),
    "deep cells, deflated": (whole(deflated(nested(2000))), f"more than {DEEPEST} deep"),
    "a claim, deflated": (whole(deflated(claim(2**31) + bytes(10_000))), "larger together than is sane"),
    "a claim without bytes": (whole(deflated(claim(2**20) + bytes(10_000))), "expected 1048576 bytes"),
    "fields without bytes": (
        whole(matrix(2, (2**15, 2**15), element(5, struct.pack("<i", 32)) + element(1, b"f".ljust(32, b"\0")))),
        "more than it has bytes for",
    ),
    "names of no length": (whole(matrix(2, (1, 1), element(5, bytes(4)) + element(1, b"f"))), "names of fields"),
    "many cells": (whole(deflated(matrix(1, (1, 2**19), element(14, b"") * 2**19))), "more cells and fields"),
    "rows without letters": (struct.pack("<5i", 1, 2**31 - 1, 0, 0, 2) + b"a\0", "more cells and fields"),
    "nothing but empty elements": (whole(bytes(8 * 2**18 + 8)), "more cells and fields"),
    "nothing but empty arrays": ((struct.pack("<5i", 0, 0, 0, 0, 1) + b"\0") * (2**18 + 1), "more cells and fields"),
    "cut short": (whole(matrix(6, (1, 1), element(9, bytes(8))))[:-5], "cut short"),
    "not deflated": (whole(element(15, b"nothing of the kind")), "not a .mat file, or a damaged one"),
}


@contextmanager
def little_memory(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_at_once(tmp_path: Path, what: str) -> None:
    data, message = HOSTILE[what]
    path = tmp_path / "a.mat"
    path.write_bytes(data)
    with little_memory(2**26), pytest.raises(AnnotationError, match=rf"a\.mat: .*({message})"):
        read_mat(path, ["a"])


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    """A long stream that says that it is small is inflated as far as it says; one that is honest, not at all."""
    small = matrix(6, (1, 1), element(9, struct.pack("<d", 2.5)))
    packer = zlib.compressobj(1)
    bomb = packer.compress(small) + packer.compress(bytes(2**26)) + packer.flush()
    path = tmp_path / "a.mat"
    path.write_bytes(whole(struct.pack("<2I", 15, len(bomb)) + bomb))
    with little_memory(2**22):
        assert read_mat(path, ["a"])["a"].item() == 2.5
    savemat(tmp_path / "b.mat", {"a": np.zeros((1000, 1000))}, do_compression=True)
    with little_memory(2**18), pytest.raises(AnnotationError, match="larger together than is sane"):
        read_mat(tmp_path / "b.mat", ["a"], largest=2**20)


def test_a_chunk_of_hdf5_that_is_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    with h5py.File(path, "w") as file:
        node = file.create_dataset("a", shape=(2**20,), dtype="u1", chunks=(2**20,), compression="gzip")
        node.id.write_direct_chunk((0,), zlib.compress(bytes(2**26), 1))
        file.create_dataset("huge", shape=(2**40,), dtype="f8", chunks=(2**20,), compression="gzip")
        file.create_dataset("other", shape=(2**10,), dtype="f8", chunks=(2**10,), compression="lzf")
        for name, options in (
            ("plain", {}),
            ("not deflated", {"compression": "gzip"}),
            ("shuffled", {"shuffle": True}),
        ):
            node = file.create_dataset(name, shape=(2**18,), dtype="u1", chunks=(2**18,), **options)
            node.id.write_direct_chunk((0,), b"short", filter_mask=int(name == "not deflated"))
        file.create_dataset("text", data=["abc"], dtype=h5py.string_dtype())
        file["link"] = h5py.ExternalLink("other.mat", "/a")
    for name, message in (
        ("a", "does not inflate to 1048576 bytes"),
        ("huge", "larger together than is sane"),
        ("other", "otherwise than by gzip"),
        *((name, "a chunk of 262144 bytes takes 5") for name in ("plain", "not deflated", "shuffled")),
        ("text", "found object"),
        ("link", "found a link"),
    ):
        with pytest.raises(AnnotationError, match=rf"a\.mat: .*{message}"):
            read_mat(path, [name])


def test_chunks_of_hdf5_without_number_are_no_hang(tmp_path: Path) -> None:
    """libhdf5 takes the longer for a chunk the more come before it: 65,536 kept it busy for three minutes."""
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("a", data=np.arange(2**10, dtype="u1")[None], chunks=(1, 1), compression="gzip")
        file.create_dataset("b", shape=(2**10, 2**10), dtype="u1", chunks=(1, 1), compression="gzip")
        file.create_dataset("sparse", shape=(2**10, 2**10), dtype="u1", chunks=(2**9, 2**9), compression="gzip")
    np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", ["a"])["a"].ravel(), np.arange(2**10) % 256)
    with h5py.File(tmp_path / "a.mat") as file:
        asked = Asked(file["a"].id)
        _check_chunks(Asked(file["a"], id=asked), 1, Limit())
        # Once a chunk, by its place; `get_chunk_info` and `get_num_chunks` count from the first.
        assert asked.names.count("get_chunk_info_by_coord") == 2**10
        assert set(asked.names) == {"get_create_plist", "get_chunk_info_by_coord", "read_direct_chunk"}
    with pytest.raises(AnnotationError, match="more cells and fields"):
        read_mat(tmp_path / "a.mat", ["b"])
    assert not read_mat(tmp_path / "a.mat", ["sparse"])["sparse"].any()


class Asked:
    """Something of h5py's with a list of what was asked of it."""

    def __init__(self, real: Any, **instead: Any) -> None:
        self.names: list[str] = []
        self._real, self._instead = real, instead

    def __getattr__(self, name: str) -> Any:
        self.names.append(name)
        return self._instead.get(name) or getattr(self._real, name)


def test_every_array_of_hdf5_has_two_dimensions_as_matlabs(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["scalar"], file["row"] = 3.0, np.arange(4.0)
    found = read_mat(tmp_path / "a.mat", ["scalar", "row"])
    assert (found["scalar"].shape, found["row"].shape) == ((1, 1), (4, 1))


def test_numbers_of_a_shape(tmp_path: Path) -> None:
    signalling = np.array([[0x7FF0_0000_0000_0001, 0]], np.uint64).view(np.float64)
    found = numbers(signalling, "a.mat: a", (None, 2)) - 1  # warnings are errors
    np.testing.assert_array_equal(found, [[np.nan, -1]])
    assert numbers(np.array([[True]]), "a", (1, 1)).dtype == np.float64
    for array, what in ((None, "none"), (np.ones((2, 2, 1)), "float64"), (np.ones((2, 3)), "float64"), (cell(1), "ob")):
        with pytest.raises(AnnotationError, match=rf"a\.mat: a: expected numbers of shape \(N, 2\), found {what}"):
            numbers(array, "a.mat: a", (None, 2))


@pytest.mark.parametrize("version", ["4", "5", "7", "7.3"])
def test_mutated_files_are_read_or_refused(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.mat"
    boxes = cell({"imgName": "a.jpg", "box": np.arange(4.0)}, "text")
    arrays = {"a": ARRAYS["a"], "text": "hallo", "b": np.arange(40.0)[None]}
    if version == "7.3":
        write_mat73(path, {"a": ARRAYS["a"], "b": np.arange(200.0)[None], "c": cell(*[ARRAYS["a"]] * 3)})
    elif version == "4":
        savemat(path, arrays, format="4")
    else:
        savemat(path, {**arrays, "c": boxes}, do_compression=version == "7")
    for data in mutants(path.read_bytes(), COUNT if version == "7.3" else 2 * COUNT):
        path.write_bytes(data)
        with suppress(AnnotationError):
            assert all(isinstance(array, np.ndarray) for array in read_mat(path, ["a", "b", "c", "text"]).values())
