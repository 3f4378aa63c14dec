"""The sculpture: feature lines and guide points of the half face x ≥ 0, in millimetres.

Frame: origin between the tragia, x to the image's right, y up, z towards the viewer; the Frankfurt plane is level.
No other model was measured for these numbers. Distances follow the published means of adults, between women and men:
L. G. Farkas, "Anthropometry of the Head and Face" (2nd ed., 1994), appendix A, and the 3D Facial Norms of
S. M. Weinberg et al. (Cleft Palate-Craniofacial Journal 53, 2016). What they fix here:

    tragion-tragion 145, zygion-zygion 135, gonion-gonion 108, exocanthion-exocanthion 89, endocanthion-endocanthion 33,
    palpebral fissure 28-30 x 10.5, nasal width 35, sellion-subnasale 52, nasal protrusion 20,
    subnasale-labrale superius 14, mouth width 51, vermilion 8 and 10, sellion-gnathion 119, tragion-sellion 118,
    tragion-subnasale 122, tragion-gnathion 138.

Between them the hand decides, by looking at renderings. Depth of the eyes: cornea 16 mm in front of the lateral rim of
the orbit (exophthalmometry), eyeball of radius 12.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pifa_data.morphable.making.domain import Line

EYE_CENTRE = np.array([31.5, 20.5, 71.5])
EYE_RADIUS = 12.0
EXACT = 1000.0
"""1/mm²: a line that the skin meets to some hundredths of a millimetre."""
_INNER_CANTHUS, _OUTER_CANTHUS = (16.5, 76.0), (44.5, 71.5)  # (x, z) of the line that the opening falls back to


def eye_depth(x: np.ndarray, y: np.ndarray, thickness: float = 0.0) -> np.ndarray:
    """z of what lies in the eye's opening, mm: the eyeball, and near the corners the line between them."""
    dx, dy = np.asarray(x) - EYE_CENTRE[0], np.asarray(y) - EYE_CENTRE[1]
    # Half of the lid's thickness is radial and half towards the viewer: all radial, it would stand off at the corner.
    radius = EYE_RADIUS + thickness / 2
    ball = EYE_CENTRE[2] + thickness / 2 + np.sqrt(np.maximum(radius**2 - dx**2 - dy**2, 0.0))
    slope = (_OUTER_CANTHUS[1] - _INNER_CANTHUS[1]) / (_OUTER_CANTHUS[0] - _INNER_CANTHUS[0])
    line = _INNER_CANTHUS[1] + slope * (np.asarray(x) - _INNER_CANTHUS[0]) + thickness / 2 - 0.02 * dy**2
    blend = 1.2
    return blend * np.logaddexp(ball / blend, line / blend)


def _on_eye(xy: np.ndarray, thickness: float) -> np.ndarray:
    """``(n, 2)`` points laid over the eyeball, ``(n, 3)``."""
    return np.column_stack([xy, eye_depth(xy[:, 0], xy[:, 1], thickness)])


def _table(rows: Sequence[tuple[float, ...]]) -> np.ndarray:
    return np.array([(*row, 0.0, 0.0, 0.0)[:6] for row in rows], dtype=float)


# fmt: off
LID_RIM = [
    (16.5, 19.2), (20.6, 22.4), (25.6, 25.0), (31.3, 25.9), (37.0, 25.0), (41.4, 22.9),
    (44.6, 20.6), (41.6, 18.3), (37.2, 16.5), (31.4, 15.7), (25.8, 16.2), (20.6, 17.5),
]
# fmt: on
"""The lids' front edge from the inner corner over the upper lid: landmarks 42 to 47 and a point after each."""


def _lids() -> tuple[np.ndarray, np.ndarray]:
    """The lids' front edge and their back edge on the eyeball, 0.8 mm inside; on the map it lies 1.7 mm inside."""
    rim = np.array(LID_RIM)
    inward = np.array([31.0, 20.7]) - rim
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    front = _on_eye(rim, 1.7)
    back = _on_eye(rim + 0.8 * inward, 0.15)
    shift = front + np.column_stack([1.7 * inward, np.zeros(len(rim))]) - back
    return np.column_stack([front, np.zeros_like(front)]), np.column_stack([back, shift])


def feature_lines() -> dict[str, Line]:
    """All lines, the most important first."""
    return {**_midline(), **_mouth(), **_eye(), **_nose(), **_contours(), **_ear()}


