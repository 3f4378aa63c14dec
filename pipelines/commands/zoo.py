"""``pifa zoo``: publish checkpoints to a registry, and get them from one."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from pipelines.commands.options import FILE, print_json

_read = click.option("--registry", help="Folder or address; default $PIFA_REGISTRY or the one of the program.")
_SIGN = "Private key, or several, each by its own --sign; password in PIFA_SIGN_PASSWORD."
_offline = click.option("--offline", is_flag=True, help="Use no network, as with PIFA_OFFLINE=1.")


def _writing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that changes a registry."""
    for option in (
        click.option("--expires", metavar="DAYS", type=click.IntRange(1, 3650), help="Trust in the index ends then."),
        click.option("--sign", "key", metavar="KEY", type=FILE, multiple=True, help=_SIGN),
        click.option("--staging", type=FILE, help="Folder for what is to be copied to a web server."),
        click.option("--registry", required=True, help="Folder, s3://bucket/prefix or hf://owner/repo."),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage: importing and parsing make none, and looking takes a sixth of the time of a list."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@click.command("list")
@_read
@_offline
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def list_(registry: str | None, offline: bool, as_json: bool) -> None:
    """List the checkpoints of a registry.

    \b
    Example:
      pifa zoo list
      pifa zoo list --registry https://example.org/zoo
    """
    with _uncollected():
        from pipelines.registry import index_of
        from zoo.addresses import shown_address
        from zoo.plain import plain

        source, index = index_of(registry, offline)
    if as_json:
        print_json(index.model_dump(mode="json"))
        return
    if not index.entries:
        click.echo(f"{shown_address(source.url)}: no checkpoints yet")
    for entry in index.entries:
        measured = entry.metrics[0] if entry.metrics else None
        nme = f"NME {measured.nme:.2f} % ({plain(measured.normaliser)})" if measured else "not measured"
        yanked = f"  yanked: {plain(entry.yanked)}" if entry.yanked else ""
        click.echo(f"{entry.label:28} {plain(entry.scheme):8} {plain(entry.morphable.name):8} {nme}{yanked}")


@click.command()
@click.argument("reference", metavar="NAME[@VERSION]")
@_read
@_offline
@click.option("--json", "as_json", is_flag=True, help="The entry of the index as one JSON object.")
def show(reference: str, registry: str | None, offline: bool, as_json: bool) -> None:
    """Print the card of a checkpoint.

    \b
    Example:
      pifa zoo show my68@1.0.0 --registry registry
    """
    import zoo
    from pipelines.registry import index_of
    from zoo.pages.page import card_text

    source, index = index_of(registry, offline)
    entry = zoo.resolve(index, reference)
    if as_json:
        print_json(entry.model_dump(mode="json"))
    else:
        click.echo(card_text(source.read(entry, "card.md"), f"{entry.label}, card.md"))


@click.command()
@click.argument("reference", metavar="NAME[@VERSION]")
@_read
@_offline
@click.option("--out", type=FILE, help="Also copy the weights to this file.")
def get(reference: str, registry: str | None, offline: bool, out: Path | None) -> None:
    """Fetch a checkpoint into the cache, verified, and print where it is.

    What broke off goes on where it stopped. NAME is the newest version, NAME@1.2 the newest 1.2.x, NAME@^1 the newest
    below 2.

    \b
    Example:
      pifa zoo get pifa68-compact@1.0.0 --registry registry
    """
    from pipelines.registry import run_get

    click.echo(str(run_get(reference, registry, out, offline=offline)))


def _tell(done: str, options: dict[str, Any]) -> None:
    """What was done to a registry, and what is left to do where it was staged."""
    from pipelines.registry import upload_help
    from zoo.addresses import shown_address

    click.echo(f"{shown_address(options['registry'])}: {done}")
    click.echo(upload_help(options["staging"], options["registry"]), nl=False, err=True)


@click.command()
@click.argument("checkpoint", metavar="RUN")
@click.option("--name", required=True, help="Name of the checkpoint, as pifa68-compact.")
@click.option("--version", required=True, help="Semantic version X.Y.Z; never published twice.")
@click.option("--metric", "metrics", multiple=True, type=FILE, help="File written by `pifa eval --json`.")
@click.option("--picture", "pictures", multiple=True, metavar="FILE[=CAPTION]", help="PNG or JPEG for the card.")
@click.option("--limit", "limits", multiple=True, metavar="TEXT", help="A line for the card's limits.")
@click.option("--licence", help="Licence of the weights and what they were trained on.")
@click.option("--mirror", "mirrors", multiple=True, metavar="URL", help="Address of a folder with the same files.")
@_writing
def publish(checkpoint: str, **options: Any) -> None:
    """Publish a run's best checkpoint, once and for ever.

    \b
    Example:
      pifa eval RUN keypoints-csv:faces --boxes jittered --json > eval.json
      pifa zoo publish RUN --name my68 --version 1.0.0 --registry registry --metric eval.json
      pifa zoo publish RUN --name my68 --version 1.0.0 --registry s3://bucket/zoo --metric eval.json --sign zoo.key
    """
    from pipelines.registry import run_publish

    entry = run_publish(checkpoint, **options)
    _tell(f"published {entry.label}", options)


@click.command()
@click.argument("reference", metavar="[NAME[@VERSION]]", required=False)
@_read
def verify(reference: str | None, registry: str | None) -> None:
    """Check every file of a registry, or of one checkpoint, against its hash.

    \b
    Example:
      pifa zoo verify --registry registry
    """
    from pipelines.registry import run_verify

    problems, unchecked = run_verify(reference, registry)
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        raise SystemExit(1)
    click.echo("every file is as published")
    if unchecked:
        click.echo("signatures were not checked: no key is trusted for this registry (see `pifa zoo trust`)", err=True)


@click.command()
@click.argument("reference", metavar="NAME@VERSION")
@click.option("--reason", required=True, help="Why; shown to those who pin it.")
@_writing
def yank(reference: str, reason: str, **options: Any) -> None:
    """Hide a version from "newest"; exact pins go on working, with a warning.

    \b
    Example:
      pifa zoo yank my68@1.0.0 --reason "trained on test faces" --registry registry
    """
    import zoo
    from pipelines.registry import run_yank

    parsed = zoo.parse_reference(reference)
    if parsed.version is None:
        raise click.UsageError("expected an exact version, as NAME@1.0.0")
    entry = run_yank(parsed.name, parsed.version, reason, **options)
    _tell(f"yanked {entry.label}", options)


@click.command()
@click.option("--adopt", is_flag=True, help="Sign also what nobody whom you trust has signed: look at it first.")
@_writing
def sign(adopt: bool, **options: Any) -> None:
    """Sign a registry as it is: for the first time, by another key, or because its index is about to expire.

    \b
    Example:
      pifa zoo sign --registry registry --sign zoo.key
    """
    from pipelines.registry import run_sign

    if not options["key"]:
        raise click.UsageError("missing --sign KEY")
    index = run_sign(adopt=adopt, **options)
    _tell(f"signed {len(index.entries)} versions; holds until {index.expires:%Y-%m-%d}", options)


@click.command()
@click.argument("out", type=FILE, metavar="FILE")
def key(out: Path) -> None:
    """Make a key pair to sign with: the secret FILE, and FILE.pub for those who check.

    A password in PIFA_SIGN_PASSWORD encrypts it.

    \b
    Example:
      pifa zoo key zoo.key
    """
    from pipelines.registry import run_key

    public = run_key(out)
    click.echo(f"{out}: keep it secret\n{public.where}: give it to your users; its fingerprint is {public.fingerprint}")


@click.command()
@click.argument("public", type=FILE, metavar="[KEY.pub]", required=False)
@click.option("--registry", help="Only for this registry; default: for all but the one of the program.")
@click.option("--remove", metavar="FINGERPRINT", help="Trust a key no more; its first 8 digits are enough.")
def trust(public: Path | None, registry: str | None, remove: str | None) -> None:
    """Trust a publisher's key, or list whom you trust.

    From then on a registry is used only where a trusted key signed its index and its weights, and the index is neither
    expired nor older than one seen before.

    \b
    Example:
      pifa zoo trust zoo.key.pub --registry https://example.org/zoo
      pifa zoo trust
    """
    from pipelines.registry import change_trust

    if public is not None and remove is not None:
        raise click.UsageError("KEY.pub and --remove exclude each other")
    lines = change_trust(public, registry, remove)
    click.echo("\n".join(lines) if lines else "no key is trusted: signatures are not asked for")


@click.command()
@click.option("--days", default=90.0, show_default=True, type=click.FloatRange(0), help="Without use; 0: all.")
@click.option("--dry-run", is_flag=True, help="Only tell.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def prune(days: float, dry_run: bool, as_json: bool) -> None:
    """Remove broken downloads, and checkpoints that were long not used, from the cache.

    \b
    Example:
      pifa zoo prune
      pifa zoo prune --days 0
    """
    import zoo

    gone = zoo.prune(days=days, dry_run=dry_run)
    size = sum(one.size for one in gone)
    if as_json:
        files = [{"path": str(one.path), "why": one.why, "bytes": one.size} for one in gone]
        print_json({"files": files, "bytes": size, "removed": not dry_run})
        return
    for one in gone:
        click.echo(f"{one.why:10} {one.size:12} {one.path}")
    click.echo(f"{len(gone)} files, {size / 1e6:.1f} MB {'would be ' if dry_run else ''}removed")


@click.command()
@_read
@click.option("--out", required=True, type=FILE, help="Folder of the site.")
@click.option("--address", help="Address of the registry in the commands shown.")
@click.option("--overwrite", is_flag=True, help="Replace a site that this command made.")
def site(registry: str | None, out: Path, **options: Any) -> None:
    """Make a small static web site of a registry: a list with search, and a page a checkpoint.

    \b
    Example:
      pifa zoo site --registry registry --out site --address https://example.org/zoo
    """
    import zoo
    from zoo.pages.site import make_site

    versions = make_site(registry or zoo.default_registry(), out, **options)
    click.echo(f"{out}: {versions} version{'s' * (versions != 1)}")


COMMANDS = (list_, show, get, publish, verify, yank, sign, key, trust, prune, site)
