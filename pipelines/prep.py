"""``pifa prep``: faces to a store, one shard a Dask task."""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr

from pifa_data.build import PrepConfig, build_rows
from pifa_data.errors import AnnotationError, StoreError
from pifa_data.faces import Face, Skipped
from pifa_data.fitting import Fitters
from pifa_data.images import image_exists
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.points import landmark_vertices
from pifa_data.schemes import SCHEMES, get_scheme, union_name
from pifa_data.store import (
    TEXTS,
    Layout,
    Store,
    create_store,
    encode_text,
    is_store,
    read_manifest,
    store_digest,
    sweep,
    write_shard,
)
from pifa_data.version import VERSION
from pipelines.progress import Advance, progress
from pipelines.sources import find_model, load_faces

log = logging.getLogger("pifa.prep")

UNION = "union"
"""``--scheme union``: all points of all the schemes that the faces have."""


@dataclass(frozen=True)
class PrepSummary:
    """What a build gave; the keys of ``pifa prep --json`` and the skipped faces with their reasons."""

    faces: int
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
    store: Path,
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
) -> PrepSummary:
    """Fit, crop and jitter the faces of ``sources`` into a new store.

    Raises:
        PifaError: bad sources or model; the store exists; or it was begun with other settings (``resume``).
        StoreError: no space, no right to write, or workers that die; what was finished stays and ``resume`` goes
            on from it.
    """
    from distributed import KilledWorker

    start = time.perf_counter()
    model = find_model(morphable)
    if config.scheme not in (None, UNION):
        get_scheme(config.scheme)  # refuses one that is not known before any work
    faces, skipped = load_faces(sources, split=split, limit=limit, where=where, strict=strict)
    schemes = {face.scheme for face in faces}
    config = replace(config, scheme=_store_scheme(config.scheme, schemes))
    for scheme in {str(config.scheme), *schemes}:
        landmark_vertices(model, scheme)  # refuses a model without them
    if scheduler is None and not any(image_exists(face.file) for face in faces):
        raise AnnotationError(
            f"{', '.join(sources)}: no face could be prepared: these are labels alone, none of the {len(faces)} images "
            f"is there (the first would be {faces[0].file}); put them in place, or fit the labels with `pifa fit`"
        )
    faces = [faces[i] for i in np.random.default_rng([config.seed, len(faces)]).permutation(len(faces))]
    layout = _layout(faces, config, model)
    plan = _plan_digest(faces, config, model)
    _open(store, layout, plan, faces, skipped, sources, config, model, resume=resume, overwrite=overwrite)

    finished = read_manifest(store)
    if strict:
        for entry in finished.values():
            _stop_at_failure(entry, faces)
    missing = [shard for shard in range(layout.shards) if shard not in finished]
    if missing:
        with (
            _client(workers, scheduler, len(missing)) as client,
            progress("preparing", layout.faces, "faces") as advance,
        ):
            advance(sum(layout.face_range(s).stop - layout.face_range(s).start for s in finished))
            try:
                _build_all(client, store, model.fingerprint, layout, faces, missing, config, advance, strict=strict)
            except (OSError, KilledWorker) as error:
                raise StoreError(
                    f"{store}: the build stopped ({error}); what is finished is kept: mend the cause and run the "
                    "same command with --resume"
                ) from error
    return _finish(store, layout, faces, skipped, start)


def _store_scheme(wanted: str | None, found: set[str]) -> str:
    """The landmark scheme of the store, of what was asked for and the schemes that the faces have."""
    union = union_name(found, list(SCHEMES))
    if wanted == UNION:
        return union
    if wanted is not None:
        return wanted
    if len(found) > 1:
        raise AnnotationError(
            f"the faces have landmarks of several schemes ({', '.join(sorted(found))}); say which the store shall "
            f"have: --scheme {union.partition('+')[0]}, or --scheme {UNION} for all points of all of them"
        )
    return union


