"""Learning curves for TensorBoard, where it is installed (``pip install 'pifa[tensorboard]'``)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any


def open_board(folder: Path, step: int) -> Any:
    """What writes into a folder; None without TensorBoard.

    Of a run that goes on, what was written beyond ``step`` is dropped.
    """
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


def add_scalars(board: Any, report: Any) -> None:
    """Write the numbers of one round (``RoundReport``), so that they can be looked at at once."""
    board.add_scalar("loss/train", report.train_loss, report.step)
    board.add_scalar("learning_rate", report.learning_rate, report.step)
    for index, value in enumerate(report.val_nme):
        board.add_scalar(f"val_nme/block{index + 1}", value, report.step)
    board.flush()
