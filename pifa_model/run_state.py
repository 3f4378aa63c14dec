"""What a stopped training needs to go on: a file that is written after every round, and read by ``--resume``."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from pifa_data.errors import PifaError

KEYS = {"step", "network", "average", "optimizer", "schedule", "scaler"}


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all.

    Raises:
        PifaError: no space, or no right to write.
    """
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch's writer has no error of its own for a full disk
        temporary.unlink(missing_ok=True)
        raise PifaError(
            f"{path}: can't be written ({error}); what was finished is kept: make room and go on with --resume"
        ) from error


def read_state(path: Path) -> dict[str, Any]:
    """What ``write_state`` wrote.

    Raises:
        PifaError: it can't be read, or is something else.
    """
    try:
        # Plain tensors and numbers only: a run folder from somebody else can't bring code along.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise PifaError(f"{path}: can't be read ({type(error).__name__}); --overwrite trains anew") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise PifaError(f"{path}: not the state of a run of this version; --overwrite trains anew")
    return state
