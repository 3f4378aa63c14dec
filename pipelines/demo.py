"""``pifa demo``: the whole of the work once, small, on rendered faces; it needs no data.

Faces of the built-in morphable model are rendered as photographs, prepared, trained on, measured, published, and fresh
ones are aligned with what was published. Everything lies in one folder, and ``demo.html`` tells of it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from pifa_data.build import PrepConfig
from pifa_data.errors import PifaError
from pifa_data.morphable import BUILTIN, load_builtin
from pifa_data.rendering import FaceRenderer, RenderedFace, write_source
from pifa_data.version import VERSION
from pifa_model.config import load_config
from pipelines.align import AlignOptions, PictureOptions, run_align
from pipelines.align.records import Record
from pipelines.evaluate import Evaluation, evaluate
from pipelines.prep import PrepSummary, run_prep
from pipelines.progress import progress
from pipelines.registry import run_publish
from pipelines.train import TrainSummary, run_training
from zoo import Entry

FACES, PICTURES, FRESH = 600, 4, 15
"""Faces rendered, pictures a person, and people that are rendered for the end, a picture each."""

COPIES, STEPS, BATCH = 6, 800, 16
"""Crops a face, and training steps of so many crops: about two and a half minutes of two cores."""

HELD_OUT = 0.15
"""Share of the people that is not trained on."""

SETTINGS = ("optimizer.learning_rate=2e-3", "optimizer.warmup_steps=40", f"training.batch_size={BATCH}")

SHEET = 24
"""Rendered faces that the page shows; no more are kept in memory."""

NAME = "demo68"
MARKER = "demo.json"
PAGE = "demo.html"
MADE = ("faces", "fresh", "store.zarr", "run", "eval.json", "aligned.jsonl", "overlay", PAGE)
"""What a demo makes in its folder, beside the registry, which keeps the versions of earlier ones."""


@dataclass
class Demo:
    """What came of each stage, for the page.

    Attributes:
        commands: what a user types for each stage.
        seconds: how long each took.
        rendered: some of the faces trained and measured on; ``fresh`` those of the end, by the names of their files.
        people: how many people the faces are of, ``PICTURES`` each.
        version: of the published checkpoint.
    """

    out: Path
    faces: int
    steps: int
    commands: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    rendered: list[RenderedFace] = field(default_factory=list)
    fresh: dict[str, RenderedFace] = field(default_factory=dict)
    people: int = 0
    version: str = ""
    prepared: PrepSummary | None = None
    trained: TrainSummary | None = None
    evaluation: Evaluation | None = None
    entry: Entry | None = None
    aligned: list[Record] = field(default_factory=list)

    @property
    def registry(self) -> Path:
        return self.out / "registry"

    @contextmanager
    def stage(self, name: str, *command: object, into: Path | None = None) -> Iterator[None]:
        """Note the command, as a shell takes it, whose output goes ``into`` a file, and the time of a stage."""
        typed = shlex.join(["pifa", *map(str, command)])
        self.commands[name] = typed if into is None else f"{typed} > {shlex.quote(str(into))}"
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


def run_demo(out: Path, *, faces: int = FACES, steps: int = STEPS, say: Callable[[str], None]) -> Path:
    """Render, prep, train, eval, publish, align; ``say`` gets a line a stage.

    Args:
        out: folder for everything; an earlier demo's is gone over.
        faces: how many are rendered, in people of ``PICTURES`` each.
        steps: of the training.

    Returns:
        The page.

    Raises:
        PifaError: the folder is another's, or a stage fails.
        OSError: no space, or no right to write.
    """
    from pipelines.demo_page import write_demo_page

    _take(out)
    demo = Demo(out, faces, steps, people=-(-faces // PICTURES))
    demo.version = _next_version(demo.registry)
    _render(demo, say)
    _prepare(demo, say)
    _train(demo, say)
    _measure(demo, say)
    _publish(demo, say)
    _align(demo, say)
    say(f"7/7  a real photograph with the pretrained checkpoint, and the page {out / PAGE}")
    write_demo_page(demo, out / PAGE)
    return out / PAGE


def _take(out: Path) -> None:
    """Make the folder, or empty that of an earlier demo.

    Raises:
        PifaError: it holds something else.
    """
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise PifaError(f"{out}: expected a new folder or an earlier demo's, found another; give --out FOLDER")
    for name in MADE:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).write_text(json.dumps({"made_by": f"pifa demo, pifa {VERSION}"}), encoding="utf-8")


def _next_version(registry: Path) -> str:
    """One that no earlier demo's checkpoint has: none is published twice, and each stays."""
    names = [path.name for path in registry.glob(f"{NAME}/*")]
    minors = [int(found[1]) for name in names if (found := re.fullmatch(r"\d+\.(\d{1,9})\.\d+.*", name))]
    return f"0.{max(minors, default=0) + 1}.0"


