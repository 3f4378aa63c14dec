"""WFLW's 98 points (Wu et al., CVPR 2018): 33 along the face's outline from brow to brow, both edges of the brows.

Order checked on pictures of WFLW with their labels drawn.
"""

from pifa_data.schemes.base import numbered_scheme

WFLW98 = numbered_scheme(
    "wflw98",
    groups={
        "jaw": range(0, 33),
        # The outer tip, the upper edge inwards, the lower edge outwards.
        "right_brow": range(33, 42),
        # The upper edge outwards, the outer tip (46), the lower edge inwards.
        "left_brow": range(42, 51),
        "nose": range(51, 60),
        # Clockwise in the image from the image-left corner; the pupil last.
        "right_eye": (*range(60, 68), 96),
        "left_eye": (*range(68, 76), 97),
        "outer_lip": range(76, 88),
        "inner_lip": range(88, 96),
    },
    pairs=[
        *((i, 32 - i) for i in range(16)),  # 16 is the chin
        *((33, 46), (34, 45), (35, 44), (36, 43), (37, 42)),  # outer tip and upper edges of the brows
        *((38, 50), (39, 49), (40, 48), (41, 47)),  # lower edges
        *((55, 59), (56, 58)),  # nostrils; 51-54 and 57 lie on the midline
        *((60, 72), (61, 71), (62, 70), (63, 69), (64, 68)),  # outer corner, upper lid, inner corner
        *((65, 75), (66, 74), (67, 73)),  # lower lid
        *((76, 82), (77, 81), (78, 80), (83, 87), (84, 86)),  # outer lip; 79 and 85 on the midline
        *((88, 92), (89, 91), (93, 95)),  # inner lip; 90 and 94 on the midline
        (96, 97),  # pupils
    ],
    contour=tuple(range(33)),
    eye_corners=(60, 72),
)
