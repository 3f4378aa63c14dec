"""``pifa store repair``: build again what is damaged or missing in a store, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pifa_data.build import PrepConfig
from pifa_data.errors import AnnotationError, MorphableError, StoreError
from pifa_data.morphable import MorphableModel
from pifa_data.store import MORPHABLE, Problem, Store, entry_key, restore_files
from pipelines.prep import PrepSummary, build_store
from pipelines.prep_plan import Selection
from pipelines.sources import find_model_by_fingerprint
from pipelines.store import verify_store


@dataclass(frozen=True)
class Repair:
    """What a repair did.

    Attributes:
        problems: what was found; nothing was done if there was none.
        shards: that were built again.
        summary: of the whole store afterwards.
        same: whether the store has the digest that it had before; other versions of NumPy or OpenCV, or another kind of
            processor, can give others.
    """

    problems: list[Problem]
    shards: list[int]
    summary: PrepSummary | None
    same: bool

    def __str__(self) -> str:
        if self.summary is None:
            return "nothing to repair"
        whole = "the digest is what it was"
        if not self.same:
            whole = (
                "the digest is another one: the images are others, or the versions of NumPy or OpenCV, or the kind of "
                "processor"
            )
        return f"{len(self.shards)} shards built again; {whole}"

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "problems": [str(problem) for problem in self.problems],
            "shards": self.shards,
            "same_digest": self.same,
            "digest": self.summary.digest if self.summary else None,
        }


def repair_store(store: str | Path, *, workers: int = 2, scheduler: str | None = None) -> Repair:
    """Check a store, and build again what is damaged or missing from the sources that it was made of.

    Raises:
        StoreError: it can't be told what belongs there, the sources are not what they were, the morphable model is
            neither in the store nor here, or the build stops.
    """
    opened = Store(store, unfinished=True)
    attributes = opened.attributes
    problems = verify_store(store)
    if not problems:
        return Repair([], [], None, True)
    try:
        config = PrepConfig(**attributes["config"])
        selection = Selection(**attributes["selection"] | {"sources": tuple(attributes["selection"]["sources"])})
        fingerprint = attributes["morphable"]["fingerprint"]
    except (KeyError, TypeError) as error:
        raise StoreError(f"{store}: the attributes are damaged ({error}); make the store again") from error
    model = _model(opened, fingerprint)
    try:
        shards = _discard(opened, model, problems)
    except OSError as error:
        raise StoreError(f"{store}: can't be repaired ({error})") from error
    try:
        summary = build_store(
            selection, opened.location, model, config, workers=workers, scheduler=scheduler, resume=True
        )
    except AnnotationError as error:
        raise StoreError(
            f"{store}: can't be repaired, since its sources can't be read ({error}); they are told from the folder "
            "where the store was built: run this there"
        ) from error
    before = attributes.get("digest")
    return Repair(problems, shards, summary, before in (None, summary.digest))


def _discard(store: Store, model: MorphableModel, problems: list[Problem]) -> list[int]:
    """Write what is of no shard again, take the damaged shards for not built, and tell which."""
    with store.location.claimed():
        if any(problem.key is not None for problem in problems):
            restore_files(store.location, store.layout, model)
            problems = verify_store(store.location)  # an array without metadata could not be read at all
        shards = sorted({problem.shard for problem in problems if problem.shard is not None})
        for shard in shards:  # without its entry a shard is not built, whatever else is there of it
            store.location.delete(entry_key(shard))
    return shards


def _model(store: Store, fingerprint: str) -> MorphableModel:
    """The store's own copy of its morphable model or, if that is damaged, the one it was copied from."""
    try:
        return store.model
    except StoreError:
        try:
            return find_model_by_fingerprint(fingerprint)
        except MorphableError as error:
            raise StoreError(
                f"{store.location}: {MORPHABLE} is damaged, and no model here has its fingerprint {fingerprint[:12]}…; "
                "import it with `pifa morphable import`, or run the same `pifa prep` with --resume"
            ) from error
