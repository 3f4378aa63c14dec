"""AFLW databases for tests: the tables and columns that the owner's toolkit reads and writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from pifa_data.readers.aflw import NAMES

SCHEMA = """
CREATE TABLE Databases (db_id TEXT PRIMARY KEY, path TEXT, description TEXT);
CREATE TABLE Faces (face_id INTEGER PRIMARY KEY, file_id TEXT NOT NULL, db_id TEXT NOT NULL);
CREATE TABLE FaceImages (image_id INTEGER PRIMARY KEY, db_id TEXT, file_id TEXT, filepath TEXT, bw INTEGER,
    width INTEGER, height INTEGER);
CREATE TABLE FaceRect (face_id INTEGER PRIMARY KEY, x INTEGER, y INTEGER, w INTEGER, h INTEGER, annot_type_id INTEGER);
CREATE TABLE FacePose (face_id INTEGER PRIMARY KEY, roll REAL, pitch REAL, yaw REAL, annot_type_id INTEGER);
CREATE TABLE FeatureCoords (face_id INTEGER, feature_id INTEGER, x REAL, y REAL, annot_type_id INTEGER,
    PRIMARY KEY (face_id, feature_id));
CREATE TABLE FeatureCoordTypes (feature_id INTEGER PRIMARY KEY, descr TEXT, code TEXT, x REAL, y REAL, z REAL);
"""


def make_database(path: Path, faces: int = 3, script: str = "", *, schema: str = SCHEMA) -> np.ndarray:
    """Write ``path`` with so many faces, two to an image, and run ``script`` on it at last.

    Returns:
        ``(faces, 21, 2)`` points, NaN where a face has none: what is drawn at random.
    """
    rng = np.random.default_rng(faces)
    path.parent.mkdir(parents=True, exist_ok=True)
    points = rng.uniform(10, 90, (faces, len(NAMES), 2))
    points[rng.random((faces, len(NAMES))) > 0.8] = np.nan
    connection = sqlite3.connect(path)
    connection.executescript(schema)
    types = [(n + 1, name, "", 0.0, 0.0, 0.0) for n, name in enumerate((*NAMES, "LeftTemple", "RightTemple"))]
    connection.executemany("INSERT INTO FeatureCoordTypes VALUES (?, ?, ?, ?, ?, ?)", types)
    images = [
        (n, "flickr", f"image{n:05}.jpg", f"{(0, 2, 3)[n % 3]}/image{n:05}.jpg", 0, 640, 480)
        for n in range((faces + 1) // 2)
    ]
    connection.executemany("INSERT INTO FaceImages VALUES (?, ?, ?, ?, ?, ?, ?)", images)
    connection.executemany(
        "INSERT INTO Faces VALUES (?, ?, 'flickr')", [(39341 + n, images[n // 2][2]) for n in range(faces)]
    )
    connection.executemany("INSERT INTO FaceRect VALUES (?, 10, 20, 80, 90, 1)", [(39341 + n,) for n in range(faces)])
    connection.executemany("INSERT INTO FacePose VALUES (?, 0.3, 0.2, 0.5, 1)", [(39341 + n,) for n in range(faces)])
    rows = [
        (39341 + n, i + 1, *point, 0)
        for n, face in enumerate(points.tolist())
        for i, point in enumerate(face)
        if point[0] == point[0]
    ]
    connection.executemany("INSERT INTO FeatureCoords VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.executescript(script)
    connection.commit()
    connection.close()
    return points
