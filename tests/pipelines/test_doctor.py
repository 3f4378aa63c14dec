"""``pifa doctor``: places, variables, devices, speed, the page."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from disks import small_disk
from rich.console import Console

from pipelines.commands.doctor import doctor
from pipelines.doctor import Report, packages, print_page
from pipelines.doctor.devices import _is_built_for, cpu_rows, torch_rows
from pipelines.doctor.places import bundled_rows, cache_rows, registry_rows, trust_rows
from pipelines.doctor.rows import Row
from pipelines.doctor.surroundings import ADDRESSES, SECRET, SHOWN, variable_rows
from pipelines.doctor.timing import Stage, Timing, best_of, time_stages

ROOT = Path(__file__).resolve().parents[2]


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_a_page_and_an_object_of_what_is_really_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("the doctor uses no network")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setenv("PIFA_HOME", str(tmp_path / "home"))
    # The imports of all packages take seconds; that they work is what the other tests are for.
    monkeypatch.setattr(packages, "broken_imports", lambda modules: {})
    done = CliRunner().invoke(doctor, ["--no-speed", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == (0 if found["ok"] else 1)
    sections = ("versions", "extras", "devices", "places", "variables", "programs")
    assert list(found) == ["ok", "broken", "warnings", *sections, "speed", "speed_note"]
    rows = [row for section in sections for row in found[section]]
    assert all({"name", "value", "state", "cure"} <= set(row) and row["value"] for row in rows)
    names = {row["name"] for row in rows}
    assert names >= {"pifa", "Python", "numpy", "torch", "pifa[onnx]", "CPU", "PyTorch", "PIFA_HOME"}
    assert names >= {"bundled registry", "morphable model", "face detector", "videos"}
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("blocked", ["a file", "read only"])
def test_a_home_that_cannot_be_written_to(blocked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(home: Path) -> Row:
        monkeypatch.setenv("PIFA_HOME", str(home))
        return cache_rows()[0]

    if blocked == "a file":
        (tmp_path / "file").write_text("")
        row = told(tmp_path / "file" / "home")
    else:
        with small_disk(tmp_path, "1m") as disk:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            row = told(disk)
    assert (row.name, row.state) == ("PIFA_HOME", "warning")
    assert "can't be written to" in row.value
    assert row.cure.startswith("set PIFA_HOME")


def test_little_space_is_worth_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**10, 10**10, 5 * 10**8))  # type: ignore[attr-defined]
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "weights").write_bytes(bytes(2_000_000))
    row, kept = cache_rows()
    assert (row.state, row.details["free_bytes"]) == ("warning", 5 * 10**8)
    assert kept.details["bytes"] == {"zoo": 2_000_000}
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "x.onnx").write_bytes(bytes(3_000))
    _, kept = cache_rows()
    assert kept.details["bytes"]["exported"] == 3_000
    assert "`exported` may be deleted" in kept.value


def test_the_registry_is_read_where_it_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = ROOT / "zoo" / "registry"
    monkeypatch.setenv("PIFA_REGISTRY", str(bundled))
    [row] = registry_rows()
    assert row.details["checkpoints"] == len(json.loads((bundled / "index.json").read_text())["entries"])
    monkeypatch.setenv("PIFA_REGISTRY", "https://me:hunter2@example.invalid/zoo")
    [row] = registry_rows()
    assert row.value.startswith("https://example.invalid/zoo: not asked")
    (tmp_path / "index.json").write_text("{")
    for wrong in (str(tmp_path), "gopher://example.invalid"):
        monkeypatch.setenv("PIFA_REGISTRY", wrong)
        assert registry_rows()[0].state == "warning"
    monkeypatch.delenv("PIFA_REGISTRY")
    assert registry_rows() == []


def test_a_damaged_bundled_registry_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "registry"
    shutil.copytree(ROOT / "zoo" / "registry", copy)
    monkeypatch.setattr("zoo.registry.BUNDLED", copy)
    assert [row.state for row in bundled_rows()] == ["ok"]
    card = next(copy.glob("*/*/card.md"))
    card.write_text(card.read_text() + "x")
    [row] = bundled_rows()
    assert row.state == "broken"
    assert "card.md" in row.value


def test_a_key_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIFA_HOME", str(tmp_path))
    monkeypatch.delenv("PIFA_TRUST", raising=False)
    assert [row.state for row in trust_rows()] == ["absent"]
    monkeypatch.setenv("PIFA_TRUST", str(tmp_path / "none.pub"))
    [row] = trust_rows()
    assert (row.name, row.state) == ("PIFA_TRUST", "warning")


def test_secrets_are_not_shown() -> None:
    environment = dict.fromkeys(SECRET, "hunter2") | {"PIFA_HOMES": "hunter2", "OTHER_TOKEN": "hunter2"}
    environment |= dict.fromkeys(ADDRESSES, "https://me:hunter2@host.invalid/x?token=hunter2")
    environment |= {"https_proxy": "me:hunter2@proxy.invalid:3128", "PIFA_OFFLINE": "1"}
    rows = by_name(variable_rows(environment))
    assert "hunter2" not in " ".join(map(str, rows.values()))
    assert rows["PIFA_REGISTRY"].value == "https://host.invalid/x"
    assert rows["https_proxy"].value == "http://proxy.invalid:3128"
    assert rows["PIFA_OFFLINE"].value == "1"
    assert rows["PIFA_HOMES"].state == "warning"
    assert "OTHER_TOKEN" not in rows


def test_it_knows_every_variable_of_the_program() -> None:
    files = [file for name in ("pifa_data", "pifa_model", "pipelines", "zoo") for file in (ROOT / name).rglob("*.py")]
    used = {name for file in files for name in re.findall(r"\bPIFA_[A-Z][A-Z_]+\b", file.read_text("utf-8"))}
    assert "PIFA_HOME" in used
    assert used <= {*SHOWN, *ADDRESSES, *SECRET}


def test_why_cuda_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    said = {
        "The NVIDIA driver on your system is too old (found version 11040).": ("warning", "update the NVIDIA driver"),
        "Found no NVIDIA driver on your system.": ("absent", ""),
        "CUDA unknown error": ("warning", "see what `nvidia-smi` says"),
    }
    for message, (state, cure) in said.items():

        def fails(message: str = message) -> None:
            raise RuntimeError(message)

        monkeypatch.setattr(torch.cuda, "init", fails)
        torch_row, row = torch_rows()[:2]
        assert "CUDA 13.0 build" in torch_row.value
        assert row.state == state
        assert row.cure.startswith(cure)


@pytest.mark.parametrize(
    ("device", "built_for", "fits"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((12, 0), ["sm_90a"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((9, 4), ["gfx942"], True),
    ],
)
def test_whether_a_build_is_for_a_device(device: tuple[int, int], built_for: list[str], fits: bool) -> None:
    assert _is_built_for(*device, built_for) is fits


def test_the_cpu_is_told_without_packages() -> None:
    cpu, memory = cpu_rows()
    assert 0 < cpu.details["usable_cores"] <= cpu.details["cores"]
    assert memory.details["bytes"] is None or memory.details["bytes"] > 10**6


def test_the_fastest_call_counts_but_the_first() -> None:
    ticks = iter([0.0, 0.3, 1.0, 1.1, 2.0, 2.2])
    calls: list[None] = []
    assert best_of(lambda: calls.append(None), 0.5, lambda: next(ticks)) == pytest.approx(0.1)
    assert len(calls) == 4
    slow = iter([0.0, 7.0])
    assert best_of(lambda: None, 0.5, lambda: next(slow)) == 7.0  # one such call is enough


def test_a_stage_that_fails_is_broken_and_the_next_is_timed() -> None:
    def fails() -> Any:
        raise ValueError("no\nmore")

    begun: list[str] = []
    stages = [Stage("bad", "cpu", 1, "faces", fails), Stage("good", "cpu", 2, "faces", lambda: lambda: None)]
    bad, good = time_stages(stages, begun.append, 0)
    assert begun == ["bad", "good"]
    assert (bad.seconds, bad.per_second, bad.error) == (None, None, "ValueError: no")
    assert good.per_second is not None
    report = Report({}, [bad, good])
    assert [str(row) for row in report.broken] == ["bad (cpu): ValueError: no"]


def test_every_stage_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.doctor import data_stages, network_stages

    monkeypatch.setattr(data_stages, "FITTED", 2)
    monkeypatch.setattr(data_stages, "COPIES", 1)
    monkeypatch.setattr(network_stages, "BATCH", 2)
    monkeypatch.setattr(network_stages, "PRESETS", ("small",))
    subject = data_stages.Subject(tmp_path)
    stages = data_stages.data_stages(subject) + network_stages.network_stages(subject)
    timings = time_stages(stages, lambda name: None, 0)
    assert [timing.error for timing in timings] == [""] * len(stages)
    assert {"decode a JPEG of 640x480", "store, read", "align, small, batch 1"} <= {t.stage for t in timings}
    json.dumps([timing.as_json() for timing in timings], allow_nan=False)
    found = subject.detect()()
    assert len(found) == 1  # the picture is a face


def test_the_page_is_plain_where_there_is_no_terminal() -> None:
    rows = [Row("a", "[red]x[/red]"), Row("b", "old", "warning", "pip install b"), Row("c", "gone", "absent")]
    timings = [Timing("fit", "cpu", 64, "faces", 0.08), Timing("fit", "cuda", 64, "faces", None, "Error: no")]

    def page(report: Report, *, terminal: bool = False) -> str:
        console = Console(file=StringIO(), force_terminal=terminal, width=100)
        print_page(report, console)
        return console.file.getvalue()  # type: ignore[attr-defined]

    text = page(Report({"versions": rows, "programs": []}, timings[:1]))
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    assert "cure: pip install b" in text
    assert re.search(r"fit +80\.0 ms +800 faces a second", text)
    assert "Other programs" not in text
    assert text.rstrip().endswith("look: b: old; pip install b\neverything needed is here")
    assert "\x1b[" in page(Report({"versions": rows}), terminal=True)
    broken = page(Report({"versions": [*rows, Row("d", "gone", "broken")]}, timings, "")).rstrip()
    assert broken.endswith("BROKEN: fit (cuda): Error: no\n2 things that pifa needs are broken")
