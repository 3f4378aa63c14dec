"""``pifa prep``: faces to a store, one shard a Dask task."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from pifa_data.buckets import check_folder
from pifa_data.build import PrepConfig, build_rows
from pifa_data.errors import AnnotationError, StoreError
from pifa_data.faces import Skipped
from pifa_data.fitting import Fitters
from pifa_data.morphable import MorphableModel
from pifa_data.store import (
    TEXTS,
    Layout,
    Location,
    Store,
    create_store,
    encode_text,
    is_store,
    locate,
    read_manifest,
    restore_files,
    restore_root,
    set_attributes,
    store_digest,
    write_shard,
)
from pifa_data.urls import is_url
from pifa_data.version import VERSION
from pipelines.cluster import connected, reach, run_tasks
from pipelines.prep_plan import Plan, Selection, shard_part, text_of
from pipelines.progress import progress
from pipelines.sources import find_model
from pipelines.spool import unpack


@dataclass(frozen=True)
class PrepSummary:
    """What a build gave; the keys of ``pifa prep --json`` and the skipped faces with their reasons.

    ``views`` are those of face profiling, which ``faces`` does not count; ``crops`` are of both.
    """

    faces: int
    views: int
    crops: int
    skipped: int
    seconds: float
    crops_per_second: float
    fit_nme_mean: float
    store_bytes: int
    digest: str
    reasons: list[Skipped]

    def as_json(self) -> dict[str, Any]:
        values = {key: value for key, value in self.__dict__.items() if key != "reasons"}
        return values | {"skipped_faces": [{"face": s.id, "reason": s.reason} for s in self.reasons]}


def run_prep(
    sources: Sequence[str],
    store: str | Path,
    *,
    morphable: str,
    config: PrepConfig,
    workers: int = 2,
    scheduler: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    images: str | None = None,
) -> PrepSummary:
    """Fit, crop and jitter the faces of ``sources`` into a new store.

    Args:
        store: folder, or URL as ``s3://bucket/prefix``.
        workers: local processes, unless ``scheduler`` is the address of a running cluster.
        resume: go on with a store that was begun by the same command.
        images: folder or URL with the images, if they are not beside the labels.

    Raises:
        PifaError: bad sources or model; the store exists; or it was begun with other settings (``resume``).
        StoreError: no space, no right to write, or workers that die; what was finished stays and ``resume`` goes
            on from it.
    """
    location = locate(store)
    if location.exists() and not (resume or overwrite):  # before the sources are read, which may take long
        raise StoreError(f"{store}: exists already; give --resume to finish it or --overwrite to replace it")
    return build_store(
        Selection(tuple(sources), split, limit, where, images),
        location,
        find_model(morphable),
        config,
        workers=workers,
        scheduler=scheduler,
        resume=resume,
        overwrite=overwrite,
        strict=strict,
    )


def build_store(
    selection: Selection,
    location: Location,
    model: MorphableModel,
    config: PrepConfig,
    *,
    workers: int,
    scheduler: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
) -> PrepSummary:
    """``run_prep`` with everything looked up."""
    start = time.perf_counter()
    if scheduler is None and selection.images is not None and is_url(selection.images):
        check_folder(selection.images)
    if scheduler is not None and not resume:  # before anything is made or replaced; what is finished needs no cluster
        reach(scheduler)
    plan = Plan(selection, config, model, strict=strict)
    try:
        if scheduler is None:
            plan.check_images(selection)
        with (
            _stopped(location, scheduler),
            _claimed(location, plan, selection, model, resume=resume, overwrite=overwrite),
        ):
            opened = Store(location, unfinished=True)
            finished = opened.entries
            broken = opened.missing()
            if strict:
                for entry in finished.values():
                    _stop_at_failure(opened, entry)
            if broken:
                _build(location, model.fingerprint, plan, sorted(broken), workers, scheduler, strict=strict)
            return _finish(location, start)
    finally:
        plan.close()


@contextmanager
def _stopped(location: Location, scheduler: str | None) -> Iterator[None]:
    """What stops a build from outside, as a ``StoreError`` that tells how to go on."""
    try:
        yield
    except OSError as error:
        where = "" if scheduler is None else f" on {scheduler}"
        raise StoreError(
            f"{location}: the build stopped{where} ({str(error) or type(error).__name__}); what is finished is kept: "
            "mend the cause and run the same command with --resume"
        ) from error


def _build(
    location: Location,
    fingerprint: str,
    plan: Plan,
    missing: list[int],
    workers: int,
    scheduler: str | None,
    *,
    strict: bool,
) -> None:
    layout = plan.layout
    # Workers may run in another folder: the store's place is made whole, images are looked up from this one.
    shared = (location.whole_name, str(Path.cwd()), fingerprint, plan.digest, layout, plan.config)
    tasks = ((*shared, shard, plan.faces_of(shard)) for shard in missing)
    set_attributes(location, {"complete": False})
    count = sum(layout.face_range(shard).stop - layout.face_range(shard).start for shard in missing)
    with (
        connected(min(workers, len(missing)), scheduler) as client,
        progress("preparing", layout.faces, "faces") as advance,
    ):
        advance(layout.faces - count)
        begun, done = time.perf_counter(), 0
        for entry in run_tasks(client, build_shard, tasks, len(missing)):
            if strict and entry["failures"]:
                _stop_at_failure(Store(location, unfinished=True), entry)
            span = layout.face_range(entry["shard"])
            done += span.stop - span.start
            rate = done * layout.copies / (time.perf_counter() - begun)
            advance(span.stop - span.start, f"{rate:.0f} crops/s")


def build_shard(
    store: str,
    root: str,
    fingerprint: str,
    plan: str,
    layout: Layout,
    config: PrepConfig,
    shard: int,
    packed: bytes,
) -> dict[str, Any]:
    """One Dask task: build and write one shard; returns its manifest entry."""
    _one_thread()
    faces = unpack(packed)
    # Rows of a shard are mixed, so that reading whole chunks in random order is a good shuffle.
    span = layout.row_range(shard)
    order = np.random.default_rng([config.seed, shard]).permutation(span.stop - span.start)
    _, part = shard_part(layout, config, shard)
    rows = build_rows(faces, config, _fitters(store, fingerprint), root, order, part)
    offset = layout.face_range(shard).start
    rows.crops["source"] += offset
    arrays = dict(rows.crops)
    arrays |= {f"faces/{name}": column for name, column in rows.faces.items()}
    for name in TEXTS:
        texts = [text_of(face, name, config, view) for face in faces[part] for view in range(config.views)]
        arrays[f"faces/{name}"] = encode_text(texts, layout.text_widths[name])
    failures = {offset + position: reason for position, reason in rows.failures.items()}
    return write_shard(store, layout, shard, arrays, failures, plan)


def _one_thread() -> None:
    """One thread a task: pools of OpenCV and BLAS would fight the other workers.

    For good, not for the time of a fit: workers that are threads of one process would undo each other's limit, and with
    two threads BLAS gives other bits than with one.
    """
    cv2.setNumThreads(0)
    threadpool_limits(1, "blas")


@functools.lru_cache(maxsize=2)
def _fitters(store: str, fingerprint: str) -> Fitters:
    """Loaded once a worker, which may outlive the store: another model may since stand at the same path."""
    model = Store(store, unfinished=True).model
    if model.fingerprint != fingerprint:
        raise StoreError(f"{store}: was replaced by another build while this one was running")
    return Fitters(model)


@contextmanager
def _claimed(
    location: Location, plan: Plan, selection: Selection, model: MorphableModel, *, resume: bool, overwrite: bool
) -> Iterator[None]:
    """The store of the plan, made or found, and nobody else's while it is worked on."""
    attributes = {
        "tool": f"pifa {VERSION}",
        "selection": asdict(selection),
        "sources": list(selection.sources),
        "config": plan.config.as_dict(),
        "scheme": plan.config.scheme,
        "seed": plan.config.seed,
        "morphable": {"name": model.name, "fingerprint": model.fingerprint},
        "plan": plan.digest,
        "faces": plan.layout.faces,
    }
    if location.exists() and resume:
        with location.claimed():
            _take_up(location, plan, attributes, model)
            yield
        return
    if location.exists() and overwrite:
        # Only a store of ours is ever removed; a wrong path would otherwise cost somebody a folder.
        if not is_store(location):
            raise StoreError(f"{location}: is not a store; it is not overwritten, move it away")
        with location.claimed():
            create_store(location, plan.layout, attributes, model, plan.skipped, replace=True)
    else:
        create_store(location, plan.layout, attributes, model, plan.skipped)
    with location.claimed():
        yield


