"""Which keys a client trusts, for which registry; a fault in that never means that it trusts none."""

import json
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ZooError
from zoo.signatures.keys import TrustedKey, make_key, read_public_key
from zoo.signatures.trust import PUBLIC_KEYS, Trusted, distrust, same_place, trust, trusted, trusted_keys

URL = "https://example.org/zoo"


@pytest.fixture(autouse=True)
def _trusting_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PUBLIC_KEYS, raising=False)


@pytest.fixture
def ours(signing_key: Path) -> Path:
    return Path(f"{signing_key}.pub")


@pytest.fixture
def theirs(other_key: TrustedKey) -> Path:
    return Path(other_key.where)


@pytest.fixture
def record(tmp_path: Path, ours: Path) -> Path:
    """The record of a cache ``tmp_path`` with one key."""
    trust(ours, URL, tmp_path)
    return tmp_path / "zoo" / "trust.json"


def fingerprints(registry: str, cache: Path) -> list[str]:
    return [key.fingerprint for key in trusted_keys(registry, cache)]


def test_keys_of_one_registry_and_of_all(
    tmp_path: Path, ours: Path, theirs: Path, trusted_key: TrustedKey, other_key: TrustedKey
) -> None:
    assert fingerprints(URL, tmp_path) == []
    assert trusted(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []  # asking leaves nothing
    assert trust(ours, URL, tmp_path) == trusted_key
    assert fingerprints(URL, tmp_path) == [trusted_key.fingerprint]
    assert fingerprints("https://example.org/other", tmp_path) == []
    trust(theirs, None, tmp_path)
    assert fingerprints(URL, tmp_path) == [trusted_key.fingerprint, other_key.fingerprint]
    assert fingerprints("https://example.org/other", tmp_path) == [other_key.fingerprint]
    (key, _) = trusted_keys(URL, tmp_path)
    assert key.pem == trusted_key.pem
    assert str(tmp_path / "zoo" / "trust.json") in key.where
    assert [one.registry for one in trusted(tmp_path)] == [URL, None]


def test_trusting_again_changes_nothing(record: Path, tmp_path: Path, ours: Path) -> None:
    before = record.read_bytes()
    trust(ours, f"{URL}/", tmp_path)
    assert record.read_bytes() == before
    trust(ours, None, tmp_path)  # wider: for all
    assert len(trusted(tmp_path)) == 2
    assert len(trusted_keys(URL, tmp_path)) == 1


def test_the_record_is_its_owners(record: Path) -> None:
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert not [path for path in record.parent.iterdir() if path.name.startswith(".trust-")]


def test_keys_by_the_environment(
    tmp_path: Path,
    ours: Path,
    theirs: Path,
    trusted_key: TrustedKey,
    other_key: TrustedKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PUBLIC_KEYS, os.pathsep.join(["", str(theirs), str(ours), str(theirs)]))
    assert fingerprints(URL, tmp_path) == [other_key.fingerprint, trusted_key.fingerprint]
    trust(ours, None, tmp_path)
    assert [key.where for key in trusted_keys(URL, tmp_path)] == [str(theirs), str(ours)]
    monkeypatch.setenv(PUBLIC_KEYS, "")
    assert fingerprints(URL, tmp_path) == [trusted_key.fingerprint]


def test_a_fault_in_the_environment_is_not_no_keys(
    tmp_path: Path, signing_key: Path, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, message in ((tmp_path / "missing.pub", "No such file"), (signing_key, "a private one")):
        monkeypatch.setenv(PUBLIC_KEYS, f"{ours}{os.pathsep}{path}")
        with pytest.raises(ZooError, match=message) as caught:
            trusted_keys(URL, tmp_path)
        assert PUBLIC_KEYS in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_private_key_is_not_recorded(tmp_path: Path, signing_key: Path) -> None:
    with pytest.raises(ZooError, match="a private one"):
        trust(signing_key, None, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_distrust(tmp_path: Path, ours: Path, theirs: Path, trusted_key: TrustedKey, other_key: TrustedKey) -> None:
    for path, registry in ((ours, None), (theirs, None), (ours, URL)):
        trust(path, registry, tmp_path)
    gone = distrust(trusted_key.fingerprint[:8].upper(), tmp_path)
    assert [one.registry for one in gone] == [None, URL]
    assert fingerprints(URL, tmp_path) == [other_key.fingerprint]
    for prefix, message in (
        (trusted_key.fingerprint, "found no such keys"),
        (other_key.fingerprint[:7], "8 or more"),
        ("", "8 or more"),
        ("x" * 64, "found no such keys"),
    ):
        with pytest.raises(ZooError, match=message):
            distrust(prefix, tmp_path)
    assert fingerprints(URL, tmp_path) == [other_key.fingerprint]


def test_distrust_of_two_keys_that_begin_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [Trusted(TrustedKey("", "a" * 63 + end, ""), None) for end in "12"]
    # By the module: `zoo.trust` is the function of that name.
    monkeypatch.setattr(sys.modules[Trusted.__module__], "trusted", lambda _: tuple(alike))
    with pytest.raises(ZooError, match="found 2 such keys"):
        distrust("a" * 63, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema_version=2), "schema_version"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.pop("keys"), "keys"),
        (lambda d: d.pop("schema_version"), "schema_version"),
        (lambda d: d["keys"][0].pop("registry"), "registry"),
        (lambda d: d["keys"][0].update(registry=7), "registry"),
        (lambda d: d["keys"][0].update(fingerprint="0" * 64), "found the one of fingerprint"),
        (lambda d: d["keys"][0].update(pem="hello"), "expected one public key"),
        (lambda d: d["keys"][0].update(pem=d["keys"][0]["pem"].replace("PUBLIC", "PRIVATE")), "a private one"),
        (lambda d: d["keys"][0].update(pem=d["keys"][0]["pem"] * 40), "pem"),
    ],
)
def test_a_damaged_record_is_not_no_keys(record: Path, tmp_path: Path, ours: Path, change: Any, message: str) -> None:
    document = json.loads(record.read_text())
    change(document)
    record.write_text(json.dumps(document))
    before = record.read_bytes()
    for call in (
        lambda: trusted_keys(URL, tmp_path),
        lambda: trusted(tmp_path),
        lambda: trust(ours, None, tmp_path),
        lambda: distrust("0" * 8, tmp_path),
    ):
        with pytest.raises(ZooError, match=message) as caught:
            call()
        assert str(caught.value).startswith(str(record))
    assert record.read_bytes() == before


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"\x80\x04N.", b" " * (2**20 + 1)])
def test_a_record_that_is_none(record: Path, tmp_path: Path, data: bytes) -> None:
    record.write_bytes(data)
    with pytest.raises(ZooError, match=r"trust\.json: .*moved it away"):
        trusted_keys(URL, tmp_path)


