"""Mirrors of a version's files: where one place is broken, the next is asked."""

import logging
from pathlib import Path

import pytest
from served import WEIGHTS, Served, cached, part, refused
from upstream import cut, status

import zoo


def with_mirrors(served: Served, *mirrors: str) -> str:
    """The address (at ``/up``) of a registry whose entry names mirrors."""
    served.copy("mirrored", lambda document: document["entries"][0].update(mirrors=mirrors))
    return f"{served.nginx.url}/up/mirrored"


def good(served: Served) -> str:
    return f"{served.nginx.url}/plain/registry/face/1.0.0"


def damage(served: Served, name: str) -> str:
    """The address of a mirror whose weights have one other bit."""
    path = served.copy(name, lambda _: None) / "face" / "1.0.0" / WEIGHTS
    path.write_bytes(served.weights[:-1] + bytes([served.weights[-1] ^ 1]))
    return f"{served.nginx.url}/plain/{name}/face/1.0.0"


def test_what_is_right_is_asked_alone(served: Served) -> None:
    zoo.fetch("face", with_mirrors(served, good(served)))
    assert not served.nginx.asked("/plain/registry")


@pytest.mark.parametrize("code", ["404 Not Found", "403 Forbidden", "503 Busy"])
def test_the_second_is_asked_where_the_first_is_broken(served: Served, waits: list[float], code: str) -> None:
    served.upstream.plan(WEIGHTS, status(code))
    assert zoo.fetch("face", with_mirrors(served, good(served))).read_bytes() == served.weights
    assert [asked.sent for asked in served.nginx.asked("/plain/registry")] == [len(served.weights)]
    assert waits == []


def test_the_second_goes_on_where_the_first_broke_off(served: Served, waits: list[float]) -> None:
    served.upstream.plan(WEIGHTS, cut(2_000_000))
    assert zoo.fetch("face", with_mirrors(served, good(served))).read_bytes() == served.weights
    (asked,) = served.nginx.asked("/plain/registry")
    assert (asked.range, asked.sent) == ("bytes=2000000-", len(served.weights) - 2_000_000)


def test_one_with_another_file_is_passed_over(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    served.upstream.plan(WEIGHTS, status("404 Not Found"))
    bad = damage(served, "bad")
    with caplog.at_level(logging.WARNING, "pifa"):
        path = zoo.fetch("face", with_mirrors(served, bad, good(served)))
    assert path.read_bytes() == served.weights
    assert [record.message.partition(": expected")[0] for record in caplog.records if record.name == "pifa"] == [
        f"{served.nginx.url}/up/mirrored/face/1.0.0/{WEIGHTS}",
        f"{bad}/{WEIGHTS}",
    ]


def test_a_part_by_a_liar_does_not_stop_an_honest_one(served: Served, waits: list[float]) -> None:
    """What one sent before it broke off was wrong: the next begins anew."""
    bad = served.copy("bad", lambda _: None) / "face" / "1.0.0" / WEIGHTS
    bad.write_bytes(bytes(len(served.weights)))
    served.upstream.plan(f"mirrored/face/1.0.0/{WEIGHTS}", status("404 Not Found"))
    served.upstream.plan(f"bad/face/1.0.0/{WEIGHTS}", cut(5000))
    url = with_mirrors(served, f"{served.nginx.url}/up/bad/face/1.0.0", good(served))
    assert zoo.fetch("face", url).read_bytes() == served.weights
    assert [asked.range for asked in served.nginx.asked("/plain/registry")] == ["bytes=5000-", "-"]


@pytest.mark.parametrize("second", ["404 Not Found", "503 Busy", "damaged"])
@pytest.mark.parametrize("first", ["404 Not Found", "503 Busy", "damaged"])
def test_where_all_are_broken_the_first_is_named(served: Served, waits: list[float], first: str, second: str) -> None:
    url = with_mirrors(served, f"{served.nginx.url}/up/second/face/1.0.0")
    served.copy("second", lambda _: None)
    for name, fault in (("mirrored", first), ("second", second)):
        path = f"{name}/face/1.0.0/{WEIGHTS}"
        if fault == "damaged":
            (served.folder / path).write_bytes(bytes(len(served.weights)))
        else:
            served.upstream.plan(path, *[status(fault)] * 4)
    with pytest.raises(zoo.ZooError) as caught:
        zoo.fetch("face", url)
    refused(caught.value, f"{url}/face/1.0.0/{WEIGHTS}")
    assert {"404 Not Found": "404", "503 Busy": "503", "damaged": "SHA-256"}[first] in str(caught.value)
    assert cached() == {}
    served.upstream.forget()


@pytest.mark.parametrize(
    "mirror", ["hf://owner/repo", "s3://?/x", "s3://bucket/../x", "http://[", "http://[::1/x", "http://127.0.0.1:99999"]
)
def test_mirrors_that_cannot_be_used_do_not_matter_before_they_are_needed(
    served: Served, waits: list[float], mirror: str
) -> None:
    url = with_mirrors(served, mirror, good(served))
    served.upstream.plan(WEIGHTS, cut(1000))
    assert zoo.fetch("face", url).read_bytes() == served.weights
    assert not list(Path.cwd().glob("hf:*"))


@pytest.mark.parametrize("mirror", ["file:///etc", "/etc", "ftp://x/y", "http://\x1b[2J", "https://a b"])
def test_mirrors_on_this_machine_are_refused(served: Served, mirror: str) -> None:
    with pytest.raises(zoo.RegistryError, match=r"index\.json: .*(mirrors|control characters)"):
        zoo.fetch("face", with_mirrors(served, mirror))


def test_a_local_registry_has_mirrors_too(served: Served) -> None:
    folder = served.copy("local", lambda document: document["entries"][0].update(mirrors=[good(served)]))
    (folder / "face" / "1.0.0" / WEIGHTS).unlink()
    assert zoo.fetch("face", folder).read_bytes() == served.weights
    assert part(served, 0).keys().isdisjoint(cached())
