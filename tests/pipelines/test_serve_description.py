"""The OpenAPI description of ``pifa serve``, held against the server by schemathesis."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from web_server import web_server

from pifa_data.detection import open_detector
from pipelines.checkpoints import load_aligner
from pipelines.serve.limits import Limits
from pipelines.serve.work import Worker

PICTURES = [
    cv2.imencode(ending, np.random.default_rng(i).integers(0, 255, (30 + i, 40, 3), np.uint8))[1].tobytes()
    for i, ending in enumerate((".png", ".jpg", ".bmp", ".webp", ".tiff"))
]
KINDS = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/octet-stream")
BOX = "3.5,4,30,28"
FITS, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def description() -> Iterator[schemathesis.BaseSchema]:
    for kind in KINDS:
        schemathesis.openapi.media_type(kind, st.sampled_from(PICTURES))
    aligner, _ = load_aligner("pifa68-small", device="cpu")
    with web_server(Worker(aligner, open_detector("haar"), Limits(), "small")) as address:
        yield schemathesis.openapi.from_url(f"{address}/api/openapi.json")


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *(("/api/align", FITS), ("/api/align", WRONG), ("/api/mesh", FITS), ("/api/mesh", WRONG)),
        *(("/api/model", FITS), ("/api/health", FITS)),  # nothing can be wrong there
    ],
)
def test_the_server_does_what_its_description_says(
    description: schemathesis.BaseSchema, path: str, mode: GenerationMode
) -> None:
    """Of requests that fit it and of requests that don't, with every check that schemathesis has."""
    [operation] = description[path].values()

    @settings(max_examples=10, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        if mode == FITS and case.query.get("box"):  # that a box has an area and meets the image no schema can say
            case.query["box"] = BOX if path == "/api/mesh" else [BOX] * len(case.query["box"])
        case.call_and_validate()

    check()
