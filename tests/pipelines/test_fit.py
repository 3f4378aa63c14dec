"""``pifa fit``: the file it writes, bad faces, workers, and the page of its report."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import pifa
from html_page import HOSTILE, Page, whole_page
from synthetic import make_samples, project_landmarks

from pifa_data.camera import pose_angles, project
from pifa_data.errors import AnnotationError, PifaError
from pifa_data.faces import Face
from pifa_data.fitting import Fits, LandmarkFitter
from pifa_data.labels import fit_faces
from pifa_data.morphable import MorphableModel
from pifa_data.readers import FORMATS, read_faces
from pipelines import fit as fit_pipeline
from pipelines.fit import fit_batch, run_fit
from pipelines.fit_report import SAMPLE, WORST, Shortlists
from pipelines.fits import write_whole
from pipelines.pages import shown

COLUMNS = {
    *("name", "kind", "split", "params", "landmarks", "nme", "residual", "yaw", "pitch", "roll"),
    *("converged", "plausible", "plausibility", "dof"),
}
NAME = f"{HOSTILE}.jpg"


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def rows_of(synthetic: Path) -> list[str]:
    return (synthetic / "faces" / "keypoints.csv").read_text().splitlines()[1:]


@pytest.fixture(scope="module")
def mixed(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels without images: 24 good faces, one of a hostile name, and five that can't be used."""
    folder = tmp_path_factory.mktemp("mixed")
    rows = rows_of(synthetic)
    cells = rows[0].split(",")[1:]
    bad = {
        "few.jpg": cells[:20],
        "nan.jpg": ["nan", *cells[1:]],
        "line.jpg": [str(i // 2) for i in range(136)],
        "point.jpg": ["7"] * 136,
        "<b>word</b>.jpg": ["x", *cells[1:]],
    }
    good = [*rows, ",".join(['"' + NAME.replace('"', '""') + '"', *cells])]
    lines = [*good[:5], *(",".join([name, *values]) for name, values in bad.items()), *good[5:]]
    (folder / "keypoints.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(mixed: Path, synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Fits and page of ``mixed`` by the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("fits")
    out, page = folder / "FITS.npz", folder / "fits.html"
    result = pifa(
        *("fit", f"keypoints-csv:{mixed}", "--morphable", synthetic / "model.safetensors", "--out", out),
        *("--report", page, "--workers", 1, "--json"),
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in folder.iterdir()) == ["FITS.npz", "fits.html"]
    return out, page, json.loads(result.stdout)


def test_the_file_holds_what_is_documented(done: tuple[Path, Path, dict], model: MorphableModel) -> None:
    fits = load(done[0])
    assert set(fits) == COLUMNS | {"scheme", "morphable", "skipped_name", "skipped_reason"}
    assert {len(fits[column]) for column in COLUMNS} == {25}
    assert all(array.dtype.kind in "fUb" for array in fits.values())
    assert fits["params"].shape == (25, 8 + model.n_coefficients)
    assert fits["landmarks"].shape == (25, 68, 2)
    assert str(fits["scheme"]) == "ibug68"
    assert str(fits["morphable"]) == model.fingerprint
    assert fits["name"][-1] == NAME
    assert set(fits["kind"]) == {"2d"}
    assert set(fits["split"]) == {"training", "test", ""}
    np.testing.assert_array_equal(fits["residual"], fits["nme"])


def test_the_fits_are_right(done: tuple[Path, Path, dict], model: MorphableModel) -> None:
    fits = load(done[0])
    samples = make_samples(model, 24)
    assert fits["name"].tolist()[:24] == [sample.name for sample in samples]
    assert np.median(fits["nme"]) < 1
    for row, sample in enumerate(samples):
        camera, p = fits["params"][row, :8].reshape(2, 4), fits["params"][row, 8:]
        # Landmarks are f(P) in the image's pixels; jaw points may have marched.
        inner = project(model.vertices(p), camera)[model.landmarks["ibug68"]][17:]
        np.testing.assert_allclose(fits["landmarks"][row, 17:], inner, atol=0.02)
        label = project_landmarks(model, sample.camera, sample.p)
        size = np.sqrt(np.prod(np.ptp(label, axis=0)))
        error = np.linalg.norm(fits["landmarks"][row] - label.round(2), axis=1).mean()
        assert fits["nme"][row] == pytest.approx(100 * error / size, abs=0.02)
    truth = np.degrees(pose_angles(np.stack([sample.camera for sample in samples])))
    found = np.stack([fits[name][:24] for name in ("yaw", "pitch", "roll")], axis=1)
    assert (np.median(np.abs(found - truth), axis=0) < 3).all()


def test_the_summary_and_the_skipped_faces(done: tuple[Path, Path, dict]) -> None:
    out, _, values = done
    fits = load(out)
    assert {"faces", "skipped", "nme_mean", "nme_median", "nme_p95", "seconds", "faces_per_second"} <= set(values)
    assert (values["faces"], values["skipped"]) == (25, 5)
    assert values["nme_median"] == pytest.approx(np.median(fits["nme"]), abs=1e-3)
    assert values["nme_p95"] == pytest.approx(np.percentile(fits["nme"], 95), abs=1e-3)
    reasons = {item["face"]: item["reason"] for item in values["skipped_faces"]}
    assert reasons == dict(zip(fits["skipped_name"].tolist(), fits["skipped_reason"].tolist(), strict=True))
    for name, what in {
        "few.jpg": "columns, found 21",
        "nan.jpg": "finite",
        "line.jpg": "one line",
        "point.jpg": "one point",
        "<b>word</b>.jpg": "not a number",
    }.items():
        assert what in reasons[name]


def test_any_number_of_workers_gives_the_same_bytes(
    done: tuple[Path, Path, dict], mixed: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(synthetic / "model.safetensors")
    monkeypatch.setattr(fit_pipeline, "BATCH", 4)  # several batches a worker
    run_fit([str(mixed)], tmp_path / "1.npz", morphable=model, workers=1)
    run_fit([str(mixed)], tmp_path / "2.npz", morphable=model, workers=2)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    one, two, whole = load(tmp_path / "1.npz"), load(tmp_path / "2.npz"), load(done[0])
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)
    assert one["name"].tolist() == whole["name"].tolist()


def test_only_files_of_ours_are_replaced(mixed: Path, synthetic: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "FITS.npz", tmp_path / "fits.html"
    common = ("fit", mixed, "--morphable", synthetic / "model.safetensors", "--workers", 1, "--limit", 3)
    assert pifa(*common, "--out", out).exit_code == 0
    page.write_text("<!DOCTYPE html>\n")
    before = out.read_bytes()
    for arguments, message in (
        (("--out", out), "--overwrite"),
        (("--out", tmp_path / "new.npz", "--report", page), "--overwrite"),
        (("--out", mixed / "keypoints.csv", "--overwrite"), "is not a file that `pifa fit` wrote"),
        (("--out", out, "--report", mixed / "keypoints.csv", "--overwrite"), "is not an HTML page"),
        (("--out", tmp_path / "same", "--report", tmp_path / "same"), "the same file"),
        (("--out", tmp_path / "none" / "FITS.npz"), "does not exist"),
        (("--out", tmp_path), "found a folder"),
    ):
        result = pifa(*common, *arguments)
        assert result.exit_code == 1, arguments
        assert message in result.output
        assert result.output.count("\n") == 1
    assert out.read_bytes() == before
    assert not (tmp_path / "new.npz").exists()
    assert pifa(*common, "--out", out, "--overwrite", "--landmarks", "3d").exit_code == 0
    assert set(load(out)["kind"]) == {"3d"}


def test_strict_stops_and_leaves_nothing(mixed: Path, synthetic: Path, tmp_path: Path) -> None:
    common = ("fit", mixed, "--morphable", synthetic / "model.safetensors", "--workers", 1, "--out", tmp_path / "F.npz")
    result = pifa(*common, "--strict")
    assert result.exit_code == 1
    assert "few.jpg" in result.output
    assert "--strict" in result.output
    none = pifa(*common, "--split", "validation")
    assert none.exit_code == 1
    assert "no face could be fitted" in none.output
    assert not list(tmp_path.iterdir())


def test_split_limit_and_names_of_two_sources(mixed: Path, synthetic: Path, tmp_path: Path) -> None:
    model = str(synthetic / "model.safetensors")
    sources = [str(mixed), f"keypoints-csv:{synthetic / 'faces'}"]
    summary = run_fit(sources, tmp_path / "a.npz", morphable=model, workers=1, split="test", limit=4)
    # The first four of each that are of the split or can't be used.
    fits = load(tmp_path / "a.npz")
    assert set(fits["split"]) == {"test"}
    assert len(set(fits["name"].tolist())) == len(fits["name"]) == summary.faces
    # A name that the first source gave too is told with its format.
    assert any(name.startswith("keypoints-csv:") for name in fits["name"].tolist())


def test_a_model_without_the_scheme_is_refused(mixed: Path, model: MorphableModel, tmp_path: Path) -> None:
    replace(model, landmarks={}, contours={}).save(tmp_path / "bare.safetensors")
    with pytest.raises(PifaError, match="ibug68"):
        run_fit([str(mixed)], tmp_path / "a.npz", morphable=str(tmp_path / "bare.safetensors"))


class Brittle(LandmarkFitter):
    """Fails as a solver would: singular for a batch with a face at 1, not finite for faces at 2."""

    def fit(self, landmarks: np.ndarray, visibility: np.ndarray, kind: str) -> Fits:
        if (landmarks[:, 0, 0] == 1).any():
            raise np.linalg.LinAlgError("singular")
        fits = super().fit(landmarks, visibility, kind)
        fits.params[landmarks[:, 0, 0] == 2] = np.nan
        return fits


@pytest.fixture(scope="module")
def faces(synthetic: Path) -> list[Face]:
    return [f for f in read_faces(f"keypoints-csv:{synthetic / 'faces'}", FORMATS) if isinstance(f, Face)]


def test_a_model_replaced_meanwhile_is_named(faces: list[Face], model: MorphableModel, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    model.save(path)
    with pytest.raises(PifaError, match="was replaced by another model"):
        list(fit_pipeline._fit_all(iter([faces[:2]]), str(path), "0" * 64, "ibug68", 1))


def test_a_face_that_breaks_the_solver_costs_itself_only(faces: list[Face], model: MorphableModel) -> None:
    def marked(face: Face, mark: float) -> Face:
        landmarks = face.landmarks.copy()
        landmarks[0, 0] = mark
        return replace(face, landmarks=landmarks)

    batch = [faces[0], marked(faces[1], 1), faces[2], marked(faces[3], 2), faces[4]]
    fitter = Brittle(model, "ibug68")
    result = fit_batch(batch, fitter)
    assert (result.fitted, result.refused) == ([0, 2, 4], [1, 3])
    assert result.rows["name"].tolist() == [faces[i].id for i in (0, 2, 4)]
    alone = fit_batch([faces[4]], fitter)
    np.testing.assert_allclose(result.rows["params"][2], alone.rows["params"][0], rtol=1e-4, atol=1e-4)
    assert fit_batch([batch[1]], fitter).refused == [0]
    assert fit_batch([batch[3]], fitter).refused == [0]


def test_mixed_kinds_are_fitted_each_by_its_own(faces: list[Face], model: MorphableModel) -> None:
    fitter = LandmarkFitter(model, "ibug68")
    batch = [replace(face, kind="3d" if i % 3 == 0 else "2d") for i, face in enumerate(faces[:8])]
    together = fit_faces(batch, fitter)
    for kind in ("2d", "3d"):
        at = [i for i, face in enumerate(batch) if face.kind == kind]
        apart = fit_faces([batch[i] for i in at], fitter)
        for field in fields(Fits):
            np.testing.assert_array_equal(getattr(together, field.name)[at], getattr(apart, field.name), field.name)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", fail)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_shortlists_do_not_depend_on_batches(faces: list[Face]) -> None:
    many = [replace(faces[0], id=f"face {i}") for i in range(100)]
    nme = np.random.default_rng(0).permutation(100) // 2.0
    plausibility = np.where(np.arange(100) == 7, np.nan, nme[::-1])
    whole, parts = Shortlists(), Shortlists()
    whole.add(many, 0, nme, plausibility)
    for start in range(0, 100, 9):
        part = slice(start, start + 9)
        parts.add(many[part], start, nme[part], plausibility[part])
    assert whole == parts
    assert [pick[0] for pick in whole.worst] == sorted(nme, reverse=True)[:WORST]
    assert 7 not in [pick[1] for pick in whole.least_plausible]
    assert len(whole.sample) == SAMPLE


def test_the_page_is_whole_and_escaped(done: tuple[Path, Path, dict]) -> None:
    page = whole_page(done[1].read_text(encoding="utf-8"))
    assert len([name for name, _ in page.attributes if name == "src"]) > 40


def test_the_page_says_what_it_should(done: tuple[Path, Path, dict]) -> None:
    page = Page(done[1].read_text(encoding="utf-8"))
    for part in (
        *("Fits of 25 faces", "Fit error", "Pose of the fits", "Fit error over yaw", "Plausibility", "not converged"),
        *("implausible", "median error", "By yaw of the fit", "Worst fits", "Least plausible shapes", "by chance"),
        *("Skipped faces", "few.jpg", "one line", "<b>word</b>.jpg", "not a number", "ibug68", "synthetic"),
    ):
        assert part in page.text, part
    assert page.tags.count("picture") == 4
    # Each drawn face: 68 labels, 68 fitted points, 68 lines between them; five marks are the legend's.
    tiles = min(WORST, 25) + 12 + 12
    assert page.tags.count("circle") == tiles * 136 + 4
    assert page.tags.count("line") == tiles * 68 + 1
    charts = [value or "" for name, value in page.attributes if name in ("src", "srcset") and "svg" in (value or "")]
    for chart in charts:
        assert b"<svg" in base64.b64decode(chart.split(",", 1)[1])


def test_the_page_shows_photos_where_they_are(synthetic: Path, tmp_path: Path) -> None:
    model = str(synthetic / "model.safetensors")
    source = f"keypoints-csv:{synthetic / 'faces'}"
    run_fit([source], tmp_path / "a.npz", morphable=model, workers=1, limit=3, report=tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text.count('class="photo"') == text.count("<image ") == 9


def test_shown_text_is_tame() -> None:
    assert shown("a/b ü.jpg") == "a/b ü.jpg"
    assert shown("a\0\x1b[31m\u202eb\n") == "a�\N{REPLACEMENT CHARACTER}[31m�b�"
    assert len(shown("x" * 10_000)) == 161


def test_labels_without_images_are_not_prepared(mixed: Path, synthetic: Path, tmp_path: Path) -> None:
    result = pifa("prep", mixed, "--morphable", synthetic / "model.safetensors", "--store", tmp_path / "S.zarr")
    assert result.exit_code == 1
    assert "labels alone" in result.output
    assert "pifa fit" in result.output
    assert not (tmp_path / "S.zarr").exists()


def test_schemes_are_not_mixed(
    synthetic: Path, faces: list[Face], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = [faces[0], replace(faces[1], scheme="other")]
    monkeypatch.setattr(fit_pipeline, "stream_faces", lambda *a, **k: iter(other))
    with pytest.raises(AnnotationError, match=r"expected landmarks of the scheme ibug68.*found other"):
        run_fit(["any"], tmp_path / "a.npz", morphable=str(synthetic / "model.safetensors"))


def test_the_real_labels_fit(shared_data: Path, tmp_path: Path) -> None:
    """MERL-RAV with the ICT model, both as they come; half-profiles, the noses to either side."""
    imported = tmp_path / "ict.safetensors"
    original = shared_data / "morphable" / "ict_face.npz"
    done = pifa("morphable", "import", "ict-npz", original, "--out", imported)
    assert done.exit_code == 0, done.output
    root = shared_data / "aflw" / "merl_rav_labels"
    sources = [f"merl-rav:{root / pose}" for pose in ("lefthalf", "righthalf")]
    summary = run_fit(sources, tmp_path / "F.npz", morphable=str(imported), workers=1, limit=40)
    fits = load(tmp_path / "F.npz")
    assert (summary.faces, summary.skipped) == (80, 0)
    assert summary.nme_median < 2.5
    left = np.char.startswith(fits["name"], "lefthalf/")
    assert np.median(fits["yaw"][left]) < -20 < 20 < np.median(fits["yaw"][~left])
