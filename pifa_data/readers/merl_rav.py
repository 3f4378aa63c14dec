"""``merl-rav``: MERL-RAV's ``.pts`` labels of AFLW's faces, with the visibility of each point.

The layout is the owner's: five folders by pose, in each ``trainset`` and ``testset``, in these ``labels`` with one
file a face, ``image12345.pts``, or ``image12345_1.pts``, ``image12345_2.pts`` where an image shows several. The form
that the owner's script makes (``merl_rav_organized``: no ``labels`` folder, an image beside each file) is read too.

A row of a file (the table "Format of the Label Files" in the owner's README, github.com/abhi1kumar/MERL-RAV_dataset):

    x y      visible                                            visibility 2
    -x -y    covered by hair, a hand, glasses: (x, y) a guess    visibility 1
    -1 -1    turned away: no place given                        visibility 0

The owner does not say where pixels are counted from. The numbers are taken as they are, the centre of the top-left
pixel at (0, 0), unlike iBUG's ``.pts``: the owner's own code (github.com/abhi1kumar/LUVLi, ``data/face_bbx.py`` and
``plot/show_aflw_ours_samples.py``) uses and draws them unchanged (but iBUG's too, so that this is no proof). Were it
wrong, every point of a face would be off by the same one pixel: the pose and the shape of a fit would stay.

Images need AFLW's licence. Where AFLW's folder, database or a table of its faces is given, or lies where the owner's
README has it, each face gets its image, and AFLW's own box and pose (``aflw_faces.py``). Which of an image's faces a
file ``image12345_2.pts`` is, AFLW's tables do not say; the box that overlaps most with the labels tells.
Without them ``Face.image`` says where the owner's script would put the image, whether it is there or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers.aflw_faces import MOST_IN_IMAGE, AflwFaces, Box, find_faces, match
from pifa_data.readers.base import IMAGE_SUFFIXES, Format, Split
from pifa_data.readers.pts import read_points

POSES = ("frontal", "lefthalf", "left", "righthalf", "right")
"""The folders. Left and right are the subject's own: in ``left`` noses point to the image's right (yaw < 0)."""

SPLITS = {"trainset": "train", "testset": "test"}

BLOCK = 64
"""Faces decoded together: a call of NumPy takes as long as the signs of three faces. A face that is kept keeps its
block's points, 70 KB."""

N_POINTS = 68


def read(path: Path, aflw: str | None = None) -> Iterator[Face | Skipped]:
    """Stream the faces of all poses, or of one where ``path`` is its folder; named ``POSE/image12345_1``.

    Args:
        path: MERL-RAV's folder ``merl_rav_labels`` or ``merl_rav_organized``, or the owner's folder around the first.
        aflw: where AFLW's images, boxes and poses are (``find_faces``).
    """
    if not _folders(path) and (path / "merl_rav_labels").is_dir():
        path = path / "merl_rav_labels"
    folders = _folders(path)
    if not folders:
        raise AnnotationError(
            f"{path}: expected MERL-RAV's folders {', '.join(POSES)} with trainset and testset in them; "
            "name the folder merl_rav_labels, or one of these"
        )
    labels = path.absolute().parent if path.name in POSES else path
    known = find_faces(aflw, labels)
    joined = None
    if known is not None:
        yield from known.problems
        joined = _Joined(known, labels)
    for folder in folders:
        seen: set[str] = set()
        for split in SPLITS:
            for found in _read_split(folder, split, joined):
                if found.id in seen:
                    yield Skipped(found.id, "a face of this name is in both trainset and testset")
                else:
                    seen.add(found.id)
                    yield found


def _folders(path: Path) -> list[Path]:
    candidates = [path] if path.name in POSES else [path / pose for pose in POSES]
    return [folder for folder in candidates if any((folder / split).is_dir() for split in SPLITS)]


def _files(pose: Path, split: str) -> tuple[str, list[str], set[str]]:
    """Folder of one split's labels, names of its files, sorted, and of those that are no regular files."""
    folder = pose / split
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    if not labels.is_dir():
        return str(labels), [], set()
    entries = [entry for entry in os.scandir(labels) if entry.name.endswith(".pts")]
    return str(labels), sorted(e.name for e in entries), {e.name for e in entries if not e.is_file()}


