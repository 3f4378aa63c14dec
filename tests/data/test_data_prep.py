"""Building stores: resuming, refusing, and faces that can't be used. Shards are small and built in this process."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pifa_data.build import PrepConfig
from pifa_data.crop_rows import crop_windows
from pifa_data.errors import AnnotationError, PifaError, StoreError
from pifa_data.morphable import MorphableModel
from pifa_data.store import Store, locate, set_attributes
from pipelines.prep import PrepSummary, run_prep

CONFIG = PrepConfig(copies=2, size=32, shard_faces=8)


@pytest.fixture
def prep(scheduler: str, synthetic: Path, tmp_path: Path) -> Any:
    """``run_prep`` of the synthetic faces into ``tmp_path``; keywords change it."""

    def run(name: str = "S.zarr", source: Path | None = None, **options: Any) -> PrepSummary:
        options = {"morphable": str(synthetic / "model.safetensors"), "config": CONFIG} | options
        return run_prep(
            [f"keypoints-csv:{source or synthetic / 'faces'}"], tmp_path / name, scheduler=scheduler, **options
        )

    return run


@pytest.fixture
def damaged(synthetic: Path, tmp_path: Path) -> Path:
    """The synthetic faces with six that can't be used: two rows, four images."""
    folder = Path(shutil.copytree(synthetic / "faces", tmp_path / "faces"))
    lines = (folder / "keypoints.csv").read_text().splitlines()
    images = folder / "images"
    lines[1] = lines[1].rsplit(",", 1)[0] + ",nan"
    lines[2] = lines[2].rsplit(",", 1)[0]
    names = [line.split(",")[0] for line in lines]
    (images / names[5]).unlink()
    (images / names[6]).write_bytes((images / names[6]).read_bytes()[:-300])
    (images / names[7]).write_text("this is text")
    cells = lines[8].split(",")
    lines[8] = ",".join([cells[0], *(str(float(c) + 2000) for c in cells[1:])])
    (folder / "keypoints.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_three_shards_are_built_and_summed_up(prep: Any, tmp_path: Path) -> None:
    summary = prep()
    assert (summary.faces, summary.crops, summary.skipped) == (24, 48, 0)
    assert sorted(Store(tmp_path / "S.zarr").entries) == [0, 1, 2]
    store = Store(tmp_path / "S.zarr")
    assert list(store.verify()) == []
    assert store.attributes["digest"] == summary.digest == summary.as_json()["digest"]
    assert summary.store_bytes > 48 * 32 * 32
    # Faces are permuted over the whole store, not kept in the order of the file.
    assert store.text("id") != sorted(store.text("id"))
    assert sorted(store.read("source")[16:32].tolist()) == sorted([*range(8, 16)] * 2)  # shard 1 holds its own faces


def test_the_same_build_has_the_same_digest_and_another_seed_another(prep: Any) -> None:
    first = prep("a.zarr").digest
    assert prep("b.zarr").digest == first
    assert prep("c.zarr", config=replace(CONFIG, seed=1)).digest != first


def test_a_stopped_build_resumes_to_the_same_digest(prep: Any, tmp_path: Path) -> None:
    whole = prep("whole.zarr").digest
    prep()
    store = tmp_path / "S.zarr"
    # As a kill leaves it: one shard half-written without an entry, one not begun, not complete.
    (store / "manifest" / "000001.json").unlink()
    (store / "manifest" / "000002.json").unlink()
    (store / "manifest" / "000002.partial").write_text("{")
    shard = next(p for p in (store / "params" / "c").rglob("*") if p.name == "0" and p.parent.name == "1")
    shard.write_bytes(shard.read_bytes()[:100])
    set_attributes(locate(store), {"complete": False, "digest": None})
    kept = (store / "manifest" / "000000.json").stat().st_mtime_ns
    with pytest.raises(StoreError, match="not finished"):
        Store(store)
    assert prep(resume=True).digest == whole
    assert list(Store(store).verify()) == []
    assert (store / "manifest" / "000000.json").stat().st_mtime_ns == kept  # not built again
    assert not list(store.rglob("*.partial"))


def test_resume_of_nothing_builds_and_of_a_finished_store_changes_nothing(prep: Any) -> None:
    digest = prep(resume=True).digest
    assert prep(resume=True).digest == digest


def test_resume_with_other_settings_faces_or_model_is_refused(
    prep: Any, damaged: Path, model: MorphableModel, tmp_path: Path
) -> None:
    prep()
    replace(model, mean=model.mean * np.float32(1.1)).save(tmp_path / "other.safetensors")
    for changes in (
        {"config": replace(CONFIG, seed=1)},
        {"config": replace(CONFIG, copies=3)},
        {"config": replace(CONFIG, landmarks="3d")},
        {"source": damaged},
        {"limit": 20},
        {"morphable": str(tmp_path / "other.safetensors")},
    ):
        with pytest.raises(StoreError, match="begun with other"):
            prep(resume=True, **changes)


def test_jitter_that_layout_faces_has_no_room_for_is_told(prep: Any, tmp_path: Path) -> None:
    """Crops of so much noise reach beyond the larger crop, as their boxes say; of the usual noise they do not."""
    beyond = {}
    for name, jitter in (("usual", {}), ("much", {"jitter_shift": 0.15, "jitter_scale": 0.15})):
        config = replace(CONFIG, layout="faces", copies=20, **jitter)
        if name == "much":
            with pytest.warns(UserWarning, match="black"):
                prep(name, config=config, limit=8)
        else:
            prep(name, config=config, limit=8)
        store = Store(tmp_path / name)
        share = store.layout.image_size / config.size
        face_boxes = store.read("faces/box")[store.read("source")]
        edges = crop_windows(store.read("boxes"), store.read("mirrored"), face_boxes, config.grow, share)
        beyond[name] = (np.abs(edges) > 1).any(1).mean()
    assert beyond["usual"] < 1 / 200 < beyond["much"]


def test_an_existing_store_is_refused_and_replaced_on_request(prep: Any, tmp_path: Path) -> None:
    first = prep().digest
    before = (tmp_path / "S.zarr" / "zarr.json").read_bytes()
    with pytest.raises(StoreError, match=r"--resume .* --overwrite"):
        prep(config=replace(CONFIG, seed=1))
    assert (tmp_path / "S.zarr" / "zarr.json").read_bytes() == before
    assert prep(config=replace(CONFIG, seed=1), overwrite=True).digest != first


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_overwrite_never_removes_what_is_no_store(prep: Any, tmp_path: Path, kind: str) -> None:
    precious = tmp_path / "S.zarr" / "thesis.txt" if kind == "folder" else tmp_path / "S.zarr"
    precious.parent.mkdir(exist_ok=True)
    precious.write_text("years of work")
    with pytest.raises(StoreError, match="not a store"):
        prep(overwrite=True)
    with pytest.raises(StoreError):
        prep(resume=True)
    assert precious.read_text() == "years of work"


def test_overwrite_never_removes_another_programs_zarr_group(prep: Any, tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "S.zarr", zarr_format=3)
    group.create_array("measurements", data=np.arange(5))
    with pytest.raises(StoreError, match="not a store"):
        prep(overwrite=True)
    assert group["measurements"][:].tolist() == [0, 1, 2, 3, 4]


def test_overwrite_with_another_model_fits_with_the_new_one(
    prep: Any, synthetic: Path, model: MorphableModel, tmp_path: Path
) -> None:
    """Workers live on between builds (--scheduler); what they keep of the old store must not leak into the new."""
    replace(model, mean=model.mean * np.float32(2)).save(tmp_path / "large.safetensors")
    prep()
    prep(morphable=str(tmp_path / "large.safetensors"), overwrite=True)
    prep("fresh.zarr", morphable=str(tmp_path / "large.safetensors"))
    found, fresh = (Store(tmp_path / name).read("faces/params") for name in ("S.zarr", "fresh.zarr"))
    np.testing.assert_array_equal(found, fresh)


def test_unusable_faces_are_skipped_counted_and_named(prep: Any, damaged: Path, tmp_path: Path) -> None:
    summary = prep(source=damaged)
    assert (summary.faces, summary.skipped, summary.crops) == (18, 6, 36)
    reasons = {s.id: s.reason for s in summary.reasons}
    assert len(reasons) == 6
    found = " | ".join(reasons.values())
    for what in ("not finite", "columns, found 136", "No such file", "cut short", "not an image", "outside the image"):
        assert what in found
    store = Store(tmp_path / "S.zarr")
    assert {(s.id, s.reason) for s in store.skipped()} == set(reasons.items())
    # The two bad rows never entered; the four whose image failed keep their rows, not valid.
    valid, source = store.read("valid"), store.read("source")
    names = np.array(store.text("id"))
    assert len(names) == 22
    assert set(names[~store.read("faces/valid")]) == set(reasons) & set(names)
    np.testing.assert_array_equal(valid, store.read("faces/valid")[source])
    assert not store.read("images")[~valid].any()
    assert list(store.verify()) == []


def test_skipped_faces_do_not_change_the_others(prep: Any, damaged: Path, tmp_path: Path) -> None:
    """A face's crops are the same beside broken faces: a row depends on (seed, face, copy)."""
    prep("whole.zarr")
    prep("part.zarr", source=damaged)
    rows = []
    for name in ("whole.zarr", "part.zarr"):
        store = Store(tmp_path / name)
        ids, source, copies = store.text("id"), store.read("source"), store.read("copy")
        boxes, valid = store.read("boxes"), store.read("valid")
        rows.append({(ids[s], c): tuple(b) for s, c, b, v in zip(source, copies, boxes, valid, strict=True) if v})
    assert len(rows[1]) == 36
    assert all(rows[0][key] == box for key, box in rows[1].items())


def test_strict_stops_at_a_bad_row_and_at_a_bad_image(prep: Any, damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="--strict"):
        prep("a.zarr", source=damaged, strict=True)
    assert not (tmp_path / "a.zarr").exists()
    lines = (damaged / "keypoints.csv").read_text().splitlines()
    (damaged / "keypoints.csv").write_text("\n".join([lines[0], *lines[3:]]))
    with pytest.raises(AnnotationError, match="--strict"):
        prep("b.zarr", source=damaged, strict=True)
    with pytest.raises(StoreError, match="not finished"):
        Store(tmp_path / "b.zarr")


def test_no_usable_face_is_an_error(prep: Any, damaged: Path) -> None:
    shutil.rmtree(damaged / "images")
    with pytest.raises(PifaError, match="no face could be prepared"):
        prep("a.zarr", source=damaged)
    (damaged / "keypoints.csv").write_text("a.jpg,1,2\n")
    with pytest.raises(AnnotationError, match="no usable face"):
        prep("b.zarr", source=damaged)
