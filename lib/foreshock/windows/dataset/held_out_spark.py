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

    def runs_apart(self, block_row: BlockRow) -> list[tuple[int, int]]:
        """Runs [first, end) of a block's windows that do not touch the span."""
        times = block_row["event_time"]
        starts = np.arange(block_row["n_windows"]) * self.shape.stride
        # Padding has no time: a padded window begins with its first event.
        first_times = times[np.maximum(starts, block_row["first_padding"])]
        return apart(first_times, times[starts + self.shape.length - 1], self.span)

    def blocks_apart(self, block_row: BlockRow) -> Iterator[BlockRow]:
        """The blocks that a block becomes: one for each run."""
        for first, end in self.runs_apart(block_row):
            first_event = first * self.shape.stride
            events = slice(first_event, first_event + self.shape.least_rows(end - first))
            values: dict[str, Any] = {**block_row, "n_windows": end - first}
            for field_name in ARRAY_FIELDS:
                values[field_name] = values[field_name][events]
            yield cast(BlockRow, values)

    def count(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        """How many blocks a chunk of fitted blocks becomes."""
        block_rows = read_rows(self.folder / chunk.file, self.shape, COUNTED_FIELDS, at_once=64)
        n_blocks = sum(len(self.runs_apart(block_row)) for block_row in block_rows)
        yield pa.RecordBatch.from_pydict({"blocks": pa.array([n_blocks], pa.int64())})

    def write(self, item: tuple[Chunk, int]) -> Iterator[pa.RecordBatch]:
        """Write what is left of a chunk, its blocks numbered from a first id on."""
        chunk, first_id = item
        block_rows = list(read_rows(self.folder / chunk.file, self.shape, BLOCK_SCHEMA.names))
        if chunk.role == BlockRole.FIT:
            block_rows = [
                block for block_row in block_rows for block in self.blocks_apart(block_row)
            ]
        encoded_rows = [
            _encoded(block_row, first_id + number) for number, block_row in enumerate(block_rows)
        ]
        file = self.target / chunk.file
        write_file(file, pa.Table.from_pylist(encoded_rows, schema=BLOCK_SCHEMA))
        summary = {
            "file": chunk.file,
            "blocks": len(block_rows),
            "windows": sum(block_row["n_windows"] for block_row in block_rows),
            "events": sum(len(block_row["event_time"]) for block_row in block_rows),
            "x_bytes": sum(len(block_row["x"]) for block_row in encoded_rows),
            "bytes": size(file),
            "sha256": file_sha256(file),
            "block_windows": run_lengths(block_row["n_windows"] for block_row in block_rows),
        }
        yield pa.RecordBatch.from_pylist([summary])


def _encoded(block_row: BlockRow, block_id: int) -> dict[str, Any]:
    """A block as a row of a file."""
    values: dict[str, Any] = {**block_row, "block_id": block_id}
    for field_name in ARRAY_FIELDS:
        values[field_name] = encode(np.ascontiguousarray(values[field_name]))
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
    fitted_chunks = manifest.chunks_of(BlockRole.FIT)
    # Counted first: a chunk's block ids begin after those of the chunks before it.
    block_counts = each_item(spark, fitted_chunks, cutting.count, "blocks bigint")
    blocks_left = {
        chunk.file: int(count["blocks"])
        for chunk, count in zip(fitted_chunks, block_counts, strict=True)
    }
    numbered_chunks: list[tuple[Chunk, int]] = []
    next_id = 0
    # Blocks of validation are numbered after those that are fitted.
    for chunk in sorted(manifest.chunks, key=lambda chunk: chunk.role != BlockRole.FIT):
        if blocks := blocks_left.get(chunk.file, chunk.blocks):
            numbered_chunks.append((chunk, next_id))
            next_id += blocks
    chunk_summaries = each_item(spark, numbered_chunks, cutting.write, CHUNK_DDL)
    chunks = tuple(
        _replaced(chunk, summary.asDict())
        for (chunk, _), summary in zip(numbered_chunks, chunk_summaries, strict=True)
    )
    write_metadata(target, len(manifest.features), [chunk.file for chunk in chunks])
    metadata_sha256 = file_sha256(target / METADATA_NAME)
    smaller_manifest = replace(manifest, metadata_sha256=metadata_sha256, chunks=chunks)
    smaller_manifest.write(target)
    return smaller_manifest


def _replaced(chunk: Chunk, summary: dict[str, Any]) -> Chunk:
    """A chunk with the counts of what was written."""
    block_windows = tuple((windows, blocks) for windows, blocks in summary.pop("block_windows"))
    return replace(chunk, block_windows=block_windows, **summary)
