"""``FITS.npz``: the table that ``pifa fit`` writes (docs/fits.md), and its summary."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pifa_data.errors import PifaError
from pifa_data.faces import Skipped
from pifa_data.morphable import MorphableModel

LONGEST_REASON = 300
"""Characters of a reason in FITS.npz, whose columns are as wide as the longest text."""


@dataclass(frozen=True)
class FitTable:
    """The columns of ``FITS.npz`` (docs/fits.md), row = one face.

    Attributes:
        name, kind, split: ``(N,)`` text.
        params: ``(N, 8 + K)`` float32: M row-major in source-image pixels, then p in standard deviations.
        landmarks: ``(N, L, 2)`` float32 fitted points, source-image pixels.
        nme: ``(N,)`` float64 percent of the tight box, over visible points.
        yaw, pitch, roll: ``(N,)`` float64 degrees.
        converged, plausible: ``(N,)`` bool.
        plausibility: ``(N,)`` float64, p̂ᵀp̂ over ``dof``; 1 is as the prior says.
        dof: ``(N,)`` float64 effective degrees of freedom of the coefficients.
    """

    name: np.ndarray
    kind: np.ndarray
    split: np.ndarray
    params: np.ndarray
    landmarks: np.ndarray
    nme: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    converged: np.ndarray
    plausible: np.ndarray
    plausibility: np.ndarray
    dof: np.ndarray


@dataclass(frozen=True)
class FitSummary:
    """What a run gave; ``as_json`` has the keys of ``pifa fit --json``."""

    faces: int
    skipped: int
    nme_mean: float
    nme_median: float
    nme_p95: float
    seconds: float
    faces_per_second: float
    not_converged: int
    implausible: int
    plausibility_median: float | None
    reasons: list[Skipped]

    def as_json(self) -> dict[str, Any]:
        values = {key: value for key, value in self.__dict__.items() if key != "reasons"}
        return values | {"skipped_faces": [{"face": s.id, "reason": s.reason} for s in self.reasons]}


def check_free(path: Path, overwrite: bool, ours: Callable[[Path], bool], what: str) -> None:
    """Refuse to write over a file without ``overwrite``, and over one of another kind even with it.

    Raises:
        PifaError: the file is in the way, or there is no folder to put it in.
    """
    if path.is_dir():
        raise PifaError(f"{path}: expected a file to write, found a folder")
    if path.exists():
        if not overwrite:
            raise PifaError(f"{path}: exists already; give --overwrite to replace it")
        # A wrong path would otherwise cost somebody the labels themselves.
        if not ours(path):
            raise PifaError(f"{path}: is not {what}; it is not overwritten, move it away")
    elif not path.parent.is_dir():
        raise PifaError(f"{path}: the folder {path.parent} does not exist; make it first")


def is_fits(path: Path) -> bool:
    """Whether the file looks like one of ``write_fits``."""
    try:
        with zipfile.ZipFile(path) as file:
            return {"params.npy", "morphable.npy"} <= set(file.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def is_page(path: Path) -> bool:
    """Whether the file begins as a page of ours does."""
    with path.open("rb") as file:
        return file.read(64).lstrip().lower().startswith(b"<!doctype html")


def write_fits(path: Path, table: FitTable, skipped: list[Skipped], scheme: str, model: MorphableModel) -> None:
    """Write the file whole or not at all; nothing in it is a pickle.

    Raises:
        OSError: no space, or no right to write.
    """
    columns = asdict(table)
    columns |= {
        "residual": table.nme,
        "scheme": np.array(scheme),
        "morphable": np.array(model.fingerprint),
        "skipped_name": np.array([s.id for s in skipped], dtype=str),
        "skipped_reason": np.array([s.reason[:LONGEST_REASON] for s in skipped], dtype=str),
    }
    write_whole(path, lambda file: np.savez_compressed(file, allow_pickle=False, **columns))


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file under another name beside ``path``, then put it in its place in one step."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with unfinished.open("wb") as file:
            write(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def summarise(table: FitTable, skipped: list[Skipped], seconds: float) -> FitSummary:
    """The numbers of ``pifa fit --json``, of one face or more."""
    plausibility = table.plausibility[np.isfinite(table.plausibility)]
    return FitSummary(
        faces=len(table.name),
        skipped=len(skipped),
        nme_mean=round(float(table.nme.mean()), 4),
        nme_median=round(float(np.median(table.nme)), 4),
        nme_p95=round(float(np.percentile(table.nme, 95)), 4),
        seconds=round(seconds, 2),
        faces_per_second=round(len(table.name) / seconds, 1),
        not_converged=int((~table.converged).sum()),
        implausible=int((~table.plausible).sum()),
        plausibility_median=round(float(np.median(plausibility)), 4) if len(plausibility) else None,
        reasons=skipped,
    )
