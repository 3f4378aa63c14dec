"""A video file, frame by frame.

VP8 in WebM. OpenCV's wheels on Linux have no H.264 encoder; MPEG-4 (``mp4v``) is quicker, but no browser plays it, and
VP9 takes six times as long (720p: 12, 55 and 335 ms a frame).
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from pifa_data.errors import ImageError

SUFFIX = ".webm"

_MATROSKA, _WEBM = b"\x42\x82\x88matroska", b"\x42\x82\x88webm\x00\x00\x00\x00"


class VideoWriter:
    """Writes a video; nothing stands under its name before ``finish``. Use it in ``with``: left early, it is gone."""

    def __init__(self, path: Path, fps: float) -> None:
        """Nothing is made before the first frame.

        Args:
            path: ends in ``.webm``; its folder is made.
            fps: frames a second.

        Raises:
            ImageError: another ending.
        """
        if path.suffix.lower() != SUFFIX:
            raise ImageError(f"{path}: a video is written as {SUFFIX}, found {path.suffix or 'no ending'}")
        self._path, self._fps = path, fps
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()
            self._temporary.unlink(missing_ok=True)
            self._writer = None

    def write(self, image: np.ndarray) -> None:
        """Add a frame ``(H, W, 3)`` uint8 RGB; one of another size than the first is scaled to that.

        Raises:
            ImageError: no video can be written.
            OSError: no right to.
        """
        if self._writer is None:
            self._open(image.shape[1], image.shape[0])
        width, height = self._size
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        # VP8 halves colours: of odd sizes OpenCV would cut the last row or column off.
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        assert self._writer is not None
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def finish(self) -> bool:
        """The last frame is written: the video takes its name. False where there was no frame.

        Raises:
            OSError: no space or right.
        """
        if self._writer is None:
            return False
        self._writer.release()
        with self._temporary.open("r+b") as file:
            # What OpenCV calls .webm it writes with a false alarm on stderr; .mkv without. They differ in this name.
            head = file.read(64)
            if (at := head.find(_MATROSKA)) >= 0:
                file.seek(at)
                file.write(_WEBM)
        self._temporary.replace(self._path)
        self._writer = None
        return True

    def _open(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self._path.with_name(f".{self._path.stem}.{os.getpid()}.mkv")
        self._temporary.touch()  # raises what OpenCV would not tell
        size = (width + width % 2, height + height % 2)
        code = cv2.VideoWriter.fourcc(*"VP80")
        self._writer = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, code, self._fps, size)
        if not self._writer.isOpened():
            raise ImageError(f"{self._path}: this OpenCV writes no VP8 video of {width}x{height} pixels")
