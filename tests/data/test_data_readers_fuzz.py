"""Readers on any text at all. Each reader's own tests mutate good files of its format."""

import pytest
from fuzzing import survives
from hypothesis import given, settings
from hypothesis import strategies as st

from pifa_data.readers import FORMATS

FILES = {
    "keypoints-csv": "keypoints.csv",
    "300w": "a.pts",
    "wflw": "list_98pt_rect_attr_test.txt",
    "hrnet-csv": "face_landmarks_300w_test.csv",
    "aflw-lpfa": "lpfa.csv",
    "coco-json": "a.json",
    "dlib-xml": "a.xml",
    "yolo-pose": "labels/a.txt",
}
"""The formats of text, and a name that each reads."""


@pytest.mark.parametrize("name", FILES)
@given(text=st.text(max_size=300))
@settings(max_examples=30)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, text: str) -> None:
    assert name in FORMATS
    path = tmp_path_factory.getbasetemp() / f"any-text-{name}" / FILES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    folder = path.parent.parent if "/" in FILES[name] else path.parent
    survives(f"{name}:{folder}")
