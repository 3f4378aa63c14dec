"""A registry in a bucket, against a real S3 server (`tests/s3_server.py`) with and without faults."""

import itertools
import json
import logging
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import SETTINGS, configure, s3_server, set_faults
from served import WEIGHTS, cached, refused

import zoo
from zoo.fetch import fetch_entry

pytest.importorskip("moto", reason="the S3 server is moto's: pip install 'pifa[dev]'")
boto3 = pytest.importorskip("boto3", reason="needs pip install 'pifa[s3]'")

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Path]
_names = itertools.count()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address, pytest.MonkeyPatch.context() as patch:
        configure(patch, address)
        yield address


@pytest.fixture(scope="module", autouse=True)
def _one_session(endpoint: str) -> Iterator[None]:
    """One session for all clients: to read what S3's interface is takes a client longer than all that it asks here."""
    session = boto3.Session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "Session", lambda: session)
        patch.setattr(boto3, "client", session.client)
        yield


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    """A new bucket's name."""
    name = f"models-{next(_names)}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield name
    set_faults(endpoint)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of S3 pauses before it asks again; so does `zoo.update`."""
    for name in ("botocore.endpoint.time", "zoo.update.time"):
        monkeypatch.setattr(name, types.SimpleNamespace(sleep=lambda seconds: None))


def keys(bucket: str) -> dict[str, bytes]:
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in found}


@pytest.mark.parametrize("prefix", ["", "/zoo/of faces+ä", "/a//b/"])
def test_there_and_back(bucket: str, checkpoint: Make, prefix: str) -> None:
    url = f"s3://{bucket}{prefix}"
    assert zoo.Registry(url).index().entries == ()
    for number, version in enumerate(("1.0.0", "1.1.0")):
        zoo.publish(url, weights=checkpoint(number), name="face", version=version)
    assert zoo.fetch("face", url).read_bytes() == checkpoint(1).read_bytes()
    assert zoo.verify(None, url) == []
    zoo.yank(url, "face", "1.1.0", "trained on test faces")
    assert zoo.resolve(zoo.Registry(url).index(), "face").version == "1.0.0"
    assert zoo.Registry(url).index().serial == 3
    with pytest.raises(zoo.PublishError, match="raise the version"):
        zoo.publish(url, weights=checkpoint(2), name="face", version="1.0.0")
    root = prefix.strip("/")
    root = f"{root}/" if root else ""
    names = ["card.html", "card.md", "config.json", WEIGHTS]
    assert set(keys(bucket)) == {
        f"{root}index.json",
        *(f"{root}face/{version}/{name}" for version in ("1.0.0", "1.1.0") for name in names),
    }
    head = boto3.client("s3").head_object(Bucket=bucket, Key=f"{root}face/1.0.0/card.html")
    assert head["ContentType"] == "text/html; charset=utf-8"


def test_what_was_damaged_is_found(bucket: str, checkpoint: Make) -> None:
    url = f"s3://{bucket}"
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"face/1.0.0/{WEIGHTS}", Body=b"other")
    (problem,) = zoo.verify(None, url)
    assert problem.file == WEIGHTS
    with pytest.raises(zoo.HashError) as caught:
        zoo.fetch("face", url)
    refused(caught.value, f"{url}/face/1.0.0/{WEIGHTS}")
    assert cached() == {}


PUBLISHERS = """
import os, sys, boto3, zoo
url, *weights = sys.argv[1:]
session = boto3.Session()
session.client("s3")  # reads what S3's interface is, so that no child has to
boto3.Session = lambda: session
children = []
gate, opened = os.pipe()
for number, path in enumerate(weights):
    child = os.fork()
    if not child:
        status = 9
        try:
            os.close(opened)
            os.read(gate, 1)
            zoo.publish(url, weights=path, name=f"face-{number}", version="1.0.0")
            try:
                if number < 3:
                    zoo.publish(url, weights=path, name="wanted", version="1.0.0")
                status = 0
            except zoo.PublishError:
                status = 1
        finally:
            os._exit(status)
    children.append(child)
