"""``pifa zoo`` as a user types it: what is printed, where, and with which exit status."""

import errno
import hashlib
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from command_line import good, pifa
from zoo_checkpoint import write_checkpoint

import zoo
from pipelines.registry import run_get, upload_help


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with ``face`` 1.0.0 and 1.1.0, which the environment names."""
    folder = tmp_path / "registry"
    for minor in range(2):
        weights = write_checkpoint(tmp_path / "model.safetensors", np.full((2, 2), minor, np.float32))
        zoo.publish(folder, weights=weights, name="face", version=f"1.{minor}.0")
    monkeypatch.setenv("PIFA_REGISTRY", str(folder))
    monkeypatch.setenv("PIFA_HOME", str(tmp_path / "home"))
    return folder


def test_list_show_get(registry: Path, tmp_path: Path) -> None:
    lines = good("zoo", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["face@1.0.0", "face@1.1.0"]
    index = json.loads(good("zoo", "list", "--json").stdout)
    assert index["serial"] == 2
    assert json.loads(good("zoo", "show", "face@1.0", "--json").stdout) == index["entries"][0]
    assert good("zoo", "show", "face").stdout.startswith("# face@1.1.0")
    path = Path(good("zoo", "get", "face").stdout.strip())
    assert path.read_bytes() == (registry / "face" / "1.1.0" / "weights.safetensors").read_bytes()
    out = tmp_path / "new" / "w.safetensors"
    assert good("zoo", "get", "face@1.0.0", "--out", out).stdout.strip() == str(out)
    assert out.read_bytes() == (registry / "face" / "1.0.0" / "weights.safetensors").read_bytes()


def test_get_writes_the_file_whole_or_not_at_all(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "found a folder" in pifa("zoo", "get", "face", "--out", folder).stderr
    assert not (tmp_path / "home").exists()  # said before anything is fetched
    good("zoo", "get", "face")

    def full(file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = folder / "w.safetensors"
    out.write_bytes(b"older")
    with monkeypatch.context() as patch:
        patch.setattr("zoo.storage.flush", full)
        result = pifa("zoo", "get", "face", "--out", out)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "No space left on device; make room" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["w.safetensors"]
    assert out.read_bytes() == b"older"
    assert "expected to write there" in pifa("zoo", "get", "face", "--out", out / "below").stderr


def test_getters_of_one_file_do_not_disturb_each_other(registry: Path, tmp_path: Path) -> None:
    good("zoo", "get", "face")
    out = tmp_path / "w.safetensors"
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda _: run_get("face", str(registry), out), range(30)))
    assert set(paths) == {out}
    assert out.read_bytes() == (registry / "face" / "1.1.0" / "weights.safetensors").read_bytes()
    assert not list(tmp_path.glob(".pifa-get-*"))


def change_index(registry: Path, card: bytes | None = None, **changes: object) -> None:
    """As an attacker would: the newest entry's fields, and its card."""
    index = json.loads((registry / "index.json").read_text())
    entry = index["entries"][1]
    entry |= changes
    if card is not None:
        (registry / "face" / "1.1.0" / "card.md").write_bytes(card)
        for file in entry["files"]:
            if file["name"] == "card.md":
                file |= {"sha256": hashlib.sha256(card).hexdigest(), "size": len(card)}
    (registry / "index.json").write_text(json.dumps(index))


def test_a_hostile_registry_writes_text_alone_on_a_terminal(registry: Path) -> None:
    change_index(registry, b"# x\n\x1b]0;pwned\x07\x1b[31mred\ttab\n")
    shown = good("zoo", "show", "face").stdout
    assert shown.startswith("# x\n")
    assert "[31mred tab" in shown
    assert all(line.isprintable() for line in shown.split("\n"))
    change_index(registry, b"\xff\xfe")
    result = pifa("zoo", "show", "face")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "face@1.1.0, card.md: expected a card in UTF-8" in result.stderr
    words = "\u202eevil\u2028next"
    metric = {"faces": 1, "normaliser": words, "nme": 1.0}
    morphable = {"name": words, "fingerprint": "f"}
    change_index(registry, scheme=words, morphable=morphable, metrics=[metric], yanked=words)
    listed = good("zoo", "list").stdout
    assert listed.count("evil next") == 4
    assert all(line.isprintable() for line in listed.split("\n"))


