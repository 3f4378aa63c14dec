"""``pifa morphable import``: several files, landmarks of one's own, and what it says when it can't."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from originals import expression_300w_lp, mapping_file, shape_300w_lp, spread, write_mat, write_surrey
from synthetic import SCHEME

from cli import main
from pifa_data.morphable import IMPORTERS, MorphableModel
from pipelines.commands.morphable import FORMATS


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path / "home"))


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["morphable", "import", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_knows_every_importer() -> None:
    assert sorted(IMPORTERS) == FORMATS


def test_two_files(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)
    paths = [
        write_mat(tmp_path / "Model_Shape.mat", **shape_300w_lp(head)),
        write_mat(tmp_path / "Model_Expression.mat", **expression_300w_lp(head)),
    ]
    out = tmp_path / "bfm.safetensors"
    code, stdout, _ = run("bfm2009", *paths, "--out", out)
    assert code == 0
    assert "bfm2009" in stdout
    found = MorphableModel.load(out)
    assert found.n_coefficients == 9
    assert found.fingerprint in stdout
    code, _, stderr = run("bfm2009", *paths, "--out", out)
    assert code == 1
    assert "give --overwrite" in stderr
    assert run("bfm2009", *paths, "--out", out, "--overwrite")[0] == 0


def test_landmarks_of_ones_own(model: MorphableModel, tmp_path: Path) -> None:
    head = spread(model)  # not the original's vertices: only a mapping helps
    shape, blendshapes = write_surrey(tmp_path, head)
    out = tmp_path / "own.safetensors"
    mapping = mapping_file(head, tmp_path / "own.toml")
    assert run("surrey", shape, blendshapes, "--out", out, "--landmarks", mapping)[0] == 0
    found = MorphableModel.load(out)
    assert found.landmarks[SCHEME].tolist() == [head.landmarks[i] for i in range(68)]
    mapping.write_text(mapping.read_text().replace("30 = ", "30 = 99999 # "))
    code, _, stderr = run("surrey", shape, "--out", out, "--overwrite", "--landmarks", mapping)
    assert code == 1
    assert "99999" in stderr


def test_no_path_and_another_file(tmp_path: Path) -> None:
    assert run("surrey", "--out", tmp_path / "x.safetensors")[0] == 2
    (tmp_path / "text.bin").write_text("no model")
    code, _, stderr = run("surrey", tmp_path / "text.bin", "--out", tmp_path / "x.safetensors")
    assert code == 1
    assert "text.bin" in stderr
    assert not (tmp_path / "x.safetensors").exists()