def _read_split(pose: Path, split: str, joined: _Joined | None) -> Iterator[Face | Skipped]:
    folder = pose / split
    labels, files, irregular = _files(pose, split)
    if not files:
        return
    beside = {entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)}
    subsets = (pose.name,)
    for first in range(0, len(files), BLOCK):
        block = files[first : first + BLOCK]
        ids = [f"{pose.name}/{name[:-4]}" for name in block]
        landmarks, visibility, reasons = _read_block([f"{labels}/{name}" for name in block])
        known = joined.faces(ids, landmarks, visibility) if joined is not None else [_UNKNOWN] * len(block)
        for number, (id_, points, seen) in enumerate(zip(ids, landmarks, visibility, strict=True)):
            if block[number] in irregular:
                yield Skipped(id_, f"{labels}/{block[number]}: not a regular file")
                continue
            if number in reasons:
                yield Skipped(id_, reasons[number])
                continue
            stem = block[number][:-4]
            image, box, pose_angles = known[number]
            if beside:
                found = next((stem + suffix for suffix in IMAGE_SUFFIXES if stem + suffix in beside), None)
                image = image if found is None else f"{folder}/{found}"
            yield Face(
                id=id_,
                file=image or f"{folder}/{stem}.jpg",
                landmarks=points,
                visibility=seen,
                scheme="ibug68",
                kind="2d",
                box=box,
                # Who it is isn't known; faces of one photograph stay on one side of a split, background and all.
                subject=stem.partition("_")[0],
                split=SPLITS[split],
                subsets=subsets,
                pose=pose_angles,
            )


