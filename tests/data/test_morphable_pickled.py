"""The reader of FLAME's pickles: what it reads, and pickles that would do harm."""

import builtins
import collections
import os
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from originals import Ch, dump_flame

from pifa_data.errors import MorphableError
from pifa_data.morphable.flame import as_array, import_flame
from pifa_data.morphable.pickled import Record, read_pickle

ARRAYS: dict[str, np.ndarray] = {
    "doubles": np.arange(12.0).reshape(3, 4),
    "floats": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "big_endian": np.arange(5, dtype=">f8"),
    "unsigned": np.arange(4, dtype=np.uint32),
    "long": np.array([2**62, -1]),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3)),
    "number": np.array(3.5),
}


def read(data: bytes, folder: Path) -> dict[str, Any]:
    path = folder / "model.pkl"
    path.write_bytes(data)
    return read_pickle(path)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    found = read(pickle.dumps(ARRAYS, protocol), tmp_path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        value = as_array(found[name], name)
        np.testing.assert_array_equal(value, array)
        assert value.dtype == array.dtype


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    plain = {
        "text": "Häuser 'n' \"Gärten\"\n",
        "bytes": bytes(range(256)),
        "numbers": [0, 1, 255, 256, 65536, -1, -(2**40), 1.5, -0.0, float("inf")],
        "nothing": None,
        "truth": (True, False),
        "nested": {"list": [[], [1, (2, 3)], {}], 7: ()},
        "shared": [ARRAYS, ARRAYS],
    }
    found = read(pickle.dumps(plain, protocol), tmp_path)
    for name in ("text", "bytes", "numbers", "nothing", "truth", "nested"):
        assert found[name] == plain[name], name
    assert found["shared"][0] is found["shared"][1]
    order = collections.OrderedDict(a=1, b=np.float64(2.5))
    assert read(pickle.dumps({"o": order}, protocol), tmp_path)["o"] == {"a": 1, "b": 2.5}


@pytest.mark.parametrize("protocol", range(6))
def test_chumpy_and_sparse_are_records(tmp_path: Path, protocol: int) -> None:
    found = read(dump_flame({"v": Ch(ARRAYS["doubles"]), "J": scipy.sparse.csc_matrix(np.eye(3))}, protocol), tmp_path)
    assert isinstance(found["v"], Record)
    assert found["v"].kind == "chumpy.ch.Ch"
    np.testing.assert_array_equal(as_array(found["v"], "v"), ARRAYS["doubles"])
    with pytest.raises(MorphableError, match=r"J: expected an array, found scipy\.sparse"):
        as_array(found["J"], "J")


def test_a_selection_of_chumpys(tmp_path: Path) -> None:
    values, chosen = np.arange(12.0), np.array([3, 1, 2, 0])
    state: dict[str, Any] = {"a": Ch(values), "idxs": chosen, "preferred_shape": (2, 2)}
    found = read(dump_flame({"state": state}), tmp_path)["state"]
    np.testing.assert_array_equal(as_array(Record("chumpy.reordering.Select", found), "s"), [[3, 1], [2, 0]])
    for change in ({"idxs": None}, {"preferred_shape": (3, 3)}, {"a": Record("chumpy.reordering.Select")}):
        with pytest.raises(MorphableError, match="s: expected"):
            as_array(Record("chumpy.reordering.Select", found | change), "s")


RAW = np.array([1.5, -2.25, 1e300]).tobytes()
PYTHON2 = {
    "protocol 2": b"\x80\x02}q\x00U\x01xcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
    b"K\x03\x85cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    b"U" + bytes([len(RAW)]) + RAW + b"tbs.",
    "protocol 0": b"(dp0\nS'x'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\n"
    b"p5\ntp6\nRp7\n(I1\n(L3L\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\n"
    b"I0\ntp14\nbI00\nS" + repr(RAW).encode()[1:] + b"\np15\ntp16\nbsS'flag'\np17\nI01\ns.",
}


@pytest.mark.parametrize("kind", PYTHON2)
def test_pickles_of_python_2(tmp_path: Path, kind: str) -> None:
    found = read(PYTHON2[kind], tmp_path)
    np.testing.assert_array_equal(as_array(found["x"], "x"), [1.5, -2.25, 1e300])
    assert found.get("flag", True) is True


class Call:
    """Unpickling it calls something."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], tuple(self.call[1:])


HARMFUL: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "subprocess": lambda mark: Call(subprocess.check_output, ["touch", str(mark)]),
    "eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "getattr": lambda mark: Call(getattr, Path(mark), "touch"),
    "import": lambda mark: Call(builtins.__import__, "antigravity"),
    "touch": lambda mark: Call(Path.touch, mark),
    "numpy.load": lambda mark: Call(np.load, str(mark), None, True),
    "pickle.loads": lambda mark: Call(pickle.loads, pickle.dumps(Call(Path.touch, mark))),
    "memmap": lambda mark: Call(np.memmap, str(mark), "u1", "w+", 0, (1,)),
    "objects in an array": lambda mark: np.array([Call(Path.touch, mark)], dtype=object),
    "fields in an array": lambda mark: np.zeros(2, dtype=[("a", "f8")]),
    "text in an array": lambda mark: np.array(["a"]),
    "another class": lambda mark: Path(mark),
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", HARMFUL)
def test_whatever_is_no_array_is_refused_and_not_run(tmp_path: Path, kind: str, protocol: int) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "model.pkl"
    for value in ({"f": HARMFUL[kind](mark)}, HARMFUL[kind](mark), [HARMFUL[kind](mark)]):
        path.write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(MorphableError, match=r"model\.pkl: a pickle"):
            import_flame([path])
    assert not mark.exists()


def test_allowed_names_do_only_what_they_are_there_for(tmp_path: Path) -> None:
    allowed = [
        *("numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar", "numpy.core.numeric _frombuffer"),
        *("numpy dtype", "numpy ndarray", "_codecs encode", "collections OrderedDict", "copy_reg _reconstructor"),
        *("__builtin__ object", "chumpy.ch Ch", "scipy.sparse.csc csc_matrix"),
    ]
    for name in allowed:
        named = b"c" + b"\n".join(name.encode().split()) + b"\n"
        for arguments in (
            b")",
            b"N\x85",
            b"(U\x06ctypest",
            b"]\x85",
            b"U\x01OK\x00K\x01\x87",
            b"}}\x86",
            b"K\x01K\x02\x86",
        ):
            # Called, made with NEWOBJ, and its state set.
            for end in (b"R.", b"\x81.", b"R}b.", b"\x81}b.", b"0}b.", b"0N}U\x08__code__Ns\x86b."):
                if name == "collections OrderedDict" and arguments + end == b")R.":
                    continue  # an empty one
                with pytest.raises(MorphableError, match=r"model\.pkl"):
                    read(b"\x80\x02" + named + arguments + end, tmp_path)


TYPE = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


def array(shape: bytes, raw: bytes = b"U\x08" + bytes(8)) -> bytes:
    return b"\x80\x02}U\x01x" + EMPTY + b"(K\x01" + shape + TYPE + b"\x89" + raw + b"tbs."


HUGE: dict[str, bytes] = {
    "an array of 8 TB": array(b"\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85"),
    "an array of 2^80 by none": array(b"K\x00\x8a\x0b" + (2**80).to_bytes(11, "little") + b"\x86", b"U\x00"),
    "an array of less than none": array(b"J\xff\xff\xff\xff\x85"),
    "an array of its own size": array(b"]\x85"),
    "bytes of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    "text of 4 GB": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"abc.",
    "a frame of 2^63": b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.",
    "a memo number of 4 billion": b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".",
    "a memo number of twenty digits": b"Np99999999999999999999\n.",
    "a memo number that is not there": b"\x80\x02h\x07.",
    "a number of a million digits": b"I" + b"9" * 10**6 + b"\n.",
    "a number of a megabyte": b"\x80\x02\x8b" + struct.pack("<i", 10**6) + bytes(10**6) + b".",
    "a float of a million digits": b"F" + b"9" * 10**6 + b"\n.",
    "tuples in tuples as a key": b"\x80\x02})" + b"\x85" * 10**6 + b"Ns.",
    "lists in lists": b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
    "dictionaries in dictionaries": b"\x80\x02}" + b"U\x01a}" * 10**5 + b"s" * 10**5 + b".",
    "a name made of lists": b"\x80\x04" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"N\x93.",
    "marks": b"(" * 10**6 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "no end": b"\x80\x02" + b"N" * 10**6,
    "too many operations": b"\x80\x02" + b"N0" * 2_600_000 + b".",
}


@pytest.mark.parametrize("kind", HUGE)
def test_claims_and_depths_cost_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(HUGE[kind])
    with pytest.raises(MorphableError, match=r"model\.pkl"):
        import_flame([path])


def test_a_string_copied_over_and_over_is_refused(tmp_path: Path) -> None:
    """100 kB that would become 20 GB: one text, encoded as bytes again and again."""
    text = b"\x80\x02X" + struct.pack("<I", 10**5) + b"a" * 10**5 + b"q\x000c_codecs\nencode\nq\x010]"
    data = text + b"h\x01h\x00U\x06latin1\x86Ra" * 200_000 + b"."
    with pytest.raises(MorphableError, match="over and over"):
        read(data, tmp_path)


def test_one_dictionary_as_the_state_of_many_is_not_copied(tmp_path: Path) -> None:
    entries = b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(2000))
    data = b"\x80\x02}(" + entries + b"uq\x000]" + b"cchumpy.ch\nCh\n)\x81h\x00ba" * 20_000 + b"."
    started = time.process_time()
    with pytest.raises(MorphableError, match="expected a pickled dictionary"):
        read(data, tmp_path)
    assert time.process_time() - started < 20  # 40 million entries would take far longer


def test_any_damage_gives_arrays_or_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wholes = [pickle.dumps({"x": ARRAYS["floats"], "y": [1, "a", None]}, p) for p in (0, 2, 5)] + list(PYTHON2.values())
    for whole in wholes:
        for cut in range(0, len(whole), 3):
            with pytest.raises(MorphableError):
                read(whole[:cut], tmp_path)
        for _ in range(150):
            data = bytearray(whole)
            for at in rng.integers(len(data), size=rng.integers(1, 4)):
                data[at] = rng.integers(256)
            try:
                read(bytes(data), tmp_path)
            except MorphableError as error:
                assert "model.pkl" in str(error)  # noqa: PT017 (damage may also change nothing)


def test_nothing_is_imported(tmp_path: Path) -> None:
    """Chumpy needs not be there, and a module that is only named is not loaded."""
    before = set(sys.modules)
    read(dump_flame({"v": Ch(ARRAYS["doubles"])}), tmp_path)
    with pytest.raises(MorphableError, match=r"asks for antigravity\.geohash"):
        read(b"cantigravity\ngeohash\n.", tmp_path)
    assert set(sys.modules) == before
