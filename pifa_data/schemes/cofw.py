"""COFW's 29 points (Burgos-Artizzu, Perona and Dollár, ICCV 2013), LFPW's order.

Order checked on pictures of COFW with their labels drawn.
"""

from pifa_data.schemes.base import named_scheme

COFW29 = named_scheme(
    "cofw29",
    (
        *("right_brow_outer", "left_brow_outer", "right_brow_inner", "left_brow_inner"),
        *("right_brow_upper", "right_brow_lower", "left_brow_upper", "left_brow_lower"),
        *("right_eye_outer", "left_eye_outer", "right_eye_inner", "left_eye_inner"),
        *("right_lid_upper", "right_lid_lower", "left_lid_upper", "left_lid_lower"),
        *("right_pupil", "left_pupil"),
        *("right_nose_wing", "left_nose_wing", "nose_tip", "nose_base"),
        *("right_mouth_corner", "left_mouth_corner"),
        *("upper_lip", "upper_lip_lower", "lower_lip_upper", "lower_lip"),
        "chin",
    ),
    {
        **{
            f"{side}_{part}": tuple(f"{side}_{point}" for point in points)
            for side in ("right", "left")
            for part, points in {
                "brow": ("brow_outer", "brow_inner", "brow_upper", "brow_lower"),
                "eye": ("eye_outer", "eye_inner", "lid_upper", "lid_lower", "pupil"),
            }.items()
        },
        "nose": ("right_nose_wing", "left_nose_wing", "nose_tip", "nose_base"),
        "mouth": (
            *("right_mouth_corner", "left_mouth_corner"),
            *("upper_lip", "upper_lip_lower", "lower_lip_upper", "lower_lip"),
        ),
        "chin": ("chin",),
    },
    eye_corners=("right_eye_outer", "left_eye_outer"),
)