def build_shard(
    path: str, root: str, fingerprint: str, layout: Layout, shard: int, faces: list[Face], config: PrepConfig
) -> dict[str, Any]:
    """One Dask task: build and write one shard; returns its manifest entry."""
    cv2.setNumThreads(0)  # one thread a worker; OpenCV's own pool would fight the other workers
    rows = build_rows(faces, config, _fitters(path, fingerprint), Path(root))
    offset = layout.face_range(shard).start
    # Rows of a shard are mixed, so that reading whole chunks in random order is a good shuffle.
    order = np.random.default_rng([config.seed, shard]).permutation(len(rows.crops["valid"]))
    crops = {name: array[order] for name, array in rows.crops.items()}
    crops["source"] += offset
    table = dict(rows.faces)
    for name in TEXTS:
        table[name] = encode_text([_text(face, name, config) for face in faces], layout.text_widths[name])
    failures = {offset + position: reason for position, reason in rows.failures.items()}
    return write_shard(Path(path), layout, shard, crops, table, failures)


@functools.lru_cache(maxsize=2)
def _fitters(path: str, fingerprint: str) -> Fitters:
    """Loaded once a worker, which may outlive the store: another model may since stand at the same path."""
    model = Store(Path(path), unfinished=True).model
    if model.fingerprint != fingerprint:
        raise StoreError(f"{path}: was replaced by another build while this one was running")
    return Fitters(model)


def _text(face: Face, column: str, config: PrepConfig) -> str:
    values = {
        "id": face.id,
        "path": face.file,
        "subject": face.subject,
        "split": face.split,
        "subsets": " ".join(face.subsets),
        "scheme": face.scheme,
        "kind": config.landmarks or face.kind,
    }
    return values[column]


def _layout(faces: list[Face], config: PrepConfig, model: MorphableModel) -> Layout:
    widths = {name: max(1, *(len(_text(face, name, config).encode()) for face in faces)) for name in TEXTS}
    return Layout(
        faces=len(faces),
        copies=config.copies,
        size=config.size,
        points=len(get_scheme(str(config.scheme))),
        params=8 + model.n_coefficients,
        text_widths=widths,
    )


def _plan_digest(faces: list[Face], config: PrepConfig, model: MorphableModel) -> str:
    """What a resumed build must share with the one it goes on with."""
    digest = hashlib.sha256(f"{sorted(config.as_dict().items())} {model.fingerprint}".encode())
    for face in faces:
        texts = (face.id, face.file, face.subject, face.split, *face.subsets, face.scheme, face.kind)
        digest.update("\0".join(texts).encode() + b"\0")
        digest.update(face.landmarks.tobytes() + face.visibility.tobytes())
        for array in (face.box, face.pose):
            digest.update(b"" if array is None else np.asarray(array, np.float64).tobytes())
    return digest.hexdigest()


