"""A certificate authority of the tests' own, and a certificate by it for this machine."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Certificates:
    """Files (PEM): what a client must trust, and the server's certificate and key."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path) -> Certificates:
    """For ``localhost`` and not for 127.0.0.1, from yesterday to tomorrow."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def build(name: str, issuer: str, public: Any, *extensions: x509.ExtensionType) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer))
        builder = x509.CertificateBuilder(by, subject, public, x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder

    theirs, ours = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(theirs.public_key())
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    authority = build("tests", "tests", theirs.public_key(), constraints).sign(theirs, hashes.SHA256())
    certificate = build("localhost", "tests", ours.public_key(), names, by).sign(theirs, hashes.SHA256())
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    contents = {"ca.pem": authority.public_bytes(pem), "server.pem": certificate.public_bytes(pem)}
    contents["server.key"] = ours.private_bytes(pem, *plain)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return Certificates(*(folder / name for name in contents))
