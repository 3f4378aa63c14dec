"""Photographs of faces that do not exist, rendered from a morphable model, with exact labels."""

from pifa_data.rendering.renderer import FaceRenderer, Person, RenderedFace
from pifa_data.rendering.source import write_source

__all__ = ["FaceRenderer", "Person", "RenderedFace", "write_source"]
