"""The folder of a training run: what it holds, and going on with one.

``config.json`` (resolved configuration, stores and split), ``best.safetensors`` and ``last.safetensors``,
``checkpoints/`` (periodic ones, ``training.keep_rounds``), ``metrics.csv`` and ``curves.png`` (learning curves),
``tensorboard/`` (the same, where TensorBoard is installed), ``morphable.safetensors`` (the model, so that the folder is
complete) and ``state/last.ckpt`` (for ``--resume``).
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pifa_data.errors import ConfigError, PifaError
from pifa_data.store import MORPHABLE
from pifa_model.checkpoint import Header, save_checkpoint
from pifa_model.config import TrainingConfig
from pifa_model.network import Network
from pipelines.board import add_scalars, open_board
from pipelines.fits import write_whole


def open_run(run: Path, resolved: dict[str, Any], morphable: bytes, *, resume: bool, overwrite: bool) -> None:
    """Make the run's folder, or check that it is the one to go on with."""
    before = read_run(run)
    if resume and before is not None:
        _refuse_change("config", before, resolved, run)
        for key in ("stores", "val_stores"):
            if [store["digest"] for store in before.get(key, ())] != [store["digest"] for store in resolved[key]]:
                others = ", ".join(store["path"] for store in before.get(key, ())) or "none"
                raise ConfigError(f"{run}: was begun with other stores ({key}: {others})")
        _refuse_change("split", before, resolved, run)
        if not (run / "state" / "last.ckpt").is_file() and _rounds(run) > 1:
            # After the first round alone it may have been killed before it wrote one.
            raise PifaError(f"{run}: has no state to go on with any more; --overwrite trains it anew")
        return
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        if resume:
            raise PifaError(f"{run}: is not a run folder; there is nothing to go on with")
        if not overwrite:
            raise PifaError(f"{run}: exists already; give --resume to go on with it or --overwrite to replace it")
        if before is None:
            raise PifaError(f"{run}: is not a run folder; it is not overwritten, move it away")
    # Made under another name and moved, so that a run either has its configuration or is not there.
    new = run.with_name(f".{run.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    (new / MORPHABLE).write_bytes(morphable)
    (new / "config.json").write_text(json.dumps(resolved, indent=2), encoding="utf-8")
    if run.exists():
        shutil.rmtree(run)
    new.rename(run)


def _refuse_change(key: str, before: dict[str, Any], resolved: dict[str, Any], run: Path) -> None:
    if changed := _changed(before[key], resolved[key], key):
        raise ConfigError(
            f"{run}: was begun with another {key} ({', '.join(changed)}); resume with the same version of the program, "
            "preset and settings"
        )


def _changed(before: object, now: object, name: str) -> list[str]:
    """Keys that are not the same in two JSON documents, as ``config.network.head``."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        return [found for key in keys for found in _changed(before.get(key), now.get(key), f"{name}.{key}")]
    return [] if before == now else [name]


def _rounds(run: Path) -> int:
    """Finished rounds of a run."""
    file = run / "metrics.csv"
    return len(file.read_text(encoding="utf-8").splitlines()) - 1 if file.is_file() else 0


def read_run(run: Path) -> dict[str, Any] | None:
    """``config.json`` of a run folder; None where it is none of ours."""
    try:
        document = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(document, dict) and {"pifa_version", "config", "split"} <= document.keys()
    return document if ours else None


class RunLog:
    """Learning curves and checkpoints of a run."""

    def __init__(self, run: Path, header: Header, config: TrainingConfig, *, resume: bool) -> None:
        self._run, self._header, self._config = run, header, config
        self._file = run / "metrics.csv"
        self._rows: list[dict[str, str]] = []
        if resume and self._file.is_file():
            with self._file.open(encoding="utf-8", newline="") as file:
                self._rows = list(csv.DictReader(file))
        self._board = open_board(run / "tensorboard", self.step)

    @property
    def step(self) -> int:
        return int(self._rows[-1]["step"]) if self._rows else 0

    @property
    def best(self) -> float | None:
        """Smallest error, of a cascade in its last stage: before, its last blocks were not trained."""
        return min(filter(math.isfinite, self._errors(self._rows[-1]["stage"])), default=None) if self._rows else None

    def close(self) -> None:
        """Close what is written bit by bit."""
        if self._board is not None:
            self._board.close()

    def add(self, report: Any, network: Network) -> bool:
        """Keep one round: checkpoints, table, picture; whether no better one is to be waited for.

        Raises:
            CheckpointError, OSError: no space, or no right to write.
        """
        best = self.best if self._rows and self._rows[-1]["stage"] == str(report.stage) else None
        reached = {"step": report.step, "epoch": report.epoch, "val_nme": report.val_nme}
        header = self._header.model_copy(update={"training": self._header.training | reached})
        save_checkpoint(self._run / "last.safetensors", header, network)
        if not report.val_nme or best is None or report.val_nme[-1] < best:
            save_checkpoint(self._run / "best.safetensors", header, network)
        row = {
            "stage": str(report.stage),
            "step": str(report.step),
            "epoch": f"{report.epoch:.4f}",
            "learning_rate": f"{report.learning_rate:.3e}",
            "train_loss": f"{report.train_loss:.5f}",
            "seconds": f"{report.seconds:.1f}",
            "cpu_seconds": f"{report.cpu_seconds:.1f}",
        } | {f"val_nme_block{i + 1}": f"{value:.4f}" for i, value in enumerate(report.val_nme)}
        # A round that was finished but not yet in the saved state is run again.
        self._rows = [old for old in self._rows if int(old["step"]) < report.step] + [row]
        if self._config.keep_rounds and len(self._rows) % self._config.keep_rounds == 0:
            folder = self._run / "checkpoints"
            folder.mkdir(exist_ok=True)
            save_checkpoint(folder / f"step-{report.step:07d}.safetensors", header, network)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row))
        writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._file, lambda file: file.write(text.getvalue().encode()))
        draw_curves(self._rows, self._run / "curves.png")
        if self._board is not None:
            add_scalars(self._board, report)
        return bool(self._config.patience) and self._waited(report.stage) >= self._config.patience

    def _waited(self, stage: int) -> int:
        """Rounds of a stage since its best one."""
        values = self._errors(str(stage))
        return len(values) - 1 - int(np.nanargmin(values)) if np.isfinite(values).any() else 0

    def _errors(self, stage: str) -> list[float]:
        """Validation errors of a stage's last block, round by round; none without validation."""
        return [float(row[last]) for row in self._rows if row["stage"] == stage and (last := self._last_block(row))]

    @staticmethod
    def _last_block(row: dict[str, str]) -> str:
        blocks = [key for key, value in row.items() if key.startswith("val_nme_block") and value]
        return blocks[-1] if blocks else ""


def draw_curves(rows: list[dict[str, str]], path: Path) -> None:
    """Training loss and validation error a block over the steps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, error = figure.subplots(1, 2)
    steps = [int(row["step"]) for row in rows]
    loss.plot(steps, [float(row["train_loss"]) for row in rows])
    loss.set(xlabel="step", ylabel="training loss", yscale="log")
    for key in [key for key in rows[-1] if key.startswith("val_nme_block")]:
        error.plot(steps, [float(row.get(key) or "nan") for row in rows], label=key.removeprefix("val_nme_"))
    error.set(xlabel="step", ylabel="validation NME, % of tight box", yscale="log")
    if error.lines:
        error.legend()
    for axes in (loss, error):
        axes.grid(alpha=0.3, which="both")
    write_whole(path, lambda file: figure.savefig(file, format="png", dpi=110))
