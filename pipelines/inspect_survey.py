"""The first pass of ``pifa inspect``: every face of one source, counted and measured, few of them kept.

Of a face stay a handful of float32 numbers and a hash of its labels; faces themselves only in an even sample.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from pifa_data.errors import AnnotationError, ImageError
from pifa_data.faces import Face, Skipped, check_faces
from pifa_data.images import image_exists, image_size
from pifa_data.labels import SMALLEST_FACE, check_inside
from pifa_data.readers import FORMATS, Format, parse_source
from pifa_data.readers.names import Names
from pipelines.inspect_problems import Problems
from pipelines.progress import Advance
from pipelines.sources import stream_faces

BLOCK = 256
"""Faces measured together."""

SAMPLE = 20_000
"""Faces of one scheme up to which each is kept and fitted; of more, every second, fourth … one."""

MOST_NAMES = 200
"""Splits, and reasons why faces are skipped, that are told apart: a damaged file may hold one a face."""

SLACK = 1.0
"""Pixels beyond the image's edge that are no problem yet: who clicks on an edge means the edge."""


@dataclass(frozen=True)
class Selection:
    """Which faces of each source, as the command line says it."""

    split: str | None = None
    limit: int | None = None
    where: str | None = None

    def has_whole(self, name: str) -> bool:
        """Whether the split comes whole, so that it can be compared with its published count."""
        return self.limit is None and self.where is None and self.split in (None, name)

    def stream(self, source: str) -> Iterator[Face | Skipped]:
        return stream_faces([source], split=self.split, limit=self.limit, where=self.where, fittable=False)


class EvenSample:
    """Faces at equal distances in the order they are read: all of them up to ``most``, then every second, fourth …"""

    def __init__(self, most: int = SAMPLE) -> None:
        self.step = 1
        self.rows: list[int] = []
        self.faces: list[Face] = []
        self.seen = 0
        self._most = most

    def add(self, row: int, face: Face) -> None:
        """Consider the next face, which is the ``row``-th of its source."""
        number = self.seen
        self.seen += 1
        if number % self.step == 0 and len(self.faces) == self._most:
            self.step *= 2
            self.rows, self.faces = self.rows[::2], self.faces[::2]
        if number % self.step == 0:
            self.rows.append(row)
            self.faces.append(_own(face))


def _own(face: Face) -> Face:
    """The face with arrays of its own: a reader's may be rows of a block, which they would keep in memory whole."""
    landmarks, visibility = face.landmarks.copy(), face.visibility.copy()
    box, pose = (None if a is None else np.array(a, dtype=np.float64) for a in (face.box, face.pose))
    return replace(face, landmarks=landmarks, visibility=visibility, box=box, pose=pose)


@dataclass
class Points:
    """Of one scheme's ``L`` points, in how many of ``faces`` each has visibility 0, 1 and 2, or lies out of its image.

    Attributes:
        visibility: ``(L, 3)`` int64.
        outside: ``(L,)`` int64.
        measured: faces whose image's size is known.
    """

    visibility: np.ndarray
    outside: np.ndarray
    faces: int = 0
    measured: int = 0


@dataclass
class Survey:
    """One source, read once.

    Attributes:
        source: as the user names it.
        format: its format.
        problems: what is wrong with it.
        faces: readable faces.
        skipped: faces that can't be read; ``reasons`` counts them by reason, numbers and names left out.
        unfittable: readable faces that can't be fitted.
        images, missing: image files that are named, and those of them that are not there.
        subjects: people, as far as known.
        schemes, kinds, splits: faces by each; a face counts for its split and for each of its subsets.
        points: by scheme.
        samples: by scheme, the faces that are kept.
        columns: of each face, float32 but for the last: ``size`` (F,) √(w·h) of the tight box; ``box`` (F, 4) centre of
            the data set's box from the tight box's over that size, its width and height over the tight box's; ``pose``
            (F, 3) the data set's own, degrees; ``image`` (F, 2) width and height; ``key`` (F,) int64 hash of labels.
            NaN where not known.
    """

    source: str
    format: Format
    problems: Problems = field(default_factory=Problems)
    faces: int = 0
    skipped: int = 0
    unfittable: int = 0
    images: int = 0
    missing: int = 0
    subjects: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    schemes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    points: dict[str, Points] = field(default_factory=dict)
    samples: dict[str, EvenSample] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)


WIDTHS = {"size": 0, "box": 4, "pose": 3, "image": 2}


