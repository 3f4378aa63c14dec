"""AFW's own 6 points (Zhu and Ramanan, CVPR 2012): what is labelled on each of its faces, where it is visible.

The set's description names the centres of the eyes, the tip of the nose, and the corners and the centre of the mouth.
The order is this project's: the description gives none, and the reader brings the points to it by where they lie in the
middle of all faces (``readers/afw.py``).
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
