"""A signed registry in whole: who has a trusted key takes nothing else, and who has the key changes it."""

import datetime as dt
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from zoo import storage

pytest.importorskip("model_signing", reason="signatures need pifa[sign]")

Make = Callable[..., Path]
NAME = "face/1.0.0/weights.safetensors"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys ``mine`` and ``other``."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        zoo.make_key(folder / name)
    return folder


@pytest.fixture
def signed(registry: Path, checkpoint: Make, keys: Path, tmp_path: Path) -> Path:
    """A registry with ``face@1.0.0``, signed by ``mine``, which the client trusts for it."""
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=zoo.Signer(keys / "mine"))
    zoo.trust(keys / "mine.pub", str(registry), tmp_path / "home")
    return registry


def index_of(registry: Path) -> dict:
    return json.loads((registry / "index.json").read_text())


def test_what_is_signed_is_fetched(signed: Path, checkpoint: Make) -> None:
    (entry,) = zoo.Registry(signed).index().entries
    assert zoo.fetch("face", signed).read_bytes() == checkpoint().read_bytes()
    assert zoo.verify(None, signed) == []
    # Index and weights, each under the hash of what it signs.
    names = {path.name[:64] for path in (signed / "signatures").iterdir()}
    assert entry.files[0].sha256 in names
    assert len(names) == 2


def test_an_unsigned_registry_is_refused(published: Path, keys: Path, tmp_path: Path) -> None:
    cached = zoo.fetch("face", published)
    zoo.trust(keys / "mine.pub", None, tmp_path / "home")
    for use in (lambda: zoo.Registry(published).index(), lambda: zoo.fetch("face", published)):
        with pytest.raises(zoo.SignatureError, match=r"index\.json: expected a signature by a key that you trust"):
            use()
    assert cached.is_file()


def test_the_bundled_registry_needs_no_key(keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.trust(keys / "mine.pub", None, tmp_path / "home")
    monkeypatch.delenv("PIFA_REGISTRY")
    zoo.Registry().index()


def test_another_key_is_refused(signed: Path, keys: Path, tmp_path: Path) -> None:
    (fingerprint,) = {one.key.fingerprint for one in zoo.trusted(tmp_path / "home")}
    zoo.distrust(fingerprint[:8], tmp_path / "home")
    zoo.trust(keys / "other.pub", str(signed), tmp_path / "home")
    with pytest.raises(zoo.SignatureError):
        zoo.fetch("face", signed)


@pytest.mark.parametrize("damage", ["index", "signature", "swapped", "gone"])
def test_an_index_that_was_changed_is_refused(signed: Path, damage: str) -> None:
    data = (signed / "index.json").read_bytes()
    sha256 = storage.hash_bytes(data).sha256
    (signature,) = (signed / "signatures").glob(f"{sha256}.*")
    if damage == "index":
        (signed / "index.json").write_bytes(data.replace(b'"licence": null', b'"licence": "mine"'))
    elif damage == "signature":
        signature.write_bytes(signature.read_bytes().replace(b'"sig"', b'"sick"'))
    elif damage == "swapped":
        changed = data.replace(b'"licence": null', b'"licence": "mine"')
        (signed / "index.json").write_bytes(changed)
        name = signature.name.replace(sha256, storage.hash_bytes(changed).sha256)
        signature.rename(signature.with_name(name))
    else:
        signature.unlink()
    with pytest.raises(zoo.SignatureError, match=r"index\.json"):
        zoo.Registry(signed).index()


def test_weights_without_a_signature_do_not_get_into_the_cache(signed: Path) -> None:
    entry = zoo.Registry(signed).index().entries[0]
    (signature,) = (signed / "signatures").glob(f"{entry.files[0].sha256}.*")
    signature.unlink()
    with pytest.raises(zoo.SignatureError, match=r"weights\.safetensors: expected a signature"):
        zoo.fetch("face", signed)
    assert not list(zoo.cache_folder().rglob("*weights.safetensors*"))
    (problem,) = zoo.verify(None, signed)
    assert "signature" in problem.message


def test_what_was_cached_without_a_key_is_checked_once_there_is_one(
    registry: Path, checkpoint: Make, keys: Path, tmp_path: Path
) -> None:
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=zoo.Signer(keys / "mine"))
    cached = zoo.fetch("face", registry)
    zoo.trust(keys / "mine.pub", str(registry), tmp_path / "home")
    signatures = registry / "signatures"
    (signature,) = signatures.glob(f"{storage.hash_file(cached).sha256}.*")
    hidden = signature.rename(registry / "hidden")
    with pytest.raises(zoo.SignatureError):
        zoo.fetch("face", registry)
    hidden.rename(signature)
    assert zoo.fetch("face", registry) == cached
    # Recorded: the signature is not asked for again.
    signature.unlink()
    assert zoo.fetch("face", registry) == cached


