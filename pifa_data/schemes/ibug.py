"""iBUG's 68 points (300W, Helen, LFPW, YouTube Faces, MERL-RAV, COFW-68, dlib) and the 51 of them without the jaw."""

from pifa_data.schemes.base import numbered_scheme, subset

IBUG68 = numbered_scheme(
    "ibug68",
    groups={
        "jaw": range(0, 17),
        "right_brow": range(17, 22),
        "left_brow": range(22, 27),
        "nose": range(27, 36),
        "right_eye": range(36, 42),
        "left_eye": range(42, 48),
        "outer_lip": range(48, 60),
        "inner_lip": range(60, 68),
    },
    pairs=[
        *((i, 16 - i) for i in range(8)),  # jaw, ear to ear; 8 is the chin
        *((17 + i, 26 - i) for i in range(5)),  # brows, outer end to outer end
        *((31, 35), (32, 34)),  # nostrils; 27-30 and 33 lie on the midline
        # Eyes run clockwise as seen in the image from the image-left corner, so the order turns round when mirrored.
        *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
        *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lip; 51 and 57 on the midline
        *((60, 64), (61, 63), (65, 67)),  # inner lip; 62 and 66 on the midline
    ],
    contour=tuple(range(17)),
    eye_corners=(36, 45),
)

IBUG51 = subset("ibug51", IBUG68, range(17, 68))
