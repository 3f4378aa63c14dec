"""``coco-json``: faces in COCO's JSON, as mmpose has 300W, AFLW, COFW, WFLW and LaPa; and COCO-WholeBody's faces.

    NAME/annotations/face_landmarks_300w_train.json, …_valid_common.json, cofw_test.json, lapa_train.json, …
    NAME/images/…

mmpose's documentation (``docs/en/dataset_zoo/2d_face_keypoint.md``) has the layout. One object a file, with arrays
``images`` (id, file_name, height, width) and ``annotations`` (id, image_id, keypoints x, y, v of each point in a row,
bbox x, y, width, height). The number of points tells the scheme.

What differs from file to file, by the converters in mmpose's ``tools/dataset_converters``:

* v. Those for 300W, 300VW, WFLW and AFLW write 1 at every point, which says that it is labelled; mmpose itself asks
  only whether v > 0. So where a face has no v above 1 its points are taken as visible. COFW's writes COCO's own 1
  (hidden) and 2 (seen), LaPa's 2 everywhere. COCO-WholeBody's v may be fractions, and "in such cases, v>0 means that
  the keypoint is reliable": of a face with one, all points above 0 are visible.
* The origin. COFW's converter subtracts MATLAB's 1 from the points, and leaves it in the box. 300W's files have HRNet's
  numbers (center and scale are made by its rule), which are the ``.pts`` files' own; 300VW's converter copies those,
  and 300W-LP's the points of ``landmarks/``: all three count from 1. The others are taken as they are. Each so as by
  the reader of the originals.
* The box. Where there are ``center`` and ``scale``, mmpose crops the square of 200·scale around the centre, and so does
  this reader: of 300W and WFLW it is HRNet's, of AFLW the database's own box. ``bbox`` beside them is no face box
  everywhere: published ones are cut at row 768 of higher images, and WFLW's later converter makes all 200 pixels large.

A file may be of any size: objects are cut out and parsed one by one, and of the images only name and size are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.readers import w300, wflw
from pifa_data.readers.base import Format, Split, flag
from pifa_data.readers.coco_faces import Meaning, Record, face_of
from pifa_data.readers.coco_files import Images, Table, tables_of
from pifa_data.readers.json_arrays import JsonArrays, JsonError
from pifa_data.readers.names import Names
from pifa_data.readers.parts import Once, Subsets, wholes_first
from pifa_data.readers.rows import KIND, SCHEME, chosen_kind, chosen_scheme
from pifa_data.schemes import SCHEMES, Scheme, scheme_of_count

_BOTH, _IMAGES = frozenset({"images", "annotations"}), frozenset({"images"})

_COUNTS = {3 * len(scheme): scheme.name for scheme in SCHEMES.values() if scheme_of_count(len(scheme)) is scheme}


def read(
    path: Path, images: str = "", scheme: str = "", kind: str = "2d", origin: str = ""
) -> Iterator[Face | Skipped]:
    """Stream the faces of one file, or of all in a folder, each face once; named ``IMAGE#ANNOTATION_ID``.

    Args:
        path: file or folder. Where a folder has ``A.json`` and ``A_common.json``, the faces of the second are those of
            the first that belong to the subset ``common``.
        images: the folder that the images' names are told from.
        scheme: where the number of points does not tell it.
        kind: ``2d`` or ``3d``.
        origin: what the file calls the centre of the top-left pixel, ``0`` or ``1``, where its name does not tell.
    """
    chosen, kind = chosen_scheme(scheme), chosen_kind(kind)
    if origin not in ("", "0", "1"):
        raise AnnotationError(f"origin={flag(origin)}: expected 0 or 1")
    if images and not Path(images).is_dir():
        raise AnnotationError(f"images={images}: no such folder")
    tables = tables_of(path)
    if not tables:
        raise AnnotationError(
            f'{path}: expected a .json file that begins with {{"images", {{"annotations" or another key of COCO, or a '
            "folder with such files, or with a folder annotations of them"
        )
    names = Names()
    for table, once in wholes_first(tables, _keys):
        try:
            yield from _read_table(table, _meaning(table, chosen, kind, origin), images, names, once)
        except AnnotationError as error:
            if len(tables) == 1:
                raise
            yield Skipped(table.file.name, str(error))


def _meaning(table: Table, chosen: Scheme | None, kind: str, origin: str) -> Meaning:
    from_1 = bool(table.words & {"300w", "300wlp", "300vw"})
    schemes = {3 * len(chosen): chosen.name} if chosen else _COUNTS
    return Meaning(schemes, kind, float(origin) if origin else float(from_1))


def _keys(part: Table) -> Names:
    keys = Names()
    with suppress(AnnotationError):  # told when its own faces are read
        for found in _records(part, Images()):
            if not isinstance(found, Skipped):
                keys.add(_key(found.name, found.record))
    return keys


def _key(name: str, record: dict[str, Any]) -> str:
    """What is the same in a file and its parts: the image's name and where the first points lie."""
    points = record.get("keypoints")
    return f"{name} {points[:6] if type(points) is list else None}"


