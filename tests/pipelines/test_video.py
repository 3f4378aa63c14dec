"""Videos: reading, following, steadying, writing."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest

import zoo
from pifa_data.boxes import square_of, tight_box
from pifa_data.camera import camera, pose_angles, project, rotation
from pifa_data.detection import Detection, open_detector
from pifa_data.errors import ImageError
from pifa_model import Aligner, Alignment
from pipelines.video import VideoOptions, align_video
from pipelines.video.reading import VideoReader, is_video
from pipelines.video.smoothing import BETA, OneEuroFilter
from pipelines.video.tracking import MEMORY, Tracker
from pipelines.video.writing import VideoWriter

FPS = 25.0
HEAD = np.random.default_rng(3).normal(size=(68, 3))
FACE = 60.0
"""Size, pixels, of the faces that are drawn."""


def face_at(x: float, y: float, size: float = FACE, yaw: float = 0.0, score: float = 0.9) -> Alignment:
    """A face whose landmarks' box has its centre and its size so."""
    points = project(HEAD, camera(np.array(1.0), rotation(yaw, 0, 0), np.zeros(2)))
    box = tight_box(points, np.ones(68))
    scale = size / float(np.sqrt(np.prod(box[2:] - box[:2])))
    matrix = camera(np.array(scale), rotation(yaw, 0, 0), np.array([x, y]) - scale * (box[:2] + box[2:]) / 2)
    landmarks = project(HEAD, matrix)
    params = np.concatenate([matrix.ravel(), np.zeros(3)])
    box = tight_box(landmarks, np.ones(68))
    return Alignment(box, landmarks, np.ones(68, bool), pose_angles(matrix), params, score)


class Fake:
    """Aligner and detector of pictures in which faces are bright textured squares on black."""

    name = "fake"

    def __init__(self) -> None:
        self.header = SimpleNamespace(boxes="tight", grow=1.4, input_size=32, calibration=None)
        self.score = 0.9
        self.looks = 0
        self.blind = False

    def __call__(self, image: np.ndarray) -> list[Detection]:
        self.looks += 1
        return [] if self.blind else [Detection(face.box, face.box, 1.0) for face in self._all(image)]

    def batch(self, images: Sequence[np.ndarray], boxes: Any, kind: str | None = None) -> list[list[Alignment]]:
        """The face in each box; where there is none, one that looks doubtful."""
        return [[self._in(image, box) for box in of_one] for image, of_one in zip(images, boxes, strict=True)]

    def next_box(self, face: Alignment) -> np.ndarray:
        return tight_box(face.landmarks, np.ones(68))

    def _in(self, image: np.ndarray, box: np.ndarray) -> Alignment:
        square = square_of(box, 1.4, 32)
        for face in self._all(image):
            middle = (face.box[:2] + face.box[2:]) / 2
            if np.abs(middle - (square.x, square.y)).max() < square.side / 3:
                return replace(face, box=box, score=self.score)
        return replace(face_at(square.x, square.y, score=0.1), box=box)

    @staticmethod
    def _all(image: np.ndarray) -> list[Alignment]:
        count, _, boxes, _ = cv2.connectedComponentsWithStats((image[..., 0] > 60).astype(np.uint8))
        sides = boxes[1:count]
        return [face_at(x + w / 2 - 0.5, y + h / 2 - 0.5, (w * h) ** 0.5) for x, y, w, h, a in sides if a > 400]


TEXTURE = cv2.resize(np.random.default_rng(0).integers(90, 255, (6, 6), np.uint8), (60, 60))


def picture(*places: tuple[int, int], width: int = 320) -> np.ndarray:
    """Black, with a face at each place."""
    image = np.zeros((240, width, 3), np.uint8)
    for x, y in places:
        left, top = max(0, x - 30), max(0, y - 30)
        part = image[top : y + 30, left : x + 30]
        part[:] = TEXTURE[top - y + 30 :, left - x + 30 :][: part.shape[0], : part.shape[1], None]
    return image