# fmt: off
def _midline() -> dict[str, Line]:
    upper = [
        (0, 138, -2), (0, 134.5, 20), (0, 128, 37), (0, 119, 51), (0, 112, 60), (0, 103, 70.2),
        (0, 91, 80.5), (0, 76, 90.5), (0, 60, 95.5), (0, 46, 97),
        (0, 38, 97.2),
        (0, 31, 95), (0, 24, 91), (0, 17, 93.6), (0, 10, 98), (0, -4, 106.4), (0, -12, 111.3), (0, -18.5, 114.6),
        (0, -24, 112.4), (0, -27.8, 107.3, 0, 1.8), (0, -29.2, 101.5, 0, 0.8), (0, -29.4, 96.9), (0, -35, 97.6),
        (0, -42.2, 100.6),
    ]
    lower = [
        (0, -58.8, 95.6), (0, -62, 93.2), (0, -66.5, 91.6), (0, -74, 92.3), (0, -81, 93.3), (0, -88, 90.5),
        (0, -93.3, 83.5),
        (0, -95.4, 77), (0, -97, 66), (0, -98.5, 53), (0, -103.5, 38), (0, -112, 30), (0, -125, 26),
    ]
    return {
        "midline": Line(_table(upper),
            2.6, stiffness=3.0, landmarks={12: 27, 14: 28, 15: 29, 17: 30, 21: 33, 23: 51}),
        "midline_chin": Line(_table(lower), 3.0, stiffness=3.0, landmarks={0: 57, 7: 8}),
        "philtrum_lip": Line(_table([(0, -42.2, 100.6), (0, -46.3, 102.6), (0, -49.4, 98, 0, 2.0),
            (0, -48.2, 94, 0, -0.4, 4)]), 1.6, landmarks={2: 62}),
        "chin_lip": Line(_table([(0, -50.3, 94, 0, 0, 4), (0, -49.4, 98, 0, -2.0), (0, -53.8, 100.8),
            (0, -58.8, 95.6)]), 1.6, landmarks={1: 66}),
    }


def _mouth() -> dict[str, Line]:
    outer_upper = [(0, -42.2, 100.6), (6.3, -41.0, 100.2), (14.8, -44.4, 96.2), (20.5, -47.5, 92),
        (25.5, -50.2, 87.6)]
    outer_lower = [(25.5, -50.2, 87.6), (21.5, -52.6, 89.8), (16.5, -55.5, 92.6), (8.5, -58.3, 95.0),
        (0, -58.8, 95.6)]
    seam_upper = [(23.2, -50.1, 88.1), (18, -49.2, 91.6, 0, 1.4), (8.5, -48.6, 96.6, 0, 2.0), (0, -49.4, 98, 0, 2.0)]
    seam_lower = [(23.2, -50.1, 88.1), (18, -49.2, 91.6, 0, -1.6), (8.5, -48.6, 96.6, 0, -2.0),
        (0, -49.4, 98, 0, -2.0)]
    # Behind the seam the lips turn away from each other: the mesh ends on the teeth.
    inner_upper = [
        (21.4, -49.9, 85.4, 1.3, 0, 2.8),
        (17, -48.4, 88.4, 0, -0.5, 3),
        (8.5, -47.6, 92.6, 0, -0.4, 4),
        (0, -48.2, 94, 0, -0.4, 4),
    ]
    inner_lower = [
        (0, -50.3, 94, 0, 0, 4),
        (8.5, -49.8, 92.6, 0, 0.2, 4),
        (17, -50.1, 88.4, 0, 0.1, 3),
        (21.4, -49.9, 85.4, 1.3, 0, 2.8),
    ]
    return {
        "lip_upper": Line(_table(outer_upper),
            1.9, stiffness=30.0, bend=0.2, landmarks={1: 52, 2: 53, 4: 54}, mirrored=True),
        "lip_lower": Line(_table(outer_lower),
            1.9, stiffness=30.0, bend=0.4, landmarks={2: 55, 3: 56}, mirrored_end=True),
        "seam_upper": Line(_table(seam_upper),
            1.9, stiffness=EXACT, bend=0.03, landmarks={0: 64, 2: 63}, mirrored_end=True),
        "seam_lower": Line(_table(seam_lower), 1.9, stiffness=EXACT, bend=0.03, landmarks={2: 65}, mirrored_end=True),
        "mouth_upper": Line(_table(inner_upper), 2.2, mirrored_end=True),
        "mouth_lower": Line(_table(inner_lower), 2.2, mirrored=True),
        "lip_upper_full": Line(_table([(0, -46.3, 102.6), (7, -45.3, 101.8), (13.5, -46.6, 97.8),
            (18.8, -48.0, 92.9)]),
            2.0, mirrored=True),
        "lip_lower_full": Line(_table([(0, -53.8, 100.8), (7.5, -53.6, 100), (13.5, -53, 96.9),
            (18.8, -51.7, 92.4)]), 2.0, mirrored=True),
    }


