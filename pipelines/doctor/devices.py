"""What there is to compute with: CPU, memory, CUDA devices, Apple's GPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path

from pipelines.doctor.rows import Row, error_text, one_line, size_text

_CGROUP = Path("/sys/fs/cgroup")
_DRIVER = Path("/proc/driver/nvidia/version")
_GET_TORCH = "choose the CUDA build at https://pytorch.org/get-started/locally/"


def cpu_rows() -> list[Row]:
    """CPU and memory; needs no package."""
    cores = usable_cores()
    total, most = os.cpu_count() or 1, memory_bytes()
    value = f"{cpu_name()}, {cores:g} of {total} cores usable" if cores < total else f"{cpu_name()}, {total} cores"
    rows = [Row("CPU", value, details={"cores": total, "usable_cores": cores})]
    memory = "unknown" if most is None else f"{size_text(most)} usable"
    return [*rows, Row("memory", memory, details={"bytes": most})]


def usable_cores() -> float:
    """Cores that this process may use: its affinity, or its control group's share of time where that is less."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        share, period = (_CGROUP / "cpu.max").read_text("ascii").split()
        return cores if share == "max" else min(cores, int(share) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return cores


def memory_bytes() -> int | None:
    """Memory of the machine, or of the control group where that is less; None where nobody tells."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        return min(total, int((_CGROUP / "memory.max").read_text("ascii")))
    except (OSError, ValueError):  # none, or "max"
        return total


def cpu_name() -> str:
    """What the CPU calls itself."""
    name = ""
    try:
        if sys.platform == "linux":
            lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
            name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
        elif sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        pass
    return one_line(name) or platform.processor() or platform.machine()


def torch_rows() -> list[Row]:
    """PyTorch's build and threads, and the devices that it sees."""
    import torch

    cuda = torch.version.cuda
    build = f"CUDA {cuda} build" if cuda else f"ROCm {torch.version.hip} build" if torch.version.hip else "CPU build"
    threads = torch.get_num_threads()
    value = f"{torch.__version__}, {build}, {threads} thread{'s' * (threads != 1)}"
    rows = [Row("PyTorch", value, details={"cuda_build": cuda, "threads": threads})]
    if cuda or torch.version.hip:
        rows += _cuda_rows()
    elif _DRIVER.exists():
        rows.append(Row("CUDA", "there is an NVIDIA driver, but PyTorch is a CPU build", "warning", _GET_TORCH))
    else:
        rows.append(Row("CUDA", "none", "absent"))
    if torch.backends.mps.is_available():
        rows.append(Row("MPS", "Apple's GPU is there; pifa does not use it and computes on the CPU"))
    return rows


def _cuda_rows() -> list[Row]:
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            torch.cuda.init()  # is_available() only says no; this says why
            count = torch.cuda.device_count()
        except Exception as error:  # RuntimeError, AssertionError, torch.AcceleratorError: by version and fault
            return [_no_cuda(error, [str(warning.message) for warning in said])]
    if not count:
        return [Row("CUDA", "no device that this process may use", "absent")]
    return [_cuda_row(index) for index in range(count)]


def _no_cuda(error: Exception, said: list[str]) -> Row:
    """Why a CUDA build can't use CUDA."""
    text = error_text(error)
    everything = " ".join([str(error), *said])
    if "Found no NVIDIA driver" in everything:
        return Row("CUDA", "no NVIDIA driver, so no CUDA device", "absent")
    if "too old" in everything:
        cure = "update the NVIDIA driver, or take a PyTorch built for an older CUDA (pytorch.org/get-started)"
        return Row("CUDA", f"the NVIDIA driver is too old for this PyTorch ({text})", "warning", cure)
    cure = "see what `nvidia-smi` says; after an update of the driver restart the machine"
    return Row("CUDA", f"can't be used ({text})", "warning", cure)


def _cuda_row(index: int) -> Row:
    """One CUDA device."""
    import torch

    found = torch.cuda.get_device_properties(index)
    capability = f"{found.major}.{found.minor}"
    with torch.cuda.device(index):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        free = torch.cuda.mem_get_info(index)[0]
    details = {"capability": capability, "bytes": found.total_memory, "free_bytes": free, "bf16": bf16}
    value = f"{one_line(found.name)}, {size_text(found.total_memory)}, {size_text(free)} free, "
    value += f"capability {capability}, {'bfloat16' if bf16 else 'no bfloat16'}"
    if not _is_built_for(found.major, found.minor, torch.cuda.get_arch_list()):
        value += f"; PyTorch is not built for it ({' '.join(torch.cuda.get_arch_list())})"
        return Row(f"CUDA {index}", value, "warning", f"{_GET_TORCH}, or give --device cpu", details)
    return Row(f"CUDA {index}", value, details=details)


def _is_built_for(major: int, minor: int, architectures: list[str]) -> bool:
    """Whether code for some of these runs: machine code of the same major version, or any older intermediate code."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = "".join(c for c in digits if c.isdigit())  # sm_90a
        if not digits:
            return True  # AMD's names
        version = divmod(int(digits), 10)
        if kind == "sm" and version[0] == major and version[1] <= minor:
            return True
        if kind == "compute" and version <= (major, minor):
            return True
    return not architectures