def survey(source: str, selection: Selection, advance: Advance) -> Survey:
    """Read one source.

    Raises:
        AnnotationError: nothing of it can be read.
    """
    result = Survey(source, parse_source(source, FORMATS).format)
    reader = _Reader(result)
    faces = selection.stream(source)
    while True:
        block: list[Face | Skipped] = []
        try:
            block.extend(itertools.islice(faces, BLOCK))
        except AnnotationError as error:
            if not block and not result.faces + result.skipped:
                raise
            result.problems.add("stopped", source, str(error))
        reader.take(block)
        if not block or result.problems["stopped"].count:
            break
        advance(len(block), f"{result.problems['missing'].count:,} images missing" if result.missing else "")
    reader.finish()
    _compare_splits(result, selection)
    return result


class _Reader:
    """Fills a survey, block by block."""

    def __init__(self, result: Survey) -> None:
        self._result = result
        self._files, self._subjects = Names(), Names()
        self._chunks: dict[str, list[np.ndarray]] = {name: [] for name in (*WIDTHS, "key")}
        # Faces of one photograph mostly stand together.
        self._measure = lru_cache(maxsize=4096)(measure_image)

    def take(self, block: list[Face | Skipped]) -> None:
        for skipped in (face for face in block if isinstance(face, Skipped)):
            self._result.skipped += 1
            self._result.problems.add("skipped", skipped.id, skipped.reason)
            _count(self._result.reasons, general(skipped.reason))
        faces = [face for face in block if isinstance(face, Face)]
        if faces:
            # An absurd pose or box becomes infinite in float32, and is left out as if there were none.
            with np.errstate(over="ignore", invalid="ignore"):
                self._measure_block(faces)

    def finish(self) -> None:
        result = self._result
        result.images, result.subjects = len(self._files), len(self._subjects)
        for name, chunks in self._chunks.items():
            width = WIDTHS.get(name, 0)
            empty = np.empty((0, width) if width else 0, np.int64 if name == "key" else np.float32)
            result.columns[name] = np.concatenate([empty, *chunks])
            chunks.clear()
        if result.images and result.missing == result.images:
            text = f"none of its {result.images:,} images is there: these are labels alone, to be fitted, not prepared"
            result.problems.replace("missing", result.source, text)

    def _measure_block(self, faces: list[Face]) -> None:
        result = self._result
        block = {
            name: np.full((len(faces), width) if width else len(faces), np.nan, np.float32)
            for name, width in WIDTHS.items()
        }
        block["key"] = np.zeros(len(faces), np.int64)
        by_scheme: dict[str, list[int]] = {}
        for i, face in enumerate(faces):
            by_scheme.setdefault(face.scheme, []).append(i)
            result.schemes[face.scheme] += 1
            result.kinds[face.kind] += 1
            for name in (face.split, *face.subsets):
                _count(result.splits, name)
            if face.subject:
                self._subjects.add(face.subject)
            if face.pose is not None:
                block["pose"][i] = np.degrees(face.pose)
            size = self._look(face)
            if size is not None:
                block["image"][i] = size
        for i, reason in enumerate(check_faces(faces)):
            if reason is not None:
                result.unfittable += 1
                result.problems.add("unfittable", faces[i].id, reason)
        for scheme, rows in by_scheme.items():
            self._measure_points(scheme, [faces[i] for i in rows], np.array(rows), block)
        for i, face in enumerate(faces):
            result.samples.setdefault(face.scheme, EvenSample()).add(result.faces + i, face)
        for name, values in block.items():
            self._chunks[name].append(values)
        result.faces += len(faces)

    def _look(self, face: Face) -> tuple[int, int] | None:
        """Width and height of the face's image, by its header or else by the annotation."""
        problems = self._result.problems
        found = self._measure(face.file)
        if self._files.add(face.file):
            if found is None:
                self._result.missing += 1
                problems.add("missing", face.id, face.file)
            elif isinstance(found, str):
                problems.add("unreadable", face.id, found)
        if not isinstance(found, tuple):
            return face.image_size
        if face.image_size is not None and face.image_size != found:
            (width, height), (w, h) = found, face.image_size
            text = f"{face.file}: expected {w}x{h} pixels, as the annotation says, found {width}x{height}"
            problems.add("image_size", face.id, text, face)
        return found

    def _measure_points(self, scheme: str, faces: list[Face], rows: np.ndarray, block: dict[str, np.ndarray]) -> None:
        """Columns and problems of faces of one scheme, which are ``rows`` of the block."""
        problems = self._result.problems
        points = np.stack([face.landmarks for face in faces])
        visibility = np.stack([face.visibility for face in faces])
        seen = visibility > 0
        count = seen.sum(1)
        points = np.where(seen[..., None], points, 0.0)  # whatever stands where nothing is labelled
        low = np.where(seen[..., None], points, np.inf).min(1)
        high = np.where(seen[..., None], points, -np.inf).max(1)
        sides = high - low
        size = np.sqrt(sides[:, 0] * sides[:, 1])
        block["size"][rows] = size
        for i in np.flatnonzero(size < SMALLEST_FACE).tolist():
            problems.add("tiny", faces[i].id, f"{size[i]:.2g} pixels; expected landmarks in the image's pixels")
        block["key"][rows] = [hash(row.tobytes()) for row in points]

        with_box = [i for i, face in enumerate(faces) if face.box is not None]
        if with_box:
            box = np.stack([np.asarray(faces[i].box, dtype=np.float64) for i in with_box])
            block["box"][rows[with_box]] = _beside(box, low[with_box], high[with_box])
            inside = (points[with_box] >= box[:, None, :2]) & (points[with_box] <= box[:, None, 2:])
            held = (inside.all(2) & seen[with_box]).sum(1)
            for i, number in zip(with_box, held.tolist(), strict=True):
                if number < count[i] / 2:
                    problems.add("box", faces[i].id, f"holds {number} of {count[i]} labelled points", faces[i])

        table = self._result.points.get(scheme)
        if table is None:
            length = seen.shape[1]
            table = self._result.points[scheme] = Points(np.zeros((length, 3), np.int64), np.zeros(length, np.int64))
        table.faces += len(faces)
        table.visibility += np.stack([(visibility == value).sum(0) for value in range(3)], axis=1)
        extent = block["image"][rows].astype(np.float64)
        known = np.isfinite(extent[:, 0])
        table.measured += int(known.sum())
        # NaN, of images whose size nobody knows, is beyond nothing.
        beyond = np.maximum(-0.5 - points, points - (extent[:, None] - 0.5)).max(2)
        out = (beyond > 0) & seen
        table.outside += out.sum(0)
        farthest = np.where(out, beyond, 0).max(1)
        for i in np.flatnonzero(farthest > SLACK).tolist():
            width, height = (int(v) for v in extent[i])
            number = int(np.count_nonzero(out[i]))
            text = (
                f"{number} of {count[i]} points outside the image of {width}x{height} pixels, the farthest by "
                f"{farthest[i]:.0f} pixels"
            )
            try:
                check_inside(faces[i], (height, width))
            except AnnotationError:
                text += "; `pifa prep` refuses that"
            problems.add("outside", faces[i].id, text, faces[i])


