"""Keys of one's own: elliptic ones (P-256) in PEM files, a private one to sign with and public ones to check with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import ZooError
from zoo.storage import flush, sync_folder, write_new, writing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PASSWORD = "PIFA_SIGN_PASSWORD"
"""The environment variable with the password of an encrypted private key."""

# Real ones have 200 bytes.
MAX_KEY_BYTES = 2**16

_MAKE = "make one with `pifa zoo key`"


@dataclass(frozen=True)
class TrustedKey:
    """A public key.

    Attributes:
        pem: its PEM text in the standard form.
        fingerprint: SHA-256 of its DER form (SubjectPublicKeyInfo), 64 hex digits; `openssl pkey -pubin -outform DER`
            piped to `sha256sum` prints the same.
        where: the file it came from, for messages.
    """

    pem: str
    fingerprint: str
    where: str

    @property
    def hint(self) -> str:
        """How model signing names the key in a bundle: SHA-256 of the PEM text."""
        return hashlib.sha256(self.pem.encode("ascii")).hexdigest()


@contextmanager
def sign_extra() -> Iterator[None]:
    """Turn a missing package into a `ZooError` that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ZooError(
            f"signatures: expected the packages that make and check them, found one missing ({error}); "
            "pip install 'pifa[sign]'"
        ) from error


def make_key(private: Path, password: str | None = None) -> Path:
    """Make a key pair: the new file ``private``, which its owner alone may read, and ``private`` + ``.pub``.

    Args:
        private: where to write it.
        password: the private file is encrypted with it; None: not encrypted.

    Returns:
        The path of the public key.

    Raises:
        ZooError: one of the files exists already or cannot be written, the password is empty, or the packages of
            ``pifa[sign]`` are not installed.
    """
    with sign_extra():
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

    if password == "":
        raise ZooError(f"{private}: expected a password, found an empty one; give one, or none at all")
    public = Path(f"{private}.pub")
    for path in (private, public):
        if os.path.lexists(path):
            raise ZooError(f"{path}: expected no such file, found one; a key is never overwritten: choose another name")
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode("utf-8"))
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    with writing(private):
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with writing(private), os.fdopen(handle, "wb") as file:
            file.write(pem)
            flush(file)
        write_new(public, _trusted(key.public_key(), str(public)).pem.encode("ascii"))
        sync_folder(private.parent)
    except BaseException:
        # Without its public half nobody could check what it signs.
        with suppress(OSError):
            private.unlink()
        raise
    return public


def read_public_key(path: Path) -> TrustedKey:
    """Read a public key's PEM file.

    Raises:
        ZooError: it cannot be read, is a private key, is no P-256 key, or holds more than one.
    """
    return parse_public_key(_read(path), str(path))


def parse_public_key(pem: bytes, where: str) -> TrustedKey:
    """Read a public key's PEM text; ``where`` names it in messages.

    Raises:
        ZooError: it is a private key, no P-256 key, or more than one.
    """
    with sign_extra():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

    cure = "give the .pub file of the publisher's key"
    if b"PRIVATE KEY" in pem:
        raise ZooError(f"{where}: expected a public key, found a private one; keep it secret, and {cure}")
    if (found := pem.count(b"-----BEGIN ")) != 1:
        raise ZooError(f"{where}: expected one public key in PEM form, found {found}; {cure}")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ZooError(f"{where}: expected a public key in PEM form, found something else; {cure}") from error
    return _trusted(key, where)


def public_key_of(private: Path) -> TrustedKey:
    """The public half of a private key's PEM file.

    Raises:
        ZooError: as `private_password`.
    """
    key, _ = _read_private(private)
    return _trusted(key.public_key(), str(private))


def private_password(private: Path) -> bytes | None:
    """The password that a private key's file needs, from ``PIFA_SIGN_PASSWORD``; None: it is not encrypted.

    Raises:
        ZooError: the file cannot be read or is no private P-256 key, or its password is not given or wrong.
    """
    return _read_private(private)[1]


def _read_private(path: Path) -> tuple[EllipticCurvePrivateKey, bytes | None]:
    with sign_extra():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data, password = _read(path), None
    if b"ENCRYPTED" in data:
        password = os.environ.get(PASSWORD, "").encode("utf-8")
        if not password:
            raise ZooError(f"{path}: expected the password of this encrypted key, found none; set {PASSWORD}")
    try:
        key = load_pem_private_key(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        found = "something else" if password is None else f"something else or a wrong password in {PASSWORD}"
        raise ZooError(f"{path}: expected a private key in PEM form, found {found}; {_MAKE}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ZooError(f"{path}: expected an elliptic key (P-256), found another kind; {_MAKE}")
    _trusted(key.public_key(), str(path))
    return key, password


def _trusted(key: object, where: str) -> TrustedKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ZooError(f"{where}: expected an elliptic key (P-256), found another kind; {_MAKE}")
    pem, der = (
        key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    )
    return TrustedKey(pem.decode("ascii"), hashlib.sha256(der).hexdigest(), where)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ZooError(f"{path}: expected a key's file, found {error.strerror or error}; correct the path") from error
    if len(data) > MAX_KEY_BYTES:
        raise ZooError(f"{path}: expected a key of at most {MAX_KEY_BYTES} bytes, found more; this is no key")
    return data
