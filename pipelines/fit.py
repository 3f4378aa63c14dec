"""``pifa fit``: a morphable model fitted to the labels of a source, as one ``FITS.npz``. Needs no images.

Faces are read, fitted in batches of ``BATCH`` by worker processes, and gathered in the order they were read, so that
the file holds the same numbers however many workers there were.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.camera import pose_angles
from pifa_data.errors import AnnotationError, MorphableError, PifaError
from pifa_data.faces import Face, Skipped
from pifa_data.fitting import LandmarkFitter
from pifa_data.labels import fit_safely
from pipelines.fit_report import Shortlists, write_report
from pipelines.fits import FitSummary, FitTable, check_free, is_fits, is_page, summarise, write_fits
from pipelines.progress import progress
from pipelines.sources import find_model, no_face, stream_faces

BATCH = 256
"""Faces fitted together. Part of the result, in its last bits: another number would change how BLAS sums."""

NOT_FITTED = "the fit gives no finite numbers"

_BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class FittedBatch:
    """What a worker gives back.

    Attributes:
        rows: columns of ``FitTable`` for the fitted faces; empty if there are none.
        fitted: their positions in the batch.
        refused: positions of the faces whose fit gives no finite numbers.
    """

    rows: dict[str, np.ndarray]
    fitted: list[int]
    refused: list[int]


def run_fit(
    sources: Sequence[str],
    out: Path,
    *,
    morphable: str,
    landmarks: str | None = None,
    workers: int = 2,
    split: str | None = None,
    limit: int | None = None,
    where: str | None = None,
    overwrite: bool = False,
    strict: bool = False,
    report: Path | None = None,
) -> FitSummary:
    """Fit every face of ``sources`` and write ``out``, and with ``report`` a page of HTML.

    Args:
        sources: ``FORMAT:PATH`` or a path.
        out: ``FITS.npz`` to write, whole or not at all.
        morphable: file or name of the model.
        landmarks: ``2d``, ``3d``, or None for what each face's reader says.
        workers: processes; the result is the same for any number.
        split, limit, where: which faces; ``limit`` counts for each source.
        overwrite: replace ``out`` and ``report``.
        strict: stop at the first face that can't be used.
        report: page to write.

    Raises:
        PifaError: bad sources or model, a file in the way, no face that can be fitted, or workers that die.
    """
    start = time.perf_counter()
    check_free(out, overwrite, is_fits, "a file that `pifa fit` wrote")
    if report is not None:
        check_free(report, overwrite, is_page, "an HTML page")
        if report.resolve() == out.resolve():
            raise PifaError(f"{report}: --out and --report name the same file")
    model = find_model(morphable)
    total = _count(sources, split, limit, where) if sys.stderr.isatty() else 0  # the bar alone needs it

    # Faces are read ahead of the fits: two lists, so that their order does not depend on how far.
    unusable: list[Skipped] = []
    refused: list[Skipped] = []
    parts: list[dict[str, np.ndarray]] = []
    chosen = Shortlists()
    rows = 0
    faces = _usable(stream_faces(sources, split=split, limit=limit, where=where), unusable, landmarks, strict)
    first = next(faces, None)
    if first is not None:
        LandmarkFitter(model, first.scheme)  # refuses a model without this scheme before any work
        batches = _batches(itertools.chain([first], faces))
        with progress("fitting", total, "faces") as advance:
            begun, before = time.perf_counter(), 0
            for batch, result in _fit_all(batches, morphable, model.fingerprint, first.scheme, workers):
                for position in result.refused:
                    _skip(Skipped(batch[position].id, NOT_FITTED), refused, strict)
                if result.fitted:
                    parts.append(result.rows)
                    done = [batch[position] for position in result.fitted]
                    chosen.add(done, rows, result.rows["nme"], result.rows["plausibility"])
                rows += len(result.fitted)
                now = rows + len(refused) + len(unusable)
                advance(now - before, f"{rows / (time.perf_counter() - begun):.0f} faces/s")
                before = now
    skipped = unusable + refused
    if first is None or not rows:
        raise no_face(sources, "no face could be fitted", skipped, split=split, where=where)

    table = FitTable(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    parts.clear()
    write_fits(out, table, skipped, first.scheme, model)
    summary = summarise(table, skipped, time.perf_counter() - start)
    if report is not None:
        write_report(report, sources, table, summary, chosen, model, first.scheme)
    return summary


def _count(sources: Sequence[str], split: str | None, limit: int | None, where: str | None) -> int:
    """How many faces there are to come: reading them costs a few percent of fitting them."""
    return sum(1 for _ in stream_faces(sources, split=split, limit=limit, where=where))


def _usable(
    faces: Iterator[Face | Skipped], skipped: list[Skipped], landmarks: str | None, strict: bool
) -> Iterator[Face]:
    """The faces that can be fitted, all of one scheme; the others go to ``skipped``."""
    scheme = None
    for face in faces:
        if isinstance(face, Skipped):
            _skip(face, skipped, strict)
            continue
        scheme = scheme or face.scheme
        if face.scheme != scheme:
            raise AnnotationError(
                f"{face.id}: expected landmarks of the scheme {scheme}, as of the faces before it, found "
                f"{face.scheme}; fit them into a file of their own"
            )
        yield face if landmarks is None else replace(face, kind=landmarks)


def _skip(face: Skipped, skipped: list[Skipped], strict: bool) -> None:
    if strict:
        raise AnnotationError(f"{face.id}: {face.reason} (--strict stops at the first unusable face)")
    skipped.append(face)


def _batches(faces: Iterator[Face]) -> Iterator[list[Face]]:
    while batch := list(itertools.islice(faces, BATCH)):
        yield batch


def _fit_all(
    batches: Iterator[list[Face]], morphable: str, fingerprint: str, scheme: str, workers: int
) -> Iterator[tuple[list[Face], FittedBatch]]:
    """Fit the batches in worker processes; results come in the batches' order."""
    # Fresh processes, not forks: a fork of a process with BLAS or progress threads can hang.
    context = multiprocessing.get_context("spawn")
    pending: deque[tuple[list[Face], Any]] = deque()
    with (
        _one_blas_thread(),
        ProcessPoolExecutor(workers, context, _begin, (morphable, fingerprint, scheme)) as pool,
    ):
        try:
            for batch in batches:
                pending.append((batch, pool.submit(_fit_batch, batch)))
                # A window of batches, not all at once: this process never holds more than a few.
                if len(pending) > 2 * workers:
                    before, future = pending.popleft()
                    yield before, future.result()
            while pending:
                before, future = pending.popleft()
                yield before, future.result()
        except BrokenProcessPool as error:
            raise PifaError("a worker process died, perhaps for want of memory; try fewer --workers") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """The environment of the workers: one BLAS thread each, as more of them only wait for each other.

    It has to be set before a worker imports NumPy, so here. One worker works the same way as many, or its last bits
    would differ from theirs.
    """
    before = {name: os.environ.get(name) for name in _BLAS_THREADS}
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_fitter: LandmarkFitter | None = None
"""Of this worker process; made once, used for all its batches."""
_refused: PifaError | None = None
"""Why there is no fitter. Told with the first batch: what a worker raises while it begins is lost in the pool."""


