"""Readers: one file an annotation format, each giving ``Face`` by ``Face`` in the project's conventions."""

from pifa_data.readers import (
    aflw,
    aflw19,
    aflw2000,
    aflw_lpfa,
    afw,
    coco_json,
    cofw,
    dlib_xml,
    hrnet_csv,
    keypoints_csv,
    merl_rav,
    w300,
    w300_lp,
    wflw,
    yolo_pose,
)
from pifa_data.readers.base import Format, Source, Split, parse_source, read_faces

FORMATS: dict[str, Format] = {
    fmt.name: fmt
    for fmt in (
        keypoints_csv.FORMAT,
        w300.FORMAT,
        w300_lp.FORMAT,
        aflw2000.FORMAT,
        aflw.FORMAT,
        aflw19.FORMAT,
        aflw_lpfa.FORMAT,
        afw.FORMAT,
        cofw.FORMAT,
        merl_rav.FORMAT,
        wflw.FORMAT,
        yolo_pose.FORMAT,
        hrnet_csv.FORMAT,
        coco_json.FORMAT,
        dlib_xml.FORMAT,
    )
}

__all__ = ["FORMATS", "Format", "Source", "Split", "parse_source", "read_faces"]