def _eye() -> dict[str, Line]:
    rim, edge = _lids()
    crease = [
        (14.6, 22.4, 78.6), (19.5, 27.6, 81.4, 0, 0, 1.5), (25.5, 30.4, 82.9, 0, 0, 2.5), (32, 31.2, 83.0, 0, 0, 2.5),
        (38.5, 29.8, 81.2, 0, 0, 2.5), (44.0, 26.4, 76.8, 0, 0, 1.5), (47.0, 23.6, 72.4),
    ]
    fold = [
        (14.6, 25.0, 80.4), (19.5, 29.6, 83.8), (25.8, 32.2, 85.6), (32.2, 32.8, 85.8), (39, 31.2, 84.0),
        (45.2, 27.6, 78.8),
        (48.8, 24.2, 73.4),
    ]
    below = [
        (19.0, 13.4, 80.5),
        (25.5, 10.8, 82.2),
        (32, 9.9, 82.6),
        (38.5, 10.6, 81.0),
        (44.5, 13.6, 76.6),
        (49.0, 17.6, 71.0),
    ]
    return {
        "lid_rim": Line(rim, 1.45, stiffness=EXACT, bend=0.1, landmarks={0: 42, 2: 43, 4: 44, 6: 45, 8: 46, 10: 47},
            closed=True),
        "lid_edge": Line(edge, 1.5, stiffness=EXACT, closed=True),
        "lid_crease": Line(_table(crease), 1.8, bend=0.1),
        "lid_fold": Line(_table(fold), 1.8, bend=0.6),
        "lid_below": Line(_table(below), 2.4, stiffness=3.0),
    }


def _nose() -> dict[str, Line]:
    crease = [
        (14.8, -12.4, 94.6, 0.4),
        (16.8, -15.2, 92.4, 1, 0),
        (18.0, -19, 91.2, 1.2, 0),
        (17.7, -23.6, 91.2, 1.2, 0),
        (15.2, -27.2, 92.8, 0.6, -0.6),
        (11.8, -29.2, 94.8, 0, -0.6),
    ]
    wing = [(14, -17.0, 99.6), (16.4, -19.6, 96.8), (17.3, -22.6, 95.2), (16.3, -25.8, 95)]
    rim = _table([
        (4.2, -27.0, 108.4, 0, 3.8), (7.8, -27.2, 106.2, 0, 3.6), (11.2, -27.6, 102.6, 0, 2.4),
        (13.2, -28.0, 98.8, 0.8, 0.8),
        (11.6, -28.2, 96.9, 0.4, 0.2), (7.6, -28.3, 97.2, 0, 0.2), (4.2, -28.8, 99.6, 0, -0.1),
        (3.1, -28.4, 104.4, 0, 2.0),
    ])
    middle, middle_map = rim[:, :3].mean(0), (rim[:, :3] + rim[:, 3:]).mean(0)

    def hollow(share: float, share_map: float, depth: tuple[float, float, float]) -> np.ndarray:
        """The rim drawn together and moved up into the nose, while on the map it stays within the rim."""
        place = middle + share * (rim[:, :3] - middle) + depth
        return np.column_stack([place, middle_map + share_map * (rim[:, :3] + rim[:, 3:] - middle_map) - place])

    return {
        "nostril": Line(rim, 1.6, stiffness=EXACT, bend=0.1, closed=True),
        "nostril_wall": Line(hollow(0.8, 0.62, (0.0, 3.0, -0.5)), 2.0, closed=True),
        "nostril_depth": Line(hollow(0.4, 0.25, (0.5, 6.0, -2.0)), 2.5, closed=True),
        "wing_crease": Line(_table(crease), 1.7, bend=0.1, landmarks={4: 35}),
        "wing": Line(_table(wing), 2.0, stiffness=10.0),
        "sill": Line(_table([(0, -29.4, 96.9), (6.6, -29.9, 96.3), (11.8, -29.2, 94.8, 0, -0.6)]),
            2.0, landmarks={1: 34}, mirrored=True),
    }


