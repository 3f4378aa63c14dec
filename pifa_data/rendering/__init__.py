"""Photographs of faces that do not exist, rendered from a morphable model, with exact labels."""

from pifa_data.rendering.renderer import FaceRenderer, Person, RenderedFace

__all__ = ["FaceRenderer", "Person", "RenderedFace"]