def test_an_older_index_is_refused(signed: Path, checkpoint: Make, keys: Path, tmp_path: Path) -> None:
    old = (signed / "index.json").read_bytes()
    zoo.yank(signed, "face", "1.0.0", "bad", signer=zoo.Signer(keys / "mine"))
    new = (signed / "index.json").read_bytes()
    assert zoo.Registry(signed).index().serial == 2
    (signed / "index.json").write_bytes(old)
    with pytest.raises(zoo.StaleIndexError, match="expected serial 2"):
        zoo.Registry(signed).index()
    # Nor is it gone on with: what came after would be lost.
    with pytest.raises(zoo.StaleIndexError):
        zoo.publish(signed, weights=checkpoint(1), name="b", version="1.0.0", signer=zoo.Signer(keys / "mine"))
    (signed / "index.json").write_bytes(new)
    assert zoo.Registry(signed).index().serial == 2


def test_an_expired_index_is_refused_until_it_is_signed_again(
    signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return dt.datetime(2100, 1, 1, tzinfo=tz)

    for module in ("zoo.registry", "zoo.update", "zoo.signatures.signer", "zoo.index"):
        monkeypatch.setattr(sys.modules[module].dt, "datetime", Later)
    with pytest.raises(zoo.StaleIndexError, match="expired"):
        zoo.Registry(signed).index()
    index = zoo.sign(signed, zoo.Signer(keys / "mine", days=10))
    assert (index.expires, index.serial) == (dt.datetime(2100, 1, 11, tzinfo=dt.UTC), 2)
    assert zoo.Registry(signed).index() == index


def test_an_expired_registry_is_changed_by_its_publisher(registry: Path, checkpoint: Make, keys: Path) -> None:
    zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=zoo.Signer(keys / "mine", -1))
    zoo.trust(keys / "mine.pub", str(registry), zoo.cache_folder())
    with pytest.raises(zoo.StaleIndexError, match="expired"):
        zoo.Registry(registry).index()
    zoo.yank(registry, "face", "1.0.0", "bad", signer=zoo.Signer(keys / "mine"))
    assert zoo.Registry(registry).index().entries[0].yanked == "bad"


def test_a_signed_registry_is_changed_by_its_key_alone(signed: Path, checkpoint: Make, keys: Path) -> None:
    before = index_of(signed)
    with pytest.raises(zoo.PublishError, match="give --sign KEY"):
        zoo.publish(signed, weights=checkpoint(1), name="b", version="1.0.0")
    with pytest.raises(zoo.PublishError, match="give --sign KEY"):
        zoo.yank(signed, "face", "1.0.0", "no")
    shutil.rmtree(zoo.cache_folder())  # a stranger, who trusts nobody
    with pytest.raises(zoo.SignatureError):
        zoo.publish(signed, weights=checkpoint(1), name="b", version="1.0.0", signer=zoo.Signer(keys / "other"))
    assert index_of(signed) == before
    # By who trusts the first publisher, too.
    zoo.trust(keys / "mine.pub", str(signed), zoo.cache_folder())
    zoo.publish(signed, weights=checkpoint(1), name="b", version="1.0.0", signer=zoo.Signer(keys / "other"))
    zoo.trust(keys / "other.pub", str(signed), zoo.cache_folder())
    assert len(zoo.Registry(signed).index().entries) == 2
    # The first one's weights have the first one's signature alone: both keys are needed.
    assert zoo.fetch("face", signed).is_file()


@pytest.mark.parametrize("what", ["index.json", "weights.safetensors"])
def test_a_signature_that_is_missing_is_noticed_without_a_key(
    registry: Path, checkpoint: Make, keys: Path, what: str
) -> None:
    entry = zoo.publish(registry, weights=checkpoint(), name="face", version="1.0.0", signer=zoo.Signer(keys / "mine"))
    assert zoo.verify(None, registry) == []
    data = (registry / "index.json").read_bytes()
    sha256 = storage.hash_bytes(data).sha256 if what == "index.json" else entry.files[0].sha256
    (signature,) = (registry / "signatures").glob(f"{sha256}.*")
    signature.unlink()
    (problem,) = zoo.verify("face", registry)
    assert (problem.entry, problem.file) == ("index" if what == "index.json" else "face@1.0.0", what)
    assert "expected a signature by" in problem.message
    zoo.sign(registry, zoo.Signer(keys / "mine"), adopt=True)
    assert zoo.verify(None, registry) == []