def _contours() -> dict[str, Line]:
    jaw = [
        (0, -95.4, 77), (16, -93.6, 72), (30.5, -88.5, 61), (43.5, -78.5, 46), (53, -64.5, 29), (60.5, -45, 18),
        (65, -24, 14), (69, -3, 12), (71, 17, 12),
    ]
    brow = [(9.5, 37.0, 96.2), (19, 41.8, 95), (30, 44.4, 91.2), (41.5, 43.4, 84.6), (51.5, 38.4, 75.2)]
    outline = [
        (0, 138, -2), (16, 136, -5), (33, 131, -13), (49, 122, -24), (61.5, 108, -36), (70, 90, -47), (74, 68, -54),
        (74.5, 44, -58, 0, 4, -10), (74.5, 18, -58, 0, 0, -20), (72, -8, -55, 0, 0, -22), (65, -32, -51, 0, 0, -18),
        (57, -57, -44, 0, 0, -8),
        (52, -82, -37), (48, -104, -30), (44, -118, -14),
        (36, -122, 6), (20, -124.5, 20), (0, -125, 26),
    ]
    return {
        "jaw": Line(_table(jaw), 3.6, stiffness=2.0, landmarks={i: 8 + i for i in range(9)}, mirrored=True),
        "brow": Line(_table(brow), 3.0, stiffness=2.0, landmarks={i: 22 + i for i in range(5)}),
        "outline": Line(_table(outline), 5.5, stiffness=1.0),
    }


def _ear() -> dict[str, Line]:
    helix = [
        (72.0, 3, -7), (73.6, 9, -3), (74.6, 18, -1.5), (77.5, 28, -6), (81, 32.5, -15), (84.5, 28, -25.5),
        (86.5, 16, -32),
        (86, 2, -32.5), (82, -10, -27), (77, -20, -17.5), (73, -28, -8.5), (70.5, -28.5, -1), (69.2, -22, 3.5),
    ]
    scapha = [
        (75.8, 20, -6),
        (78.3, 26, -14),
        (81, 23, -23),
        (82, 14, -27.5),
        (81.3, 3, -27.8),
        (78.5, -7, -23.5),
        (75.5, -15, -16),
    ]
    antihelix = [(78, 21, -12.5), (82, 16, -20), (83.5, 7, -23), (81.5, -3, -21.5), (78, -10, -16.5),
        (75.5, -12.5, -9)]
    concha = [(70.5, 11, -14), (69.0, 2, -17), (68.5, -5, -13), (68.5, -4, -7), (69.5, 2, -9.5)]
    tragus = [(73.0, 5, 2), (75.4, -1, -1.5), (73.2, -8, -0.5), (71.6, -12, -3)]
    # The groove behind the ear lies under the helix: the map sees it farther back.
    groove = _table([
        (72.6, 25, 3, 0, 1, 0), (74, 34, -6, 0, 4, -2), (74, 37.5, -15, 0, 8, -9), (73.5, 32, -23, 0, 8, -19),
        (73, 17, -25, 0, 2, -27),
        (71.5, 2, -24.5, 0, 0, -27), (69, -12, -20, 0, -5, -22), (67, -24, -12, 0, -9, -14),
        (66.5, -32, -5, 0, -7, -6),
        (66.5, -32.5, 2, 0, -4, 0), (67.2, -27, 8),
    ])
    rim = _table(helix)[3:12]
    back = rim + 0.5 * (groove[1:10] - rim)
    back[:, 2] -= 1.5
    back[:, 5] += 1.5
    return {
        "helix": Line(_table(helix), 2.8, stiffness=20.0, bend=0.3),
        "scapha": Line(_table(scapha), 2.8, stiffness=20.0, bend=0.6),
        "antihelix": Line(_table(antihelix), 2.8, stiffness=20.0),
        "tragus": Line(_table(tragus), 2.6, stiffness=20.0, bend=0.4),
        "concha": Line(_table(concha), 3.0, stiffness=20.0, closed=True),
        "ear_groove": Line(groove, 3.4, stiffness=8.0, bend=0.3),
        "ear_back": Line(back, 3.2, stiffness=8.0),
    }


