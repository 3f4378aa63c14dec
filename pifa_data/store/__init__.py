"""The store: one Zarr v3 group, written shard by shard by ``pifa prep``, read by ``pifa train`` (``docs/store.md``)."""

from pifa_data.store.layout import CHUNK, FACES_A_SHARD, TEXTS, Column, Layout
from pifa_data.store.location import PARTIAL, Location, locate
from pifa_data.store.manifest import MANIFEST, array_digest, entry_key, read_manifest, store_digest
from pifa_data.store.reading import Problem, Store, decode_text, encode_text
from pifa_data.store.writing import (
    MORPHABLE,
    SCHEMA_VERSION,
    SKIPPED,
    array_files,
    create_store,
    damaged_files,
    is_store,
    read_attributes,
    restore_files,
    restore_root,
    set_attributes,
    shard_key,
    write_shard,
)

__all__ = [
    "CHUNK",
    "FACES_A_SHARD",
    "MANIFEST",
    "MORPHABLE",
    "PARTIAL",
    "SCHEMA_VERSION",
    "SKIPPED",
    "TEXTS",
    "Column",
    "Layout",
    "Location",
    "Problem",
    "Store",
    "array_digest",
    "array_files",
    "create_store",
    "damaged_files",
    "decode_text",
    "encode_text",
    "entry_key",
    "is_store",
    "locate",
    "read_attributes",
    "read_manifest",
    "restore_files",
    "restore_root",
    "set_attributes",
    "shard_key",
    "store_digest",
    "write_shard",
]
