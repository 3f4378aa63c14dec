"""What a build consists of: its faces in the order of the store, its settings, and a hash of all that decides it."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pifa_data.build import PrepConfig
from pifa_data.errors import AnnotationError
from pifa_data.faces import Face, Skipped
from pifa_data.images import image_exists
from pifa_data.morphable import MorphableModel
from pifa_data.morphable.points import landmark_vertices
from pifa_data.schemes import SCHEMES, get_scheme, union_name
from pifa_data.store import TEXTS, Layout
from pifa_data.urls import is_url
from pifa_data.views import view_id
from pipelines.progress import progress
from pipelines.sources import no_face, stream_faces
from pipelines.spool import Spool

UNION = "union"
"""``--scheme union``: all points of all the schemes that the faces have."""


@dataclass(frozen=True)
class Selection:
    """Which faces, as the user says it; kept in the store, so that a repair finds them again.

    Attributes:
        sources: ``FORMAT:PATH`` or paths.
        split, limit, where: which faces of each source.
        images: folder or URL that has the images, if they are not beside the labels.
    """

    sources: tuple[str, ...]
    split: str | None = None
    limit: int | None = None
    where: str | None = None
    images: str | None = None


class Plan:
    """Everything about a build that is known before its first shard.

    Attributes:
        config: with the store's scheme.
        layout: sizes of the store.
        skipped: faces that can't be used.
        digest: what a resumed build must share with the one it goes on with.
    """

    def __init__(self, selection: Selection, config: PrepConfig, model: MorphableModel, *, strict: bool) -> None:
        """Read the sources.

        Raises:
            PifaError: a source can't be read, none of its faces can be used, or the model lacks a scheme.
        """
        if config.scheme not in (None, UNION):
            get_scheme(str(config.scheme))  # refuses one that is not known before any work
        self.skipped: list[Skipped] = []
        self._spool = Spool()
        self._first: str | None = None
        self._has_image = False
        try:
            self._read(selection, config, model, strict)
        except BaseException:
            self.close()
            raise

    def _read(self, selection: Selection, config: PrepConfig, model: MorphableModel, strict: bool) -> None:
        widths = dict.fromkeys(TEXTS, 1)
        content = hashlib.sha256()
        schemes: set[str] = set()
        with progress("reading", None, "faces") as advance:
            for face in stream_faces(
                selection.sources,
                split=selection.split,
                limit=selection.limit,
                where=selection.where,
                images=selection.images,
            ):
                if isinstance(face, Skipped):
                    if strict:
                        raise AnnotationError(f"{face.id}: {face.reason} (--strict stops at the first unusable face)")
                    self.skipped.append(face)
                    continue
                self._spool.append(face)
                self._look_for_image(face)
                schemes.add(face.scheme)
                _add_to_digest(content, face)
                for name in TEXTS:
                    text = text_of(face, name, config, config.views - 1)  # the last view has the longest id
                    widths[name] = max(widths[name], len(text.encode()))
                advance(1)
        if not len(self._spool):
            raise no_face(
                selection.sources, "no usable face found", self.skipped, split=selection.split, where=selection.where
            )
        self.config = replace(config, scheme=_store_scheme(config.scheme, schemes))
        for scheme in sorted({str(self.config.scheme), *schemes}):
            landmark_vertices(model, scheme)  # refuses a model without them
        count = len(self._spool)
        self._order = np.random.default_rng([config.seed, count]).permutation(count)
        self.layout = self.config.layout_of(count, 8 + model.n_coefficients, widths)
        _warn_of_black_edges(self.config, self.layout)
        settings = f"{sorted(self.config.as_dict().items())} {model.fingerprint} ".encode()
        self.digest = hashlib.sha256(settings + content.digest()).hexdigest()

    def _look_for_image(self, face: Face) -> None:
        if self._first is None:
            self._first = face.file
        if not self._has_image:
            # Of a bucket only the folder was asked for: a question a face would take hours before it is told.
            self._has_image = is_url(face.file) or image_exists(face.file)

    def check_images(self, selection: Selection) -> None:
        """Refuse labels alone.

        Raises:
            AnnotationError: not one of the images is there.
        """
        if not self._has_image:
            raise AnnotationError(
                f"{', '.join(selection.sources)}: no face could be prepared: these are labels alone, none of the "
                f"{len(self._spool)} images is there (the first would be {self._first}); put them in place, say where "
                "they are by --images, or fit the labels with `pifa fit`"
            )

    def faces_of(self, shard: int) -> bytes:
        """The faces that a shard's are fitted with, themselves among them, as ``spool.unpack`` takes them."""
        first, _ = shard_part(self.layout, self.config, shard)
        return self._spool.packed(self._order[first : first + self.config.shard_faces].tolist())

    def close(self) -> None:
        """Give the temporary file back."""
        self._spool.close()


def shard_part(layout: Layout, config: PrepConfig, shard: int) -> tuple[int, slice]:
    """The first of the faces that a shard's are fitted with, in the order of the store, and which of them it has."""
    rows = layout.face_range(shard)
    first, last = rows.start // config.views, rows.stop // config.views
    group = first - first % config.shard_faces
    return group, slice(first - group, last - group)


def text_of(face: Face, column: str, config: PrepConfig, view: int = 0) -> str:
    """A face's entry in a text column, or that of a view of it."""
    values = {
        "id": view_id(face.id, view),
        "path": face.file,
        "subject": face.subject,
        "split": face.split,
        "subsets": " ".join(face.subsets),
        "scheme": face.scheme,
        "kind": config.landmarks or face.kind,
    }
    return values[column]


def _warn_of_black_edges(config: PrepConfig, layout: Layout) -> None:
    """Tell of jitter that layout ``faces`` has no room for: what is beyond the larger crop is black in training."""
    room = (layout.image_size / layout.size - 1) / 2
    if layout.kind == "faces" and room < 3 * config.edge_deviation:  # beyond which 0.13 % lie, of four edges
        warnings.warn(
            f"--layout faces has {room:.0%} of a crop's side around it, and edges of jittered crops deviate by "
            f"{config.edge_deviation:.0%}: more than 1 in 200 crops will have a black edge; take less --jitter, or "
            "--layout crops",
            stacklevel=2,
        )


def _add_to_digest(digest: Any, face: Face) -> None:
    texts = (face.id, face.file, face.subject, face.split, *face.subsets, face.scheme, face.kind)
    digest.update("\0".join(texts).encode() + b"\0")
    digest.update(face.landmarks.tobytes() + face.visibility.tobytes())
    for array in (face.box, face.pose):
        digest.update(b"" if array is None else np.asarray(array, np.float64).tobytes())


def _store_scheme(wanted: str | None, found: set[str]) -> str:
    """The landmark scheme of the store, of what was asked for and the schemes that the faces have."""
    union = union_name(found, list(SCHEMES))
    if wanted == UNION:
        return union
    if wanted is not None:
        return wanted
    if len(found) > 1:
        raise AnnotationError(
            f"the faces have landmarks of several schemes ({', '.join(sorted(found))}); say which the store shall "
            f"have: --scheme {union.partition('+')[0]}, or --scheme {UNION} for all points of all of them"
        )
    return union