def test_verify_says_what_it_did_not_check(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = good("zoo", "verify")
    assert done.stdout == "every file is as published\n"
    assert done.stderr == ""  # nothing is signed
    good("zoo", "key", tmp_path / "key")
    good("zoo", "sign", "--registry", registry, "--sign", tmp_path / "key", "--adopt")
    assert good("zoo", "verify").stderr.startswith("signatures were not checked: no key is trusted")
    good("zoo", "trust", tmp_path / "key.pub")
    assert good("zoo", "verify").stderr == ""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert "name one that you may write" in pifa("zoo", "verify").stderr


def test_no_command_prints_a_password(registry: Path, tmp_path: Path) -> None:
    address = "https://me:SECRET@example.org/zoo"
    assert upload_help(tmp_path, address).count("https://example.org/zoo") == 1
    good("zoo", "key", tmp_path / "key")
    assert "SECRET" not in good("zoo", "trust", tmp_path / "key.pub", "--registry", address).output


def test_offline_is_said_and_meant(registry: Path) -> None:
    away = "https://127.0.0.1:9/zoo"
    result = pifa("zoo", "list", "--registry", away, "--offline")
    assert result.exit_code == 1
    assert "expected it in the cache" in result.stderr
    assert result.stderr.count("\n") == 1
    good("zoo", "list", "--offline")  # a folder needs no network


def test_yank_and_pins(registry: Path) -> None:
    assert pifa("zoo", "yank", "face", "--reason", "bad", "--registry", registry).exit_code == 2
    good("zoo", "yank", "face@1.1.0", "--reason", "bad", "--registry", registry)
    assert "yanked: bad" in good("zoo", "list").stdout
    assert good("zoo", "show", "face").stdout.startswith("# face@1.0.0")
    with warnings.catch_warnings(action="always"):
        done = good("zoo", "get", "face@1.1.0")
    assert done.stderr == "pifa: warning: face@1.1.0 was withdrawn by its publisher: bad\n"


def test_signing_and_trust(registry: Path, tmp_path: Path) -> None:
    key = tmp_path / "zoo.key"
    assert "its fingerprint is" in good("zoo", "key", key).stdout
    assert pifa("zoo", "key", key).exit_code == 1  # never overwritten
    assert "no key is trusted" in good("zoo", "trust").stdout
    [line] = good("zoo", "trust", f"{key}.pub", "--registry", registry).stdout.splitlines()
    fingerprint, place = line.split(maxsplit=1)
    assert place == str(registry)
    assert "expected a signature" in pifa("zoo", "list").stderr
    assert pifa("zoo", "sign", "--registry", registry).exit_code == 2
    assert "--adopt" in pifa("zoo", "sign", "--registry", registry, "--sign", key).stderr
    done = good("zoo", "sign", "--registry", registry, "--sign", key, "--adopt", "--expires", 30).stdout
    assert "signed 2 versions; holds until" in done
    good("zoo", "get", "face")
    assert "give --sign KEY" in pifa("zoo", "yank", "face@1.0.0", "--reason", "x", "--registry", registry).stderr
    assert "no key is trusted" in good("zoo", "trust", "--remove", fingerprint[:8]).stdout


def test_staging_says_what_to_do(registry: Path, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    done = good("zoo", "yank", "face@1.0.0", "--reason", "x", "--registry", registry, "--staging", staging)
    # A version's file that is there is another publisher's.
    assert f"rsync -a --ignore-existing --exclude index.json --exclude '.*' {staging}/ HOST:FOLDER/" in done.stderr
    assert "signatures" not in done.stderr
    assert f"rsync -a {staging}/index.json HOST:FOLDER/index.json" in done.stderr
    # A damaged signature is replaced.
    (staging / "signatures").mkdir()
    commands = [line for line in upload_help(staging, "https://example.org/zoo").splitlines() if "rsync" in line]
    assert commands[1] == f"  rsync -a --exclude '.*' {staging}/signatures HOST:FOLDER/"
    assert "index.json HOST" in commands[2]
    assert "yanked" not in good("zoo", "list").stdout


def test_prune(registry: Path) -> None:
    path = Path(good("zoo", "get", "face").stdout.strip())
    assert "0 files" in good("zoo", "prune").stdout
    told = json.loads(good("zoo", "prune", "--days", 0, "--dry-run", "--json").stdout)
    assert (told["removed"], str(path) in {file["path"] for file in told["files"]}) == (False, True)
    assert "days: expected a number" in pifa("zoo", "prune", "--days", "nan").stderr
    good("zoo", "prune", "--days", 0)
    assert not path.exists()


def test_site(registry: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    assert "2 versions" in good("zoo", "site", "--out", out, "--address", "https://example.org/zoo").stdout
    page = (out / "face" / "1.1.0" / "index.html").read_text()
    assert "pifa zoo get face@1.1.0 --registry https://example.org/zoo" in page
    assert pifa("zoo", "site", "--out", out).exit_code == 1
    good("zoo", "site", "--out", out, "--overwrite")


def test_expires_without_a_key_is_refused(registry: Path) -> None:
    arguments = ("--reason", "x", "--registry", registry, "--expires", 3)
    assert "only a signed index expires" in pifa("zoo", "yank", "face@1.0.0", *arguments).stderr