GUIDES = _table([
    # forehead and temple
    (18, 132.5, 16), (36, 125, 16), (52, 112, 14), (20, 124, 38), (38, 114, 35), (49, 118, -6), (64, 98, -14),
    (72, 78, -28), (75, 57, -38), (20, 110, 59), (38, 103, 49.5), (54, 92, 34), (65, 78, 14), (71, 62, -6),
    (18, 90, 79), (36, 87, 70.5), (49, 80, 56), (59, 70, 36), (66, 60, 14),
    (15, 75, 89.4), (30, 74, 84.5), (44, 70, 75), (55, 64, 58), (62.5, 56, 38), (69, 50, 12), (74.5, 42, -15),
    (15, 60, 94.8), (30, 59, 90.8), (44, 56, 82), (53, 52, 70), (59, 48, 54), (65, 44, 34), (71, 36, 10),
    (12, 48, 96.5), (24, 49, 93.8), (36, 49, 88),
    # brow ridge, orbit
    (10, 33, 94), (7, 30, 92.4), (15, 37, 94.6), (24, 39.5, 92), (34, 40, 89.4), (44, 37.5, 83), (51, 32, 75.8),
    (54.5, 25, 69.6),
    (20, 34.5, 88.6), (32, 36.5, 88.0), (43, 33.5, 82.8), (12, 27, 84.6),
    (59, 30, 61.4), (63, 26, 50), (67, 24, 37), (70.5, 20, 22),
    # cheekbone
    (55, 17, 67.5), (60, 12, 59), (65, 9, 48), (68.5, 7, 36), (71, 5, 20),
    (20, 7, 85.5), (26, 4, 85.6), (33, 1.5, 85.6), (41, 2.0, 82.6), (49, 6, 75.6),
    (22, -6, 88.6), (29, -7, 88), (37, -7, 85.6), (46, -5, 79.6), (54, -3, 71.4), (61, -3, 60.4), (66, -4, 47),
    (69, -6, 30),
    # cheek
    (22, -18, 91), (29, -19, 88.6), (37, -20, 84.8), (46, -19, 77.6), (54, -18, 67.4), (61, -18, 54),
    (65.5, -18, 38), (67.5, -18, 22),
    (18, -33, 94.4), (25, -33, 91), (32, -33, 86.8), (40, -33, 80), (49, -33, 69), (56, -33, 56), (61, -33, 41),
    (63.5, -32, 26),
    (31, -44, 85.4), (38, -46, 79), (46, -47, 69), (52.5, -47, 57), (57.5, -47, 42), (60, -46, 28),
    (30, -56, 84.4), (36, -59, 77), (43, -60, 67.4), (49, -61, 55), (53.5, -60, 42),
    # between nose and lip, chin
    (7, -31.8, 96.5), (4.5, -35, 97.7), (9, -35, 97), (13, -37, 95.8),
    (9, -62, 92.5), (17, -60, 90.6), (10, -66, 91), (18, -65, 89.2), (26, -65, 85.4), (34, -68, 77.4), (41, -70, 66),
    (8, -74, 92), (17, -74, 88.6), (25, -76, 81.6), (33, -79, 70.5),
    (9, -82, 92.2), (16, -84, 86.6), (23, -86, 77), (8, -90, 87.4),
    # under the chin, neck
    (12, -96.4, 62), (24, -93, 51), (34, -86, 39), (43, -78, 23), (50, -66, 9), (55.5, -48, 0), (62, -38, -8),
    (12, -99, 48), (24, -96, 40), (35, -90, 25), (43, -82, 7), (49, -69, -10), (54, -51, -20),
    (14, -106, 34), (28, -104, 26), (40, -99, 10), (46, -92, -10), (51, -75, -25),
    (14, -115, 27), (30, -114, 18), (41, -110, 2),
    # side of the nose
    (4, 24, 89.5), (7.5, 24, 86.4), (11, 22.5, 82.8), (13.6, 18, 81.6),
    (4, 10, 97), (7, 10, 93.8), (10.5, 9.6, 89.6), (14, 8, 86.8),
    (4.4, -4, 105), (8, -4, 100.6), (11.4, -4.4, 95.8), (15, -5, 91.8),
    (4.8, -11.6, 109.6), (8.8, -11, 104.6), (12.2, -10.6, 98.8), (5, -18.5, 112.4), (8.2, -18.4, 107.8),
    (10.8, -20.6, 104), (14.4, -23, 100.8), (5.6, -23, 109.8),
    # in front of the ear, behind it
    (70.8, -2, 6), (71.8, 14, 5), (74.5, 22, -44, 0, 0, -20), (73, 0, -44, 0, 0, -20), (69.5, -20, -38, 0, -3, -20),
    (76, 47, -30, 0, 4, -8),
])
"""``(G, 3)`` mm: where the skin passes between the lines, less stiffly."""