def _read_block(files: list[str]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Landmarks and visibility of some files, as ``decode`` gives them, and why those of which number are none."""
    rows = np.zeros((len(files), N_POINTS, 2))
    reasons: dict[int, str] = {}
    for number, file in enumerate(files):
        try:
            rows[number] = read_points(file, N_POINTS)
        except AnnotationError as error:
            reasons[number] = str(error)
    landmarks, visibility, odd = decode(rows)
    for number in np.flatnonzero(odd >= 0).tolist():
        reasons[number] = (
            f"{files[number]}: point {odd[number] + 1} has one negative coordinate; expected both (covered: -x -y) "
            "or none"
        )
    visibility[list(reasons)] = 0
    return landmarks, visibility, reasons


def decode(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signs to visibility.

    Args:
        rows: ``(n, 68, 2)`` as they stand in the files.

    Returns:
        landmarks ``(n, 68, 2)`` float64 image pixels, (0, 0) where not labelled; visibility ``(n, 68)`` uint8; ``(n,)``
        the number of a point with one negative coordinate, which means none of the three, or −1.
    """
    negative = rows < 0
    covered = negative[..., 0]
    odd = covered != negative[..., 1]
    hidden = (rows == -1).all(2)
    landmarks = np.abs(rows)
    landmarks[hidden] = 0
    visibility = 2 - covered.astype(np.uint8) - hidden
    return landmarks, visibility, np.where(odd.any(1), odd.argmax(1), -1)


def _tight(landmarks: np.ndarray, visibility: np.ndarray) -> list[Box]:
    """The box around the labelled points of each face; one that no other overlaps where there are none."""
    hidden = visibility == 0
    # Of each coordinate for itself: NumPy takes eight times as long for the two of them, which lie in turns.
    lows = [np.where(hidden, np.inf, landmarks[..., i]).min(1).tolist() for i in (0, 1)]
    highs = [np.where(hidden, -np.inf, landmarks[..., i]).max(1).tolist() for i in (0, 1)]
    return list(zip(*lows, *highs, strict=True))


_Known = tuple[str | None, np.ndarray | None, np.ndarray | None]
"""Path of the image, box and pose of a face, each None where it is not known."""

_UNKNOWN: _Known = (None, None, None)


class _Joined:
    """What AFLW has of each labelled face."""

    def __init__(self, known: AflwFaces, labels: Path) -> None:
        self._known = known
        self._labels = labels
        self._files: dict[str, list[tuple[str, str]]] | None = None
        self._rows: dict[str, int | None] = {}

    def faces(self, ids: list[str], landmarks: np.ndarray, visibility: np.ndarray) -> list[_Known]:
        """What is known of a block of faces."""
        tights = dict(zip(ids, _tight(landmarks, visibility), strict=True))
        several = {image for id_ in ids if (image := self._image_of_several(id_)) and id_ not in self._rows}
        if several:
            self._match_images(several, tights)
        return [self._face(id_, tights[id_]) for id_ in ids]

    def _image_of_several(self, id_: str) -> str | None:
        """The image of a face that is not the only one in it, if AFLW has that image."""
        image, _, number = id_[id_.rfind("/") + 1 :].partition("_")
        return image if number and image in self._known.rows else None

    def _face(self, id_: str, tight: Box) -> _Known:
        known = self._known
        stem = id_[id_.rfind("/") + 1 :]
        image = stem.partition("_")[0]
        rows = known.rows.get(image)
        if rows is None:
            return _UNKNOWN
        path = f"{known.images}/{known.names[rows[0]]}"
        row = match([tight], known.boxes_in(rows))[0] if image == stem else self._rows.pop(id_, None)
        return (path, None, None) if row is None else (path, known.boxes[row], known.pose(row))

    def _match_images(self, images: set[str], tights: dict[str, Box]) -> None:
        """Match all labelled faces of some images, of all poses and splits, with the images' boxes."""
        if self._files is None:
            self._files = self._list()
        faces = {image: self._files.get(image, [])[: MOST_IN_IMAGE + 1] for image in images}
        others = [(id_, file) for found in faces.values() for id_, file in found if id_ not in tights]
        # What is wrong with one is told where its turn comes.
        landmarks, visibility, _ = _read_block([file for _, file in others])
        known = {**tights, **dict(zip((id_ for id_, _ in others), _tight(landmarks, visibility), strict=True))}
        for image, found in faces.items():
            ids = [id_ for id_, _ in found]
            boxes = self._known.boxes_in(self._known.rows[image])
            self._rows.update(zip(ids, match([known[id_] for id_ in ids], boxes), strict=True))

    def _list(self) -> dict[str, list[tuple[str, str]]]:
        """Name and path of the faces of each image that has several, by the image's name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for folder in _folders(self._labels):
            for split in SPLITS:
                labels, files, _ = _files(folder, split)
                for name in files:
                    if "_" in name:
                        item = (f"{folder.name}/{name[:-4]}", f"{labels}/{name}")
                        found.setdefault(name.partition("_")[0], []).append(item)
        return found


FORMAT = Format(
    name="merl-rav",
    layout="MERL-RAV's folder merl_rav_labels: {frontal,left,…}/{trainset,testset}/labels/*.pts, with or without AFLW",
    read=read,
    schemes=("ibug68",),
    tried="originals",
    matches=lambda path: path.is_dir() and bool(_folders(path) or _folders(path / "merl_rav_labels")),
    splits={
        "train": Split("the owner's training set", 15_449),
        "test": Split("the owner's test set", 3_865),
        "frontal": Split("faces seen from the front", 10_973),
        "lefthalf": Split("faces turned to their left, both eyes seen", 1_475),
        "left": Split("left profiles", 2_601),
        "righthalf": Split("faces turned to their right, both eyes seen", 1_527),
        "right": Split("right profiles", 2_738),
    },
    options={
        "aflw": "AFLW's folder, its aflw.sqlite, or a faces.csv, for images, boxes and poses; by default ../aflw or "
        "../faces.csv where they are; none for labels alone"
    },
    licence="None is stated for the labels; the images are under AFLW's: research only.",
    citation="""@inproceedings{kumar2020luvli,
  title={LUVLi Face Alignment: Estimating Landmarks' Location, Uncertainty, and Visibility Likelihood},
  author={Kumar, Abhinav and Marks, Tim K. and Mou, Wenxuan and Wang, Ye and Jones, Michael and Cherian, Anoop and
    Koike-Akino, Toshiaki and Liu, Xiaoming and Feng, Chen},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year={2020}
}""",
    homepage="https://github.com/abhi1kumar/MERL-RAV_dataset",
    normaliser="tight",
)
