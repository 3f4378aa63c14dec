"""AFLW's 21 points and what others made of them: the 19 without ears, and the 34 of the paper's subset.

AFLW's database names sides as the viewer sees them ("LeftEyeLeftCorner" is the corner at the image's left): here they
are the subject's own, as everywhere. The order is that of the database's feature numbers.
"""

from pifa_data.schemes.base import named_scheme, subset

COARSE = 0.02
"""``noise`` of labels that follow no edge: one annotator's middle of a brow, an ear or the mouth is not another's."""

_POINTS21 = (
    *("right_brow_outer", "right_brow_middle", "right_brow_inner"),
    *("left_brow_inner", "left_brow_middle", "left_brow_outer"),
    *("right_eye_outer", "right_pupil", "right_eye_inner"),
    *("left_eye_inner", "left_pupil", "left_eye_outer"),
    *("right_ear", "right_nose_wing", "nose_tip", "left_nose_wing", "left_ear"),
    *("right_mouth_corner", "mouth_centre", "left_mouth_corner", "chin_centre"),
)

_GROUPS21 = {
    **{
        f"{side}_{part}": tuple(f"{side}_{point}" for point in points)
        for side in ("right", "left")
        for part, points in {
            "brow": ("brow_outer", "brow_middle", "brow_inner"),
            "eye": ("eye_outer", "pupil", "eye_inner"),
            "ear": ("ear",),
        }.items()
    },
    "nose": ("right_nose_wing", "nose_tip", "left_nose_wing"),
    "mouth": ("right_mouth_corner", "mouth_centre", "left_mouth_corner"),
    "chin": ("chin_centre",),
}

AFLW21 = named_scheme("aflw21", _POINTS21, _GROUPS21, eye_corners=("right_eye_outer", "left_eye_outer"), noise=COARSE)

# Order checked on pictures of AFLW-19 with their labels drawn.
AFLW19 = subset("aflw19", AFLW21, (i for i, point in enumerate(_POINTS21) if not point.endswith("_ear")))

# The 3,901 + 1,299 faces of the paper have AFLW's 21 points and 13 more, labelled by its authors (AFLW-LFPA). Their
# file holds x of all 34, then y, then visibility; no public text says which 13 and in what order, and no original could
# be had. This is an assumption, to be checked on pictures by the first who has the file: AFLW's 21 first, then lids,
# bridge, lips, jaw.
_MORE13 = (
    *("right_lid_upper", "right_lid_lower", "left_lid_upper", "left_lid_lower"),
    *("nose_bridge", "upper_lip", "lower_lip"),
    *("right_jaw_upper", "right_jaw_middle", "right_jaw_lower"),
    *("left_jaw_lower", "left_jaw_middle", "left_jaw_upper"),
)
_JAW34 = tuple(point for point in _MORE13 if "_jaw_" in point)

PIFA34 = named_scheme(
    "pifa34",
    _POINTS21 + _MORE13,
    {
        **_GROUPS21,
        "right_eye": (*_GROUPS21["right_eye"], "right_lid_upper", "right_lid_lower"),
        "left_eye": (*_GROUPS21["left_eye"], "left_lid_upper", "left_lid_lower"),
        "nose": (*_GROUPS21["nose"], "nose_bridge"),
        "mouth": (*_GROUPS21["mouth"], "upper_lip", "lower_lip"),
        "jaw": _JAW34,
    },
    eye_corners=("right_eye_outer", "left_eye_outer"),
    contour=_JAW34,
    noise=COARSE,
)