def _read_table(table: Table, meaning: Meaning, root: str, names: Names, once: Once | None) -> Iterator[Face | Skipped]:
    images = Images()
    for found in _records(table, images):
        if isinstance(found, Skipped):
            yield found
            continue
        subsets: Subsets | None = table.subsets
        if once is not None:
            subsets = once.subsets(_key(found.name, found.record), table.subsets)
        if subsets is None:
            continue
        root = root or table.root_of(images.first_names())
        try:
            face = face_of(found, meaning, root, table.split, subsets)
            if face is None:
                continue
            if not names.add(face.id):
                raise AnnotationError("another annotation of this id came before")
            yield face
        except AnnotationError as error:
            yield Skipped(f"{found.name}#{flag(found.record.get('id'))}", f"{_at(table, found.number)}: {error}")


def _at(table: Table, number: int) -> str:
    return f"{table.file.name} annotation {number}"


def _records(table: Table, images: Images) -> Iterator[Skipped | Record]:
    """Each annotation of a file; fills ``images`` before."""
    looked = False
    count = 0
    try:
        with table.file.open("rb") as file:
            for kind, number, text in JsonArrays(file).objects(_BOTH):
                if kind == "images":
                    if not looked and number:
                        yield from _add(images, table, number, text)
                    continue
                if not number:
                    count += 1
                    if not looked and not len(images):
                        # The annotations stand first, or there are no images.
                        yield from _look_for_images(table, images)
                    looked = True
                    for id_ in images.complete():
                        yield Skipped(f"image {id_}", f"{table.file.name}: two images have this id; the first is taken")
                    continue
                try:
                    if text is None:
                        raise AnnotationError("expected an object {…}")
                    record = _parse(text)
                    wanted = record.get("image_id")
                    image = images.find(wanted) if type(wanted) is int and abs(wanted) < 2**63 else None
                    if image is None:
                        raise AnnotationError(f"image_id: expected the id of one of the images, found {flag(wanted)}")
                except AnnotationError as error:
                    yield Skipped(_at(table, number), f"{_at(table, number)}: {error}")
                    continue
                yield Record(*image, number, record, b"true" in text or b"false" in text)
    except JsonError as error:
        if not count:
            raise AnnotationError(f"{table.file}: {error}") from error
        yield Skipped(table.file.name, f"{table.file.name}: {error}; nothing behind it is read")
    except OSError as error:
        raise AnnotationError(f"{table.file}: can't be read ({error.strerror or error})") from error
    if not count:
        raise AnnotationError(f"{table.file}: expected an array annotations, found none")


def _look_for_images(table: Table, images: Images) -> Iterator[Skipped]:
    with table.file.open("rb") as file:
        try:
            found = False
            for _, number, text in JsonArrays(file).objects(_IMAGES):
                found = True
                if number:
                    yield from _add(images, table, number, text)
        except JsonError:
            pass  # who reads the annotations meets it too
    if not found:
        raise AnnotationError(f"{table.file}: expected an array images, found none")


def _add(images: Images, table: Table, number: int, text: bytes | None) -> Iterator[Skipped]:
    try:
        if text is None:
            raise AnnotationError("expected an object {…}")
        images.add(_parse(text))
    except AnnotationError as error:
        where = f"{table.file.name} image {number}"
        yield Skipped(where, f"{where}: {error}")


def _parse(text: bytes) -> dict[str, Any]:
    """One object.

    Raises:
        AnnotationError: not valid JSON, or a key that stands there twice.
    """
    try:
        record: dict[str, Any] = from_json(text)
        # The parser takes the last of two keys. Two quotes a key and text: so there are none, but maybe in an object.
        quotes = text.count(b'"')
        if quotes != 2 * len(record) and quotes != 2 * len(record) + 2 * list(map(type, record.values())).count(str):
            json.loads(text, object_pairs_hook=_no_key_twice)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"not valid JSON ({error})") from error
    return record


def _no_key_twice(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        again = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {flag(again)} stands there twice")


FORMAT = Format(
    name="coco-json",
    layout="COCO's JSON with 68, 19, 29, 98 or 106 keypoints a face, as mmpose has them: one file, or a folder of them",
    read=read,
    matches=lambda path: bool(tables_of(path)),
    schemes=tuple(SCHEMES),
    tried="originals",
    splits={
        "train": Split("files named train: 300W 3,148, AFLW-19 20,000, COFW 1,345, WFLW 7,500, LaPa 18,168"),
        "val": Split("files named val: LaPa 2,000"),
        "test": Split("files named test: 300W's own 600, AFLW-19 4,386, COFW 507, WFLW 2,500, LaPa 2,000"),
        **{
            name: Split(f"300W: {part.text}", part.count)
            for name, part in w300.FORMAT.splits.items()
            if name not in ("train", "test")
        },
        "frontal": Split("AFLW-19: test faces that are frontal", 1314),
        **{
            name: Split(f"WFLW: {part.text}", part.count)
            for name, part in wflw.FORMAT.splits.items()
            if name in wflw.SUBSETS
        },
    },
    options={
        "images": "the folder that the images' names are told from, where the images are not where mmpose has them",
        "origin": "what the file calls the centre of the top-left pixel, 0 or 1, where its name does not tell",
        **SCHEME,
        **KIND,
    },
    licence="That of the data set: see 300w, aflw, cofw, wflw; LaPa's is for research, not for commercial use.",
    citation="""@misc{mmpose2020,
  title = {OpenMMLab Pose Estimation Toolbox and Benchmark},
  author = {MMPose Contributors},
  howpublished = {\\url{https://github.com/open-mmlab/mmpose}},
  year = {2020}
}""",
    homepage="https://github.com/open-mmlab/mmpose",
)