def numbers(tracker: Tracker, frames: Sequence[np.ndarray], start: float = 0.0) -> list[list[int]]:
    return [[number for number, _ in tracker(frame, start + i / FPS)] for i, frame in enumerate(frames)]


def tracker_of(fake: Fake, **options: Any) -> Tracker:
    return Tracker(fake, fake, **options)  # type: ignore[arg-type]


def write_clip(path: Path, frames: Sequence[np.ndarray], code: str = "MJPG", fps: float = FPS) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def align(fake: Fake, path: str | Path, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    records: list[dict[str, Any]] = []
    summary = align_video(
        fake,  # type: ignore[arg-type]
        fake,
        path,
        options=VideoOptions(**options),
        write=records.append,
        advance=lambda done, note="": None,
    )
    return summary, records


def test_a_moving_face_is_followed_with_few_looks_of_the_detector() -> None:
    fake = Fake()
    frames = [picture((60 + 3 * i, 100)) for i in range(60)]
    tracker = tracker_of(fake)
    for i, frame in enumerate(frames):
        [(number, face)] = tracker(frame, i / FPS)
        assert number == 0
        assert (face.landmarks.min(0) + face.landmarks.max(0)) / 2 == pytest.approx((60 + 3 * i, 100), abs=2)
    assert fake.looks == 3  # at 0, 1 and 2 seconds


def test_faces_are_numbered_in_order_of_birth_and_those_that_come_later_are_found() -> None:
    one, two = picture((60, 60)), picture((60, 60), (220, 150))
    seen = numbers(tracker_of(Fake()), [one] * 10 + [two] * 40)
    assert seen[:10] == [[0]] * 10
    assert seen[-1] == [0, 1]
    assert seen.index([0, 1]) <= 26


def test_a_face_that_jumps_is_found_at_once_and_is_another() -> None:
    seen = numbers(tracker_of(Fake()), [picture((60, 60))] * 5 + [picture((240, 170))] * 5)
    assert seen == [[0]] * 5 + [[1]] * 5


def test_a_face_that_is_hidden_for_a_moment_keeps_its_number_and_later_does_not() -> None:
    face, empty = picture((100, 100)), picture()
    short, long = int(MEMORY * FPS * 0.6), int(MEMORY * FPS * 1.6)
    for gap, number in ((short, 0), (long, 1)):
        seen = numbers(tracker_of(Fake()), [face] * 3 + [empty] * gap + [face] * 12)
        assert seen[3] == []
        assert seen[-1] == [number]


def test_a_cut_to_something_else_in_the_same_place_is_noticed() -> None:
    fake = Fake()
    other = picture((100, 100))
    other[70:130, 70:130] = 255 - (other[70:130, 70:130] - 90)  # as bright, another picture
    numbers(tracker_of(fake), [picture((100, 100))] * 3 + [other] * 2)
    assert fake.looks == 2


def test_what_leaves_the_picture_is_followed_no_more() -> None:
    frames = [picture((100 - 4 * i, 100)) for i in range(32)]
    seen = numbers(tracker_of(Fake()), frames)
    assert seen[10] == [0]
    assert seen[-1] == []


def test_what_the_detector_misses_again_and_again_ends() -> None:
    fake = Fake()
    tracker = tracker_of(fake)
    face = picture((100, 100))
    assert numbers(tracker, [face] * 30)[-1] == [0]
    fake.blind = True
    seen = numbers(tracker, [face] * 75, start=30 / FPS)
    assert seen[0] == [0]
    assert seen[-1] == []


@pytest.mark.parametrize(("calibration", "number"), [(None, 0), (object(), 1)])
def test_what_the_detector_misses_is_believed_by_its_score(calibration: object, number: int) -> None:
    fake = Fake()
    fake.header.calibration, fake.score = calibration, 0.85
    tracker, face = tracker_of(fake), picture((100, 100))
    numbers(tracker, [face])
    fake.blind = True
    assert len(numbers(tracker, [face] * 60, start=1 / FPS)[-1]) == number


def test_a_face_is_born_from_a_score_on_and_followed_below_it() -> None:
    fake, face = Fake(), picture((100, 100))
    fake.score = 0.5
    tracker = tracker_of(fake, min_score=0.8)
    assert numbers(tracker, [face] * 3) == [[]] * 3
    fake.score = 0.85
    assert numbers(tracker, [face] * 10, start=3 / FPS)[-1] == [0]
    fake.score = 0.4
    seen = numbers(tracker, [face, picture(), *[face] * 8], start=13 / FPS)
    assert (seen[0], seen[1], seen[-1]) == ([0], [], [0])  # lost for a moment too


def test_a_large_face_is_shown_to_the_detector_without_false_patterns() -> None:
    seen: list[np.ndarray] = []
    tracker = Tracker(Fake(), lambda image: seen.append(image) or [])  # type: ignore[arg-type, func-returns-value]
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 200
    tracker._looks_like_a_face(stripes, face_at(450, 450, size=440))
    assert seen[0].shape == (160, 160, 3)
    assert np.abs(seen[0][10:-10, 10:-10].astype(int) - 100).max() < 3


def test_of_two_that_follow_one_face_the_elder_stays() -> None:
    apart = [picture((100 + 2 * i, 100), (240 - 2 * i, 100)) for i in range(20)]
    seen = numbers(tracker_of(Fake()), [*apart, *[picture((170, 100))] * 3])
    assert seen[0] == [0, 1]
    assert seen[-1] == [0] or seen[-1] == [1]
    assert len(seen[-1]) == 1


def test_a_still_face_is_steadied_and_a_moving_one_hardly_lags() -> None:
    rng = np.random.default_rng(0)
    steady, raw, smooth = OneEuroFilter(), [], []
    for i in range(200):
        face = face_at(100, 100, size=100)
        noise = rng.normal(0, 0.5, (68, 2))
        face = replace(face, landmarks=face.landmarks + noise)
        raw.append(face.landmarks)
        smooth.append(steady(face, i / FPS).landmarks)
    assert np.std(smooth[50:], axis=0).mean() < 0.45 * np.std(raw[50:], axis=0).mean()
    for speed in (0.2, 1.0, 3.0):  # face sizes a second
        moving = OneEuroFilter()
        for i in range(100):
            face = face_at(100 * speed * i / FPS, 0, size=100)
            lag = float(np.linalg.norm(moving(face, i / FPS).landmarks - face.landmarks, axis=1).max())
        assert 0 < lag < 100 / (2 * np.pi * BETA)


def test_steadied_landmarks_camera_and_pose_belong_together() -> None:
    rng = np.random.default_rng(1)
    steady = OneEuroFilter()
    for i in range(60):
        face = face_at(100 + i, 90, size=80 + rng.normal(), yaw=0.02 * i + rng.normal(0, 0.01))
        found = steady(face, i / FPS)
        matrix = found.params[:8].reshape(2, 4)
        assert np.abs(project(HEAD, matrix) - found.landmarks).max() < 1e-9
        assert found.pose == pytest.approx(pose_angles(matrix))
    assert found.landmarks.tolist() != face.landmarks.tolist()
    assert steady(face, 10.0).landmarks.tolist() == face.landmarks.tolist()  # a pause: anew


def test_a_video_gives_a_record_a_face_and_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [picture((60 + 2 * i, 100)) for i in range(8)] + [picture()] * 2)
    out = tmp_path / "out" / "clip.webm"
    summary, records = align(Fake(), clip, overlay=out, smooth=True)
    assert (summary.frames, summary.faces, summary.tracks, summary.failures) == (10, 8, 1, 2)
    assert list(records[3])[:4] == ["image", "frame", "time", "track"]
    assert (records[3]["image"], records[3]["frame"], records[3]["track"]) == (str(clip), 3, 0)
    assert records[3]["time"] == pytest.approx(3 / FPS, abs=1e-3)
    assert "no face found" in records[9]["reason"]
    assert [file.name for file in out.parent.iterdir()] == ["clip.webm"]
    assert b"webm" in out.read_bytes()[:64]
    with VideoReader(out) as drawn:
        frames = list(drawn)
        assert drawn.fps == pytest.approx(FPS)
    assert len(frames) == 10
    plain = picture((66, 100)).astype(int)
    assert frames[3].pixels is not None
    colour = frames[3].pixels[60:140, 26:106].astype(int)
    assert np.abs(colour - plain[60:140, 26:106]).max() > 80  # something was drawn


