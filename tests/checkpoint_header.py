"""The header of a small network's checkpoint."""

from __future__ import annotations

from typing import Any

from pifa_data.morphable import MorphableModel
from pifa_model.checkpoint import Header, MorphableReference
from pifa_model.config import Config


def header_of(config: Config, model: MorphableModel, **changes: Any) -> Header:
    """Of a network with this configuration; keywords change it."""
    values: dict[str, Any] = {
        "preset": "compact",
        "network": config.network,
        "config": config,
        "scheme": "ibug68",
        "landmark_kind": "2d",
        "input_size": 114,
        "boxes": "tight",
        "grow": 1.4,
        "morphable": MorphableReference(name=model.name, fingerprint=model.fingerprint),
    }
    return Header(**{**values, **changes})
