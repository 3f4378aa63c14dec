"""A signed registry on a web server: signatures come before a download, are kept, and nothing leaks when offline."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from served import WEIGHTS, Served, part
from upstream import cut, ok, status

import zoo
from zoo.signatures.keys import TrustedKey

Make = Callable[..., Path]


class Signed(NamedTuple):
    url: str
    folder: Path
    weights: bytes
    signature: str


@pytest.fixture
def signed(served: Served, signing_key: Path, trusted_key: TrustedKey, tmp_path: Path) -> Signed:
    """A copy of the served registry, signed by a key that is trusted for its address behind the upstream."""
    folder = served.copy("signed", lambda document: None)
    zoo.sign(folder, zoo.Signer(signing_key), adopt=True)
    url = f"{served.upstream.url}/signed"
    zoo.trust(Path(trusted_key.where), url, tmp_path / "home")
    sha256 = zoo.Registry(folder).index().entries[0].files[0].sha256
    return Signed(url, folder, served.weights, f"signatures/{sha256}")


def test_a_signature_is_asked_for_first_and_patiently(served: Served, signed: Signed, waits: list[float]) -> None:
    served.upstream.plan(signed.signature, status("503 Slow Down"))
    assert zoo.fetch("face", signed.url).read_bytes() == signed.weights
    asked = [request.path for request in served.upstream.asked]
    assert [path for path in asked if path.endswith(WEIGHTS)] == asked[-1:]
    assert sum(signed.signature in path for path in asked) == 2
    assert len(waits) == 1


def test_a_kept_signature_is_enough(served: Served, signed: Signed, waits: list[float]) -> None:
    """What broke off is finished by a mirror, from which no signature comes."""
    served.upstream.plan(WEIGHTS, *[cut(1000)] * 4)
    with pytest.raises(zoo.UnreachableError, match="are kept"):
        zoo.fetch("face", signed.url)
    shutil.rmtree(signed.folder / "signatures")
    assert zoo.fetch("face", signed.url).read_bytes() == signed.weights


def test_a_signature_that_is_forbidden_is_not_there(
    served: Served, signed: Signed, trusted_key: TrustedKey, other_key: TrustedKey, tmp_path: Path
) -> None:
    """Where names may not be listed, a server says 403 for what it does not have; the second key's is there."""
    zoo.distrust(trusted_key.fingerprint[:8], tmp_path / "home")
    for key in (other_key, trusted_key):
        zoo.trust(Path(key.where), signed.url, tmp_path / "home")
    served.upstream.plan(other_key.fingerprint[:16], status("403 Forbidden"))
    assert zoo.fetch("face", signed.url).read_bytes() == signed.weights


def test_offline_asks_nothing(served: Served, signed: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = zoo.fetch("face", signed.url)
    served.upstream.asked.clear()
    registry = zoo.Registry(signed.url, offline=True)
    entry = registry.index().entries[0]
    for work in (
        lambda: registry.read(entry, "card.md"),
        lambda: registry.copy(entry, "card.md", cached.with_name("card")),
        lambda: registry.sources(entry, WEIGHTS),
    ):
        with pytest.raises(zoo.OfflineError):
            work()
    assert zoo.fetch("face", signed.url, offline=True) == cached
    monkeypatch.setenv("PIFA_OFFLINE", "1")
    assert all("not to be used" in problem.message for problem in zoo.verify(None, signed.url))
    assert served.upstream.asked == []


def test_a_portals_page_destroys_no_part(served: Served, waits: list[float]) -> None:
    """The page of a hotel's network, say: its length alone tells that it is not the file."""
    url = f"{served.upstream.url}/registry"
    served.upstream.plan(WEIGHTS, *[cut(1_500_000)], *[cut(0)] * 4)
    with pytest.raises(zoo.UnreachableError):
        zoo.fetch("face", url)
    kept = part(served, 1_500_000)
    page = b"<html>please sign in</html>"
    served.upstream.plan(WEIGHTS, ok(f"Content-Length: {len(page)}", body=[page]))
    with pytest.raises(zoo.HashError, match=rf"found {len(page)}"):
        zoo.fetch("face", url)
    (found,) = zoo.cache_folder().glob("zoo/*/.*.part")
    assert {found.name: found.stat().st_size} == kept
    assert zoo.fetch("face", url).read_bytes() == served.weights
    assert served.upstream.asked[-1].start == 1_500_000