def _open(
    store: Path,
    layout: Layout,
    plan: str,
    faces: list[Face],
    skipped: list[Skipped],
    sources: Sequence[str],
    config: PrepConfig,
    model: MorphableModel,
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    if store.exists() and resume:
        attributes = Store(store, unfinished=True).attributes
        if attributes.get("plan") != plan:
            raise StoreError(
                f"{store}: was begun with other faces, settings or morphable model; "
                "give the same ones, or --overwrite to begin anew"
            )
        sweep(store)
        return
    if store.exists() and overwrite:
        # Only a store of ours is ever removed; a wrong path would otherwise cost somebody a folder.
        if not is_store(store):
            raise StoreError(f"{store}: is not a store; it is not overwritten, move it away")
        shutil.rmtree(store)
    attributes = {
        "tool": f"pifa {VERSION}",
        "sources": list(sources),
        "config": config.as_dict(),
        "scheme": config.scheme,
        "seed": config.seed,
        "morphable": {"name": model.name, "fingerprint": model.fingerprint},
        "plan": plan,
        "faces": len(faces),
        "skipped": [{"face": s.id, "reason": s.reason} for s in skipped],
    }
    create_store(store, layout, attributes, model)


@contextmanager
def _client(workers: int, scheduler: str | None, shards: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    verbose = log.isEnabledFor(logging.DEBUG)
    if not verbose:  # its life-cycle messages, and tracebacks of what is reported here in one line, are for -v
        logging.getLogger("distributed").setLevel(logging.WARNING)
    if scheduler is not None:
        with Client(scheduler) as client:
            _check_versions(client)
            yield client
        return
    with (
        LocalCluster(
            n_workers=min(workers, shards),
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR if verbose else logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        log.info("Dask dashboard: %s", cluster.dashboard_link)
        yield client


def _check_versions(client: Any) -> None:
    """Refuse workers with other versions: Dask only warns, and they fail in odd ways or give other bytes."""
    versions = client.get_versions(packages=["numpy", "zarr", "cv2"])
    expected = versions["client"]["packages"]
    for worker, found in versions["workers"].items():
        for package in ("python", "dask", "distributed", "numpy", "zarr", "cv2"):
            if found["packages"].get(package) != expected.get(package):
                raise StoreError(
                    f"--scheduler: worker {worker} has {package} {found['packages'].get(package)}, here is "
                    f"{expected.get(package)}; install the same versions on both"
                )


def _stop_at_failure(entry: dict[str, Any], faces: list[Face]) -> None:
    """``--strict``: raise for the first face of a shard that could not be used."""
    for position, reason in entry["failures"].items():
        raise AnnotationError(f"{faces[int(position)].id}: {reason} (--strict stops at the first unusable face)")


def _build_all(
    client: Any,
    store: Path,
    fingerprint: str,
    layout: Layout,
    faces: list[Face],
    missing: list[int],
    config: PrepConfig,
    advance: Advance,
    *,
    strict: bool,
) -> None:
    from distributed import as_completed

    def submit(shard: int) -> Any:
        part = faces[layout.face_range(shard)]
        # Workers may run in another folder: the store's path is made whole, images are looked up from this one.
        arguments = (str(store.resolve()), str(Path.cwd()), fingerprint, layout, shard, part, config)
        return client.submit(build_shard, *arguments, pure=False, retries=2)

    # A window of tasks, not all at once: neither the scheduler nor this process ever holds more than a few shards.
    queue = iter(missing)
    window = 2 * max(1, len(client.scheduler_info()["workers"]))
    pending = as_completed([submit(shard) for shard in itertools.islice(queue, window)])
    for future in pending:
        entry = future.result()
        if strict:
            _stop_at_failure(entry, faces)
        span = layout.face_range(entry["shard"])
        advance(span.stop - span.start)
        following = next(queue, None)
        if following is not None:
            pending.add(submit(following))


def _finish(store: Path, layout: Layout, faces: list[Face], skipped: list[Skipped], start: float) -> PrepSummary:
    entries = read_manifest(store)
    if set(entries) != set(range(layout.shards)):
        raise StoreError(f"{store}: {layout.shards - len(entries)} shards are missing; run again with --resume")
    failures = {int(k): v for entry in entries.values() for k, v in entry["failures"].items()}
    reasons = [*skipped, *(Skipped(faces[k].id, v) for k, v in sorted(failures.items()))]
    opened = Store(store, unfinished=True)
    valid = opened.read("faces/valid")
    nme = opened.read("faces/fit_nme")[valid]
    digest = store_digest(entries)
    group = zarr.open_group(store, mode="r+", zarr_format=3)
    group.attrs.update(
        {
            "skipped": [{"face": s.id, "reason": s.reason} for s in reasons],
            "fit_nme_mean": float(nme.mean()) if len(nme) else None,
            "digest": digest,
        }
    )
    if not len(nme):
        raise StoreError(f"{store}: no face could be prepared; the first: {reasons[0].id}: {reasons[0].reason}")
    group.attrs.update({"complete": True})
    seconds = time.perf_counter() - start
    crops = int(valid.sum()) * layout.copies
    return PrepSummary(
        faces=int(valid.sum()),
        crops=crops,
        skipped=len(reasons),
        seconds=round(seconds, 2),
        crops_per_second=round(crops / seconds, 1),
        fit_nme_mean=round(float(nme.mean()), 4),
        store_bytes=sum(file.stat().st_size for file in store.rglob("*") if file.is_file()),
        digest=digest,
        reasons=reasons,
    )