def test_a_record_that_cannot_be_read(tmp_path: Path, ours: Path) -> None:
    (tmp_path / "zoo" / "trust.json").mkdir(parents=True)
    with pytest.raises(ZooError, match="expected to read it"):
        trusted_keys(URL, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="expected to write there"):
        trust(ours, None, tmp_path / "file")


def test_several_at_once_lose_nothing(tmp_path: Path) -> None:
    keys = [make_key(tmp_path / f"key-{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: trust(path, None, tmp_path), keys))
    assert {one.key.pem for one in trusted(tmp_path)} == {path.read_text() for path in keys}


@pytest.mark.parametrize(
    "other",
    [
        "https://example.org/zoo/",
        "https://example.org:443/zoo",
        "HTTPS://Example.ORG/zoo//",
        "https://user:word@example.org/zoo",
        "https://example.org/x/../zoo/.",
        "https://example.org/zoo#part",
    ],
)
def test_the_same_registry(other: str) -> None:
    assert same_place(other) == URL


@pytest.mark.parametrize(
    "other",
    [
        "http://example.org/zoo",
        "https://example.org:8443/zoo",
        "https://example.org",
        "https://example.org/zoo/zoo",
        "https://example.org/Zoo",
        "https://example.org/.zoo",
        "https://example.org.evil.org/zoo",
        "https://example.org@evil.org/zoo",
    ],
)
def test_another_registry(other: str) -> None:
    assert same_place(other) != URL


def test_spellings_of_one_address() -> None:
    assert same_place("https://example.org./%7Ezoo/a%2fb") == same_place("https://EXAMPLE.org/~zoo/a%2Fb")
    assert same_place("https://example.org/a%2Fb") != same_place("https://example.org/a/b")


def test_a_key_for_https_is_asked_for_over_http_too(tmp_path: Path, ours: Path) -> None:
    trust(ours, URL, tmp_path)
    assert len(trusted_keys("http://example.org/zoo", tmp_path)) == 1


def test_folders(tmp_path: Path, ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real folder")
    monkeypatch.chdir(tmp_path)
    real = str(tmp_path / "real folder")
    for address in (real, f"{real}/", "real folder", "./real folder", "link", f"file://{tmp_path}/real%20folder"):
        assert same_place(address) == os.path.realpath(real), address
    trust(ours, "link", tmp_path)
    assert len(trusted_keys(real, tmp_path)) == 1


def test_other_stores() -> None:
    assert same_place("s3://bucket/a/b/") == "s3://bucket/a/b"
    assert same_place("s3://bucket") == same_place("s3://bucket/") != same_place("s3://bucket/a")
    assert same_place("hf://owner/repo") == same_place("hf://owner/repo@main/") == "hf://owner/repo"
    assert same_place("hf://owner/repo@main/zoo") == "hf://owner/repo/zoo" != same_place("hf://owner/repo@v1/zoo")
    assert same_place("https://[::1]:8000/") == "https://[::1]:8000"


def test_addresses_that_are_none(tmp_path: Path, ours: Path) -> None:
    for address in ("https://[::1/zoo", "https://example.org:port/zoo"):
        with pytest.raises(ZooError, match="expected an address"):
            trusted_keys(address, tmp_path)
    with pytest.raises(ZooError, match="correct its address"):
        trust(ours, str(tmp_path / "a\nb"), tmp_path)
    with pytest.raises(ZooError, match="correct its address"):
        trust(ours, os.fsdecode(bytes(tmp_path) + b"/\xff"), tmp_path)
    assert trusted(tmp_path) == ()


def test_a_record_by_hand(tmp_path: Path, ours: Path) -> None:
    """The record's form is a promise: it is what the documentation says."""
    key = read_public_key(ours)
    (tmp_path / "zoo").mkdir()
    keys = [{"fingerprint": key.fingerprint, "registry": None, "pem": ours.read_text()}]
    (tmp_path / "zoo" / "trust.json").write_text(json.dumps({"schema_version": 1, "keys": keys}))
    assert fingerprints(URL, tmp_path) == [key.fingerprint]
