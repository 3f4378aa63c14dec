"""Batches sent to the device ahead: the same ones in the same order, and no thread is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pifa_data.store import Store
from pifa_model import transfer
from pifa_model.batches import TrainingStream, to_device
from pifa_model.read_ahead import read_ahead
from pifa_model.store_rows import StoreRows
from pifa_model.transfer import on_device

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["crops", "faces"])
def stream(request: pytest.FixtureRequest, layouts: dict[str, Path]) -> TrainingStream:
    data = StoreRows(Store(layouts[request.param]))
    return TrainingStream(data, data.rows_of(np.ones(len(data.subjects), bool)), 8, seed=0, mirror=0.5)


def test_batches_arrive_as_they_were_sent(stream: TrainingStream) -> None:
    sent = list(stream.read(0, 9))
    arrived = list(on_device(stream.read(0, 9), CPU))
    assert len(arrived) == 9
    for batch, tensors in zip(sent, arrived, strict=True):
        np.testing.assert_array_equal(tensors["rows"], batch.rows)
        for name, tensor in to_device(batch, CPU).items():
            assert torch.equal(tensors[name], tensor), name


def test_the_next_batch_is_sent_while_one_is_used(stream: TrainingStream, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = transfer._send
    monkeypatch.setattr(transfer, "_send", lambda batch, *rest: sent.append(int(batch.rows[0])) or send(batch, *rest))
    for count, tensors in enumerate(on_device(stream.read(0, 5), CPU)):
        assert len(sent) == min(count + 2, 5)
        assert tensors["rows"][0] == sent[count]


def test_an_abandoned_transfer_ends_the_reader(stream: TrainingStream) -> None:
    batches = on_device(stream.read(0, 1000), CPU)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "pifa-reader"]


def test_an_error_of_the_reader_is_raised_where_it_is_met() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("no connection")

    ahead = read_ahead(items(), 2)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="no connection"):
        next(ahead)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_arrive_on_cuda(stream: TrainingStream) -> None:
    device = torch.device("cuda")
    for batch, tensors in zip(stream.read(0, 9), on_device(stream.read(0, 9), device), strict=True):
        for name, tensor in to_device(batch, CPU).items():
            assert tensors[name].device.type == ("cpu" if name == "draws" else "cuda")
            assert torch.equal(tensors[name].cpu(), tensor), name
