"""A registry on a model hub: the real huggingface_hub against a stand-in for the hub."""

import datetime as dt
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import READER, WRITER, Hub, hub_server

import zoo
from zoo.backends import open_backend, open_writer
from zoo.signatures.keys import TrustedKey

Make = Callable[..., Path]
URL = "hf://lab/faces"
LATER = dt.date(2026, 1, 2)
API = "/api/models/lab/faces"
# huggingface_hub's own way of sending a large file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    with hub_server(monkeypatch) as hub:
        hub.create("lab/faces")
        yield hub


def labels(url: str = URL) -> list[str]:
    return [entry.label for entry in zoo.Registry(url).index().entries]


def published_files(hub: Hub, folder: str = "") -> set[str]:
    return {path for path in hub.repos["lab/faces"].files if path.startswith(folder or "face/")}


def test_round_trip(hub: Hub, checkpoint: Make, metric: Make) -> None:
    assert labels() == []
    weights = checkpoint()
    zoo.publish(URL, weights=weights, name="face", version="1.0.0", metrics=[metric(weights)])
    zoo.publish(URL, weights=checkpoint(1), name="face", version="1.1.0")
    assert labels() == ["face@1.0.0", "face@1.1.0"]
    assert zoo.fetch("face@1.0.0", URL).read_bytes() == weights.read_bytes()
    assert zoo.verify(None, URL) == []
    zoo.yank(URL, "face", "1.1.0", "trained on test faces")
    assert zoo.resolve(zoo.Registry(URL).index(), "face").version == "1.0.0"
    with pytest.raises(zoo.PublishError, match="raise the version"):
        zoo.publish(URL, weights=weights, name="face", version="1.1.0")
    assert hub.repos["lab/faces"].messages[1:] == [
        "Add face/1.0.0",
        "Update index.json",
        "Add face/1.1.0",
        "Update index.json",
        "Update index.json",
    ]
    # The token is for the hub: neither its store nor its CDN, which have another name, may see it.
    seen = {(request.host.partition(":")[0], request.token) for request in hub.requests}
    assert seen == {("127.0.0.1", WRITER), ("localhost", None)}


@pytest.mark.parametrize(
    ("url", "branch", "folder"),
    [
        (f"{URL}/zoo/2d/", "main", "zoo/2d/"),
        (f"{URL}@v2", "v2", ""),
        (f"{URL}@next%2Fone/zoo", "next/one", "zoo/"),
        (f"{URL}@refs/pr/7", "refs/pr/7", ""),
    ],
)
def test_branches_and_folders(hub: Hub, checkpoint: Make, url: str, branch: str, folder: str) -> None:
    repo = hub.repos["lab/faces"]
    if branch != "main":
        repo.commit(branch, {})
        before = repo.files
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    files = repo.commits[repo.branches[branch][-1]]
    assert {f"{folder}index.json", f"{folder}face/1.0.0/weights.safetensors"} < set(files)
    assert branch == "main" or repo.files == before
    assert zoo.verify("face", url) == []
    # What is pinned to a commit stays as it was then, and is only read.
    pinned = f"{URL}@{repo.branches[branch][-1]}/{folder}"
    zoo.yank(url, "face", "1.0.0", "no good")
    assert zoo.Registry(pinned).index().entries[0].yanked is None
    with pytest.raises(zoo.PublishError, match="expected a branch to publish to, found a commit"):
        zoo.publish(pinned, weights=checkpoint(), name="face", version="1.1.0")


def publish_at_once(weights: list[Path], signer: zoo.Signer | None = None) -> None:
    faults: list[BaseException] = []

    def publish(number: int) -> None:
        try:
            zoo.publish(URL, weights=weights[number], name=f"face-{number}", version="1.0.0", signer=signer)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(len(weights))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_publishers_at_once_lose_nothing(hub: Hub, checkpoint: Make) -> None:
    publish_at_once([checkpoint(seed) for seed in range(4)])
    index = zoo.Registry(URL).index()
    assert [entry.label for entry in index.entries] == [f"face-{number}@1.0.0" for number in range(4)]
    assert index.serial == 4
    assert zoo.verify(None, URL) == []


def test_signed_at_once(hub: Hub, checkpoint: Make, signing_key: Path, trusted_key: TrustedKey) -> None:
    pytest.importorskip("model_signing", reason="signatures need pifa[sign]")
    publish_at_once([checkpoint(seed) for seed in range(2)], zoo.Signer(signing_key))
    registry = zoo.Registry(URL, keys=[trusted_key])
    assert registry.index().serial == 2
    assert zoo.verify(None, URL) == []


def test_the_same_version_at_once(hub: Hub, checkpoint: Make) -> None:
    repo, mine, other = hub.repos["lab/faces"], checkpoint(), checkpoint(1)

    def faster() -> None:
        repo.commit("main", {**repo.files, "face/1.0.0/weights.safetensors": other.read_bytes()})

    hub.before_commit.append(faster)
    with pytest.raises(zoo.PublishError, match=r"another weights\.safetensors that the index does not name"):
        zoo.publish(URL, weights=mine, name="face", version="1.0.0")
    assert repo.files["face/1.0.0/weights.safetensors"] == other.read_bytes()
    assert labels() == []


