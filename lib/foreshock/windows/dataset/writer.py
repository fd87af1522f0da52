"""Writes files of blocks: the same blocks however the events were partitioned.

Blocks are numbered in total order. A *chunk* is the blocks that start within a fixed range of the
split's events. So chunks, and with them the order in which training sees data, depend on the events
alone. A task writes *pieces* of chunks; pieces of one chunk are joined into one file of one row
group.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from foreshock.platform.files import file_sha256
from foreshock.platform.parquet import read_table, write_table
from foreshock.platform.paths import at, size
from foreshock.platform.transfers import move
from foreshock.windows.dataset.schema import BLOCK_SCHEMA

CHUNK_EVENTS = 1 << 16


def write_file(path: Path, rows: pa.Table) -> None:
    """Write blocks as one row group, whole or not at all.

    rows: a table of BLOCK_SCHEMA. A repeated task replaces its file.
    """
    # The same blocks give the same bytes, however many pieces they came in.
    contiguous_rows = rows.combine_chunks()
    write_table(
        contiguous_rows,
        path,
        row_group_size=max(1, len(rows)),
        compression="zstd",
        compression_level=1,
        use_dictionary=["entity", "group", "partition"],
        write_statistics=["block_id"],
    )


def join_pieces(pieces: list[str], target: str) -> Iterator[pa.RecordBatch]:
    """Join pieces, in order, into the chunk's file; yields its (target, file, bytes, sha256).

    A piece alone is moved and no longer there. The bytes are the same, whatever pieces the blocks
    came in.
    """
    path = at(target)
    if len(pieces) == 1:
        move(at(pieces[0]), path)
    else:
        write_file(path, pa.concat_tables([read_table(p, schema=BLOCK_SCHEMA) for p in pieces]))
    row = {"target": target, "file": path.name, "bytes": size(path), "sha256": file_sha256(path)}
    yield pa.RecordBatch.from_pylist([row])
