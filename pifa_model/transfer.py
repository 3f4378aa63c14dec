"""Batches on the device before they are needed: on CUDA the next one is copied while one is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from pifa_model.batches import to_device
from pifa_model.read_ahead import read_ahead
from pifa_model.rows import Batch

Sent = tuple[dict[str, Any], "torch.cuda.Event | None"]


def on_device(batches: Iterator[Batch], device: torch.device) -> Generator[dict[str, Any]]:
    """Batches as ``to_device`` gives them, and their ``rows`` as an array; in their order, one sent ahead.

    On CUDA a thread puts them into pinned memory, from which a stream of its own copies while the device computes.
    """
    copies = torch.cuda.Stream(device) if device.type == "cuda" else None
    ready = batches if copies is None else read_ahead(map(_pinned, batches), 2)
    with closing(ready):  # type: ignore[type-var]  # a generator, whose thread ends with it
        sent: Sent | None = None
        while True:
            try:
                batch = next(ready, None)
            except Exception:
                if sent is not None:  # what came before an error is good
                    yield _arrived(sent)
                raise
            if batch is None:
                break
            coming = _send(batch, device, copies)
            if sent is not None:
                yield _arrived(sent)
            sent = coming
        if sent is not None:
            yield _arrived(sent)


def _pinned(batch: Batch) -> Batch:
    """The batch in memory that the device reads by itself; ``draws`` and ``rows`` are for the CPU."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch) if field.name not in ("draws", "rows")}
    pinned = {
        name: torch.from_numpy(np.ascontiguousarray(value)).pin_memory().numpy()
        for name, value in values.items()
        if value is not None
    }
    return replace(batch, **pinned)


def _send(batch: Batch, device: torch.device, copies: torch.cuda.Stream | None) -> Sent:
    """Begin to copy a batch; the event is when it is there."""
    if copies is None:
        return to_device(batch, device) | {"rows": batch.rows}, None
    with torch.cuda.stream(copies):
        tensors = to_device(batch, device) | {"rows": batch.rows}
        return tensors, copies.record_event()


def _arrived(sent: Sent) -> dict[str, Any]:
    """The tensors of a batch, which what is queued from now on waits for."""
    tensors, event = sent
    if event is not None:
        current = torch.cuda.current_stream()
        current.wait_event(event)
        for tensor in tensors.values():
            if isinstance(tensor, torch.Tensor) and tensor.is_cuda:
                tensor.record_stream(current)  # its memory is not given away before what uses it is done
    return tensors
