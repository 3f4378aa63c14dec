"""An object store, in memory: nothing can be moved there, so what a killed run leaves is put right by the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crashing import run_tasks_here

from pifa_data.build import PrepConfig
from pifa_data.errors import StoreError
from pifa_data.store import Store
from pifa_data.store.location import Bucket
from pipelines.prep import run_prep


class Killed(BaseException):
    """Nothing catches it."""


class Changes:
    """Counts the changes of any object store, and ends it all before one."""

    def __init__(self) -> None:
        self.left = -1

    def counted(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if self.left == 0:
                raise Killed
            self.left -= 1
            method(*arguments)

        return call


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Changes:
    changes = Changes()
    monkeypatch.setattr(Bucket, "write", changes.counted(Bucket.write))
    monkeypatch.setattr(Bucket, "delete", changes.counted(Bucket.delete))
    run_tasks_here(monkeypatch)
    return changes


@pytest.mark.parametrize("replaced", [False, True], ids=["new", "replaced"])
def test_a_killed_run_is_taken_up(changes: Changes, synthetic: Path, replaced: bool) -> None:
    def run(name: str, seed: int = 0, **options: Any) -> str:
        config = PrepConfig(copies=1, size=32, shard_faces=4, seed=seed)
        model = str(synthetic / "model.safetensors")
        url = f"memory://{replaced}/{name}.zarr"
        return run_prep([str(synthetic / "faces")], url, morphable=model, config=config, limit=4, **options).digest

    whole = run("whole")
    for moment in (1, 20, 60):
        url = f"memory://{replaced}/{moment}.zarr"
        if replaced:
            run(str(moment), seed=1)
        changes.left = moment
        with pytest.raises(Killed):
            run(str(moment), overwrite=replaced)
        changes.left = -1
        with pytest.raises(StoreError, match=r"damaged|not finished"):
            Store(url)
        try:
            digest = run(str(moment), resume=True)
        except StoreError:
            assert Store(url, unfinished=True).attributes["seed"] == 1
            digest = run(str(moment), overwrite=True)
        assert digest == whole
        assert list(Store(url).verify()) == []
