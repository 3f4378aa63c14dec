"""LaPa's 106 points (Liu et al., AAAI 2020), the order of the JD-landmark challenges as well.

33 along the face's outline, both edges of the brows, the nose's bridge and outline, the eyes, the lips, and each pupil
twice. The mirror is that of mmpose's description of the data set (``configs/_base_/datasets/lapa.py``); the order was
checked on the two faces of LaPa that mmpose tests with, their labels drawn (docs/formats/coco-json.md).
"""

from pifa_data.schemes.base import numbered_scheme

LAPA106 = numbered_scheme(
    "lapa106",
    groups={
        "jaw": range(0, 33),
        # The outer tip, the upper edge inwards, the lower edge outwards; as WFLW's.
        "right_brow": range(33, 42),
        # The upper edge outwards, the outer tip (46), the lower edge inwards.
        "left_brow": range(42, 51),
        # The bridge down to the tip, then the outline: from the root beside the right eye round the base to the left.
        "nose": (*range(51, 55), *range(55, 66)),
        # Clockwise in the image from the image-left corner; the opening's centre and the pupil last. The owners label
        # both at one place.
        "right_eye": (*range(66, 75), 104),
        "left_eye": (*range(75, 84), 105),
        "outer_lip": range(84, 96),
        "inner_lip": range(96, 104),
    },
    pairs=[
        *((i, 32 - i) for i in range(16)),  # 16 is the chin
        *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42)),  # outer tip and upper edges of the brows
        *((38, 50), (39, 49), (40, 48), (41, 47)),  # lower edges
        *((55, 65), (56, 64), (57, 63), (58, 62), (59, 61)),  # root, wing's top, wing, nostrils; 51-54 and 60 midline
        *((66, 79), (67, 78), (68, 77), (69, 76), (70, 75)),  # outer corner, upper lid, inner corner
        *((71, 82), (72, 81), (73, 80), (74, 83)),  # lower lid, the opening's centre
        *((84, 90), (85, 89), (86, 88), (91, 95), (92, 94)),  # outer lip; 87 and 93 on the midline
        *((96, 100), (97, 99), (101, 103)),  # inner lip; 98 and 102 on the midline
        (104, 105),  # pupils
    ],
    contour=tuple(range(33)),
    eye_corners=(66, 79),
)
