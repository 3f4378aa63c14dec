"""One video of ``pifa align``: frames in, records out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pifa_data.detection import Detector
from pifa_data.errors import PifaError
from pifa_model import Aligner, Alignment
from pipelines.align.records import Record, face_record, failure_record
from pipelines.progress import Advance
from pipelines.video.overlay import draw_frame
from pipelines.video.reading import Frame, VideoReader
from pipelines.video.smoothing import OneEuroFilter
from pipelines.video.tracking import Tracker
from pipelines.video.writing import VideoWriter

TOLD = 10
"""Frames between two words about how far it is."""

MOST_REPEATED = 25
"""Frames of a camera's video written for one that took longer: a second's worth."""


@dataclass(frozen=True)
class VideoOptions:
    """What is wanted.

    Attributes:
        kind: landmark kind, ``2d`` or ``3d``; None: as trained.
        min_score: a face is followed from the first frame on in which it scores so much; where it scores less it is
            followed, but neither written nor drawn.
        smooth: steady the landmarks, M and p by the one-euro filter.
        overlay: file, ``.webm``, of the video with what was found drawn in; None: none.
        limit: stop after so many frames; None: at the end, a camera at Ctrl-C.
    """

    kind: str | None = None
    min_score: float = 0.0
    smooth: bool = False
    overlay: Path | None = None
    limit: int | None = None


@dataclass
class VideoSummary:
    """What came of it.

    Attributes:
        frames: read.
        faces: aligned, over all frames.
        tracks: people, as far as they were told apart.
        detections: frames that the detector looked at.
        failures: records with a reason.
        interrupted: a camera was stopped by Ctrl-C.
    """

    frames: int = 0
    faces: int = 0
    tracks: int = 0
    detections: int = 0
    failures: int = 0
    interrupted: bool = False


def align_video(
    aligner: Aligner,
    detector: Detector,
    path_or_camera: str | Path,
    *,
    options: VideoOptions,
    write: Callable[[Record], None],
    advance: Advance,
) -> VideoSummary:
    """Follow and align the faces of a video or of ``camera:N``.

    Args:
        aligner, detector: compute.
        path_or_camera: a video's file, or ``camera:N``.
        options: how.
        write: takes a record a face and frame, or a frame or a video of which nothing came, with the reason.
        advance: told how far it is, in its note; no units of work.

    Raises:
        PifaError: the overlay's name; the aligner or the detector can't be used.
        OSError: the overlay can't be written.
    """
    work = _Video(aligner, detector, str(path_or_camera), options, write)
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(VideoReader(path_or_camera))
        except PifaError as error:
            work.fail(str(error))
            return work.summary
        writer = stack.enter_context(VideoWriter(options.overlay, reader.fps)) if options.overlay else None
        try:
            work.run(reader, writer, advance)
        except KeyboardInterrupt:
            if not reader.camera:
                raise
            work.summary.interrupted = True
        if writer:
            writer.finish()
    return work.summary


class _Video:
    """A video under way."""

    def __init__(
        self, aligner: Aligner, detector: Detector, name: str, options: VideoOptions, write: Callable[[Record], None]
    ) -> None:
        self._aligner, self._name, self._options, self._write = aligner, name, options, write
        self._tracker = Tracker(aligner, detector, kind=options.kind, min_score=options.min_score)
        self._filters: dict[int, OneEuroFilter] = {}
        self.summary = VideoSummary()

    def run(self, reader: VideoReader, writer: VideoWriter | None, advance: Advance) -> None:
        """All of it."""
        summary, written = self.summary, 0
        frames = iter(reader)
        while summary.frames != self._options.limit:
            try:
                frame = next(frames, None)
            except PifaError as error:
                self.fail(str(error))
                break
            if frame is None:
                self._ended(reader)
                break
            summary.frames += 1
            faces = self._align(frame)
            if writer and frame.pixels is not None:
                picture = draw_frame(frame.pixels, faces)
                # A camera's frames come as fast as they are aligned: the video shows them as long as they lasted.
                wanted = round(frame.time * reader.fps) + 1 - written if reader.camera else 1
                for _ in range(min(wanted, MOST_REPEATED)):
                    writer.write(picture)
                written += wanted
            if frame.index % TOLD == 0:
                total = f" of {reader.count}" if reader.count else ""
                advance(0, f"{Path(self._name).name}: frame {frame.index + 1}{total}, {len(faces)} faces")

    def fail(self, reason: str, frame: Frame | None = None) -> None:
        """Tell why nothing came of the video or of a frame."""
        about = {"frame": frame.index, "time": round(frame.time, 4)} if frame else {}
        self._write(failure_record(reason, image=self._name, **about))
        self.summary.failures += 1

    def _align(self, frame: Frame) -> list[tuple[int, Alignment]]:
        summary = self.summary
        if frame.pixels is None:
            self.fail(f"{self._name}: frame {frame.index} can't be decoded", frame)
            return []
        faces = self._tracker(frame.pixels, frame.time)
        if self._options.smooth:
            self._filters = {number: self._filters.get(number) or OneEuroFilter() for number, _ in faces}
            faces = [(number, self._filters[number](face, frame.time)) for number, face in faces]
        told = [(number, face) for number, face in faces if face.score >= self._options.min_score]
        for number, face in told:
            about = {"frame": frame.index, "time": round(frame.time, 4), "track": number}
            self._write(face_record(face, image=self._name, **about))
        if not told:
            why = f": none that is followed scores {self._options.min_score:g}" if faces else ""
            self.fail(f"{self._name}: frame {frame.index}: no face found{why}", frame)
        summary.faces += len(told)
        summary.tracks, summary.detections = self._tracker.born, self._tracker.detections
        return told

    def _ended(self, reader: VideoReader) -> None:
        frames = self.summary.frames
        if not frames:
            self.fail(f"{self._name}: {'the camera gives' if reader.camera else 'the video has'} no frame to decode")
        elif reader.camera:
            self.fail(f"{self._name}: the camera gave no more after {frames} frames")
        elif reader.ended_early(frames):
            self.fail(
                f"{self._name}: ends after {frames} frames, its header tells {reader.count}; the file may be cut short"
            )
