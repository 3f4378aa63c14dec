"""Records as a database with AFLW's tables, which AFLW's tools and ``pifa``'s reader ``aflw`` read.

AFLW's own: Faces, FaceImages, FaceRect, FacePose, FeatureCoords (visible points alone, as there) and
FeatureCoordTypes, of AFLW's 21 landmarks. What those have no place for is beside them: AllCoords (every point, with its
visibility), FaceFits (score, M, p) and Failures. Paths are below the folder that was given.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from pifa_data.camera import rotation
from pifa_data.readers.aflw import NAMES
from pipelines.align.formats import plain
from pipelines.align.records import Record, is_face

_TABLES = """
CREATE TABLE Databases (db_id TEXT PRIMARY KEY, path TEXT, description TEXT);
CREATE TABLE Faces (face_id INTEGER PRIMARY KEY, file_id TEXT NOT NULL, db_id TEXT NOT NULL);
CREATE TABLE FaceImages (image_id INTEGER PRIMARY KEY, db_id TEXT, file_id TEXT UNIQUE, filepath TEXT, bw INTEGER,
    width INTEGER, height INTEGER);
CREATE TABLE FaceRect (face_id INTEGER PRIMARY KEY, x REAL, y REAL, w REAL, h REAL, annot_type_id INTEGER);
CREATE TABLE FacePose (face_id INTEGER PRIMARY KEY, roll REAL, pitch REAL, yaw REAL, annot_type_id INTEGER);
CREATE TABLE FeatureCoords (face_id INTEGER, feature_id INTEGER, x REAL, y REAL, annot_type_id INTEGER,
    PRIMARY KEY (face_id, feature_id));
CREATE TABLE FeatureCoordTypes (feature_id INTEGER PRIMARY KEY, descr TEXT, code TEXT, x REAL, y REAL, z REAL);
CREATE TABLE AllCoords (face_id INTEGER, feature_id INTEGER, x REAL, y REAL, visible INTEGER,
    PRIMARY KEY (face_id, feature_id));
CREATE TABLE FaceFits (face_id INTEGER PRIMARY KEY, score REAL, camera TEXT, coefficients TEXT);
CREATE TABLE Failures (filepath TEXT, reason TEXT);
"""


def write_database(path: Path, records: Iterable[Record], names: Mapping[str, str]) -> None:
    """Write a new database.

    Args:
        path: a file that is not there.
        records: original pixels.
        names: of each image, its path below the folder that was given.

    Raises:
        OSError: no space or right.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            _fill(connection, records, names)
    except sqlite3.Error as error:
        raise OSError(f"{path}: the database can't be written ({error})") from error


def _fill(connection: sqlite3.Connection, records: Iterable[Record], paths: Mapping[str, str]) -> None:
    connection.executescript(_TABLES)
    types = [(n + 1, name, "", 0.0, 0.0, 0.0) for n, name in enumerate(NAMES)]
    connection.executemany("INSERT INTO FeatureCoordTypes VALUES (?, ?, ?, ?, ?, ?)", types)
    connection.execute("INSERT INTO Databases VALUES ('pifa', '', 'pifa align')")
    known: set[str] = set()
    number = 0
    for record in records:
        image = plain(paths[record["image"]])
        if not is_face(record):
            connection.execute("INSERT INTO Failures VALUES (?, ?)", (image, plain(record["reason"])))
            continue
        if image not in known:
            known.add(image)
            row = (len(known), "pifa", image, image, 0, *record.get("size", (None, None)))
            connection.execute("INSERT INTO FaceImages VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        number += 1
        _insert(connection, number, image, record)
    connection.commit()


def _insert(connection: sqlite3.Connection, face: int, image: str, record: Record) -> None:
    x0, y0, x1, y1 = record["box"]
    yaw, pitch, roll = aflw_angles(*np.radians(list(record["pose"].values())))
    marks = [
        (face, i + 1, x, y, seen)
        for i, ((x, y), seen) in enumerate(zip(record["landmarks"], record["visibility"], strict=True))
    ]
    connection.execute("INSERT INTO Faces VALUES (?, ?, 'pifa')", (face, image))
    connection.execute("INSERT INTO FaceRect VALUES (?, ?, ?, ?, ?, 1)", (face, x0, y0, x1 - x0, y1 - y0))
    connection.execute("INSERT INTO FacePose VALUES (?, ?, ?, ?, 1)", (face, roll, pitch, yaw))
    connection.executemany("INSERT INTO AllCoords VALUES (?, ?, ?, ?, ?)", marks)
    seen_marks = [(face, i, x, y, 1) for _, i, x, y, seen in marks if seen]
    connection.executemany("INSERT INTO FeatureCoords VALUES (?, ?, ?, ?, ?)", seen_marks)
    fit = (face, record["score"], json.dumps(record["camera"]), json.dumps(record["coefficients"]))
    connection.execute("INSERT INTO FaceFits VALUES (?, ?, ?, ?)", fit)


def aflw_angles(yaw: float, pitch: float, roll: float) -> tuple[float, float, float]:
    """The project's angles in AFLW's order and signs, radians: the inverse of the reader's ``project_poses``."""
    r = rotation(yaw, pitch, roll)  # = Ry(−yaw)·Rx(−pitch)·Rz(roll) of AFLW's angles
    a, b, c = np.arctan2(r[0, 2], r[2, 2]), -np.arcsin(np.clip(r[1, 2], -1, 1)), np.arctan2(r[1, 0], r[1, 1])
    return float(-a), float(-b), float(c)
