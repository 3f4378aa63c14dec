"""Readers: one file an annotation format, each giving ``Face`` by ``Face`` in the project's conventions."""

from pifa_data.readers import aflw2000, cofw, hrnet_csv, keypoints_csv, merl_rav, w300, w300_lp, wflw, yolo_pose
from pifa_data.readers.base import Format, Source, Split, parse_source, read_faces

FORMATS: dict[str, Format] = {
    fmt.name: fmt
    for fmt in (
        keypoints_csv.FORMAT,
        w300.FORMAT,
        w300_lp.FORMAT,
        aflw2000.FORMAT,
        cofw.FORMAT,
        merl_rav.FORMAT,
        wflw.FORMAT,
        hrnet_csv.FORMAT,
        yolo_pose.FORMAT,
    )
}

__all__ = ["FORMATS", "Format", "Source", "Split", "parse_source", "read_faces"]