os.close(opened)
print(sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_publishers_lose_nothing_and_one_wins_a_version(bucket: str, checkpoint: Make) -> None:
    url = f"s3://{bucket}/zoo"
    weights = [str(checkpoint(number)) for number in range(8)]
    done = subprocess.run(
        [sys.executable, "-c", PUBLISHERS, url, *weights],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("[0, 0, 0, 0, 0, 0, 1, 1]", "")
    index = zoo.Registry(url).index()
    assert [entry.name for entry in index.entries] == [f"face-{number}" for number in range(8)] + ["wanted"]
    assert index.serial == 9
    assert zoo.verify(None, url) == []


@pytest.mark.parametrize("kind", [1, 501])
def test_a_store_without_conditions(
    bucket: str, endpoint: str, checkpoint: Make, kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"s3://{bucket}"
    set_faults(endpoint, unconditional=kind)
    with caplog.at_level(logging.WARNING, "pifa"):
        zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
        zoo.publish(url, weights=checkpoint(1), name="face", version="1.1.0")
    warned = [record.message for record in caplog.records if record.name == "pifa"]
    assert len(warned) == 2
    assert warned[0].startswith(f"{url}: this store ignores conditions")
    assert zoo.verify(None, url) == []
    assert zoo.Registry(url).index().serial == 2
    with pytest.raises(zoo.PublishError, match="raise the version"):
        zoo.publish(url, weights=checkpoint(2), name="face", version="1.0.0")


def test_a_store_without_conditions_keeps_what_a_killed_publication_left(
    bucket: str, endpoint: str, checkpoint: Make
) -> None:
    url = f"s3://{bucket}"
    set_faults(endpoint, unconditional=501, writes=3)
    with pytest.raises(zoo.RegistryError):
        zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    set_faults(endpoint, unconditional=501)
    before = keys(bucket)
    with pytest.raises(zoo.PublishError, match="found another one"):
        zoo.publish(url, weights=checkpoint(1), name="face", version="1.0.0")
    assert keys(bucket) == before


def test_a_busy_store(bucket: str, endpoint: str, checkpoint: Make) -> None:
    """Every fourth answer is 503 SlowDown, and the client of S3 asks again by itself."""
    url = f"s3://{bucket}"
    set_faults(endpoint, slow_down=0.25)
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    assert zoo.fetch("face", url).read_bytes() == checkpoint().read_bytes()


def test_a_store_that_is_down(bucket: str, endpoint: str, checkpoint: Make, waits: list[float]) -> None:
    url = f"s3://{bucket}"
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    path = zoo.fetch("face", url)
    set_faults(endpoint, slow_down=1)
    with pytest.warns(zoo.OldIndexWarning, match=r"SlowDown.*its index of 20"):
        assert zoo.fetch("face", url) == path
    with pytest.raises(zoo.UnreachableError, match="try again later") as caught:
        zoo.publish(url, weights=checkpoint(1), name="face", version="1.1.0")
    refused(caught.value, url)


def test_reads_that_break_off_go_on(bucket: str, endpoint: str, checkpoint: Make, waits: list[float]) -> None:
    url = f"s3://{bucket}"
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    registry = zoo.Registry(url)
    set_faults(endpoint, broken=2)
    (entry,) = registry.index().entries
    set_faults(endpoint, broken=2)
    assert fetch_entry(registry, entry, zoo.cache_folder()).read_bytes() == checkpoint().read_bytes()
    assert len(waits) == 4
    set_faults(endpoint, broken=1)
    zoo.publish(url, weights=checkpoint(1), name="face", version="1.1.0")


def test_a_write_that_is_done_although_it_failed(bucket: str, endpoint: str, checkpoint: Make) -> None:
    """The client asks again by itself, and is told that somebody was there already: it was itself."""
    url = f"s3://{bucket}"
    for number in range(6):  # the weights, the configuration, the card and its page, the configuration again, the index
        set_faults(endpoint, skip=number, lost=1)
        zoo.publish(url, weights=checkpoint(), name="face", version=f"1.0.{number}")
    set_faults(endpoint, lost=1)
    zoo.yank(url, "face", "1.0.0", "old")
    assert zoo.Registry(url).index().serial == 7
    assert zoo.verify(None, url) == []


def test_a_write_while_another_is_under_way(bucket: str, endpoint: str, checkpoint: Make, waits: list[float]) -> None:
    url = f"s3://{bucket}"
    for number in range(5):
        set_faults(endpoint, skip=number, conflict=1)
        zoo.publish(url, weights=checkpoint(), name="face", version=f"1.0.{number}")
    assert zoo.Registry(url).index().serial == 5
    assert zoo.verify(None, url) == []


def test_a_publication_that_ends_anywhere_is_finished_by_the_next(bucket: str, endpoint: str, checkpoint: Make) -> None:
    url, registry = f"s3://{bucket}/zoo", zoo.Registry(f"s3://{bucket}/zoo")
    for writes in range(6):
        set_faults(endpoint, writes=writes)
        with pytest.raises(zoo.RegistryError, match="credentials and what they may do") as caught:
            zoo.publish(url, weights=checkpoint(), name="face", version=f"1.0.{writes}")
        refused(caught.value, url)
        set_faults(endpoint)
        assert registry.index().serial == writes
        zoo.publish(url, weights=checkpoint(), name="face", version=f"1.0.{writes}")
    assert zoo.verify(None, url) == []


def test_no_such_bucket(endpoint: str, checkpoint: Make) -> None:
    for work in (
        lambda: zoo.fetch("face", "s3://nobodys/zoo"),
        lambda: zoo.publish("s3://nobodys/zoo", weights=checkpoint(), name="face", version="1.0.0"),
        lambda: zoo.yank("s3://nobodys/zoo", "face", "1.0.0", "old"),
    ):
        with pytest.raises(zoo.RegistryError, match="expected a bucket, found none of that name") as caught:
            work()
        refused(caught.value, "s3://nobodys/zoo")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without credentials."""
    monkeypatch.setattr(boto3, "Session", boto3.session.Session)
    for name in SETTINGS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_a_public_bucket_needs_no_credentials(bucket: str, endpoint: str, checkpoint: Make, nobody: None) -> None:
    url = f"s3://{bucket}"
    with pytest.MonkeyPatch.context() as patch:
        configure(patch, endpoint)
        zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
        for key in keys(bucket):
            boto3.client("s3").put_object_acl(Bucket=bucket, Key=key, ACL="public-read")
    assert zoo.fetch("face", url).read_bytes() == checkpoint().read_bytes()
    set_faults(endpoint, writes=0)
    with pytest.raises(zoo.RegistryError, match="credentials"):
        zoo.publish(url, weights=checkpoint(1), name="face", version="1.1.0")


def test_a_private_bucket_says_so(bucket: str, endpoint: str, nobody: None) -> None:
    set_faults(endpoint, private=1)
    with pytest.raises(zoo.RegistryError, match=r"403|AccessDenied.*credentials") as caught:
        zoo.fetch("face", f"s3://{bucket}/zoo")
    refused(caught.value, f"s3://{bucket}/zoo/index.json")


HOSTILE = [
    "s3://",
    "s3:///x",
    "s3://a",
    "s3://b/../x",
    "s3://b/x/..",
    "s3://bad bucket",
    "s3://b\n",
    "s3://-b",
    "s3://b?x",
]


@pytest.mark.parametrize("url", [*HOSTILE, "s3://" + "b" * 300, "s3://b/\x1b[2J", "s3://b/x\n", "s3://b/" + "x" * 2000])
def test_addresses_that_are_none(endpoint: str, url: str) -> None:
    with pytest.raises(zoo.RegistryError, match="s3://bucket/prefix") as caught:
        zoo.Registry(url)
    assert str(caught.value).isprintable()


def test_a_hostile_index_in_a_bucket(bucket: str, checkpoint: Make) -> None:
    url, client = f"s3://{bucket}", boto3.client("s3")
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    document: Any = json.loads(keys(bucket)["index.json"])
    document["entries"][0]["files"][0]["name"] = "../../x"
    for body in (json.dumps(document).encode(), b"", b"\0" * 17 * 2**20):
        client.put_object(Bucket=bucket, Key="index.json", Body=body)
        for work in (
            lambda: zoo.fetch("face", url),
            lambda: zoo.publish(url, weights=checkpoint(1), name="face", version="1.1.0"),
        ):
            with pytest.raises(zoo.RegistryError, match=r"index\.json"):
                work()
    assert cached() == {}


def test_another_machines_settings_are_an_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "Session", boto3.session.Session)
    monkeypatch.setenv("AWS_PROFILE", "nobodys")
    with pytest.raises(zoo.RegistryError, match="nobodys") as caught:
        zoo.Registry(f"s3://{bucket}")
    refused(caught.value, f"s3://{bucket}")
