"""Checkpoints as a registry sees them: a header that it takes, and weights that no network is behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "format": "pifa-checkpoint",
    "format_version": 2,
    "preset": "compact",
    "scheme": "ibug68",
    "landmark_kind": "2d",
    "input_size": 114,
    "boxes": "tight",
    "grow": 1.25,
    "morphable": {"name": "builtin", "fingerprint": "f" * 16, "modes": 30},
    "training": {"data": ["300W, 3148 faces"], "epochs": 3, "rates": [0.1, 0.01]},
    "pifa_version": "0.1.0",
    "blocks": 2,
}


def write_checkpoint(path: Path, weights: np.ndarray, **changes: Any) -> Path:
    """Write one; keywords change its configuration."""
    save_file({"layer": weights}, path, metadata={"pifa": json.dumps({**CONFIG, **changes})})
    return path
