"""Hostile signatures: bundles and statements of any form, some of them signed by the trusted key itself."""

import base64
import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fuzzing import mutants
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import SignatureError
from zoo.signatures.keys import TrustedKey
from zoo.signatures.signing import check_bytes, sign_bytes

NAME, DATA = "index.json", b'{"serial": 1}\n'
KIND = "application/vnd.in-toto+json"

Change = Callable[[Any], object]


@pytest.fixture(scope="module")
def signature(signing_key: Path) -> bytes:
    return sign_bytes(NAME, DATA, signing_key)


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr() == ("", "")


def accepted(signature: bytes, key: TrustedKey) -> bool:
    return check_bytes(NAME, DATA, signature, [key], "some.json") == key


def refused(signature: bytes, key: TrustedKey, name: str = NAME, data: bytes = DATA) -> str:
    with pytest.raises(SignatureError) as caught:
        check_bytes(name, data, signature, [key], "some.json")
    message = str(caught.value)
    assert message.startswith(("some.json: expected", "signature of some.json"))
    assert "\n" not in message
    return message


def bundle_of(signing_key: Path, hint: str, payload: bytes) -> bytes:
    """What the owner of a key can make: a signature of any statement."""
    secret = load_pem_private_key(signing_key.read_bytes(), None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    signed = f"DSSEv1 {len(KIND)} {KIND} {len(payload)} ".encode() + payload
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": KIND,
        "signatures": [{"sig": base64.b64encode(secret.sign(signed, ec.ECDSA(hashes.SHA256()))).decode()}],
    }
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return json.dumps({"mediaType": kind, "verificationMaterial": material, "dsseEnvelope": envelope}).encode()


def payload_of(signature: bytes) -> Any:
    return json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["subject"].append(s["subject"][0]), "subject"),
        (lambda s: s["subject"].clear(), "subject"),
        (lambda s: s["predicate"]["resources"].clear(), "one file, found one of"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "one file, found one of"),
        (lambda s: s["predicate"]["resources"][0].update(name="./"), "one file, found one of"),
        (lambda s: s["predicate"]["resources"][0].update(name=NAME), "one file, found one of"),
        (lambda s: s["predicate"]["resources"][0].update(digest="0" * 64), "another content"),
        (lambda s: s["predicate"]["resources"][0].update(digest="0" * 63), "digest"),
        (lambda s: s["subject"][0]["digest"].update(sha256="0" * 64), "another content"),
        (lambda s: s["subject"][0].pop("digest"), "another content"),
        (lambda s: s["subject"][0].update(name="\x1b[2J"), "control"),
        (lambda s: s["subject"][0].update(name="x" * 10**4), "name"),
        (lambda s: s["predicate"]["serialization"].update(method="shards"), "method"),
        (lambda s: s["predicate"]["serialization"].update(ignore_paths=["."]), "another content"),
        (lambda s: s["predicate"]["serialization"].update(ignore_paths=7), "another content"),
        (lambda s: s["predicate"]["serialization"].pop("hash_type"), "another content"),
        (lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"), "predicateType"),
        (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "_type"),
    ],
)
def test_statements_by_the_trusted_key(
    signing_key: Path, trusted_key: TrustedKey, signature: bytes, change: Change, message: str
) -> None:
    statement = payload_of(signature)
    assert accepted(bundle_of(signing_key, trusted_key.hint, json.dumps(statement).encode()), trusted_key)
    change(statement)
    assert message in refused(bundle_of(signing_key, trusted_key.hint, json.dumps(statement).encode()), trusted_key)


def test_a_statement_that_says_two_things(signing_key: Path, trusted_key: TrustedKey, signature: bytes) -> None:
    text = json.dumps(payload_of(signature)).replace('"name": "index.json"', '"name": "index.json", "name": "other"')
    assert "twice" in refused(bundle_of(signing_key, trusted_key.hint, text.encode()), trusted_key)
    assert "JSON" in refused(bundle_of(signing_key, trusted_key.hint, b"\x80\x04N."), trusted_key)