def test_only_commits_to_the_index_are_in_its_way(hub: Hub, checkpoint: Make) -> None:
    """A signature of the new index is there before it, by a commit of its own."""
    writer, repo = open_writer(URL), hub.repos["lab/faces"]
    assert writer.read_indexes() == ([], None)
    writer.put_file("signatures/one.sig", b"one")
    assert writer.swap_index(b"{}", None)
    assert not writer.swap_index(b"{ }", None)
    documents, tag = writer.read_indexes()
    assert documents == [b"{}"]
    # As it was at the commit that the tag is of: a branch's file may come from somebody's cache.
    assert hub.asked("GET", f"/lab/faces/resolve/{repo.branches['main'][-1]}/index.json")
    hub.before_commit.append(lambda: repo.commit("main", {**repo.files, "README.md": b"# Faces"}))
    assert writer.swap_index(b"[]", tag)
    hub.before_commit.append(lambda: repo.commit("main", {**repo.files, "index.json": b"[1]"}))
    assert not writer.swap_index(b"[2]", writer.read_indexes()[1])
    assert not writer.swap_index(b"[3]", tag)
    assert (repo.files["index.json"], repo.files["README.md"]) == (b"[1]", b"# Faces")
    # The same file again is no commit; another in its place is one.
    commits = len(repo.messages)
    for data, more in ((b"one", 0), (b"two", 1), (b"two", 1)):
        writer.put_file("signatures/one.sig", data)
        assert len(repo.messages) == commits + more
        assert repo.files["signatures/one.sig"] == data


def test_a_killed_publication_is_finished_by_the_next(
    hub: Hub, checkpoint: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    weights = checkpoint()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["zoo.publish"], "update_index", killed)
        with pytest.raises(KeyboardInterrupt):
            zoo.publish(URL, weights=weights, name="face", version="1.0.0", created=dt.date(2026, 1, 1))
    assert "face/1.0.0/weights.safetensors" in published_files(hub)
    assert labels() == []
    with pytest.raises(zoo.PublishError, match="remove that folder"):
        zoo.publish(URL, weights=checkpoint(1), name="face", version="1.0.0")
    hub.requests.clear()
    zoo.publish(URL, weights=weights, name="face", version="1.0.0", created=LATER)
    assert not hub.asked("PUT", "/store/")
    assert zoo.verify(None, URL) == []


def test_an_answer_that_is_lost(hub: Hub, checkpoint: Make) -> None:
    hub.loses_answer = True
    with pytest.raises(zoo.UnreachableError, match="expected an answer, found Server disconnected"):
        zoo.publish(URL, weights=checkpoint(), name="face", version="1.0.0")
    zoo.publish(URL, weights=checkpoint(), name="face", version="1.0.0", created=LATER)
    assert hub.repos["lab/faces"].messages[1:] == ["Add face/1.0.0", "Update index.json"]


def test_files_that_the_repository_ignores(hub: Hub, checkpoint: Make) -> None:
    hub.create("lab/faces", files={".gitignore": b"*.safetensors\n"})
    with pytest.raises(zoo.PublishError, match=r"\.gitignore leaves them out"):
        zoo.publish(URL, weights=checkpoint(), name="face", version="1.0.0")
    assert labels() == []


