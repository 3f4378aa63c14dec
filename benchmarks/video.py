"""How fast and how steadily a face is followed through a video.

    python benchmarks/video.py CHECKPOINT PHOTO --face X,Y [--json FILE]

Makes two clips of 100 frames at 25 a second from a photograph with a face at X,Y, with noise: one that holds still and
one that pans, zooms and tips by up to 25°. Says frames a second (without and with the overlay), the share of frames in
which the face is followed and in which the detector looked, how many tracks one face became, and the jitter: standard
deviation of the still face's landmarks in percent of its size, without and with smoothing; for the moving one the mean
distance that smoothing moves landmarks (lag), in percent too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pifa_data.boxes import box_size
from pifa_data.detection import open_detector
from pifa_model import Aligner
from pipelines.video import VideoOptions, align_video

FPS, FRAMES, SIZE = 25.0, 100, (640, 480)


def view(photo: np.ndarray, face: tuple[float, float], t: float, rng: np.random.Generator) -> np.ndarray:
    """The photo at ``t`` seconds of the moving clip, BGR; at 0 the face is in the middle."""
    matrix = cv2.getRotationMatrix2D(face, 25 * np.sin(1.7 * t), 1.2 + 0.5 * np.sin(2 * t))
    matrix[:, 2] += np.array(SIZE) / 2 - face + (130 * np.sin(2.2 * t), 60 * np.sin(3 * t))
    image = cv2.warpAffine(photo, matrix, SIZE, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def main() -> None:
    """Make, follow, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("photo")
    parser.add_argument("--face", required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    x, y = (float(v) for v in arguments.face.split(","))
    photo = cv2.imread(arguments.photo)
    aligner, detector = Aligner.load(arguments.checkpoint), open_detector("haar")
    rng, told = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, pace in (("still", 0.0), ("moving", 1.0)):
            clip = Path(folder, f"{name}.mp4")
            writer = cv2.VideoWriter(str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE)
            for i in range(FRAMES):
                writer.write(view(photo, (x, y), pace * i / FPS, rng))
            writer.release()
            told[name] = measure(aligner, detector, clip, pace == 0)
    for name, numbers in told.items():
        print(name, ", ".join(f"{key} {value:.3g}" for key, value in numbers.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


def measure(aligner: Aligner, detector: Any, clip: Path, still: bool) -> dict[str, float]:
    """One clip, three times: plain, smoothed, with an overlay."""
    runs = {}
    variants = {"plain": {}, "smooth": {"smooth": True}, "overlay": {"overlay": clip.with_suffix(".webm")}}
    for name, wanted in variants.items():
        records: list[dict[str, Any]] = []
        start = time.perf_counter()
        summary = align_video(
            aligner,
            detector,
            clip,
            options=VideoOptions(**wanted),  # type: ignore[arg-type]
            write=records.append,
            advance=lambda done, note="": None,
        )
        seconds = time.perf_counter() - start
        runs[name] = (summary, seconds, [record for record in records if "track" in record])
    summary, seconds, plain = runs["plain"]
    landmarks = np.array([record["landmarks"] for record in plain])
    steady = np.array([record["landmarks"] for record in runs["smooth"][2]])
    size = float(box_size(np.concatenate([landmarks.min(1), landmarks.max(1)], axis=1)).mean()) / 100
    told = {
        "frames_per_second": FRAMES / seconds,
        "with_overlay": FRAMES / runs["overlay"][1],
        "followed": len(runs["plain"][2]) / FRAMES,
        "detected": summary.detections / FRAMES,
        "tracks": summary.tracks,
        "moved_by_smoothing": float(np.linalg.norm(steady - landmarks, axis=2).mean()) / size,
    }
    if still:
        told |= {"jitter": _jitter(landmarks) / size, "jitter_smooth": _jitter(steady) / size}
    return told


def _jitter(landmarks: np.ndarray) -> float:
    """Pixels, once a second has gone by."""
    return float(landmarks[25:].std(0).mean())


if __name__ == "__main__":
    main()