def _begin(morphable: str, fingerprint: str, scheme: str) -> None:
    global _fitter, _refused
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    try:
        model = find_model(morphable)
        if model.fingerprint != fingerprint:
            raise MorphableError(f"{morphable}: was replaced by another model while faces were being fitted")
        _fitter = LandmarkFitter(model, scheme)
    except PifaError as error:
        _refused = error
    np.seterr(all="ignore")  # what is not finite is counted and reported


def _fit_batch(faces: list[Face]) -> FittedBatch:
    """One task of a worker."""
    if _refused is not None:
        raise _refused
    if _fitter is None:
        raise RuntimeError("the worker has no fitter; it runs in the pool of _fit_all only")
    return fit_batch(faces, _fitter)


def fit_batch(faces: list[Face], fitter: LandmarkFitter) -> FittedBatch:
    """Fit faces that passed ``check_faces``; one that gives no finite numbers even so is refused, not the batch."""
    fits = fit_safely(faces, fitter)
    finite = np.isfinite(fits.params).all(1) & np.isfinite(fits.landmarks).all((1, 2)) & np.isfinite(fits.nme)
    fitted = np.flatnonzero(finite).tolist()
    yaw, pitch, roll = np.degrees(pose_angles(fits.cameras[finite])).T
    rows = {
        "name": np.array([faces[i].id for i in fitted], dtype=str),
        "kind": np.array([faces[i].kind for i in fitted], dtype=str),
        "split": np.array([faces[i].split for i in fitted], dtype=str),
        "params": fits.params[finite].astype(np.float32),
        "landmarks": fits.landmarks[finite].astype(np.float32),
        "nme": fits.nme[finite],
        "yaw": yaw,
        "pitch": pitch,
        "roll": roll,
        "converged": fits.converged[finite],
        "plausible": fits.plausible[finite],
        "plausibility": fits.plausibility[finite],
        "dof": fits.dof[finite],
    }
    return FittedBatch(rows, fitted, sorted(set(range(len(faces))) - set(fitted)))
