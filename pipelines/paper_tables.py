"""The paper's tables: what it printed, and which trainings of ours stand beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

BLOCKS = 6


@dataclass(frozen=True)
class PaperTable:
    """One table, figure or experiment of the paper.

    Attributes:
        title: what it shows.
        where: the paper's name of it.
        published: the paper's numbers by the rows' names; of `noise` and the like one a block.
        data: data set and measure of the paper's numbers.
        variants: the rows' names → variants of ``variants.py`` that are trained for them.
        measure: which number of a run stands in our column.
        claim: what the paper says of it.
        test_splits: by format of a test source the splits that the paper measures.
    """

    title: str
    where: str
    published: dict[str, float | list[float]]
    data: str
    variants: dict[str, str]
    measure: Literal["nme", "methods", "blocks", "pixels", "interocular", "filters", "noise", "time"]
    claim: str
    test_splits: dict[str, tuple[str, ...]] = field(default_factory=dict)


AFLW = "AFLW, NME % of the data set's box"
AFLW_SPLITS: dict[str, tuple[str, ...]] = {"aflw-lpfa": ("test",)}

TABLES: dict[str, PaperTable] = {
    "table2": PaperTable(
        title="the method and those it was compared with",
        where="Table 2",
        published={"Proposed method": 4.45, "LPFA": 4.72, "PIFA": 8.04, "RCPR": 6.26},
        data=AFLW,
        variants={"Proposed method": "base"},
        measure="methods",
        claim="The method is better than those before it.",
        test_splits=AFLW_SPLITS,
    ),
    "table3": PaperTable(
        title="error after each visualization block",
        where="Table 3",
        published={"Initial": 25.8, "blocks": [9.26, 6.77, 5.51, 4.98, 4.60, 4.45]},
        data=AFLW,
        variants={"Proposed method": "base"},
        measure="blocks",
        claim="Every block adds; the last two could be skipped for speed.",
        test_splits=AFLW_SPLITS,
    ),
    "table4": PaperTable(
        title="mean error in pixels",
        where="Table 4",
        published={"Proposed method": 6.27, "LPFA": 7.43, "PIFA": 8.61, "CDM": 9.13, "TSPM": 11.09},
        data="AFW, mean error of visible landmarks in pixels",
        variants={"Proposed method": "base"},
        measure="pixels",
        claim="The method is better than those before it.",
    ),
    "table5": PaperTable(
        title="near-frontal faces, and failure rates beside MDM's",
        where="Table 5 and section 4.2",
        published={
            "Proposed method": 6.30,
            "3DDFA": 7.01,
            "RAR": 4.94,
            "Failure rate above 8 %, 68 points": 16.83,
            "Failure rate above 8 %, 51 points": 8.99,
        },
        data="300W full, NME % of the distance of the outer eye corners",
        variants={"Proposed method": "base"},
        measure="interocular",
        claim="Better than 3DDFA; methods without a shape model are more exact on frontal faces.",
        test_splits={"300w": ("common", "challenging", "full")},
    ),
    "table6": PaperTable(
        title="inputs of the later blocks: image I, features F, map V",
        where="Table 6 and section 4.3",
        published={"I, F, V": 4.45, "F, V": 4.48, "I, V": 5.06, "I, F (no visualization layer)": 7.18},
        data=AFLW,
        variants={"I, F, V": "base", "F, V": "FV", "I, V": "IV", "I, F (no visualization layer)": "IF"},
        measure="nme",
        claim="Features matter most, the image beside them little; without the visualization layer it is far worse.",
        test_splits=AFLW_SPLITS,
    ),
    "table7": PaperTable(
        title="masks of the visualization layer",
        where="Table 7",
        published={"Mask 1 (nose)": 4.45, "Mask 2 (parts)": 4.49, "No mask": 5.31},
        data=AFLW,
        variants={"Mask 1 (nose)": "base", "Mask 2 (parts)": "mask-parts", "No mask": "mask-none"},
        measure="nme",
        claim="A mask is needed; a more complicated one adds nothing.",
        test_splits=AFLW_SPLITS,
    ),
    "table8": PaperTable(
        title="blocks × convolutions a block",
        where="Table 8",
        published={"6 × 2": 4.45, "4 × 3": 4.61, "3 × 4": 4.83},
        data=AFLW,
        variants={"6 × 2": "base", "4 × 3": "4x3", "3 × 4": "3x4"},
        measure="nme",
        claim="More blocks are better, with as many convolutions.",
        test_splits=AFLW_SPLITS,
    ),
    "figure7": PaperTable(
        title="average filter weights by input and block",
        where="Figure 7 (a figure: it prints no numbers)",
        published={},
        data="first convolution of each block",
        variants={"I, F, V": "base", "F, V": "FV", "I, V": "IV"},
        measure="filters",
        claim="Weights decrease from block to block; the map's are larger than the image's; the features' impact in "
        "all, weights times channels, is largest in every block.",
    ),
    "noise": PaperTable(
        title="5 % noise on the fully connected weights of one block at a time",
        where="Section 4.3",
        published={"blocks": [4.46, 4.53, 4.60, 4.66, 4.80, 5.16]},
        data=AFLW,
        variants={"Proposed method": "base"},
        measure="noise",
        claim="Noise in a later block does more harm: later blocks make good for earlier ones.",
    ),
    "training-time": PaperTable(
        title="end to end against a cascade: time to the cascade's final error",
        where="Section 4.4",
        published={"End to end": 2.5, "Cascade (LPFA, six networks)": 7.0},
        data="AFLW, days on a Titan X: 33 epochs, and 70 epochs a network",
        variants={
            "End to end": "base",
            "End to end, half the crops": "base-half",
            "End to end, a quarter": "base-quarter",
            "Cascade, each block on all crops": "cascade-6x",
        },
        measure="time",
        claim="End to end takes less than half the time.",
    ),
}
