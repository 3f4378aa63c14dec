"""A registry as a small static web site: a list of checkpoints, and a page about each version.

The site is plain files that work below any address and opened from a disk; a script only adds the search box and the
copy buttons. What is on it is as hostile as the registry: texts are escaped, pictures are checked against their
hashes and their first bytes, and the pages' policy lets nothing run but the site's own script.
"""

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from zoo.addresses import shown_address
from zoo.entry import CARD, Entry
from zoo.errors import ZooError
from zoo.pages.pictures import MAX_PICTURE_BYTES, picture_suffix
from zoo.pages.site_pages import UNNAMED, Checkpoint, VersionPage, checkpoints, list_page
from zoo.registry import Registry
from zoo.storage import unique_name, working_folder, writing

FILES = ".pifa-site"
"""The list of a site's files, by which it is known as one of ours."""


def make_site(registry: str | os.PathLike[str], out: Path, address: str | None = None, overwrite: bool = False) -> int:
    """Make the site of a registry, whole or not at all.

    Args:
        registry: a folder or URL, as `Registry` takes it.
        out: the site's folder; made, unless it is there and empty.
        address: what users give as ``--registry``; None takes ``registry`` where it is a URL, leaves it out for
            the registry that ships with pifa, and writes a word to be replaced for any other folder. The name and
            password of an address are never written.
        overwrite: replace a site made before. A folder with any other file in it is never replaced.

    Returns:
        How many versions have a page.

    Raises:
        RegistryError: the registry cannot be read.
        HashError: a card or a picture is not what the index promises.
        ZooError: a picture is no PNG or JPEG or too large; the folder is in the way or cannot be written.
    """
    source, out = Registry(registry), out.absolute()
    index = source.index()
    if source.folder is not None and out.resolve().is_relative_to(source.folder.resolve()):
        raise ZooError(f"{out}: expected a folder outside the registry, found one within it; choose another")
    _check_free(out, overwrite)
    address = shown_address(address) if address else _address(source)
    found = checkpoints(index)
    with _new_folder(out) as made:
        _write(made / "index.html", list_page(index, found))
        for checkpoint in found:
            _write_checkpoint(source, checkpoint, made, address)
        names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
        _write(made / FILES, "".join(f"{name}\n" for name in names))
        with writing(out):
            _replace(made, out)
    return len(index.entries)


def _address(source: Registry) -> str | None:
    if source.folder is None:
        return shown_address(source.url)
    # The path of a folder on this machine is nobody else's business, and of no use to them.
    return None if source.is_bundled else UNNAMED


def _write_checkpoint(source: Registry, checkpoint: Checkpoint, made: Path, address: str | None) -> None:
    folder = made / checkpoint.name
    if folder.exists():
        raise ZooError(
            f"{checkpoint.name}: expected a name other than the site's own {folder.name}, found that; "
            "publish it under another name"
        )
    for entry in checkpoint.versions:
        with writing(folder / entry.version):
            (folder / entry.version).mkdir(parents=True)
        pictures = _copy_pictures(source, entry, folder / entry.version)
        card = source.read(entry, CARD) if entry.file(CARD) else None
        page = VersionPage(entry, checkpoint, card, pictures, address)
        _write(folder / entry.version / "index.html", page.html("../../", "", listing=False))
        if entry is checkpoint.shown:
            _write(folder / "index.html", page.html("../", f"{entry.version}/", listing=True))


def _copy_pictures(source: Registry, entry: Entry, folder: Path) -> list[str]:
    """Copy an entry's pictures under names of the site's own: a web server goes by a name's ending."""
    names = []
    for number, picture in enumerate(entry.pictures, 1):
        file = entry.file(picture.file)
        where = f"{entry.label}, {picture.file}"
        if file is None or file.size > MAX_PICTURE_BYTES:
            raise ZooError(f"{where}: expected a picture of at most {MAX_PICTURE_BYTES} bytes, found more; shrink it")
        data = source.read(entry, picture.file)
        names.append(f"picture-{number}{picture_suffix(data, where)}")
        with writing(folder / names[-1]):
            (folder / names[-1]).write_bytes(data)
    return names


def _write(path: Path, text: str) -> None:
    with writing(path):
        path.write_text(text, encoding="utf-8", newline="\n")


def _check_free(out: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but, where ``overwrite`` is given, a site of ours."""
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise ZooError(f"{out}: expected a folder, found a file or a link; choose another place")
    with writing(out):
        if not any(out.iterdir()):
            return
        foreign = _foreign(out)
    if foreign is not None:
        raise ZooError(
            f"{out}: expected an empty folder or a site that `pifa zoo site` made, found {foreign!r} in it; "
            "choose another folder, or move that away"
        )
    if not overwrite:
        raise ZooError(f"{out}: expected no site there yet, found one; give --overwrite to replace it")


def _foreign(out: Path) -> str | None:
    """A file in the folder that no site of ours put there, or None."""
    try:
        ours = {FILES, *(out / FILES).read_text(encoding="utf-8").splitlines()}
    except (OSError, ValueError):
        ours = set()
    for folder, folders, files in os.walk(out):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            path = (Path(folder) / name).relative_to(out).as_posix()
            if path not in ours:
                return path
    return None if ours else next(out.iterdir()).name


def _new_folder(out: Path) -> AbstractContextManager[Path]:
    """An empty folder beside ``out`` (so on its file system), removed unless it was moved away."""
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    return working_folder(out.with_name(unique_name(f".{out.name}.")))


def _replace(made: Path, out: Path) -> None:
    if not out.exists():
        made.rename(out)
        return
    before = made.with_name(f"{made.name}.before")
    out.rename(before)
    try:
        made.rename(out)
    except OSError:
        before.rename(out)
        raise
    shutil.rmtree(before)
