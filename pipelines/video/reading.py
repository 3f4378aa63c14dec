"""Frames of a video file or a camera, one after another."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pifa_data.errors import ImageError
from pifa_data.photos import SANE_PIXELS

FPS = 25.0
"""Frames a second of a video that does not say, or nothing that can be."""
SLOWEST, FASTEST = 0.1, 1000.0

_CAMERA = re.compile(r"camera:(\d{1,3})")
_ISO_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_WINDOWS_MEDIA = bytes.fromhex("3026b2758e66cf11")


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: from 0.
        time: seconds since the first; later than that of the frame before.
        pixels: ``(H, W, 3)`` uint8 RGB, upright; None where it can't be decoded.
    """

    index: int
    time: float
    pixels: np.ndarray | None


class VideoReader:
    """Reads a video in ``with``, then is closed. Holds one frame, however long the video is."""

    def __init__(self, path: str | Path) -> None:
        """Open a file, or the camera ``camera:N``.

        Raises:
            ImageError: missing, no video, or frames that are too large.
        """
        self.name = str(path)
        match = _CAMERA.fullmatch(self.name)
        self.camera = match is not None
        self._capture = _open_camera(int(match[1]), self.name) if match else _open_file(Path(path))
        # Both are what the header says, which need not be so.
        self.fps = _sane(self._capture.get(cv2.CAP_PROP_FPS))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if not self.camera and math.isfinite(count) and 0 < count < 2**31 else None
        size = [self._capture.get(name) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        if size[0] * size[1] > SANE_PIXELS:
            self.close()
            raise ImageError(
                f"{self.name}: frames of {size[0]:.0f}x{size[1]:.0f} pixels; expected at most {SANE_PIXELS} pixels a "
                "frame; scale the video down"
            )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file or the camera go."""
        self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """The frames that are left.

        Raises:
            ImageError: frames that are too large: a video may change their size.
        """
        index, last, start = 0, -math.inf, 0.0
        while _ask(self._capture.grab):
            # Read after the first frame came: a camera may take a second to give it.
            clock = time.monotonic() if self.camera else self._position()
            if not index and math.isfinite(clock):
                start = clock
            now = clock - start
            if not (math.isfinite(now) and now > last):
                # Files without time stamps, or with damaged ones: the frame rate tells.
                now = last + 1 / self.fps if index else 0.0
            yield Frame(index, now, self._pixels())
            index, last = index + 1, now

    def ended_early(self, frames: int) -> bool:
        """Whether a file gave clearly fewer frames than its header tells; some headers only estimate."""
        return self.count is not None and frames + 2 < 0.95 * self.count

    def _position(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _pixels(self) -> np.ndarray | None:
        try:
            decoded, image = self._capture.retrieve()
        except cv2.error:
            return None
        if not decoded or image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            return None
        if image.shape[0] * image.shape[1] > SANE_PIXELS:
            raise ImageError(f"{self.name}: a frame of {image.shape[1]}x{image.shape[0]} pixels; scale the video down")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _sane(fps: float) -> float:
    return fps if math.isfinite(fps) and SLOWEST <= fps <= FASTEST else FPS


def _ask(grab: object) -> bool:
    try:
        return bool(grab())  # type: ignore[operator]
    except cv2.error:
        return False


def _open_camera(number: int, name: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise ImageError(f"{name}: no such camera, or another program uses it")
    return capture


def _open_file(path: Path) -> cv2.VideoCapture:
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    if not is_video(head):
        raise ImageError(f"{path}: not a video; expected MP4, MOV, AVI, Matroska, WebM, MPEG, WMV or FLV")
    # FFmpeg alone: other backends take the name for a pattern of images. A whole path, because a relative one may look
    # like a protocol of FFmpeg's.
    try:
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    except cv2.error as error:
        raise ImageError(f"{path}: the video can't be opened ({error.err})") from error
    if not capture.isOpened():
        capture.release()
        raise ImageError(f"{path}: the video can't be opened: cut short, damaged, or of a codec that OpenCV lacks")
    return capture


def is_video(head: bytes) -> bool:
    """Whether a file that begins so is of a kind that is read. FFmpeg goes by what a file holds, not by its name: a
    text may be a playlist that has it open other files."""
    return (
        head[4:8] in _ISO_BOXES
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head[:4] in (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
        or head[:8] == _WINDOWS_MEDIA
        or any(head[at : at + 1] == head[at + step : at + step + 1] == b"G" for at, step in ((0, 188), (4, 192)))
    )
