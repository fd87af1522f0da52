"""Parquet files here or on S3, read and written with PyArrow: the one place that opens them."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

from foreshock.platform.paths import at, filesystem, is_remote


def _location(path: str | Path) -> tuple[str, FileSystem | None]:
    """The name and file system of a path as PyArrow wants them; no file system for a local one."""
    name, file_system = filesystem(path)
    if file_system is None:
        return name, None
    return name, PyFileSystem(FSSpecHandler(file_system))


def read_table(path: str | Path, **options: Any) -> pa.Table:
    """A file or folder as a table; options as of pyarrow.parquet.read_table.

    Folders of the path itself never become columns.
    """
    name, file_system = _location(path)
    # Arrow would make columns of the `key=value` folders above a file.
    return pq.read_table(name, filesystem=file_system, **{"partitioning": None, **options})


def parquet_file(path: str | Path) -> pq.ParquetFile:
    """A file to be read in parts, such as row groups or batches.

    It closes as a context manager, or with its last reference.
    """
    name, file_system = _location(path)
    return pq.ParquetFile(name, filesystem=file_system)


def read_schema(path: str | Path) -> pa.Schema:
    """A file's Arrow schema, from its footer: no column is read.

    `key=value` folders of its path are no fields of it.
    """
    name, file_system = _location(path)
    return pq.read_schema(name, filesystem=file_system)


def count_rows(path: str | Path) -> int:
    """A file's rows, from its footer: no column is read.

    path: one file. The rows of a folder are the sum over its files.
    """
    name, file_system = _location(path)
    return int(pq.read_metadata(name, filesystem=file_system).num_rows)


def dataset(paths: str | Path | list[str], **options: Any) -> ds.Dataset:
    """A folder, or several files of one file system, as an Arrow dataset.

    options: of pyarrow.dataset.dataset, such as `partitioning`. Rows are read only when they are
    asked for. Unless options hold a schema, it is that of the first file.
    """
    source: str | list[str]
    if isinstance(paths, list):
        locations = [_location(path) for path in paths]
        source = [name for name, _ in locations]
        file_system = locations[0][1] if locations else None
    else:
        source, file_system = _location(paths)
    return ds.dataset(source, filesystem=file_system, format="parquet", **options)


def write_table(table: pa.Table, path: str | Path, **options: Any) -> None:
    """Write a file whole or not at all; a repeated task replaces its own file.

    options: of pyarrow.parquet.write_table. The folder must exist, except on S3.
    """
    target = at(path) if isinstance(path, str) else path
    if is_remote(target):
        # An upload of known length is one request: the object is there whole or not at all.
        memory = io.BytesIO()
        pq.write_table(table, memory, **options)
        target.write_bytes(memory.getbuffer())
        return
    # Beside the target, so that the rename is one step.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    pq.write_table(table, temporary, **options)
    temporary.replace(target)


def schema_bytes(schema: pa.Schema) -> bytes:
    """The bytes of a file of a schema alone."""
    memory = io.BytesIO()
    pq.write_metadata(schema, memory)
    return memory.getvalue()
