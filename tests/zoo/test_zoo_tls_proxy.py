"""Certificates of one's own authority, and proxies, as they are set for every program on a machine."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from forward_proxy import Proxy, forward_proxy
from served import WEIGHTS, Served, cached, refused
from upstream import cut

import zoo


@pytest.fixture
def secure(served: Served, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the registry by https, whose authority is known to this machine."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.certificates.authority))
    return f"{served.nginx.secure}/plain/registry"


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with forward_proxy() as found:
        yield found


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_of_ones_own(served: Served, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    url = f"{served.nginx.secure}/plain/registry"
    with pytest.raises(zoo.RegistryError, match=r"certificate that this machine trusts.*REQUESTS_CA_BUNDLE") as caught:
        zoo.fetch("face", url)
    refused(caught.value, f"{url}/index.json")
    assert not isinstance(caught.value, zoo.UnreachableError)
    monkeypatch.setenv(name, str(served.certificates.authority))
    assert zoo.fetch("face", url).read_bytes() == served.weights
    assert {asked.port for asked in served.nginx.asked()} == {served.nginx.secure.rpartition(":")[2]}


def test_a_certificate_for_another_name(served: Served, secure: str) -> None:
    url = secure.replace("localhost", "127.0.0.1")
    with pytest.raises(zoo.RegistryError, match=r"certificate.*127\.0\.0\.1") as caught:
        zoo.Registry(url).index()
    refused(caught.value, f"{url}/index.json")
    assert not isinstance(caught.value, zoo.UnreachableError)


def test_a_bundle_that_is_not_there(
    served: Served, secure: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(zoo.RegistryError, match=r"none\.pem") as caught:
        zoo.Registry(secure).index()
    refused(caught.value, "REQUESTS_CA_BUNDLE")
    (tmp_path / "none.pem").write_text("no certificates")
    with pytest.raises(zoo.RegistryError, match="REQUESTS_CA_BUNDLE") as caught:
        zoo.Registry(secure).index()
    refused(caught.value, f"{secure}/index.json")


def test_https_to_what_speaks_no_tls(served: Served, secure: str, waits: list[float]) -> None:
    url = f"{served.nginx.url.replace('http:', 'https:')}/plain/registry"
    with pytest.raises(zoo.UnreachableError, match="by TLS") as caught:
        zoo.Registry(url).index()
    refused(caught.value, f"{url}/index.json")
    assert "certificate" not in str(caught.value)


def test_from_https_to_http_no_redirect_is_followed(served: Served, secure: str) -> None:
    url = secure.replace("/plain/", "/to-http/")
    with pytest.raises(zoo.RegistryError, match=f"redirect to {served.nginx.url}/plain") as caught:
        zoo.fetch("face", url)
    refused(caught.value, f"{url}/index.json")
    assert len(served.nginx.asked()) == 1
    # From http it is: nothing is lost by it.
    assert zoo.fetch("face", served.at("to-http")).read_bytes() == served.weights


def test_a_break_within_tls_goes_on(served: Served, secure: str, waits: list[float]) -> None:
    served.upstream.plan(WEIGHTS, cut(1_500_000))
    assert zoo.fetch("face", secure.replace("/plain/", "/up/")).read_bytes() == served.weights
    assert served.nginx.asked(WEIGHTS)[1].range == "bytes=1500000-"


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
def test_a_proxy(served: Served, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://{proxy.address}")
    url = f"{served.nginx.url}/plain/registry".replace("127.0.0.1", "localhost")
    assert zoo.fetch("face", url).read_bytes() == served.weights
    files = ["index.json", f"face/1.0.0/{WEIGHTS}"]
    assert proxy.asked == [f"GET {url}/{file} HTTP/1.1" for file in files]


def test_a_proxy_for_https(served: Served, secure: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
    assert zoo.fetch("face", secure).read_bytes() == served.weights
    assert {line.split()[0] for line in proxy.asked} == {"CONNECT"}


def test_no_proxy_for_some(served: Served, secure: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
    monkeypatch.setenv("no_proxy", "localhost")
    zoo.fetch("face", secure)
    assert proxy.asked == []


@pytest.mark.parametrize("kind", ["http", "https"])
def test_a_proxy_that_asks_who_one_is(
    served: Served, secure: str, monkeypatch: pytest.MonkeyPatch, waits: list[float], kind: str
) -> None:
    url = secure if kind == "https" else served.at("plain")
    with forward_proxy(base64.b64encode(b"user:secret").decode()) as proxy:
        monkeypatch.setenv(f"{kind}_proxy", f"http://{proxy.address}")
        with pytest.raises(zoo.RegistryError, match="407") as caught:
            zoo.fetch("face", url)
        refused(caught.value, f"{url}/index.json")
        monkeypatch.setenv(f"{kind}_proxy", f"http://user:secret@{proxy.address}")
        assert zoo.fetch("face", url).read_bytes() == served.weights


@pytest.mark.parametrize("kind", ["http", "https"])
def test_a_proxy_that_is_not_there(
    served: Served, secure: str, monkeypatch: pytest.MonkeyPatch, waits: list[float], kind: str
) -> None:
    url = secure if kind == "https" else served.at("plain")
    monkeypatch.setenv(f"{kind}_proxy", "http://user:secret@127.0.0.1:9")
    with pytest.raises(zoo.UnreachableError, match="through the proxy") as caught:
        zoo.fetch("face", url)
    refused(caught.value, f"{url}/index.json")
    assert "secret" not in str(caught.value)
    assert cached() == {}


def test_a_password_in_an_address_is_used_and_not_shown(served: Served) -> None:
    url = served.upstream.url.replace("http://", "http://user:secret@") + "/registry"
    assert zoo.fetch("face", url).read_bytes() == served.weights
    assert "Basic dXNlcjpzZWNyZXQ=" in served.upstream.asked[0].head
    with pytest.raises(zoo.MissingFileError) as caught:
        zoo.fetch("face", url + "/nowhere")
    refused(caught.value, f"{served.upstream.url}/registry/nowhere/index.json")
    with pytest.raises(zoo.OfflineError) as offline:
        zoo.fetch("face", url + "/nowhere", offline=True)
    assert "secret" not in str(offline.value)
