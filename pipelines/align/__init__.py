"""``pifa align``: landmarks, visibility, pose and meshes of the faces in images and videos."""

from pipelines.align.pictures import PictureOptions
from pipelines.align.run import AlignOptions, AlignSummary, run_align

__all__ = ["AlignOptions", "AlignSummary", "PictureOptions", "run_align"]
