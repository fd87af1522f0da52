"""A training dataset without the windows that touch a span of time.

On it a model is fitted that must not know the span.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.files import file_sha256
from foreshock.platform.paths import size
from foreshock.platform.session import each_item
from foreshock.sequences.folds import apart
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.manifest import (
    METADATA_NAME,
    BlockShape,
    Chunk,
    Manifest,
    run_lengths,
)
from foreshock.windows.dataset.metadata import write_metadata
from foreshock.windows.dataset.schema import (
    ARRAY_FIELDS,
    BLOCK_SCHEMA,
    BlockRow,
    encode,
    read_rows,
)
from foreshock.windows.dataset.writer import write_file

COUNTED_FIELDS = ("event_time", "n_windows", "first_padding")
CHUNK_DDL = (
    "file string, blocks bigint, windows bigint, events bigint, x_bytes bigint, bytes bigint, "
    "sha256 string, block_windows array<array<bigint>>"
)


@dataclass(frozen=True)
class _Cutting:
    """What every task of a job knows. span: [from, to) in microseconds."""

    folder: Path
    target: Path
    shape: BlockShape
    span: tuple[int, int]

    def runs_apart(self, row: BlockRow) -> list[tuple[int, int]]:
        """Runs [first, end) of a block's windows that do not touch the span."""
        times = row["event_time"]
        starts = np.arange(row["n_windows"]) * self.shape.stride
        first_times = times[np.maximum(starts, row["first_padding"])]
        return apart(first_times, times[starts + self.shape.length - 1], self.span)

    def blocks_apart(self, row: BlockRow) -> Iterator[BlockRow]:
        """The blocks that a block becomes: one for each run."""
        for first, end in self.runs_apart(row):
            first_event = first * self.shape.stride
            events = slice(first_event, first_event + self.shape.least_rows(end - first))
            arrays = {name: row[name][events] for name in ARRAY_FIELDS}  # type: ignore[literal-required]
            yield cast(BlockRow, row | {"n_windows": end - first} | arrays)

    def count(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """How many blocks a chunk of fitted blocks becomes."""
        rows = read_rows(self.folder / chunk.file, self.shape, COUNTED_FIELDS, at_once=64)
        blocks = sum(len(self.runs_apart(row)) for row in rows)
        yield pa.RecordBatch.from_pydict({"blocks": pa.array([blocks], pa.int64())})

    def write(self, item: tuple[Chunk, int]) -> Iterator[pa.RecordBatch]:
        """Write what is left of a chunk, its blocks numbered from a first id on."""
        chunk, first_id = item
        rows = list(read_rows(self.folder / chunk.file, self.shape, BLOCK_SCHEMA.names))
        if chunk.role == BlockRole.FIT:
            rows = [block for row in rows for block in self.blocks_apart(row)]
        encoded = [_encoded(row, first_id + number) for number, row in enumerate(rows)]
        file = self.target / chunk.file
        write_file(file, pa.Table.from_pylist(encoded, schema=BLOCK_SCHEMA))
        summary = {
            "file": chunk.file,
            "blocks": len(rows),
            "windows": sum(row["n_windows"] for row in rows),
            "events": sum(len(row["event_time"]) for row in rows),
            "x_bytes": sum(len(row["x"]) for row in encoded),
            "bytes": size(file),
            "sha256": file_sha256(file),
            "block_windows": run_lengths(row["n_windows"] for row in rows),
        }
        yield pa.RecordBatch.from_pylist([summary])


def _encoded(row: BlockRow, block_id: int) -> dict[str, Any]:
    """A block as a row of a file."""
    values: dict[str, Any] = {**row, "block_id": block_id}
    for name in ARRAY_FIELDS:
        values[name] = encode(np.ascontiguousarray(values[name]))
    return values


def write_without(
    spark: SparkSession, folder: Path, manifest: Manifest, span: tuple[int, int], target: Path
) -> Manifest:
    """Write the dataset to a new folder without the fitted windows that touch a span of time.

    span: [from, to) in microseconds. Blocks of validation stay. A block that the span cuts becomes
    two. Blocks are numbered anew, as the plan wants them: fitted ones first.
    """
    target.mkdir(parents=True)
    cutting = _Cutting(folder, target, manifest.block_shape, span)
    fitted = manifest.chunks_of(BlockRole.FIT)
    counts = each_item(spark, fitted, cutting.count, "blocks bigint")
    blocks_left = {
        chunk.file: int(row["blocks"]) for chunk, row in zip(fitted, counts, strict=True)
    }
    items: list[tuple[Chunk, int]] = []
    next_id = 0
    for chunk in sorted(manifest.chunks, key=lambda chunk: chunk.role != BlockRole.FIT):
        if blocks := blocks_left.get(chunk.file, chunk.blocks):
            items.append((chunk, next_id))
            next_id += blocks
    summaries = each_item(spark, items, cutting.write, CHUNK_DDL)
    chunks = tuple(
        _replaced(chunk, summary.asDict())
        for (chunk, _), summary in zip(items, summaries, strict=True)
    )
    write_metadata(target, len(manifest.features), [chunk.file for chunk in chunks])
    metadata_sha256 = file_sha256(target / METADATA_NAME)
    smaller = replace(manifest, metadata_sha256=metadata_sha256, chunks=chunks)
    smaller.write(target)
    return smaller


def _replaced(chunk: Chunk, summary: dict[str, Any]) -> Chunk:
    """A chunk with the counts of what was written."""
    block_windows = tuple((windows, blocks) for windows, blocks in summary.pop("block_windows"))
    return replace(chunk, block_windows=block_windows, **summary)
