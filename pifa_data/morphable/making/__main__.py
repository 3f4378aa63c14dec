"""Make the ``builtin`` model.

    python -m pifa_data.morphable.making --out builtin.safetensors
    python -m pifa_data.morphable.making --out builtin.safetensors --labels MERL_RAV --poses AFLW_FACES.csv

The first form is for anyone: it sculpts the face and takes the population's mean and covariance that ship with the
package (``population.npz``). The second estimates these anew from MERL-RAV's labels and AFLW's poses, and with
``--population FILE`` keeps them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from pifa_data.errors import PifaError
from pifa_data.morphable.making.assemble import assemble, balanced, deformed_parts, load_population, save_population
from pifa_data.morphable.making.labels import read_labels
from pifa_data.morphable.making.population import Population, estimate


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pifa_data.morphable.making",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="model file to write")
    parser.add_argument("--labels", type=Path, help="MERL-RAV's folder")
    parser.add_argument("--poses", type=Path, help="CSV of AFLW's boxes and poses")
    parser.add_argument("--population", type=Path, help="where to keep a new estimate (.npz)")
    options = parser.parse_args()
    if (options.labels is None) != (options.poses is None):
        parser.error("--labels and --poses go together")
    start = time.perf_counter()

    def tell(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", file=sys.stderr)

    def progress(round_: int, population: Population, nme: float) -> None:
        tell(f"round {round_ + 1}: residual {nme:.3f} %, noise {population.noise:.5f}")

    try:
        surface, identity, expression, names = deformed_parts()
        tell(f"sculpted {len(surface.vertices)} vertices, {len(names)} expressions")
        if options.labels is None:
            population = load_population()
        else:
            labels = balanced(read_labels(options.labels, options.poses))
            tell(f"read {len(labels.names)} faces")
            population = estimate(surface, identity, expression, labels, progress=progress)
            # Kept and read back, so that the model is the one that the kept estimate gives.
            with tempfile.TemporaryDirectory() as folder:
                kept = options.population or Path(folder) / "population.npz"
                save_population(kept, population)
                population = load_population(kept)
        model = assemble(surface, identity, expression, names, population)
        model.save(options.out, half=True)
        tell(f"{options.out}: {len(model.identity)} identity and {len(model.expression)} expression modes")
    except (PifaError, OSError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