def _beside(box: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``(F, 4)``: how boxes lie about tight boxes, see ``Survey.columns``."""
    sides = np.maximum(high - low, 1e-6)
    size = np.sqrt(sides[:, :1] * sides[:, 1:])
    shift = ((box[:, :2] + box[:, 2:]) - (low + high)) / 2 / size
    return np.concatenate([shift, (box[:, 2:] - box[:, :2]) / sides], axis=1)


def measure_image(file: str) -> tuple[int, int] | str | None:
    """Width and height of an image by its header, why they can't be told, or None if there is no such file."""
    try:
        width, height = image_size(file)
        return int(width), int(height)
    except ImageError as error:
        return str(error) if image_exists(file) else None


def _count(counter: Counter[str], name: str) -> None:
    if name and (name in counter or len(counter) < MOST_NAMES):
        counter[name] += 1


def general(reason: str) -> str:
    """A reason without what differs from face to face: paths, quoted text, numbers."""
    reason = re.sub(r"\S*/.*?: ", "", reason, count=1)
    reason = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", reason)
    return re.sub(r"-?\d+(\.\d+)?", "N", reason)[:200]


def _compare_splits(result: Survey, selection: Selection) -> None:
    for name, split in result.format.splits.items():
        found = result.splits[name]
        # A split that is not there at all is no fault: people have the part that they need.
        if found and split.count not in (None, found) and selection.has_whole(name):
            text = f"{name}: {found:,} of the published {split.count:,} faces"
            result.problems.add("split", result.source, text)
