"""What a signature's bundle claims: which key, which file. Nothing of it is proven here; `signing` does that.

A bundle is Sigstore's JSON around a DSSE envelope, whose payload is an in-toto statement as model signing writes it.
"""

import base64
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from zoo.documents import Document, parse
from zoo.entry import MAX_SIGNATURE_BYTES, Sha256, Text
from zoo.errors import SignatureError

_NONE = "this is no signature that pifa makes"

# The standard alphabet alone: the library's decoder skips other characters, and could read what we did not.
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"
Base64 = Annotated[str, StringConstraints(pattern=_BASE64)]


@dataclass(frozen=True)
class Claim:
    """What a bundle says of itself.

    Attributes:
        hint: model signing's name of the key, `TrustedKey.hint`.
        name: of the signed file or folder.
        one_file: whether it is a file.
    """

    hint: str
    name: str
    one_file: bool


def read_claim(signature: bytes, where: str) -> Claim:
    """Read a bundle; ``where`` names it in messages.

    Raises:
        SignatureError: over 1 MiB, or not of the form that model signing writes with an elliptic key.
    """
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise SignatureError(
            f"{where}: expected a signature of at most {MAX_SIGNATURE_BYTES} bytes, found more; {_NONE}"
        )
    try:
        bundle = parse(_Bundle, signature, where, SignatureError)
        payload = base64.b64decode(bundle.envelope.payload, validate=True)
        statement = parse(_Statement, payload, f"{where}, payload", SignatureError)
    except SignatureError as error:
        raise SignatureError(f"{error}; {_NONE}") from error
    # A dot is how model signing names a model that is one file.
    one_file = [resource.name for resource in statement.predicate.resources] == ["."]
    return Claim(bundle.material.public_key.hint, statement.subject[0].name, one_file)


class _Part(Document):
    """A part of a bundle, whose keys are the library's: one that we did not read could be one that it reads."""

    model_config = ConfigDict(validate_by_alias=True, validate_by_name=False)


class _KeyName(_Part):
    hint: Sha256


class _Material(_Part):
    public_key: _KeyName = Field(alias="publicKey")
    log: tuple[()] = Field(default=(), alias="tlogEntries")


class _Signature(_Part):
    sig: Base64
    keyid: str = ""


class _Envelope(_Part):
    payload: Base64
    kind: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: tuple[_Signature]


class _Bundle(_Part):
    kind: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = Field(alias="mediaType")
    material: _Material = Field(alias="verificationMaterial")
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _Said(_Part):
    """A part of the statement; model signing asks its readers to ignore keys that they do not know."""

    model_config = ConfigDict(extra="ignore")


class _Resource(_Said):
    name: Text
    algorithm: Literal["sha256"]
    digest: Sha256


class _Serialization(_Said):
    method: Literal["files"]


class _Predicate(_Said):
    resources: tuple[_Resource, ...]
    serialization: _Serialization


class _Subject(_Said):
    name: Text


class _Statement(_Said):
    kind: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject]
    predicate_kind: Literal["https://model_signing/signature/v1.0"] = Field(alias="predicateType")
    predicate: _Predicate
