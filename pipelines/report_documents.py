"""The JSON of ``pifa eval`` as a page reads it: from a file of anybody's, of this version or an older one."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from zoo.documents import Document

Text = Annotated[str, Field(max_length=500)]
Share = Annotated[float, Field(ge=0, le=1)] | None
Error = Annotated[float, Field(ge=0, le=1e12)]
"""Percent, pixels, milliseconds. A network gone astray gives large ones; what is beyond is damage."""

Percent = Error | None
Blocks = Annotated[list[Percent], Field(max_length=100)]
Counts = dict[Text, Annotated[int, Field(ge=0)]]


class _Part(Document):
    model_config = ConfigDict(extra="ignore")


class People(_Part):
    """``nme_interval``."""

    low: Error
    high: Error
    people: int


class Angles(_Part):
    """One half of ``pose_error``, degrees."""

    yaw: Error
    pitch: Error
    roll: Error
    mean: Error
    faces: int


class NetworkNote(_Part):
    """``network``: what an evaluation says of the network."""

    name: Text = ""
    preset: Text = ""
    weights: int | None = None
    blocks: int | None = None
    morphable: Text = ""
    step: int | None = None
    config: dict[str, JsonValue] | None = None


class ScoreBin(_Part):
    """One point of ``score_curve``: mean score of a bin, share of its crops that are aligned, and their number."""

    score: Annotated[float, Field(ge=0, le=1)]
    aligned: Annotated[float, Field(ge=0, le=1)]
    crops: Annotated[int, Field(ge=1, le=10**12)]


class EvalDocument(_Part):
    """The JSON of ``pifa eval``; what an older version did not write is None."""

    faces: Annotated[int, Field(ge=1)]
    crops: int | None = None
    normaliser: Text
    nme: Error
    nme_interval: People | None = None
    nme_per_block: Blocks = Field(default_factory=list)
    nme_initial: Percent = None
    nme_interocular: Percent = None
    failure_rate_8: Share = None
    auc_8: Share = None
    failure_rate_8_68: Share = None
    failure_rate_8_51: Share = None
    auc_8_68: Share = None
    auc_8_51: Share = None
    mape: Percent = None
    nme_by_yaw: dict[Text, Percent] = Field(default_factory=dict)
    nme_per_block_by_yaw: dict[Text, Blocks] = Field(default_factory=dict)
    crops_by_yaw: Counts = Field(default_factory=dict)
    nme_by_group: dict[Text, Percent] = Field(default_factory=dict)
    nme_labelled: Percent = None
    nme_occluded: Percent = None
    visibility_accuracy: Share = None
    visibility_confusion: dict[Text, Counts] | None = None
    pose_error: dict[Text, Angles | None] = Field(default_factory=dict)
    mean_square_coefficient: Percent = None
    curve: dict[Text, Annotated[list[Error], Field(min_length=2, max_length=1001)] | None] = Field(default_factory=dict)
    score_threshold: Percent = None
    score_aligned: Share = None
    score_brier: Share = None
    score_ece: Share = None
    score_auc: Share = None
    score_curve: Annotated[list[ScoreBin], Field(min_length=1, max_length=100)] | None = None
    ms_per_face: Percent = None
    faces_digest: Text = ""
    scheme: Text = ""
    boxes: Text = ""
    subset: Text = ""
    source: Text = ""
    skipped: int = 0
    network: NetworkNote | None = None