def _take_up(location: Location, plan: Plan, attributes: dict[str, Any], model: MorphableModel) -> None:
    """Make ready what another run began; shards without an entry may then be missing, and nothing else."""
    try:
        found = Store(location, unfinished=True).attributes["plan"]
    except StoreError:
        # Shards of this very build are worth more than attributes, which are known.
        if not read_manifest(location, plan.layout, plan.digest)[0]:
            raise
        restore_root(location, plan.layout, attributes, model, plan.skipped)
        found = plan.digest
    if found != plan.digest:
        raise StoreError(
            f"{location}: was begun with other faces, settings or morphable model; "
            "give the same ones, or --overwrite to begin anew"
        )
    location.sweep()
    restore_files(location, plan.layout, model, plan.skipped)


def _stop_at_failure(store: Store, entry: dict[str, Any]) -> None:
    """``--strict``: raise for the first face of a shard that could not be used."""
    for face, reason in entry["failures"].items():
        name = store.text("id", slice(int(face), int(face) + 1))[0]
        raise AnnotationError(f"{name}: {reason} (--strict stops at the first unusable face)")


def _finish(location: Location, start: float) -> PrepSummary:
    store = Store(location, unfinished=True)
    missing = store.missing()
    if missing:
        raise StoreError(f"{location}: {len(missing)} shards are missing; run again with --resume")
    reasons = store.skipped()
    valid = store.read("faces/valid")
    photographed = valid & (store.read("faces/profile") == 0)
    nme = store.read("faces/fit_nme")[photographed]  # a view's is its face's
    if not len(nme):
        raise StoreError(f"{location}: no face could be prepared; the first: {reasons[0].id}: {reasons[0].reason}")
    digest = store_digest(store.entries)
    set_attributes(
        location,
        {"skipped": len(reasons), "fit_nme_mean": float(nme.mean()), "digest": digest, "complete": True},
    )
    seconds = time.perf_counter() - start
    crops = int(valid.sum()) * store.layout.copies
    return PrepSummary(
        faces=len(nme),
        views=int(valid.sum()) - len(nme),
        crops=crops,
        skipped=len(reasons),
        seconds=round(seconds, 2),
        crops_per_second=round(crops / seconds, 1),
        fit_nme_mean=round(float(nme.mean()), 4),
        store_bytes=sum(location.sizes().values()),
        digest=digest,
        reasons=reasons,
    )
