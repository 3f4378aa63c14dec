"""How much the error of a trained network depends on its maps V: drawn of other numbers of vertices, zeroed, another's.

    python benchmarks/vertices.py RUN STORE [--vertices 500 1000 2000 ...]

The run's best checkpoint, on one jittered crop of each person held out, after each block; NME (tight), percent. The
network is not trained again: it sees maps of another density than it was trained with. All faces of the store that the
run was not trained on must be there, so STORE is the run's own or one of the same faces.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from pifa_data.store import Store
from pifa_model.checkpoint import load_checkpoint
from pifa_model.shape import Landmarks
from pifa_model.store_rows import StoreRows
from pifa_model.validation import HeldOut
from pifa_model.visualization import VisualizationLayer
from pipelines.probes import maps_changed, shuffled
from pipelines.train import split_of, validation_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--vertices", type=int, nargs="+", default=[250, 500, 1000, 1500, 3000, 100_000])
    arguments = parser.parse_args()
    data = StoreRows(Store(arguments.store))
    checkpoint = load_checkpoint(arguments.run / "best.safetensors", data.store.model)
    network, model, config = checkpoint.network, checkpoint.model, checkpoint.header.network.visualization
    held_out = HeldOut(data, validation_rows(data, split_of(data, checkpoint.header.config).val))
    landmarks = Landmarks(model, data.store.attributes["scheme"])
    print(f"trained with {config.vertices} vertices of {len(model.mean)}; {len(held_out.rows)} crops")
    print(" vertices NME after block 1, 2, …")
    for name, change in (("zeroed", torch.zeros_like), ("another's", shuffled)):
        with maps_changed(network, change):
            print(f"{name:>9} " + _row(held_out.errors(network, landmarks)))
    for count in arguments.vertices:
        network.visualization = VisualizationLayer(model, config.model_copy(update={"vertices": count})).eval()
        print(f"{min(count, len(model.mean)):9d} " + _row(held_out.errors(network, landmarks)))


def _row(errors: np.ndarray) -> str:
    return " ".join(f"{error:6.2f}" for error in np.nanmean(errors, axis=1))


if __name__ == "__main__":
    main()