def test_faces_that_score_too_little_are_followed_but_not_told(tmp_path: Path) -> None:
    class Fading(Fake):
        def batch(self, *arguments: Any) -> list[list[Alignment]]:
            self.frames = getattr(self, "frames", 0) + 1  # three calls in the first frame, then one a frame
            self.score = 0.4 if 5 <= self.frames <= 6 else 0.9
            return super().batch(*arguments)

    clip = write_clip(tmp_path / "clip.avi", [picture((100, 100))] * 6)
    summary, records = align(Fading(), clip, min_score=0.8, overlay=tmp_path / "out.webm")
    assert [record.get("score") for record in records] == [0.9, 0.9, None, None, 0.9, 0.9]
    assert "no face found: none that is followed scores 0.8" in records[2]["reason"]
    assert {record["track"] for record in records if "track" in record} == {0}
    assert (summary.faces, summary.failures, summary.tracks) == (4, 2, 1)
    with VideoReader(tmp_path / "out.webm") as drawn:
        numerals = [frame.pixels[50:67, 60:140].max() for frame in drawn if frame.pixels is not None]
    assert min(numerals[:2]) > 100 > max(numerals[2:4])


def test_a_limit_ends_a_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [picture((100, 100))] * 9)
    assert align(Fake(), clip, limit=4)[0].frames == 4


