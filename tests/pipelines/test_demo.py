"""``pifa demo``: the whole path on rendered faces, its page, and the folder that it may use."""

from __future__ import annotations

import html
import json
import shlex
import webbrowser
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from html_page import whole_page

import pipelines.demo
from cli import main
from pifa_data.errors import ImageError, PifaError
from pifa_data.images import read_image
from pipelines import demo_page
from pipelines.commands.demo import demo
from pipelines.demo import MADE, MARKER, PAGE, run_demo
from pipelines.demo_photo import align_photo
from zoo.errors import ZooError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A demo of 24 faces and one step, and what it said."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("demo") / "the demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.demo, "FRESH", 2)
        assert run_demo(out, faces=22, steps=1, say=said.append) == out / PAGE
    return out, said


def test_every_stage_leaves_what_it_says(made: tuple[Path, list[str]]) -> None:
    out, said = made
    assert all((out / name).exists() for name in MADE)
    assert [line[:3] for line in said if line[0] != " "] == [f"{i}/7" for i in range(1, 8)]
    assert "24 faces of 6 people" in said[0]  # whole people
    rounds = (out / "run" / "metrics.csv").read_text().splitlines()
    assert rounds[-1].startswith("1,1,")  # one step, no more
    values = json.loads((out / "eval.json").read_text())
    assert values["faces"] == 4  # one person held out
    assert values["nme_initial"] > 5
    [version] = (out / "registry" / "demo68").iterdir()
    assert version.name == "0.1.0"
    records = [json.loads(line) for line in (out / "aligned.jsonl").read_text().splitlines()]
    assert [Path(record["image"]).parts[-3] for record in records] == ["person_0006", "person_0007"]


def test_the_page_tells_of_each_stage(made: tuple[Path, list[str]]) -> None:
    out, _ = made
    page = (out / PAGE).read_text(encoding="utf-8")
    whole_page(page, hostile=False)
    for text in (
        "1 · Faces",
        "2 · A store",
        "3 · Training",
        "4 · On people",
        "5 · Published",
        "6 · Fresh",
        "7 · A real",
    ):
        assert text in page
    assert "<b>144</b>" in page  # crops
    assert "person_0007" in page
    assert "grace_hopper.jpg" in page


def test_the_commands_on_the_page_are_commands(made: tuple[Path, list[str]]) -> None:
    """With options that there are."""
    out, _ = made
    page = (out / PAGE).read_text(encoding="utf-8")
    typed = [line.split("<code>")[1].split("</code>")[0] for line in page.splitlines() if 'class="typed"' in line]
    assert [command.split()[:2] for command in typed] == [
        ["pifa", name] for name in ("inspect", "prep", "train", "eval", "zoo", "align", "align")
    ]
    for command in typed:
        context, arguments = (
            click.Context(main, info_name="pifa"),
            shlex.split(html.unescape(command).split(" > ")[0])[1:],
        )
        group: click.Group = main
        while arguments:  # parsed as if typed, and not run
            name, found, arguments = group.resolve_command(context, arguments)
            assert found is not None
            context = found.make_context(name, list(arguments), parent=context)
            if not isinstance(found, click.Group):
                break
            group, arguments = found, [*context._protected_args, *context.args]


def test_a_version_is_above_all_earlier_ones(tmp_path: Path) -> None:
    assert pipelines.demo._next_version(tmp_path) == "0.1.0"
    for name in ("0.2.0", "0.10.0", "notes"):
        (tmp_path / "demo68" / name).mkdir(parents=True)
    assert pipelines.demo._next_version(tmp_path) == "0.11.0"


def test_it_goes_over_its_own_folder_and_over_no_other(tmp_path: Path) -> None:
    def stop(demo: object, say: Callable[[str], None]) -> None:
        raise PifaError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.demo, "_render", stop)
        other = tmp_path / "photos"
        other.mkdir()
        (other / "faces").mkdir()
        (other / "faces" / "mine.jpg").write_bytes(b"mine")
        with pytest.raises(PifaError, match="expected a new folder or an earlier demo's"):
            run_demo(other, say=print)
        assert [path.name for path in other.rglob("*")] == ["faces", "mine.jpg"]
        (tmp_path / "file").write_text("")
        with pytest.raises(PifaError, match="expected a new folder"):
            run_demo(tmp_path / "file", say=print)

        own = tmp_path / "new" / "demo"
        with pytest.raises(PifaError, match="enough"):
            run_demo(own, say=print)
        assert [path.name for path in own.iterdir()] == [MARKER]
        for name in ("registry/demo68/0.1.0", "run", "faces"):
            (own / name).mkdir(parents=True)
        (own / "notes.txt").write_text("mine")
        with pytest.raises(PifaError, match="enough"):
            run_demo(own, say=print)
        assert {path.name for path in own.iterdir()} == {MARKER, "registry", "notes.txt"}
        assert (own / "registry" / "demo68" / "0.1.0").is_dir()


def test_it_opens_the_page_only_if_told_where_nobody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(pipelines.demo, "run_demo", lambda out, faces, say: out / PAGE)
    for option, count in (([], 0), (["--no-open"], 0), (["--open"], 1)):
        done = CliRunner().invoke(demo, ["--out", str(tmp_path), "--faces", "40", *option])
        assert done.exit_code == 0, done.output
        assert done.output.endswith(f"{PAGE}\n")
        assert len(opened) == count
    assert opened == [(tmp_path / PAGE).as_uri()]


def test_the_real_photograph_is_aligned() -> None:
    photo = align_photo()
    landmarks = photo.face.landmarks
    # By eye, on the picture of 512x600 pixels: the middle between her eyes, and the tip of her nose.
    np.testing.assert_allclose(landmarks[36:48].mean(0), (263, 192), atol=12)
    np.testing.assert_allclose(landmarks[30], (266, 238), atol=12)
    assert photo.face.score > 0.5
    assert photo.overlay().shape == photo.mesh().shape == read_image(photo.file).shape
    assert (photo.overlay() != photo.image).any()


@pytest.mark.parametrize("error", [ImageError("no such photograph"), ZooError("no such photograph")])
def test_without_the_photograph_the_page_says_so(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise error

    monkeypatch.setattr(demo_page, "align_photo", missing)
    assert demo_page._photo() == (None, "no such photograph")
