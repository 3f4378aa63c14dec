"""Draw rendered faces with their landmarks: a person a column, visible points green and hidden ones red.

python docs/rendering_picture.py docs/images/rendering.jpg
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from pifa_data.drawing import draw_landmarks
from pifa_data.morphable import load_builtin
from pifa_data.rendering import FaceRenderer

TILE, SEED = 180, 2
PEOPLE = range(6)


def main() -> None:
    [out] = sys.argv[1:]
    renderer = FaceRenderer(load_builtin(), 2 * TILE)
    columns = []
    for number in PEOPLE:
        person = renderer.person(SEED, number)
        first, second = (renderer.photograph(person, SEED, number, picture) for picture in range(2))
        labelled = draw_landmarks(first.image, first.landmarks, first.visibility == 2, 3)
        tiles = [
            cv2.resize(v, (TILE, TILE), interpolation=cv2.INTER_AREA) for v in (first.image, labelled, second.image)
        ]
        columns.append(np.concatenate(tiles))
    picture = np.concatenate(columns, axis=1)
    if not cv2.imwrite(out, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88]):
        sys.exit(f"{out}: can't be written")


if __name__ == "__main__":
    main()
