"""Parquet files here or on S3, read and written with PyArrow: the one place that knows how it opens them."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import FSSpecHandler, PyFileSystem

from foreshock.platform.paths import at, filesystem, is_remote


def _opened(path: str | Path) -> dict[str, Any]:
    name, fs = filesystem(path)
    return {"source": name, "filesystem": None if fs is None else PyFileSystem(FSSpecHandler(fs))}


def read_table(path: str | Path, **options: Any) -> pa.Table:
    """A file or folder as a table; options as of pyarrow.parquet.read_table. Folders of the path itself never become columns."""
    opened = _opened(path)
    return pq.read_table(
        opened["source"], filesystem=opened["filesystem"], **{"partitioning": None, **options}
    )


def parquet_file(path: str | Path) -> pq.ParquetFile:
    """A file to be read in parts; closes with its last reference or as a context manager."""
    opened = _opened(path)
    return pq.ParquetFile(opened["source"], filesystem=opened["filesystem"])


def read_schema(path: str | Path) -> pa.Schema:
    """A file's schema."""
    opened = _opened(path)
    return pq.read_schema(opened["source"], filesystem=opened["filesystem"])


def count_rows(path: str | Path) -> int:
    """A file's rows, from its footer."""
    opened = _opened(path)
    return int(pq.read_metadata(opened["source"], filesystem=opened["filesystem"]).num_rows)


def dataset(paths: str | Path | list[str], **options: Any) -> ds.Dataset:
    """A folder, or several files, as an Arrow dataset."""
    if isinstance(paths, list):
        names = [_opened(p) for p in paths]
        return ds.dataset(
            [n["source"] for n in names],
            filesystem=names[0]["filesystem"] if names else None,
            format="parquet",
            **options,
        )
    opened = _opened(paths)
    return ds.dataset(
        opened["source"], filesystem=opened["filesystem"], format="parquet", **options
    )


def write_table(table: pa.Table, path: str | Path, **options: Any) -> None:
    """Write a file whole or not at all; a repeated task replaces its own."""
    where = at(path) if isinstance(path, str) else path
    if is_remote(where):
        memory = io.BytesIO()
        pq.write_table(table, memory, **options)
        where.write_bytes(memory.getbuffer())
    else:
        temporary = where.with_name(f".{where.name}.{uuid.uuid4().hex}")
        pq.write_table(table, temporary, **options)
        temporary.replace(where)


def write_metadata(schema: pa.Schema, path: Path) -> None:
    """Write a file of a schema alone."""
    memory = io.BytesIO()
    pq.write_metadata(schema, memory)
    path.write_bytes(memory.getvalue())
