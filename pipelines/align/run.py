"""The whole of ``pifa align``: items in, records out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from pifa_data.detection import Detector, open_detector
from pifa_data.errors import AnnotationError, PifaError
from pifa_data.schemes import get_scheme
from pifa_model import Aligner
from pipelines.align.boxes import BoxTable, open_boxes
from pipelines.align.formats import check_form
from pipelines.align.images import ImageAligner
from pipelines.align.inputs import Item, find_items
from pipelines.align.journal import Journal
from pipelines.align.pictures import PictureOptions, Pictures
from pipelines.align.records import Record, face_record, failure_record, is_face
from pipelines.align.sinks import ListSink, Sink, TextSink, write_output
from pipelines.checkpoints import load_aligner
from pipelines.progress import Advance, progress
from zoo.storage import hash_file

log = logging.getLogger("pifa.align")

TOLD = 20
"""Reasons kept for the terminal; all of them are in the output."""


@dataclass(frozen=True)
class AlignOptions:
    """What is wanted.

    Attributes:
        boxes: a CSV's path or a source ``FORMAT:PATH``; None: the detector finds them.
        detector: ``haar`` (None), or the file of a model for OpenCV's ``FaceDetectorYN``.
        landmarks: landmark kind, ``2d`` or ``3d``; None: as trained.
        scheme: landmark scheme; None: as trained.
        min_score: detected faces whose score is lower are left out; None: ``Aligner.least_score``.
        batch_size: crops computed at once.
        pictures: files made beside the records.
        smooth: steady the faces of videos (one-euro filter).
        frames: stop a video after so many; None: at its end, a camera at Ctrl-C.
    """

    boxes: str | None = None
    detector: str | None = None
    landmarks: str | None = None
    scheme: str | None = None
    min_score: float | None = None
    batch_size: int = 32
    pictures: PictureOptions = field(default_factory=PictureOptions)
    smooth: bool = False
    frames: int | None = None


@dataclass
class AlignSummary:
    """What came of it.

    Attributes:
        records: all of them, where they go neither to a file nor to stdout.
        faces, failures: how many.
        reasons: the first ``TOLD`` failures' reasons.
    """

    records: list[Record] = field(default_factory=list)
    faces: int = 0
    failures: int = 0
    reasons: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        faces = [record for record in self.records if is_face(record)]
        return {"faces": faces, "failures": [record for record in self.records if not is_face(record)]}


def run_align(
    checkpoint: str,
    paths: Sequence[Path],
    options: AlignOptions,
    *,
    form: str = "json",
    out: Path | None = None,
    say: Callable[[str], None] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    morphable: str | None = None,
    registry: str | None = None,
    device: str = "auto",
    runtime: str = "torch",
) -> AlignSummary:
    """Align the faces of images, folders, videos and cameras.

    Args:
        checkpoint: run, file or zoo name.
        paths: what to align.
        options: how.
        form: of the output, ``json``, ``pts``, ``csv`` or ``sqlite``.
        out: file of the output (of ``pts``: folder); None: text to ``say``, or without it records in the summary.
        say: takes text.
        resume, overwrite: go on with an output that was stopped; replace one.
        morphable, registry, device, runtime: see ``load_aligner``.

    Raises:
        PifaError, ZooError: the checkpoint, the boxes or the detector can't be used, or there is nothing to align.
        OSError: an output can't be written; what is done stays in its journal.
    """
    check_form(form, out)
    folders = [folder for folder in (options.pictures.folders | {"out": out}).values() if folder is not None]
    items = list(find_items(paths, folders))
    if form == "sqlite":
        if options.scheme not in (None, "aflw21"):
            raise AnnotationError(f"--format sqlite: AFLW's tables hold its own 21 landmarks, not {options.scheme}")
        options = replace(options, scheme="aflw21")
    aligner, file = load_aligner(checkpoint, morphable=morphable, registry=registry, device=device, runtime=runtime)
    if options.scheme:
        aligner = aligner.with_scheme(options.scheme)
    boxes = open_boxes(options.boxes, aligner.header.boxes) if options.boxes else None
    summary = AlignSummary()
    sizes = (len(get_scheme(aligner.scheme)), aligner.model.n_coefficients)
    if out is None:
        sink: Sink = TextSink(say, form, *sizes) if say else ListSink(summary.records)
        _align_all(aligner, boxes, items, items, options, _Counting(sink, summary), form)
        return summary
    settings: dict[str, Any] = {
        "checkpoint": hash_file(file).sha256,
        "boxes": options.boxes,
        "detector": None if boxes else options.detector,
    }
    settings |= {"landmarks": options.landmarks, "scheme": aligner.scheme, "min_score": options.min_score}
    settings |= {"smooth": options.smooth, "frames": options.frames}
    settings |= {name: str(folder) for name, folder in options.pictures.folders.items()}
    settings |= {"mesh_format": options.pictures.mesh_format}
    if options.boxes and Path(options.boxes).is_file():
        settings |= {"boxes_sha256": hash_file(Path(options.boxes)).sha256}
    journal = Journal(out, settings, resume=resume, overwrite=overwrite)
    try:
        summary.faces, summary.failures = journal.faces, journal.failures
        left = [item for item in items if str(item.path) not in journal.done]
        _align_all(aligner, boxes, items, left, options, _Counting(journal, summary), form)
        write_output(out, form, journal, items, *sizes)
    finally:
        journal.close()
    return summary


class _Counting:
    """Passes records on, and counts them."""

    def __init__(self, sink: Sink, summary: AlignSummary) -> None:
        self._sink, self._summary = sink, summary

    def add(self, record: Record) -> None:
        self._sink.add(record)
        if is_face(record):
            self._summary.faces += 1
        else:
            self._summary.failures += 1
            if len(self._summary.reasons) < TOLD:
                self._summary.reasons.append(record["reason"])

    def finish(self, item: Item) -> None:
        self._sink.finish(str(item.path))


def _align_all(
    aligner: Aligner,
    boxes: BoxTable | None,
    items: Sequence[Item],
    left: Sequence[Item],
    options: AlignOptions,
    sink: _Counting,
    form: str,
) -> None:
    """Align the items that are left, in their order, of all those whose files have names."""
    source = boxes if boxes is not None else open_detector(options.detector or "haar")
    pictures = Pictures(options.pictures, aligner, items) if options.pictures else None
    images = ImageAligner(
        aligner,
        source,
        kind=options.landmarks,
        min_score=least_score(aligner, options),
        batch_size=options.batch_size,
        keep=pictures is not None,
    )
    if any(item.kind != "image" for item in left) and (options.pictures.mesh or options.pictures.maps):
        log.warning("--mesh and --maps are made of images; of videos there are records and --overlay")
    with progress("aligning", len(left), "items") as advance:
        for kind, run in itertools.groupby(left, lambda item: item.kind == "image"):
            if kind:
                _align_images(images, run, sink, pictures, advance)
            else:
                for item in run:
                    if form in ("pts", "sqlite"):
                        reason = f"{item.path}: --format {form} has no place for frames; take json or csv for videos"
                        sink.add(failure_record(reason, image=str(item.path)))
                    else:
                        _align_video(aligner, source, item, sink, options, pictures, advance)
                    sink.finish(item)
                    advance(1)


def _align_images(
    images: ImageAligner, items: Iterable[Item], sink: _Counting, pictures: Pictures | None, advance: Advance
) -> None:
    for work in images(items):
        about: dict[str, Any] = {"image": str(work.item.path)}
        for reason in work.failures:
            sink.add(failure_record(reason, **about))
        if work.photo is not None:
            about["size"] = [work.photo.width, work.photo.height]
            for face in work.faces:
                sink.add(face_record(face.enlarged(work.photo.factor, work.photo.shift), **about))
            if pictures:
                try:
                    pictures.write(work.item, work.photo, work.faces)
                except (PifaError, cv2.error, MemoryError) as error:
                    sink.add(failure_record(f"{work.item.path}: its pictures can't be made ({error})"[:300], **about))
        sink.finish(work.item)
        advance(1)


def _align_video(
    aligner: Aligner,
    source: BoxTable | Detector,
    item: Item,
    sink: _Counting,
    options: AlignOptions,
    pictures: Pictures | None,
    advance: Advance,
) -> None:
    if isinstance(source, BoxTable):
        reason = f"{item.path}: --boxes tells where faces are in images; those of a video are found by --detector"
        sink.add(failure_record(reason, image=str(item.path)))
        return
    from pipelines.video import VideoOptions, align_video  # which makes records, as this package does

    wanted = VideoOptions(
        kind=options.landmarks,
        min_score=least_score(aligner, options),
        smooth=options.smooth,
        overlay=pictures.video(item) if pictures else None,
        limit=options.frames,
    )
    align_video(aligner, source, item.path, options=wanted, write=sink.add, advance=advance)


def least_score(aligner: Aligner, options: AlignOptions) -> float:
    """The score below which a detected face is a false alarm: as asked, or by whether the score is a probability."""
    return aligner.least_score if options.min_score is None else options.min_score
