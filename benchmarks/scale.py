"""``pifa prep`` carried on to many faces: the table of ``docs/scale.md``, from what ``benchmarks/prep.py`` measured.

    python benchmarks/prep.py SOURCE --json prep.json
    python benchmarks/scale.py prep.json [--faces 1e5 1e6 1e7 1e8] [--cores 2 64 1000]

Everything that grows with the faces grows with their number, so that the table is products: which of them hurts first
is what it is for. Rates are those of the machine that was measured.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Costs:
    """What was measured, in seconds and bytes."""

    core_a_face: float
    plan_a_face: float
    temporary_a_face: float
    memory_a_face: float
    task: float
    take: float
    open_a_shard: float
    open_memory: float
    files: int

    @classmethod
    def of(cls, found: dict[str, Any], layout: str) -> Costs:
        copies = 20
        rate = found["layouts"][layout]["crops_per_second"] / found["layouts"]["workers"]
        return cls(
            core_a_face=copies / rate,
            plan_a_face=found["plan"]["microseconds_a_face"] / 1e6,
            temporary_a_face=found["plan"]["temporary_bytes_a_face"],
            memory_a_face=found["plan"]["main_bytes_a_face"],
            task=found["scheduler"]["milliseconds_a_shard"] / 1e3,
            take=found["plan"]["milliseconds_a_shard"] / 1e3,
            open_a_shard=found["opening"]["milliseconds_a_shard"] / 1e3,
            open_memory=found["opening"]["kilobytes_a_shard"] * 1024,
            files=found["opening"]["files_a_shard"],
        )


def rows(costs: Costs, faces: float, cores: list[int], shard_faces: int, bytes_a_face: float) -> dict[str, str]:
    """One column of the table."""
    shards = faces / shard_faces
    # A task's arguments grow with its faces, its messages do not; taking faces from the file grows with faces.
    serial = costs.task + costs.take * shard_faces / 128
    out = {
        "shards": f"{shards:,.0f}",
        "files": f"{shards * costs.files:,.0f}",
        "store": size(faces * bytes_a_face),
        "reading the labels, one process": duration(faces * costs.plan_a_face),
        "temporary file": size(faces * costs.temporary_a_face),
        "memory of the main process": size(faces * costs.memory_a_face + shards * costs.open_memory),
        "main process and scheduler, all shards": duration(shards * serial),
        "opening the store": duration(shards * costs.open_a_shard),
    }
    for count in cores:
        work = faces * costs.core_a_face / count
        out[f"building on {count:,} cores"] = duration(max(work, shards * serial))
    # Beyond so many cores the main process can't hand out shards as fast as they are built.
    out["cores that one run keeps busy"] = f"{shard_faces * costs.core_a_face / serial:,.0f}"
    return out


def duration(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86400:.3g} d"


def size(count: float) -> str:
    for name in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {name}"
        count /= 1000
    return f"{count:.3g} TB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--faces", type=float, nargs="+", default=[1e5, 1e6, 1e7, 1e8])
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 64, 1000])
    options = parser.parse_args()
    found = json.loads(options.measured.read_text(encoding="utf-8"))
    for layout, shard_faces in (("crops", 128), ("faces", 128), ("faces", 1024)):
        costs = Costs.of(found, layout)
        bytes_a_face = found["layouts"][layout]["bytes_a_face"]
        columns = [rows(costs, faces, options.cores, shard_faces, bytes_a_face) for faces in options.faces]
        print(f"\n| `--layout {layout} --shard-faces {shard_faces}` | " + " | ".join(f"{n:.0e}" for n in options.faces))
        print("|---" * (len(columns) + 1) + "|")
        for name in columns[0]:
            print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
