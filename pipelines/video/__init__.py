"""Videos and cameras: faces followed from frame to frame."""

from pipelines.video.run import VideoOptions, VideoSummary, align_video

__all__ = ["VideoOptions", "VideoSummary", "align_video"]
