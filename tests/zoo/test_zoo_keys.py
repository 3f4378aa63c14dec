"""Keys of one's own: made once, never overwritten, and only public ones are trusted."""

import hashlib
import os
import stat
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from zoo.errors import ZooError
from zoo.signatures.keys import PASSWORD, make_key, parse_public_key, private_password, public_key_of, read_public_key


def test_a_pair_of_keys(tmp_path: Path) -> None:
    private = tmp_path / "publisher.pem"
    public = make_key(private)
    assert public == tmp_path / "publisher.pem.pub"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["publisher.pem", "publisher.pem.pub"]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == load_pem_public_key(public.read_bytes())
    assert b"PRIVATE" not in public.read_bytes()
    trusted = read_public_key(public)
    assert trusted.where == str(public)
    assert trusted.pem == public.read_text()
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert trusted.fingerprint == hashlib.sha256(der).hexdigest()
    assert public_key_of(private).fingerprint == trusted.fingerprint
    assert private_password(private) is None


def test_only_its_owner_reads_a_private_key_even_where_files_are_open_to_all(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_a_key_is_never_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ZooError, match="never overwritten"):
        make_key(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_half_a_pair_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ZooError("disk full")

    monkeypatch.setattr("zoo.signatures.keys.write_new", full)
    with pytest.raises(ZooError, match="disk full"):
        make_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_key_in_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="expected to write there"):
        make_key(tmp_path / "missing" / "key")


def test_an_encrypted_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "key"
    make_key(private, "gehéim")
    assert b"ENCRYPTED" in private.read_bytes()
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(ZooError, match=PASSWORD):
        public_key_of(private)
    monkeypatch.setenv(PASSWORD, "other")
    with pytest.raises(ZooError, match="wrong password") as caught:
        public_key_of(private)
    assert "other" not in str(caught.value)
    monkeypatch.setenv(PASSWORD, "gehéim")
    assert private_password(private) == "gehéim".encode()
    assert public_key_of(private).pem == (tmp_path / "key.pub").read_text()
    make_key(tmp_path / "open")
    assert private_password(tmp_path / "open") is None  # the password is for encrypted keys alone


def test_an_empty_password_is_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="empty"):
        make_key(tmp_path / "key", "")
    assert list(tmp_path.iterdir()) == []


def test_only_public_keys_are_trusted(tmp_path: Path) -> None:
    for name, password in (("open", None), ("closed", "word")):
        make_key(tmp_path / name, password)
        with pytest.raises(ZooError, match="found a private one"):
            read_public_key(tmp_path / name)
    both = (tmp_path / "open.pub").read_bytes() + (tmp_path / "open").read_bytes()
    with pytest.raises(ZooError, match="found a private one"):
        parse_public_key(both, "both")


def test_what_is_no_key(tmp_path: Path) -> None:
    good = make_key(tmp_path / "key").read_bytes()
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    bad_point = good.replace(good.split(b"\n")[2][-12:], b"AAAAAAAAAA==")
    for data, message in (
        (b"", "found 0"),
        (good + good, "found 2"),
        (good.replace(b"PUBLIC KEY", b"CERTIFICATE"), "something else"),
        (good[: len(good) // 2], "something else"),
        (bad_point, "something else"),
        (p384.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "P-256"),
        (b"\x80\x04pickle", "found 0"),
    ):
        with pytest.raises(ZooError, match=message) as caught:
            parse_public_key(data, "some.pub")
        assert str(caught.value).startswith("some.pub: expected")
        assert "\n" not in str(caught.value)


def test_keys_of_another_kind_do_not_sign(tmp_path: Path) -> None:
    public = make_key(tmp_path / "key")
    with pytest.raises(ZooError, match="expected a private key"):
        public_key_of(public)
    with pytest.raises(ZooError, match="No such file"):
        public_key_of(tmp_path / "missing")
    for other in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        (tmp_path / "other").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(ZooError, match=r"expected an elliptic key \(P-256\)"):
            private_password(tmp_path / "other")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ZooError, match="at most 65536 bytes"):
        public_key_of(tmp_path / "huge")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = make_key(tmp_path / "key")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    for call in (lambda: make_key(tmp_path / "new"), lambda: read_public_key(public)):
        with pytest.raises(ZooError, match=r"pip install 'pifa\[sign\]'"):
            call()