def damaged(tmp_path: Path, what: str) -> Path:
    path = tmp_path / "clip.mp4"
    if what == "text":
        path.write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    elif what == "empty":
        path.touch()
    elif what == "head":
        whole = write_clip(tmp_path / "whole.mp4", [picture((100, 100))] * 9, "mp4v").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("what", "expected"),
    [("text", "not a video"), ("empty", "not a video"), ("missing", "No such file"), ("head", "can't be opened")],
)
def test_what_is_no_video_gets_one_reason(tmp_path: Path, what: str, expected: str) -> None:
    path = damaged(tmp_path, what)
    summary, [record] = align(Fake(), path, overlay=tmp_path / "out.webm")
    assert expected in record["reason"]
    assert str(path) in record["reason"]
    assert "\n" not in record["reason"]
    assert (summary.frames, summary.failures) == (0, 1)
    assert not (tmp_path / "out.webm").exists()


def test_a_video_that_ends_early_keeps_its_frames_and_gets_a_reason(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.avi", [picture((100, 100))] * 30).read_bytes()
    path = tmp_path / "clip.avi"
    path.write_bytes(whole[: len(whole) // 2])
    summary, records = align(Fake(), path)
    assert 5 < summary.faces < 25
    assert "cut short" in records[-1]["reason"]


def test_a_video_that_lies_turned_is_stood_upright(tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "clip.mp4", [picture((100, 60))] * 3, "mp4v").read_bytes())
    # The matrix of the track's header, from its version's 40th byte on: 90° clockwise.
    at = data.find(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 240 << 16, 0, 1 << 30)
    (tmp_path / "clip.mp4").write_bytes(data)
    _, records = align(Fake(), tmp_path / "clip.mp4", limit=1)
    x0, y0, x1, y1 = records[0]["box"]
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((239 - 60, 100), abs=4)


class Camera:
    """What ``cv2.VideoCapture`` gives for a camera: faces, and Ctrl-C in the end."""

    released = 0

    def __init__(self, end: Callable[[], bool]) -> None:
        self.end, self.frames = end, 0

    def isOpened(self) -> bool:
        return True

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FPS: 0.0, cv2.CAP_PROP_FRAME_WIDTH: 320.0, cv2.CAP_PROP_FRAME_HEIGHT: 240.0}.get(
            name, -1.0
        )

    def grab(self) -> bool:
        self.frames += 1
        return self.frames <= 6 or self.end()

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.frames == 2 else (True, picture((100, 100)))

    def release(self) -> None:
        Camera.released += 1


def interrupt() -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize("end", [interrupt, lambda: False])
def test_a_camera_runs_until_it_is_stopped_and_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[], bool]
) -> None:
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number, *_: Camera(end) if number == 0 else real(number, *_))
    monkeypatch.setattr(Camera, "released", 0)
    out = tmp_path / "camera.webm"
    summary, records = align(Fake(), "camera:0", overlay=out)
    assert Camera.released == 1
    assert (summary.frames, summary.faces) == (6, 5)
    assert summary.interrupted == (end is interrupt)
    assert "can't be decoded" in records[1]["reason"]
    assert ("gave no more" in records[-1].get("reason", "")) == (end is not interrupt)
    with VideoReader(out) as drawn:
        assert next(iter(drawn)).index == 0


