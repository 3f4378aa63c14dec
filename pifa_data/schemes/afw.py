"""AFW's own 6 points (Zhu and Ramanan, CVPR 2012): what is labelled on each of its faces, where it is visible.

The set's description names the centres of the eyes, the tip of the nose, and the corners and the centre of the mouth.
The order within the eyes and within the mouth (image left to right) is an assumption: no original could be had. A
reader can settle it by the labels' positions in upright frontal faces.
"""

from pifa_data.schemes.aflw import COARSE
from pifa_data.schemes.base import named_scheme

AFW6 = named_scheme(
    "afw6",
    ("right_pupil", "left_pupil", "nose_tip", "right_mouth_corner", "mouth_centre", "left_mouth_corner"),
    {
        "right_eye": ("right_pupil",),
        "left_eye": ("left_pupil",),
        "nose": ("nose_tip",),
        "mouth": ("right_mouth_corner", "mouth_centre", "left_mouth_corner"),
    },
    eye_corners=("right_pupil", "left_pupil"),
    noise=COARSE,
)
