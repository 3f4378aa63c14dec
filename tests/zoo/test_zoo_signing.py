"""A signature holds for one name and content by one trusted key, silently and offline; the stock tool agrees."""

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_signing import hashing, signing, verifying

from zoo.errors import SignatureError, ZooError
from zoo.signatures.keys import PASSWORD, TrustedKey, make_key, read_public_key
from zoo.signatures.signing import check_bytes, check_file, sign_bytes, sign_file

NAME, DATA = "index.json", b'{"serial": 1}\n'


@pytest.fixture(autouse=True)
def _silent_and_offline(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test here prints, logs or opens a connection."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    caplog.set_level(logging.DEBUG)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    yield
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@pytest.fixture(scope="module")
def signature(signing_key: Path) -> bytes:
    return sign_bytes(NAME, DATA, signing_key)


def refused(signature: bytes, key: TrustedKey, name: str = NAME, data: bytes = DATA) -> str:
    with pytest.raises(SignatureError) as caught:
        check_bytes(name, data, signature, [key], "some.json")
    assert str(caught.value).startswith(("some.json: expected", "signature of some.json"))
    return str(caught.value)


def test_bytes_round_trip(signature: bytes, trusted_key: TrustedKey, other_key: TrustedKey) -> None:
    assert check_bytes(NAME, DATA, signature, [other_key, trusted_key], "some.json") == trusted_key
    assert "another content" in refused(signature, trusted_key, data=DATA + b" ")
    assert "another content" in refused(signature, trusted_key, data=b"")
    assert "one of index.json" in refused(signature, trusted_key, name="weights.safetensors")


def test_files_round_trip(tmp_path: Path, signing_key: Path, trusted_key: TrustedKey) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(range(256)) * 10_000)  # more than the library reads at once
    signature = sign_file(path, signing_key)
    assert check_file(path, signature, [trusted_key], "some.json") == trusted_key
    kept = path.rename(tmp_path / ".weights-1234")
    assert check_file(kept, signature, [trusted_key], "some.json", "weights.safetensors") == trusted_key
    with pytest.raises(SignatureError, match=r"one of weights\.safetensors"):
        check_file(kept, signature, [trusted_key], "some.json")
    with kept.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"!")
    with pytest.raises(SignatureError, match="another content"):
        check_file(kept, signature, [trusted_key], "some.json", "weights.safetensors")


def test_only_regular_files(tmp_path: Path, signing_key: Path, trusted_key: TrustedKey, signature: bytes) -> None:
    (tmp_path / "real").write_bytes(DATA)
    (tmp_path / NAME).symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / NAME, tmp_path / "folder", tmp_path / "missing"):
        with pytest.raises(ZooError, match="regular file to sign"):
            sign_file(path, signing_key)
        with pytest.raises(SignatureError, match="regular file to check"):
            check_file(path, signature, [trusted_key], "some.json", NAME)


def test_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = make_key(tmp_path / "key", "wörd")
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(ZooError, match=PASSWORD):
        sign_bytes(NAME, DATA, tmp_path / "key")
    monkeypatch.setenv(PASSWORD, "wörd")
    signature = sign_bytes(NAME, DATA, tmp_path / "key")
    check_bytes(NAME, DATA, signature, [read_public_key(public)], "some.json")


def test_another_key(signature: bytes, trusted_key: TrustedKey, other_key: TrustedKey) -> None:
    message = refused(signature, other_key)
    assert "by another key" in message
    assert other_key.fingerprint[:16] in message
    with pytest.raises(SignatureError, match=r"trusted key \(none\)"):
        check_bytes(NAME, DATA, signature, [], "some.json")
    # The name of the key in the bundle is anybody's to write.
    assert "forged" in refused(signature.replace(trusted_key.hint.encode(), other_key.hint.encode()), other_key)


def test_the_stock_tool_agrees(tmp_path: Path, signing_key: Path, trusted_key: TrustedKey) -> None:
    path, ours, its = tmp_path / NAME, tmp_path / "ours.sig", tmp_path / "its.sig"
    path.write_bytes(DATA)
    ours.write_bytes(sign_bytes(NAME, DATA, signing_key))
    public = f"{signing_key}.pub"
    stock = [sys.executable, "-m", "model_signing", "verify", "key", path, "--signature", ours, "--public_key", public]
    assert "succeeded" in subprocess.run(stock, check=True, capture_output=True, text=True).stdout
    signing.Config().use_elliptic_key_signer(private_key=signing_key).sign(path, its)
    assert check_bytes(NAME, DATA, its.read_bytes(), [trusted_key], "some.json") == trusted_key
    # What the library takes and we do not: the same content under another name.
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(path.rename(tmp_path / "other.json"), ours)
    assert "one of index.json" in refused(ours.read_bytes(), trusted_key, name="other.json")


def test_real_signatures_of_something_else(tmp_path: Path, signing_key: Path, trusted_key: TrustedKey) -> None:
    """Each of them is by the trusted key, and of a model of the right name."""
    model, bundle = tmp_path / NAME, tmp_path / "bundle"
    signer = signing.Config().use_elliptic_key_signer(private_key=signing_key)

    def sign(config: hashing.Config) -> bytes:
        signer.set_hashing_config(config).sign(model, bundle)
        return bundle.read_bytes()

    model.mkdir()
    (model / NAME).write_bytes(DATA)
    folder_of_one = sign(hashing.Config())
    folder_of_none = sign(hashing.Config().set_ignored_paths(paths=["."]))
    (model / "second").write_bytes(DATA)
    folder_of_two = sign(hashing.Config())
    model.rename(tmp_path / "folder")
    model.write_bytes(DATA)
    ignored_file = sign(hashing.Config().set_ignored_paths(paths=["."]))
    for signature in (folder_of_one, folder_of_none, folder_of_two, ignored_file):
        assert "one file, found one of" in refused(signature, trusted_key)
    # The library takes the empty one for this file, and for any other.
    bundle.write_bytes(ignored_file)
    model.write_bytes(b"anything")
    verifying.Config().use_elliptic_key_verifier(public_key=f"{signing_key}.pub").verify(model, bundle)
    for config in (
        hashing.Config().use_shard_serialization(),
        hashing.Config().use_file_serialization(hashing_algorithm="blake2"),
    ):
        assert "algorithm" in refused(sign(config), trusted_key)


def test_no_room_for_temporary_files(
    tmp_path: Path, signing_key: Path, trusted_key: TrustedKey, signature: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in (
        lambda: sign_bytes(NAME, DATA, signing_key),
        lambda: check_bytes(NAME, DATA, signature, [trusted_key], "some.json"),
    ):
        with monkeypatch.context() as patch:  # for the call alone: pytest has temporary files too
            patch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
            with pytest.raises(ZooError, match="missing: expected to write there"):
                call()


def test_without_the_extra(
    signing_key: Path, trusted_key: TrustedKey, signature: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("signing", "verifying"):
        monkeypatch.setitem(sys.modules, f"model_signing.{name}", None)
    for call in (
        lambda: sign_bytes(NAME, DATA, signing_key),
        lambda: check_bytes(NAME, DATA, signature, [trusted_key], "some.json"),
    ):
        with pytest.raises(ZooError, match=r"pip install 'pifa\[sign\]'"):
            call()


def test_importing_is_light() -> None:
    code = "import sys, zoo.signatures.signing, zoo.signatures.trust, zoo.signatures.freshness; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"model_signing", "cryptography", "requests", "numpy"}.isdisjoint(done.stdout.split())
