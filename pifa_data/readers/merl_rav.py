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
from pifa_data.readers.aflw_faces import AflwFaces, Box, find_faces, match
from pifa_data.readers.base import IMAGE_SUFFIXES, Format, Split
from pifa_data.readers.pts import read_points
from pifa_data.readers.rows import all_visible

POSES = ("frontal", "lefthalf", "left", "righthalf", "right")
"""The folders. Left and right are the subject's own: in ``left`` noses point to the image's right (yaw < 0)."""

SPLITS = {"trainset": "train", "testset": "test"}

_VISIBILITIES = bytes([2, 1, *range(2, 256)])
"""Of a point by whether it is negative."""
_ONES = int.from_bytes(b"\1" * 68)


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


def _files(pose: Path, split: str) -> tuple[str, list[tuple[str, bool]]]:
    """Folder of one split's labels, and its files, sorted: name, and whether it is a regular file."""
    folder = pose / split
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    if not labels.is_dir():
        return str(labels), []
    return str(labels), sorted(
        (entry.name, entry.is_file()) for entry in os.scandir(labels) if entry.name.endswith(".pts")
    )


def _read_split(pose: Path, split: str, joined: _Joined | None) -> Iterator[Face | Skipped]:
    folder = pose / split
    labels, files = _files(pose, split)
    if not files:
        return
    beside = {entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES)}
    for name, is_file in files:
        stem = name[:-4]
        id_ = f"{pose.name}/{stem}"
        file = f"{labels}/{name}"
        if not is_file:  # a pipe would be waited for without end
            yield Skipped(id_, f"{file}: not a regular file")
            continue
        labelled = None if joined is None else joined.decoded.pop(file, None)
        if labelled is None:
            try:
                labelled = decode(read_points(file), file)
            except AnnotationError as error:
                yield Skipped(id_, str(error))
                continue
        # Who it is isn't known; faces of one photograph stay on one side of a split, background and all.
        subject = stem.partition("_")[0]
        image, box, pose_angles = None, None, None
        if joined is not None:
            image, box, pose_angles = joined.face(id_, file, subject, labelled)
        if beside:
            found = next((stem + suffix for suffix in IMAGE_SUFFIXES if stem + suffix in beside), None)
            image = image if found is None else f"{folder}/{found}"
        yield Face(
            id=id_,
            file=image or f"{folder}/{stem}.jpg",
            landmarks=labelled[0],
            visibility=labelled[1],
            scheme="ibug68",
            kind="2d",
            box=box,
            subject=subject,
            split=SPLITS[split],
            subsets=(pose.name,),
            pose=pose_angles,
        )


def decode(rows: np.ndarray, path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Signs to visibility.

    Args:
        rows: ``(68, 2)`` as they stand in the file.
        path: for the message.

    Returns:
        landmarks ``(68, 2)`` float64 image pixels, (0, 0) where not labelled; visibility ``(68,)`` uint8.

    Raises:
        AnnotationError: a point with one negative coordinate, which means none of the three.
    """
    # On bytes: NumPy's functions take longer to be called than 68 signs take to be looked at.
    signs = (rows < 0).tobytes()
    if 1 not in signs:
        return rows, all_visible(len(rows))
    covered = signs[::2]
    if covered != signs[1::2]:
        odd = next(i for i in range(len(rows)) if signs[2 * i] != signs[2 * i + 1])
        raise AnnotationError(
            f"{path}: point {odd + 1} has one negative coordinate; expected both (covered: -x -y) or none"
        )
    landmarks = np.abs(rows)
    ones = (rows == -1).tobytes()
    if 1 not in ones:
        return landmarks, np.frombuffer(covered.translate(_VISIBILITIES), np.uint8)
    hidden = (int.from_bytes(ones[::2]) & int.from_bytes(ones[1::2])).to_bytes(len(rows))
    landmarks[np.frombuffer(hidden, bool)] = 0
    visibility = 2 * _ONES - int.from_bytes(covered) - int.from_bytes(hidden)  # byte by byte, as none borrows
    return landmarks, np.frombuffer(visibility.to_bytes(len(rows)), np.uint8)


class _Joined:
    """What AFLW has of each labelled face."""

    def __init__(self, known: AflwFaces, labels: Path) -> None:
        self._known = known
        self._labels = labels
        self._files: dict[str, list[tuple[str, str]]] | None = None
        self._rows: dict[str, int | None] = {}
        self.decoded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        """Labels by file, of those that come next in the folder and had to be read before their turn."""

    def face(
        self, id_: str, file: str, image: str, labels: tuple[np.ndarray, np.ndarray]
    ) -> tuple[str | None, np.ndarray | None, np.ndarray | None]:
        """Path of the image, box and pose of one face, each None where it is not known."""
        known = self._known
        rows = known.rows.get(image)
        if rows is None:
            return None, None, None
        path = f"{known.images}/{known.names[rows[0]]}"
        boxes = known.boxes_in(image)
        if not boxes:
            return path, None, None
        if "_" not in id_:
            row = match([_tight(*labels)], boxes)[0]
        else:
            if id_ not in self._rows:
                self._match_image(id_, file, image, labels, boxes)
            row = self._rows.pop(id_, None)
        if row is None:
            return path, None, None
        return path, known.boxes[row], known.poses[row]

    def _match_image(
        self, id_: str, file: str, image: str, labels: tuple[np.ndarray, np.ndarray], boxes: list[tuple[int, Box]]
    ) -> None:
        """Match all labelled faces of an image, of all poses and splits, with its boxes."""
        if self._files is None:
            self._files = self._list()
        folder = file[: file.rfind("/") + 1]
        ids, tights = [id_], [_tight(*labels)]
        for other, other_file in self._files.get(image, ()):
            if other == id_:
                continue
            try:
                found = decode(read_points(other_file), other_file)
            except AnnotationError:
                continue  # reported where its turn comes
            ids.append(other)
            tights.append(_tight(*found))
            if other_file.startswith(folder):
                self.decoded[other_file] = found
        self._rows.update(zip(ids, match(tights, boxes), strict=True))

    def _list(self) -> dict[str, list[tuple[str, str]]]:
        """Name and path of the faces of each image that has several, by the image's name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for folder in _folders(self._labels):
            for split in SPLITS:
                labels, files = _files(folder, split)
                for name, is_file in files:
                    if "_" in name and is_file:
                        item = (f"{folder.name}/{name[:-4]}", f"{labels}/{name}")
                        found.setdefault(name.partition("_")[0], []).append(item)
        return found


def _tight(landmarks: np.ndarray, visibility: np.ndarray) -> Box:
    points = landmarks if 0 not in visibility.tobytes() else landmarks[visibility > 0]
    if not len(points):
        return 0.0, 0.0, 0.0, 0.0
    x0, y0 = np.minimum.reduce(points).tolist()
    x1, y1 = np.maximum.reduce(points).tolist()
    return x0, y0, x1, y1


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
)