def test_an_unsigned_registry_is_adopted_on_purpose(published: Path, checkpoint: Make, keys: Path) -> None:
    signer = zoo.Signer(keys / "mine")
    with pytest.raises(zoo.PublishError, match="--adopt"):
        zoo.publish(published, weights=checkpoint(1), name="b", version="1.0.0", signer=signer)
    with pytest.raises(zoo.PublishError, match="--adopt"):
        zoo.sign(published, signer)
    zoo.sign(published, signer, adopt=True)
    zoo.trust(keys / "mine.pub", None, zoo.cache_folder())
    assert zoo.verify(None, published) == []


def test_damaged_weights_are_not_signed(published: Path, keys: Path) -> None:
    (published / NAME).write_bytes(b"evil")
    before = (published / "index.json").read_bytes()
    with pytest.raises(zoo.PublishError, match="nothing was signed"):
        zoo.sign(published, zoo.Signer(keys / "mine"), adopt=True)
    assert (published / "index.json").read_bytes() == before
    assert not (published / "signatures").exists()


@pytest.mark.parametrize("index", [None, b'{"serial": 0, "updated": "2026-01-01T00:00:00Z", "schema_version": 1}'])
def test_an_emptied_registry_is_not_begun_anew(signed: Path, checkpoint: Make, keys: Path, index: bytes | None) -> None:
    zoo.Registry(signed).index()
    (signed / "index.json").unlink()
    if index is not None:
        (signed / "index.json").write_bytes(index)
    with pytest.raises(zoo.StaleIndexError, match="begin anew"):
        zoo.publish(signed, weights=checkpoint(1), name="b", version="1.0.0", signer=zoo.Signer(keys / "mine"))


@pytest.mark.parametrize("name", ["card.md", "config.json"])
def test_what_is_adopted_is_checked_in_whole(published: Path, keys: Path, name: str) -> None:
    (published / "face" / "1.0.0" / name).write_text("{}")
    before = (published / "index.json").read_bytes()
    with pytest.raises(zoo.PublishError, match=rf"{name}: expected .* bytes, found .*; nothing was signed"):
        zoo.sign(published, zoo.Signer(keys / "mine"), adopt=True)
    assert (published / "index.json").read_bytes() == before
    assert not (published / "signatures").exists()


@pytest.mark.parametrize("index", ["old", "empty", None])
def test_an_older_index_is_not_adopted(signed: Path, keys: Path, index: str | None) -> None:
    old, signer = (signed / "index.json").read_bytes(), zoo.Signer(keys / "mine")
    zoo.yank(signed, "face", "1.0.0", "bad", signer=signer)
    zoo.Registry(signed).index()
    (signed / "index.json").unlink()
    if index is not None:
        empty = b'{"serial": 9, "updated": "2026-01-01T00:00:00Z", "schema_version": 1}'
        (signed / "index.json").write_bytes(old if index == "old" else empty)
    before = sorted((path, path.read_bytes()) for path in signed.rglob("*") if path.is_file())
    with pytest.raises(zoo.StaleIndexError):
        zoo.sign(signed, signer, adopt=True)
    assert sorted((path, path.read_bytes()) for path in signed.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("garbage", [b"garbage", b"{}", None])
def test_a_damaged_signature_is_replaced(signed: Path, checkpoint: Make, keys: Path, garbage: bytes | None) -> None:
    entry, signer = zoo.Registry(signed).index().entries[0], zoo.Signer(keys / "mine")
    (signature,) = (signed / "signatures").glob(f"{entry.files[0].sha256}.*")
    good = signature.read_bytes()
    zoo.sign(signed, signer)
    assert signature.read_bytes() == good
    if garbage is None:  # a good one of another content
        garbage = next(path for path in (signed / "signatures").iterdir() if path != signature).read_bytes()
    signature.write_bytes(garbage)
    zoo.sign(signed, signer)
    assert zoo.verify(None, signed) == []


def test_one_key_follows_another(signed: Path, checkpoint: Make, keys: Path) -> None:
    old, new = keys / "mine", keys / "other"
    home = zoo.cache_folder()

    def works_for(*names: str) -> bool:
        shutil.rmtree(home)
        for name in names:
            zoo.trust(keys / f"{name}.pub", str(signed), home)
        try:
            return zoo.verify(None, signed) == [] and zoo.fetch("face", signed).is_file()
        except zoo.SignatureError:
            return False

    both = zoo.Signer([old, new, old])
    index = zoo.sign(signed, both)
    assert index.signed_by == tuple(key.fingerprint for key in both.public)
    assert len(set(index.signed_by)) == 2
    zoo.publish(signed, weights=checkpoint(1), name="b", version="1.0.0", signer=both)
    assert works_for("mine")
    assert works_for("other")
    # A publisher with the new key alone goes on, and whom the users of the old one may not follow.
    shutil.rmtree(home)
    zoo.publish(signed, weights=checkpoint(2), name="c", version="1.0.0", signer=zoo.Signer(new))
    assert [works_for("mine"), works_for("other"), works_for("mine", "other")] == [False, True, True]
