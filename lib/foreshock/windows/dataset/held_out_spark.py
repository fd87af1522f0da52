"""A training dataset without the windows that touch a span of time: what a model is fitted on that must not know the span."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.files import file_sha256
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.paths import size
from foreshock.platform.session import each_item
from foreshock.sequences.folds import apart
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.manifest import METADATA, Chunk, Manifest, runs
from foreshock.windows.dataset.schema import ARROW, INTS8, TEXTS, decode, encode
from foreshock.windows.dataset.writer import write_file, write_metadata

ARRAYS = ("x", "event_time", *TEXTS, *INTS8)


def write_without(
    spark: SparkSession, folder: Path, manifest: Manifest, span: tuple[int, int], target: Path
) -> Manifest:
    """Write the dataset to a new folder without the fitted windows that touch [from, to) in microseconds; validation blocks stay.

    A block that the span cuts becomes two. Blocks are numbered anew, as the plan wants them: fitted ones first.
    """
    target.mkdir(parents=True)
    length, stride = manifest.length, manifest.stride

    def count(chunk: Chunk) -> Iterator[pa.RecordBatch]:
        kept = 0
        for batch in parquet_file(folder / chunk.file).iter_batches(
            columns=["event_time", "n_windows", "first_padding"]
        ):
            kept += sum(len(_kept(row, span, length, stride)) for row in batch.to_pylist())
        yield pa.RecordBatch.from_pydict({"blocks": pa.array([kept], pa.int64())})

    def write(item: tuple[Chunk, int]) -> Iterator[pa.RecordBatch]:
        chunk, first = item
        rows = read_table(folder / chunk.file, schema=ARROW).to_pylist()
        if chunk.code == BlockRole.FIT:
            rows = [
                cut
                for row in rows
                for cut in _cut(row, _kept(row, span, length, stride), length, stride)
            ]
        for number, row in enumerate(rows):
            row["block_id"] = first + number
        file = target / chunk.file
        write_file(file, pa.Table.from_pylist(rows, schema=ARROW))
        yield pa.RecordBatch.from_pylist(
            [
                {
                    "file": chunk.file,
                    "code": chunk.code,
                    "blocks": len(rows),
                    "windows": sum(r["n_windows"] for r in rows),
                    "events": sum(len(decode(r["event_time"])) for r in rows),
                    "x_bytes": sum(len(r["x"]) for r in rows),
                    "bytes": size(file),
                    "sha256": file_sha256(file),
                    "block_windows": runs([r["n_windows"] for r in rows]),
                }
            ]
        )

    fitted = [c for c in manifest.chunks if c.code == BlockRole.FIT]
    counts = {
        c.file: int(row["blocks"])
        for c, row in zip(fitted, each_item(spark, fitted, count, "blocks bigint"), strict=True)
    }
    items, first = [], 0
    for chunk in sorted(manifest.chunks, key=lambda c: c.code != BlockRole.FIT):
        blocks = counts.get(chunk.file, chunk.blocks)
        if blocks:
            items.append((chunk, first))
            first += blocks
    schema = (
        "file string, code int, blocks bigint, windows bigint, events bigint, x_bytes bigint, bytes bigint, sha256 string, "
        "block_windows array<array<bigint>>"
    )
    made = []
    for (chunk, _), row in zip(items, each_item(spark, items, write, schema), strict=True):
        found: dict[str, Any] = row.asDict()
        found["block_windows"] = tuple((int(w), int(n)) for w, n in found["block_windows"])
        made.append(Chunk(partitions=chunk.partitions, **found))
    write_metadata(target, len(manifest.features), [c.file for c in made])
    cut = replace(manifest, metadata_sha256=file_sha256(target / METADATA), chunks=tuple(made))
    cut.write(target)
    return cut


def _kept(
    row: dict[str, Any], span: tuple[int, int], length: int, stride: int
) -> list[tuple[int, int]]:
    """Runs [a, b) of a block's windows that stay."""
    times, starts = decode(row["event_time"]), np.arange(row["n_windows"]) * stride
    return apart(times[np.maximum(starts, row["first_padding"])], times[starts + length - 1], span)


def _cut(
    row: dict[str, Any], kept: list[tuple[int, int]], length: int, stride: int
) -> Iterator[dict[str, Any]]:
    """The blocks of those windows."""
    arrays = {name: decode(row[name]) for name in ARRAYS}
    for a, b in kept:
        here = slice(a * stride, (b - 1) * stride + length)
        yield (
            row
            | {"n_windows": b - a}
            | {name: encode(np.ascontiguousarray(v[here])) for name, v in arrays.items()}
        )