def test_a_broken_download_goes_on(hub: Hub, checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = checkpoint()
    zoo.publish(URL, weights=weights, name="face", version="1.0.0")
    monkeypatch.setattr(sys.modules["zoo.transfer"], "_wait", lambda pause, error: None)
    hub.cut = 100
    assert zoo.fetch("face", URL).read_bytes() == weights.read_bytes()
    assert [request.range for request in hub.asked("GET", "/cdn/")] == [None, "bytes=100-"]
    # Also the hub's own answer is one to a range: it may serve the file itself.
    assert [request.range for request in hub.asked("GET", "weights.safetensors")] == [None, "bytes=100-"]


def test_a_mirror_on_the_hub(hub: Hub, checkpoint: Make, registry: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = checkpoint()
    for url in (URL, str(registry)):
        zoo.publish(url, weights=weights, name="face", version="1.0.0", mirrors=[f"{URL}/face/1.0.0"])
    shutil.rmtree(registry / "face")
    assert zoo.fetch("face", registry).read_bytes() == weights.read_bytes()
    assert "hf://lab/faces/face/1.0.0/weights.safetensors instead" in caplog.text


def test_rights(hub: Hub, checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.create("lab/secret", private=True)
    url = "hf://lab/secret"
    zoo.publish(url, weights=checkpoint(), name="face", version="1.0.0")
    monkeypatch.setenv("HF_TOKEN", READER)
    zoo.fetch("face", url)
    with pytest.raises(zoo.RegistryError, match=r"403 Forbidden: you must use a write token .* set HF_TOKEN"):
        zoo.publish(url, weights=checkpoint(), name="face", version="1.1.0")
    for token, found in (("hf_other", "401 Invalid credentials"), (None, "401 Repository not found")):
        monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(zoo.RegistryError, match=rf"^hf://lab/secret\S*: .* {found}.* set HF_TOKEN"):
            zoo.Registry(url).index()
        with pytest.raises(zoo.PublishError, match=rf"^hf://lab/secret: .* {found}.* set HF_TOKEN"):
            zoo.publish(url, weights=checkpoint(), name="face", version="1.1.0")
    assert labels() == []  # what is public needs no token
    hub.replies["/lab/faces/resolve"] = (403, {"X-Error-Code": "GatedRepo"}, b"")
    with pytest.raises(zoo.RegistryError, match=r"found 403 GatedRepo; .* set HF_TOKEN"):
        labels()


def test_a_repository_is_not_made_silently(hub: Hub, checkpoint: Make) -> None:
    with pytest.raises(zoo.PublishError, match="make it: hf repos create lab/none"):
        zoo.publish("hf://lab/none", weights=checkpoint(), name="face", version="1.0.0")
    with pytest.raises(zoo.RegistryError, match="404 Repository not found"):
        zoo.Registry("hf://lab/none").index()
    with pytest.raises(zoo.RegistryError, match="expected a revision 'v9', found none"):
        zoo.publish(f"{URL}@v9", weights=checkpoint(), name="face", version="1.0.0")
    assert set(hub.repos) == {"lab/faces"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "match"),
    [
        (503, {}, b"", zoo.UnreachableError, "found 503 Service Unavailable; try again later"),
        (429, {"Retry-After": "7"}, b"", zoo.UnreachableError, "found 429"),
        (400, {"X-Error-Message": "over\x1b[2J quota"}, b"", zoo.RegistryError, r"400 over�\[2J quota; do as it says"),
        (200, {}, b"<html>", zoo.RegistryError, "found what huggingface_hub can't use"),
        (200, {}, b"{}", zoo.RegistryError, "found what huggingface_hub can't use"),
        (200, {}, json.dumps({"id": "x", "sha": "../main"}).encode(), zoo.RegistryError, "repository with a commit"),
        (200, {}, json.dumps({"id": "x"}).encode(), zoo.RegistryError, "repository with a commit"),
    ],
)
def test_answers_of_another_kind(
    hub: Hub, checkpoint: Make, status: int, headers: dict[str, str], body: bytes, error: type, match: str
) -> None:
    hub.replies[f"{API}/revision"] = (status, headers, body)
    with pytest.raises(error, match=match) as caught:
        zoo.publish(URL, weights=checkpoint(), name="face", version="1.0.0")
    assert "\n" not in str(caught.value)
    if status == 429:
        assert caught.value.retry_after == 7


def test_a_netrc_does_not_displace_the_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert labels() == []
    assert {request.token for request in hub.requests} == {WRITER}


@pytest.mark.parametrize(
    "url",
    [
        "hf://",
        "hf://lab",
        "hf:///faces",
        "hf://lab/",
        "hf://lab/../faces",
        "hf://../faces",
        "hf://lab/..",
        "hf://lab/faces/../other",
        "hf://lab/faces/.git",
        "hf://lab/faces//zoo",
        "hf://lab/faces@",
        "hf://lab/faces@..",
        "hf://lab/faces@a%2F..%2Fb",
        "hf://lab/faces@%2Fmain",
        "hf://lab/faces@main?x=1",
        "hf://lab/faces?x=1",
        "hf://lab/fa--ces",
        "hf://lab/faces.git",
        "hf://läb/faces",
        "hf://lab/faces\n",
        "hf://user:secret@host/lab/faces",
        "hf://datasets/lab/faces",
        f"hf://lab/{'f' * 200}",
    ],
)
def test_hostile_addresses(hub: Hub, url: str) -> None:
    with pytest.raises(zoo.RegistryError, match=r"expected (hf://owner/repo|a model repository)") as caught:
        zoo.Registry(url)
    assert caught.value.args[0].isprintable()
    assert hub.requests == []


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(zoo.RegistryError, match=r"pip install 'pifa\[hf\]'"):
        open_backend(URL)


def test_offline(hub: Hub, checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    zoo.publish(URL, weights=checkpoint(), name="face", version="1.0.0")
    cached = zoo.fetch("face", URL)
    hub.requests.clear()
    assert zoo.fetch("face", URL, offline=True) == cached
    with monkeypatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert zoo.fetch("face", URL) == cached
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    refused: list[Callable[[], Any]] = [
        lambda: zoo.Registry("hf://lab/faces/other").index(),
        lambda: zoo.publish(URL, weights=checkpoint(), name="face", version="1.1.0"),
    ]
    for work in refused:
        with pytest.raises(zoo.OfflineError, match="HF_HUB_OFFLINE"):
            work()
    assert hub.requests == []


def test_an_endpoint_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(zoo.RegistryError, match="HF_ENDPOINT: expected the hub's address"):
        zoo.Registry(URL).index()
