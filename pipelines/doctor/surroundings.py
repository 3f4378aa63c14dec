"""Environment variables that change what the program does, and other programs that it runs. Secrets are not shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipelines.doctor.rows import Row, one_line

SHOWN = (
    *("PIFA_HOME", "PIFA_TRUST", "PIFA_OFFLINE", "HF_HUB_OFFLINE", "HF_HOME", "TMPDIR", "PYTHONPATH"),
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_NNODES"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"),
)
"""Variables whose value is shown."""

ADDRESSES = ("PIFA_REGISTRY", "PIFA_ICT_URL", "HF_ENDPOINT", "AWS_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY")
"""Shown without user, password and query. Proxies are written in small letters too."""

SECRET = ("PIFA_SIGN_PASSWORD", "HF_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Only told to be set."""


def variable_rows(environment: Mapping[str, str] = os.environ) -> list[Row]:
    """The variables that are set, by name."""
    rows = []
    for name, value in sorted(environment.items()):
        upper = name.upper()
        if name in SHOWN:
            rows.append(Row(name, one_line(value)))
        elif name in ADDRESSES or (upper in ADDRESSES and upper.endswith("_PROXY")):
            rows.append(Row(name, _address(value)))
        elif name in SECRET:
            rows.append(Row(name, "set, not shown"))
        elif name.startswith("PIFA_"):
            cure = "this version knows no such variable: correct its name, or unset it"
            rows.append(Row(one_line(name), "set, not shown", "warning", cure))
    return rows


def _address(value: str) -> str:
    try:
        from zoo.addresses import shown_address
    except ImportError:  # the zoo needs pydantic, which may be what is broken
        return "set, not shown"
    proper = value if "://" in value or "@" not in value else f"http://{value}"
    return one_line(shown_address(proper).partition("?")[0])


def program_rows() -> list[Row]:
    """Programs that pifa runs where they are there."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return []
    if path := shutil.which("git"):
        return [Row("git", f"{one_line(path)}: runs record the commit of this checkout")]
    return [Row("git", "missing: runs can't record the commit of this checkout", "absent", "install git")]