def _render(demo: Demo, say: Callable[[str], None]) -> None:
    people = demo.people
    say(f"1/7  rendering {people * PICTURES} faces of {people} people into {demo.out / 'faces'}")
    with demo.stage("render", "inspect", f"coco-json:{demo.out / 'faces'}"):
        renderer = FaceRenderer(load_builtin())
        with _one_thread(), progress("rendering", people * PICTURES + FRESH, "faces") as advance:
            given: dict[str, Any] = {"seed": 0, "advance": advance}
            made = write_source(
                demo.out / "faces", renderer, people=range(people), pictures=PICTURES, keep=SHEET, **given
            )
            demo.rendered = list(made.values())
            strangers = range(people, people + FRESH)
            demo.fresh = write_source(demo.out / "fresh", renderer, people=strangers, pictures=1, **given)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Pictures are too small for several threads, which would only wait for each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        cv2.setNumThreads(before)


def _prepare(demo: Demo, say: Callable[[str], None]) -> None:
    source, store = f"coco-json:{demo.out / 'faces'}", demo.out / "store.zarr"
    say(f"2/7  preparing them into {store}")
    with demo.stage("prep", "prep", source, "--store", store, "--copies", COPIES):
        config = PrepConfig(copies=COPIES)
        demo.prepared = run_prep([source], store, morphable=BUILTIN, config=config, overwrite=True)
    say(f"     {demo.prepared.crops} crops, mean fit error {demo.prepared.fit_nme_mean:.2f} %")


def _train(demo: Demo, say: Callable[[str], None]) -> None:
    assert demo.prepared is not None  # for the type checker
    store, run = demo.out / "store.zarr", demo.out / "run"
    people = demo.people
    # Whole people are held out, as `split_subjects` counts them.
    kept = (people - max(1, round(HELD_OUT * people))) / people
    epochs = round(demo.steps * BATCH / (demo.prepared.crops * kept), 4)
    settings = (*SETTINGS, f"training.round_steps={-(-demo.steps // 6)}", f"training.val_fraction={HELD_OUT}")
    say(f"3/7  training {demo.steps} steps into {run}")
    sets = [part for setting in settings for part in ("--set", setting)]
    with demo.stage("train", "train", store, "--out", run, "--preset", "small", "--epochs", epochs, *sets):
        config = load_config("small", (*settings, f"training.epochs={epochs}"))
        demo.trained = run_training(store, run, config, overwrite=True)


def _measure(demo: Demo, say: Callable[[str], None]) -> None:
    say("4/7  measuring on people it has not seen")
    run, source = demo.out / "run", f"coco-json:{demo.out / 'faces'}"
    command = ("eval", run, source, "--boxes", "jittered", "--subset", "val", "--json")
    with demo.stage("eval", *command, into=demo.out / "eval.json"):
        demo.evaluation = evaluate(str(run), source, boxes="jittered", subset="val")
        values = demo.evaluation.values
        (demo.out / "eval.json").write_text(json.dumps(values, indent=2), encoding="utf-8")
    blocks = ", ".join(f"{value:.2f}" for value in values["nme_per_block"])
    say(f"     NME {values['nme_initial']:.2f} % with the mean shape; after each block {blocks}")


def _publish(demo: Demo, say: Callable[[str], None]) -> None:
    metrics, run = demo.out / "eval.json", demo.out / "run"
    version = demo.version
    say(f"5/7  publishing {NAME}@{version} to {demo.registry}")
    command = ("--name", NAME, "--version", version, "--registry", demo.registry, "--metric", metrics)
    with demo.stage("publish", "zoo", "publish", run, *command):
        given: dict[str, Any] = {"name": NAME, "version": version, "registry": str(demo.registry)}
        demo.entry = run_publish(str(run), metrics=(metrics,), **given)


def _align(demo: Demo, say: Callable[[str], None]) -> None:
    assert demo.entry is not None  # for the type checker
    name, fresh = f"{NAME}@{demo.entry.version}", demo.out / "fresh"
    out, overlay = demo.out / "aligned.jsonl", demo.out / "overlay"
    say(f"6/7  aligning {FRESH} fresh faces with {name} from the registry into {out}")
    images, source = fresh / "images", f"coco-json:{fresh}"
    command = ("--registry", demo.registry, "--boxes", source, "--out", out, "--overlay", overlay)
    with demo.stage("align", "align", name, images, *command):
        options = AlignOptions(boxes=source, pictures=PictureOptions(overlay=overlay))
        run_align(name, [images], options, out=out, registry=str(demo.registry))
        demo.aligned = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