def test_a_cameras_time_counts_from_its_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([7.0, 7.5, 9.0])
    camera = Camera(interrupt)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: camera)
    monkeypatch.setattr("pipelines.video.reading.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with VideoReader("camera:0") as reader:
        frames = iter(reader)
        assert [next(frames).time for _ in range(3)] == [0.0, 0.5, 2.0]


def test_a_camera_that_is_not_there_and_frames_that_are_too_large_get_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Camera, "isOpened", lambda self: False)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Camera(interrupt))
    assert "no such camera" in align(Fake(), "camera:7")[1][0]["reason"]
    monkeypatch.setattr(Camera, "isOpened", lambda self: True)
    monkeypatch.setattr(Camera, "get", lambda self, name: 9000.0)
    assert "9000x9000" in align(Fake(), "camera:7")[1][0]["reason"]


def test_an_overlay_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.webm", FPS) as writer:
        writer.write(picture())
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with pytest.raises(ImageError, match=r"a\.avi: .*\.webm"):
        VideoWriter(tmp_path / "a.avi", FPS)


def test_frames_of_odd_and_of_other_sizes_are_written(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.webm", FPS) as writer:
        for image in (picture(width=321), picture(width=100)):
            writer.write(image[:239])
        assert writer.finish()
    with VideoReader(tmp_path / "a.webm") as reader:
        assert [frame.pixels.shape for frame in reader if frame.pixels is not None] == [(240, 322, 3)] * 2


def test_kinds_of_files_are_told_by_how_they_begin() -> None:
    assert is_video(b"\x00\x00\x00\x20ftypisom")
    assert is_video(b"G" + bytes(187) + b"G")
    assert not is_video(b"ffconcat version 1.0\nfile '/etc/passwd'\n")
    assert not is_video(b"")


def test_a_real_face_is_found_and_followed(tmp_path: Path) -> None:
    photo = cv2.imread(str(Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")))[..., ::-1]
    frames = [np.ascontiguousarray(photo[40:400, 40 + 6 * i : 440 + 6 * i]) for i in range(6)]
    clip = write_clip(tmp_path / "clip.mp4", frames, "mp4v")
    aligner = Aligner.load(Path(zoo.__file__).parent / "registry/pifa68-small/1.0.0/weights.safetensors")
    records: list[dict[str, Any]] = []
    summary = align_video(
        aligner,
        open_detector("haar"),
        clip,
        options=VideoOptions(),
        write=records.append,
        advance=lambda done, note="": None,
    )
    assert (summary.faces, summary.tracks, summary.detections) == (6, 1, 1)
    noses = np.array([record["landmarks"][30] for record in records])
    assert np.diff(noses[:, 0]) == pytest.approx([-6] * 5, abs=2.5)
    assert np.abs(np.diff(noses[:, 1])).max() < 2.5
