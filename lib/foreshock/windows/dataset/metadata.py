"""The bytes of a dataset's `_common_metadata`, as this installation writes them.

Petastorm unpickles the schema in that file. So its reader is used only if the file's bytes are
those of `metadata_bytes`, which come from the manifest's counts and names and from nothing that
was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from foreshock.platform.files import write_bytes
from foreshock.platform.parquet import schema_bytes
from foreshock.windows.dataset.manifest import METADATA_NAME
from foreshock.windows.dataset.schema import BLOCK_SCHEMA


def write_metadata(folder: Path, n_features: int, files: Sequence[str]) -> bool:
    """Write `_common_metadata`: the schema and, if Petastorm is installed, what its readers want.

    Returns whether Petastorm's readers can open the dataset.
    """
    petastorm = _petastorm_metadata(n_features, files)
    schema = BLOCK_SCHEMA if petastorm is None else BLOCK_SCHEMA.with_metadata(petastorm)
    write_bytes(folder / METADATA_NAME, schema_bytes(schema))
    return petastorm is not None


def metadata_bytes(n_features: int, files: Sequence[str]) -> bytes | None:
    """What `write_metadata` writes for Petastorm; None if Petastorm is not installed.

    files: names of the files of blocks, in the manifest's order; each has one row group.
    """
    petastorm = _petastorm_metadata(n_features, files)
    return None if petastorm is None else schema_bytes(BLOCK_SCHEMA.with_metadata(petastorm))


def _petastorm_metadata(n_features: int, files: Sequence[str]) -> Mapping[bytes, bytes] | None:
    try:
        from foreshock.windows.dataset.petastorm_schema import petastorm_metadata
    # Petastorm is optional: PyArrow reads the dataset without its metadata.
    except ImportError:
        return None
    return petastorm_metadata(n_features, files)
