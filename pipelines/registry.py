"""``pifa zoo``: from runs to registries and back."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import zoo
from zoo.addresses import shown_address
from zoo.entry import MAX_FILE_BYTES
from zoo.storage import copy_hashed, temporary_path, writing

if TYPE_CHECKING:
    from pifa_model.config import NetworkConfig
    from pifa_model.network import Network


def index_of(registry: str | None, offline: bool) -> tuple[zoo.Registry, zoo.Index]:
    """A registry and its index.

    Raises:
        ZooError: it cannot be read, or is not to be trusted.
    """
    source = zoo.Registry(registry, offline=offline or None)
    return source, source.index()


def run_fetch(reference: str, registry: str | None = None, *, offline: bool = False) -> Path:
    """Fetch a checkpoint into the cache, with a progress bar where it comes over a network.

    Raises:
        ZooError: not in the registry, or not what the registry says.
    """
    if not sys.stderr.isatty():
        return zoo.fetch(reference, registry, offline=offline or None)
    from pipelines.progress import download_progress  # Rich's bars take a tenth of a second to import

    with download_progress(reference) as advance:
        return zoo.fetch(reference, registry, offline=offline or None, advance=advance)


def run_get(reference: str, registry: str | None, out: Path | None, *, offline: bool = False) -> Path:
    """Fetch a checkpoint; with ``out`` also copy its weights there.

    Raises:
        ZooError: see `run_fetch`; ``out`` is a folder, or cannot be written.
    """
    if out is not None and out.is_dir():
        raise zoo.ZooError(f"{out}: expected the name of a file to write, found a folder; give --out FOLDER/FILE")
    cached = run_fetch(reference, registry, offline=offline)
    if out is None:
        return cached
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_path(out.parent, ".pifa-get-") as temporary:
        with cached.open("rb") as stream:
            copy_hashed(stream, temporary, MAX_FILE_BYTES)
        with writing(out):
            temporary.replace(out)
    return out


def run_verify(reference: str | None, registry: str | None) -> tuple[list[zoo.Problem], bool]:
    """Check a registry's files; what is wrong, and whether it has signatures that nobody asked for.

    Raises:
        ZooError: its index can't be read or is not to be trusted, or has no such entry.
    """
    from zoo.verify import problems_in

    source = zoo.Registry(registry)
    index = source.index()
    return problems_in(source, index, reference), not source.keys and bool(index.signed_by)


def run_publish(
    checkpoint: str,
    *,
    name: str,
    version: str,
    registry: str,
    metrics: Sequence[Path] = (),
    pictures: Sequence[str] = (),
    limits: Sequence[str] = (),
    licence: str | None = None,
    mirrors: Sequence[str] = (),
    staging: Path | None = None,
    key: Path | Sequence[Path] | None = None,
    expires: int | None = None,
) -> zoo.Entry:
    """Publish a checkpoint that loads, with charts of its run and its evaluations on the card.

    Args:
        checkpoint: run folder or file.
        name, version, registry, limits, licence, mirrors, staging: see `zoo.publish`.
        metrics: files of ``pifa eval --json`` about this checkpoint.
        pictures: the publisher's own, each ``FILE`` or ``FILE=CAPTION``.
        key: private key to sign with, or several.
        expires: days after which a signed index is no longer trusted.

    Raises:
        PifaError, ZooError: the checkpoint does not load, the version exists, or a metric is another checkpoint's.
    """
    from pifa_model.checkpoint import load_checkpoint, read_header
    from pipelines.checkpoints import checkpoint_file
    from pipelines.sources import find_model_by_fingerprint
    from pipelines.zoo_pictures import checked_picture, run_pictures

    file = checkpoint_file(checkpoint)
    header = read_header(file)
    model = find_model_by_fingerprint(header.morphable.fingerprint, [file.parent / "morphable.safetensors"])
    network = load_checkpoint(file, model).network  # what can't be loaded is not published
    with tempfile.TemporaryDirectory(prefix="pifa-card-") as folder:
        shown = []
        for number, picture in enumerate(pictures):
            source, _, caption = picture.partition("=")
            suffix = ".png" if Path(source).suffix.lower() == ".png" else ".jpg"
            target = Path(folder) / f"own-{number}{suffix}"
            checked_picture(Path(source), target)
            shown.append((target, caption or Path(source).stem))
        shown += run_pictures(file.parent if Path(checkpoint).is_dir() else None, metrics, Path(folder))
        return zoo.publish(
            registry,
            weights=file,
            name=name,
            version=version,
            metrics=metrics,
            pictures=shown,
            architecture=_architecture(header.network, network),
            licence=licence,
            limits=limits,
            source_commit=header.training.get("source_commit"),
            morphable_where=model.source or None,
            mirrors=mirrors,
            staging=staging,
            signer=_signer(key, expires),
        )


def run_yank(
    name: str,
    version: str,
    reason: str,
    *,
    registry: str,
    staging: Path | None = None,
    key: Path | Sequence[Path] | None = None,
    expires: int | None = None,
) -> zoo.Entry:
    """Withdraw a version; see `zoo.yank` and `run_publish`.

    Raises:
        ZooError: there is no such version in use, or the registry can't be written.
    """
    return zoo.yank(registry, name, version, reason, staging=staging, signer=_signer(key, expires))


def run_sign(
    *,
    registry: str,
    key: Path | Sequence[Path],
    adopt: bool = False,
    staging: Path | None = None,
    expires: int | None = None,
) -> zoo.Index:
    """Sign a registry as it is; see `zoo.sign` and `run_publish`.

    Raises:
        ZooError: it is not to be trusted, or can't be written.
    """
    return zoo.sign(registry, zoo.Signer(key, expires or zoo.EXPIRY_DAYS), adopt=adopt, staging=staging)


def run_key(out: Path) -> zoo.TrustedKey:
    """Make a key pair; its public half.

    Raises:
        ZooError: a file is there already, or can't be written.
    """
    return zoo.read_public_key(zoo.make_key(out, os.environ.get("PIFA_SIGN_PASSWORD") or None))


def change_trust(public: Path | None, registry: str | None, remove: str | None) -> list[str]:
    """Trust a key, or one no more, and list whom the user trusts, a line each.

    Raises:
        ZooError: no such key, or the record can't be written.
    """
    cache = zoo.cache_folder()
    if public is not None:
        zoo.trust(public, registry, cache)
    if remove is not None:
        zoo.distrust(remove, cache)
    return [f"{one.key.fingerprint}  {shown_address(one.registry or 'every registry')}" for one in zoo.trusted(cache)]


def upload_help(staging: Path | None, registry: str) -> str:
    """What is to be done with a staging folder; empty where there is none."""
    if staging is None:
        return ""
    # Signatures are no version's files: a damaged one is replaced.
    signatures = f"  rsync -a --exclude '.*' {staging}/signatures HOST:FOLDER/\n"
    return (
        f"{staging}: holds what is new; copy it to {shown_address(registry)}, the index last:\n"
        f"  rsync -a --ignore-existing --exclude index.json --exclude '.*' {staging}/ HOST:FOLDER/\n"
        f"{signatures if (staging / 'signatures').is_dir() else ''}"
        f"  rsync -a {staging}/index.json HOST:FOLDER/index.json\n"
        "If somebody else published there in the meantime, run this command with another version, or "
        "`pifa zoo sign`, first: it takes over what they added.\n"
    )


def _signer(key: Path | Sequence[Path] | None, expires: int | None) -> zoo.Signer | None:
    if not key:
        if expires is not None:
            raise zoo.PublishError("--expires: expected --sign KEY with it, found none; only a signed index expires")
        return None
    return zoo.Signer(key, expires or zoo.EXPIRY_DAYS)


def _architecture(config: NetworkConfig, network: Network) -> str:
    """The network in a line."""
    convolutions = {len(filters) for filters in config.filters}
    per_block = str(convolutions.pop()) if len(convolutions) == 1 else "several"
    weights = sum(parameter.numel() for parameter in network.parameters())
    return (
        f"{len(config.filters)} visualization blocks of {per_block} {config.trunk} convolutions, "
        f"head {config.head}, {weights / 1e6:.1f} million weights"
    )
