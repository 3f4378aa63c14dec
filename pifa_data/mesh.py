"""A face's dense mesh in its image: files for 3D programs, colours from the photo, depth and normals as pictures.

Frame: x right and y down in image pixels, z in pixels too, larger is farther: the axes of the image, continued into
the scene. OBJ and PLY files are turned for 3D programs: y up, z towards the viewer, pixels still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pifa_data.camera import decompose
from pifa_data.morphable import MorphableModel
from pifa_data.profiling.raster import Raster, rasterise

DEPTH_STEPS, DEPTH_MIDDLE = 16, 32768
"""Depth pictures: steps a pixel of depth, and the value of z = 0, the depth of the morphable model's origin."""

GRAZING = 0.2
"""Cosine between a vertex's normal and the direction of view below which its pixel may as well show what is behind."""

MEMBRANE = 200
"""Times that colours spread by one vertex: across the back of a head."""


@dataclass(frozen=True)
class FaceMesh:
    """A face as triangles.

    Attributes:
        vertices: ``(V, 3)`` float64, image pixels; see above.
        triangles: ``(T, 3)`` int32, counter-clockwise seen from outside, in the frame of the model.
    """

    vertices: np.ndarray
    triangles: np.ndarray

    def normals(self) -> np.ndarray:
        """``(V, 3)`` float64 unit normals of the vertices, outward, in the frame of ``vertices``."""
        a, b, c = (self.vertices[self.triangles[:, i]] for i in range(3))
        # y down and z away are two mirrorings of the model's frame: the sense of rotation stays.
        faces = np.cross(b - a, c - a)
        corners = self.triangles.ravel()
        total = np.stack([np.bincount(corners, np.repeat(axis, 3), len(self.vertices)) for axis in faces.T], axis=1)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)

    def raster(self, shape: tuple[int, int]) -> Raster:
        """Which triangle each pixel of an ``(H, W)`` image shows."""
        return rasterise(self.vertices[:, :2], self.vertices[:, 2], self.triangles, shape)


def face_mesh(model: MorphableModel, params: np.ndarray) -> FaceMesh:
    """The mesh of P ``(8 + K,)``, M in image pixels (equations 1 to 3, with the depth of the same scaled rotation)."""
    camera = params[:8].reshape(2, 4)
    shape = model.vertices(params[8:])
    scale, rotation, _ = decompose(camera)
    points = shape @ camera[:, :3].T + camera[:, 3]
    depth = -scale * (shape @ rotation[2])  # R₃ points to the viewer
    return FaceMesh(np.column_stack([points, depth]), model.triangles)