def test_unknown_parts_of_a_statement_are_ignored(signing_key: Path, trusted_key: TrustedKey, signature: bytes) -> None:
    statement = payload_of(signature)
    statement["predicate"]["note"] = "as the format allows"
    assert accepted(bundle_of(signing_key, trusted_key.hint, json.dumps(statement).encode()), trusted_key)


def noise(envelope: Any) -> None:
    """The library's decoder passes over the stars."""
    envelope["payload"] = "****" + envelope["payload"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b["verificationMaterial"]["publicKey"].pop("hint"), "hint"),
        (lambda b: b["verificationMaterial"]["publicKey"].update(hint=None), "hint"),
        (lambda b: b["verificationMaterial"]["publicKey"].update(hint=""), "hint"),
        (lambda b: b["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}), "certificate"),
        (lambda b: b["verificationMaterial"].update(tlogEntries=[{}]), "tlogEntries"),
        (lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"), "mediaType"),
        (lambda b: b.update(dsse_envelope=b["dsseEnvelope"]), "dsse_envelope"),
        (lambda b: b.update(dsse_envelope=b.pop("dsseEnvelope")), "dsseEnvelope"),
        (lambda b: b["dsseEnvelope"].update(payloadType="text/plain"), "payloadType"),
        (lambda b: b["dsseEnvelope"]["signatures"].clear(), "signatures"),
        (lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]), "signatures"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), "forged"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=""), "sig"),
        (lambda b: noise(b["dsseEnvelope"]), "payload"),
    ],
)
def test_bundles_of_another_form(trusted_key: TrustedKey, signature: bytes, change: Change, message: str) -> None:
    bundle = json.loads(signature)
    change(bundle)
    assert message in refused(json.dumps(bundle).encode(), trusted_key)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff\xfe{", b"\x80\x04N.", b"[" * 10**5, b"1" * 10**4])
def test_what_is_no_bundle(trusted_key: TrustedKey, data: bytes) -> None:
    assert "no signature" in refused(data, trusted_key)


def test_a_huge_bundle_is_not_parsed(trusted_key: TrustedKey, signature: bytes) -> None:
    padding = b" " * (2**20 - len(signature))
    assert accepted(signature + padding, trusted_key)
    assert "at most 1048576 bytes" in refused(signature + padding + b" ", trusted_key)


def says_nothing_else(bundle: bytes, key: TrustedKey) -> None:
    """A changed bundle is refused, or says what the unchanged one did; nothing escapes but `SignatureError`."""
    with suppress(SignatureError):
        assert accepted(bundle, key)
    refused(bundle, key, data=DATA + b"!")
    refused(bundle, key, name="other")


def test_damaged_bundles(signature: bytes, trusted_key: TrustedKey) -> None:
    for bundle in mutants(signature, 100):
        says_nothing_else(bundle, trusted_key)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a document, as its container and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def swapped(document: Any, data: st.DataObject) -> Any:
    """A document with a part left out, replaced by another part of it, or by anything."""
    changed = copy.deepcopy(document)
    container, key = data.draw(st.sampled_from(places(changed)))
    parts = [place[0][place[1]] for place in places(document)]
    if data.draw(st.booleans()):
        container[key] = data.draw(JSON | st.sampled_from(parts))
    else:
        del container[key]
    return changed


@given(data=st.data())
def test_bundles_with_swapped_parts(signature: bytes, trusted_key: TrustedKey, data: st.DataObject) -> None:
    says_nothing_else(json.dumps(swapped(json.loads(signature), data)).encode(), trusted_key)


@given(data=st.data())
def test_statements_with_swapped_parts(
    signing_key: Path, signature: bytes, trusted_key: TrustedKey, data: st.DataObject
) -> None:
    statement = json.dumps(swapped(payload_of(signature), data)).encode()
    says_nothing_else(bundle_of(signing_key, trusted_key.hint, statement), trusted_key)
