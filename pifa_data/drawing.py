"""Pictures: points, boxes, shaded meshes, contact sheets.

Images are ``(H, W, 3)`` uint8 RGB; no function changes its argument.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pifa_data.errors import ImageError

GREEN, RED, YELLOW = (0, 220, 0), (230, 0, 0), (255, 210, 0)
_SHIFT = 4  # cv2 draws at sub-pixel positions given as integers with this many fractional bits


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points) * (1 << _SHIFT)).astype(np.int32)


def draw_landmarks(image: np.ndarray, landmarks: np.ndarray, visible: np.ndarray, radius: float = 1.5) -> np.ndarray:
    """Draw ``(L, 2)`` points, visible ones green and the others red, as in the paper's figure 9."""
    picture = image.copy()
    for point, seen in zip(landmarks, visible, strict=True):
        if np.isfinite(point).all() and np.abs(point).max() < 1e5:
            x, y = _fixed(point)
            colour = GREEN if seen else RED
            cv2.circle(picture, (int(x), int(y)), int(radius * (1 << _SHIFT)), colour, -1, cv2.LINE_AA, shift=_SHIFT)
    return picture


def draw_box(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Draw one ``x0, y0, x1, y1`` box."""
    picture = image.copy()
    x0, y0, x1, y1 = (int(v) for v in _fixed(box))
    thickness = max(1, round(max(image.shape[:2]) / 500))
    cv2.rectangle(picture, (x0, y0), (x1, y1), YELLOW, thickness, cv2.LINE_AA, shift=_SHIFT)
    return picture


def draw_axes(image: np.ndarray, camera: np.ndarray, origin: np.ndarray, length: float) -> np.ndarray:
    """Draw the head's axes: x (red, to its left ear), y (green, up) and z (blue, out of the nose).

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        camera: ``(2, 4)`` M, image pixels.
        origin: ``(2,)`` where they begin.
        length: of an axis that lies in the picture, pixels.
    """
    picture = image.copy()
    axes = camera[:, :3] * (length / max(float(np.linalg.norm(camera[:, :3], axis=1).mean()), 1e-12))
    width = max(1, round(length / 40))
    for axis, colour in zip(axes.T, ((235, 60, 60), (60, 200, 60), (70, 110, 255)), strict=True):
        start, end = (_fixed(point[None])[0].tolist() for point in (origin, origin + axis))
        cv2.line(picture, start, end, colour, width, cv2.LINE_AA, _SHIFT)
    return picture


def draw_mesh(
    image: np.ndarray, points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, opacity: float = 0.8
) -> np.ndarray:
    """Shade a mesh over the image: far triangles first, lit from the viewer, backs left out.

    Args:
        points: ``(V, 2)`` image pixels.
        depth: ``(V,)`` in pixels, larger is farther.
        triangles: ``(T, 3)`` counter-clockwise seen from outside.
    """
    # Towards the viewer means counter-clockwise on paper, which is clockwise with y down: a negative cross product.
    surface = np.concatenate([points, depth[:, None]], axis=1)
    a, b, c = (surface[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    facing = -normals[:, 2] / length
    order = np.argsort(-surface[triangles, 2].mean(1), kind="stable")
    layer = np.zeros_like(image)
    mask = np.zeros(image.shape[:2], np.uint8)
    corners = _fixed(points[triangles])
    for t in order:
        if facing[t] > 0:
            shade = int(25 + 225 * facing[t] ** 1.5)
            cv2.fillConvexPoly(layer, corners[t], (shade, shade, shade), shift=_SHIFT)
            cv2.fillConvexPoly(mask, corners[t], 255, shift=_SHIFT)
    alpha = (mask[..., None] / 255.0) * opacity
    return np.round(image * (1 - alpha) + layer * alpha).astype(np.uint8)


def mesh_depth(points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Depth of the nearest surface at each pixel: ``(H, W)`` float32, infinite where there is none.

    Args:
        points: ``(V, 2)`` image pixels.
        depth: ``(V,)``, larger is farther.
        triangles: ``(T, 3)``; each is drawn at its mean depth, so this is as exact as triangles are small.
    """
    picture = np.full(shape, np.inf, np.float32)
    middle = depth[triangles].mean(1)
    corners = _fixed(points[triangles])
    for t in np.argsort(-middle, kind="stable"):
        cv2.fillConvexPoly(picture, corners[t], float(middle[t]), shift=_SHIFT)
    return picture


def draw_numbers(
    image: np.ndarray, points: np.ndarray, hidden: np.ndarray, numbers: np.ndarray | None = None
) -> np.ndarray:
    """Draw ``(L, 2)`` points with their ``numbers`` (default: 0, 1, 2, …).

    Those ``hidden`` are dimmed and come first, so that they cover nothing.
    """
    picture = image.copy()
    scale = max(image.shape[:2]) / 1200
    for i in np.argsort(~hidden, kind="stable"):
        x, y = (int(v) for v in np.round(points[i]))
        name = str(i if numbers is None else numbers[i])
        colour = (120, 90, 90) if hidden[i] else GREEN
        cv2.circle(picture, (x, y), max(1, round(3 * scale)), colour, -1, cv2.LINE_AA)
        at = (x + round(4 * scale), y - round(4 * scale))
        text = (150, 130, 110) if hidden[i] else (255, 235, 60)
        # A dark rim, so that a number can be read on light skin.
        cv2.putText(picture, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * scale, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(picture, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * scale, text, 1, cv2.LINE_AA)
    return picture


def draw_lines(image: np.ndarray, lines: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Draw ``(J, C, 2)`` polylines and their points, faintly."""
    layer = image.copy()
    for line in lines:
        cv2.polylines(layer, [_fixed(line)], False, (60, 170, 255), 1, cv2.LINE_AA, shift=_SHIFT)
        for point in _fixed(line):
            cv2.circle(
                layer, (int(point[0]), int(point[1])), 2 << _SHIFT, (60, 170, 255), -1, cv2.LINE_AA, shift=_SHIFT
            )
    return np.round(image * (1 - opacity) + layer * opacity).astype(np.uint8)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture, ``(H, W, 3)`` uint8 RGB or ``(H, W)`` uint8 or uint16.

    Raises:
        ImageError: it can't be encoded.
        OSError: it can't be written.
    """
    path.write_bytes(encode_png(image))


def encode_png(image: np.ndarray) -> bytes:
    """The bytes of a PNG file.

    Raises:
        ImageError: it can't be encoded.
    """
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image)
    if not done:
        raise ImageError(f"a picture of {image.shape} can't be encoded")
    return data.tobytes()


def contact_sheet(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Tiles of one size, row by row; the last row is filled with black."""
    blank = np.zeros_like(tiles[0])
    filled = tiles + [blank] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(filled[i : i + columns], 1) for i in range(0, len(filled), columns)])


def label_tile(tile: np.ndarray, text: str) -> np.ndarray:
    """Write a short text into the tile's lower left corner."""
    picture = tile.copy()
    position = (3, tile.shape[0] - 5)
    scale = min(max(0.3, tile.shape[1] / 500), 0.9)
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
