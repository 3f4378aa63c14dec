"""Signatures by OpenSSF model signing, with elliptic keys of one's own.

A signature is a Sigstore bundle: JSON with the name of the key and an in-toto statement, which has the name and the
SHA-256 of one file. `model_signing verify key FILE --signature SIG --public_key KEY.pub` checks it too. That library
takes a bundle over any name, and prints a warning about some: so the bundle's form is checked first (`bundle`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import SignatureError, ZooError
from zoo.signatures.bundle import read_claim
from zoo.signatures.keys import TrustedKey, private_password, sign_extra
from zoo.storage import writing

_CURE = "do not use it before its publisher explains that"


def sign_file(path: Path, key: Path) -> bytes:
    """Sign one file, content and name, with the private key's file ``key``.

    Returns:
        The bundle.

    Raises:
        ZooError: the file or the key cannot be read, the key's password (``PIFA_SIGN_PASSWORD``) is missing or wrong,
            or the packages of ``pifa[sign]`` are not installed.
    """
    with sign_extra():
        from model_signing.signing import Config

    if path.is_symlink() or not path.is_file():
        raise ZooError(f"{path}: expected a regular file to sign, found none; correct the path")
    # The library declares a text and hands it on to one that takes only bytes.
    config = Config().use_elliptic_key_signer(private_key=key, password=private_password(key))  # type: ignore[arg-type]
    with _scratch() as folder:
        bundle = folder / "bundle"
        try:
            config.sign(path, bundle)
            return bundle.read_bytes()
        except OSError as error:
            raise ZooError(f"{path}: expected to read and sign it, found {error.strerror or error}") from error


def sign_bytes(name: str, data: bytes, key: Path) -> bytes:
    """Sign ``data`` as the content of a file called ``name``; else as `sign_file`."""
    with _scratch() as folder:
        path = folder / name
        path.write_bytes(data)
        return sign_file(path, key)


def check_file(
    path: Path, signature: bytes, keys: Sequence[TrustedKey], where: str, name: str | None = None
) -> TrustedKey:
    """Check that one of ``keys`` signed exactly this file.

    Args:
        path: a regular file, which is read once.
        signature: the bundle, from anywhere.
        keys: those that are trusted.
        where: the place of what is signed, for messages.
        name: the file's name in the registry, where it is kept under another one here.

    Returns:
        The key that signed it.

    Raises:
        SignatureError: signed by none of the keys, of another name or content or of several files, damaged, or over
            1 MiB.
        ZooError: the packages of ``pifa[sign]`` are not installed.
    """
    with sign_extra():
        from cryptography.exceptions import InvalidSignature
        from model_signing.hashing import Config as Hashing
        from model_signing.verifying import Config

    key = _named_key(signature, keys, where, name or path.name)
    if path.is_symlink() or not path.is_file():
        raise SignatureError(f"{path}: expected a regular file to check, found none; fetch it again")
    with _scratch() as folder:
        bundle, public = folder / "bundle", folder / "key.pub"
        bundle.write_bytes(signature)
        public.write_text(key.pem, encoding="ascii")
        try:
            config = Config().use_elliptic_key_verifier(public_key=public).set_hashing_config(Hashing())
            config.verify(path, bundle)
        except InvalidSignature as error:
            raise SignatureError(
                f"{where}: expected a signature by the key {key.fingerprint[:16]}, "
                f"found a damaged or forged one; {_CURE}"
            ) from error
        except Exception as error:
            # Whatever else a hostile bundle makes the library raise: it did not say that this is the content.
            raise SignatureError(
                f"{where}: expected the signature of this {name or path.name}, found one of another content; {_CURE}"
            ) from error
    return key


def check_bytes(name: str, data: bytes, signature: bytes, keys: Sequence[TrustedKey], where: str) -> TrustedKey:
    """Check that one of ``keys`` signed exactly ``data`` as a file called ``name``; else as `check_file`."""
    with _scratch() as folder:
        path = folder / "content"
        path.write_bytes(data)
        return check_file(path, signature, keys, where, name)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for what the library takes only from files."""
    with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="pifa-sign-") as folder:
        yield Path(folder)


def _named_key(signature: bytes, keys: Sequence[TrustedKey], where: str, name: str) -> TrustedKey:
    """The trusted key that a bundle names, if the bundle has the form of a signature of the one file ``name``."""
    claim = read_claim(signature, f"signature of {where}")
    key = next((key for key in keys if key.hint == claim.hint), None)
    if key is None:
        trusted = ", ".join(key.fingerprint[:16] for key in keys) or "none"
        raise SignatureError(
            f"{where}: expected a signature by a trusted key ({trusted}), found one by another key; "
            "trust that key if you know whose it is, or do not use this registry"
        )
    if claim.name != name:
        raise SignatureError(f"{where}: expected the signature of {name}, found one of {claim.name[:100]}; {_CURE}")
    if not claim.one_file:
        raise SignatureError(f"{where}: expected the signature of one file, found one of several or none; {_CURE}")
    return key
