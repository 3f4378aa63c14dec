"""Build a wheel from the tree, install it into an empty environment away from the checkout, and train one step there.

Run by ``make wheel-check``. What it proves: the wheel holds every package, preset, template and the builtin model, its
dependencies are declared, and nothing leans on the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pifa-wheel-") as folder:
        work = Path(folder)
        environment = {**os.environ, "PIFA_HOME": str(work / "home"), "PYTHONPATH": ""}

        def run(*command: str | Path, cwd: Path = work) -> str:
            print("$", " ".join(str(part) for part in command), flush=True)
            done = subprocess.run(
                [str(part) for part in command], cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE
            )
            if done.returncode:
                sys.exit(f"wheel check: the command failed with status {done.returncode}")
            return done.stdout

        run(sys.executable, "-m", "build", "--wheel", "--outdir", work / "dist", ROOT)
        wheel = next((work / "dist").glob("*.whl"))
        venv.create(work / "env", with_pip=True)
        python = work / "env" / "bin" / "python"
        index = os.environ.get("TORCH_INDEX")
        pip = (python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
        run(*pip, *(("--retries", "1", "--extra-index-url", index) if index else ()), "torch")
        run(*pip, wheel)
        run(sys.executable, ROOT / "tests" / "synthetic.py", work / "data", "--faces", "8")
        pifa = work / "env" / "bin" / "pifa"
        assert "align" in run(pifa, "--help")
        where = run(python, "-c", "import pifa_model; print(pifa_model.__file__)")
        assert str(work) in where, f"imported from {where}"
        # The model that ships with the package, and what it can be made from again.
        assert "builtin" in run(pifa, "morphable", "info", "builtin")
        making = "from pifa_data.morphable.making.assemble import load_population as load; print(load().mean.shape)"
        assert "(189,)" in run(python, "-c", making)
        kit = "from pifa_data.morphable.ict_facekit import published_files as files; print(len(files()))"
        assert "159" in run(python, "-c", kit)
        faces, fits = f"keypoints-csv:{work / 'data' / 'faces'}", work / "F.npz"
        run(pifa, "fit", faces, "--out", fits, "--report", work / "fits.html", "--workers", "1")
        assert (work / "fits.html").stat().st_size > 10_000
        store, trained, registry = work / "S.zarr", work / "run", work / "registry"
        run(
            *(pifa, "prep", faces, "--store", store, "--copies", "2", "--workers", "1"),
        )
        run(
            *(pifa, "train", store, "--out", trained, "--batch-size", "8", "--val-fraction", "0.3"),
            *("--set", "training.round_steps=1", "--epochs", "0.5"),
        )
        run(pifa, "zoo", "publish", trained, "--name", "wheel", "--version", "0.0.1", "--registry", registry)
        assert "wheel@0.0.1" in run(pifa, "zoo", "list", "--registry", registry)
        # What ships with the program, from a folder that only the wheel has.
        reference = run(pifa, "zoo", "list").split()[0]
        assert str(work) in run(pifa, "zoo", "get", reference, "--offline")
        run(pifa, "zoo", "site", "--out", work / "site")
    print("wheel check passed")


if __name__ == "__main__":
    main()