def vertex_colours(mesh: FaceMesh, image: np.ndarray, model: MorphableModel) -> np.ndarray:
    """``(V, 3)`` uint8 RGB of the photo ``(H, W, 3)`` at each vertex.

    What the photo does not show, or too much from the side to tell it from what is behind it, has the colour of its
    mirror image on the other side of the head; where that is not shown either, colours spread from the vertices around.
    """
    from scipy.spatial import cKDTree

    window, moved, size = _window(mesh, image.shape[:2])
    column, row = np.round(moved.vertices[:, :2]).astype(int).T
    seen = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0]) & (mesh.normals()[:, 2] < -GRAZING)
    if not seen.any():
        return np.full((len(mesh.vertices), 3), 127, np.uint8)
    # A vertex lies up to a pixel from the centre that was drawn; on a steep cheek that is several pixels of depth.
    slack = 0.02 * float(np.ptp(mesh.vertices[:, :2], axis=0).max()) + 1
    seen[seen] &= mesh.vertices[seen, 2] <= moved.raster(size).depth[row[seen], column[seen]] + slack
    # As a picture of 256 columns: OpenCV's has at most 32,766 rows.
    places = np.zeros((-(-len(mesh.vertices) // 256) * 256, 2), np.float32)
    places[: len(mesh.vertices)] = moved.vertices[:, :2]
    around = np.ascontiguousarray(image[window])
    x, y = places.T.reshape(2, -1, 256)
    sampled = cv2.remap(around, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colours = sampled.reshape(-1, 3)[: len(mesh.vertices)].astype(np.float64)
    distance, mirror = cKDTree(model.mean).query(model.mean * (-1, 1, 1))
    filled = ~seen & (distance < 0.03 * np.ptp(model.mean[:, 0])) & seen[mirror]
    colours[filled] = colours[mirror[filled]]
    known = seen | filled
    return np.round(_spread(colours, known, mesh.triangles)).clip(0, 255).astype(np.uint8)


def _spread(colours: np.ndarray, known: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Colours with those that are not known as a membrane between the others: each the mean of its neighbours."""
    from scipy.sparse import coo_matrix

    count = len(colours)
    first, second = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    ones = np.ones(2 * len(first))
    links = coo_matrix((ones, (np.r_[first, second], np.r_[second, first])), (count, count)).tocsr()
    links.data[:] = 1
    spread = np.where(known[:, None], colours, colours[known].mean(0))
    degree = np.asarray(links.sum(1)).ravel()
    free = np.flatnonzero(~known & (degree > 0))
    rows = links[free]
    for _ in range(MEMBRANE):
        spread[free] = (rows @ spread) / degree[free, None]
    return spread


def obj_text(mesh: FaceMesh, colours: np.ndarray | None = None) -> str:
    """The mesh as Wavefront OBJ, with the colours behind the places of vertices, as MeshLab and Blender read them."""
    places = _upright(mesh)
    rows = places if colours is None else np.concatenate([places, colours / 255], axis=1)
    form = "v " + " ".join(["%.4f"] * rows.shape[1]) + "\n"
    return (
        "# x right, y up, z towards the viewer; image pixels\n"
        + "".join(form % tuple(row) for row in rows.tolist())
        + "".join(f"f {a} {b} {c}\n" for a, b, c in (mesh.triangles + 1).tolist())
    )


def ply_bytes(mesh: FaceMesh, colours: np.ndarray | None = None) -> bytes:
    """The mesh as binary PLY."""
    fields: list[tuple[str, str]] = [(axis, "<f4") for axis in "xyz"]
    fields += [(name, "u1") for name in ("red", "green", "blue")] if colours is not None else []
    vertices = np.empty(len(mesh.vertices), fields)
    for i, axis in enumerate("xyz"):
        vertices[axis] = _upright(mesh)[:, i]
    if colours is not None:
        for i, name in enumerate(("red", "green", "blue")):
            vertices[name] = colours[:, i]
    faces = np.empty(len(mesh.triangles), [("n", "u1"), ("vertices", "<i4", 3)])
    faces["n"], faces["vertices"] = 3, mesh.triangles
    properties = "".join(f"property {'float' if kind == '<f4' else 'uchar'} {name}\n" for name, kind in fields)
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment x right, y up, z towards the viewer; image pixels\n"
        f"element vertex {len(vertices)}\n{properties}element face {len(faces)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    return header.encode("ascii") + vertices.tobytes() + faces.tobytes()


def depth_picture(meshes: Sequence[FaceMesh], shape: tuple[int, int]) -> np.ndarray:
    """Depth at each pixel of an ``(H, W)`` image: uint16, z = (32768 − value) / 16 pixels, 0 where there is no face.

    So nearer is brighter, and z is counted from the morphable model's origin, inside the head.
    """
    picture = np.zeros(shape, np.uint16)
    for mesh in meshes:
        window, moved, size = _window(mesh, shape)
        depth = moved.raster(size).depth
        value = np.where(np.isfinite(depth), np.round(DEPTH_MIDDLE - DEPTH_STEPS * depth).clip(1, 65535), 0)
        np.maximum(picture[window], value.astype(np.uint16), out=picture[window])
    return picture


def normal_picture(meshes: Sequence[FaceMesh], shape: tuple[int, int]) -> np.ndarray:
    """Normals at each pixel: ``(H, W, 3)`` uint8 RGB = 127.5·(n + 1), n with x right, y up, z to the viewer; else 0."""
    picture = np.zeros((*shape, 3), np.uint8)
    nearest = np.full(shape, np.inf, np.float32)
    for mesh in meshes:
        window, moved, size = _window(mesh, shape)
        raster = moved.raster(size)
        normals = raster.interpolate(moved.normals() * (1, -1, -1), moved.triangles)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        shown = raster.triangle >= 0
        drawn = np.zeros((*size, 3), np.uint8)
        drawn[shown] = np.round(127.5 * (normals + 1))
        front = raster.depth < nearest[window]
        picture[window][front] = drawn[front]
        nearest[window][front] = raster.depth[front]
    return picture


def _window(mesh: FaceMesh, shape: tuple[int, int]) -> tuple[tuple[slice, slice], FaceMesh, tuple[int, int]]:
    """The part of an image that a mesh covers, the mesh in that part's pixels, and its size."""
    low = np.floor(mesh.vertices[:, :2].min(0)).clip(0, (shape[1], shape[0])).astype(int)
    high = (np.ceil(mesh.vertices[:, :2].max(0)) + 1).clip(low, (shape[1], shape[0])).astype(int)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    moved = FaceMesh(mesh.vertices - (x0, y0, 0), mesh.triangles)
    return (slice(y0, y1), slice(x0, x1)), moved, (y1 - y0, x1 - x0)


def _upright(mesh: FaceMesh) -> np.ndarray:
    return mesh.vertices * (1, -1, -1)
