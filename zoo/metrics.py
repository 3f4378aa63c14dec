"""Reading the files that ``pifa eval --json`` wrote."""

import json
from pathlib import Path

from zoo.documents import parse
from zoo.entry import FileEntry, Metric
from zoo.errors import PublishError

# An evaluation's JSON has a few kilobytes.
MAX_METRIC_BYTES = 2**20


LONGEST_VALUE = 600
"""Characters of a value, as JSON, that an index repeats: curves and lists of faces stay in the version's folder."""


def read_metric(path: Path, weights: FileEntry) -> tuple[Metric, bytes]:
    """Read one evaluation of the file ``weights``.

    Returns:
        What an index says of it, and the whole file.

    Raises:
        PublishError: no such file, not such an object (``faces``, ``normaliser`` and a finite ``nme`` must be
            there), or the numbers are of another checkpoint, or do not say of which.
    """
    cure = "give the file that `pifa eval --json` wrote for these weights"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_METRIC_BYTES + 1)
    except OSError as error:
        raise PublishError(f"{path}: expected a file, found {error.strerror or error}; {cure}") from error
    if len(data) > MAX_METRIC_BYTES:
        raise PublishError(f"{path}: expected at most {MAX_METRIC_BYTES} bytes, found more; {cure}")
    metric = parse(Metric, data, str(path), PublishError)
    if metric.checkpoint_sha256 != weights.sha256:
        found = "no checkpoint_sha256" if metric.checkpoint_sha256 is None else f"those of {metric.checkpoint_sha256}"
        raise PublishError(
            f"{path}: expected numbers of the weights with SHA-256 {weights.sha256}, found {found}; "
            "evaluate the file that you publish"
        )
    return _brief(metric), data


def _brief(metric: Metric) -> Metric:
    """The evaluation without its long values, unless they are fields that every reader knows."""
    extra = {key: value for key, value in metric.__pydantic_extra__.items() if len(json.dumps(value)) <= LONGEST_VALUE}
    known = {key: getattr(metric, key) for key in metric.model_fields_set if key in Metric.model_fields}
    return Metric.model_validate({**known, **extra})
