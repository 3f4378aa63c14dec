"""``pifa store``: look into a store and check it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pifa_data.store import Location, Problem, Store
from pifa_data.views import table_rows
from pipelines.progress import progress


def store_info(path: str | Path) -> dict[str, Any]:
    """Counts, settings and origin of a store, finished or not."""
    store = Store(path, unfinished=True)
    attributes = store.attributes
    keys = ("tool", "schema_version", "complete", "digest", "sources", "scheme", "seed", "morphable", "config")
    info = {key: attributes.get(key) for key in keys}
    info["faces"] = store.layout.faces // table_rows(attributes["config"]["profile"])
    info["shards"] = store.layout.shards
    info["shards_finished"] = store.layout.shards - len(store.missing())
    info["skipped"] = [{"face": s.id, "reason": s.reason} for s in store.skipped()]
    info["fit_nme_mean"] = attributes.get("fit_nme_mean")
    return info


def verify_store(path: str | Path | Location) -> list[Problem]:
    """Problems of a store; none if every array is what the manifest says."""
    store = Store(path, unfinished=True)
    with progress("checking", store.layout.shards, "shards") as advance:
        return list(store.verify(advance))
