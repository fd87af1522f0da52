"""The shapes of features over time, from the blocks of a dataset, in Spark, one task a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.paths import at
from foreshock.platform.session import each_item
from foreshock.statistics.arrays import Float32Array
from foreshock.statistics.sliced import (
    SlicedHistograms,
    add_sliced,
    sliced_histograms,
    sliced_table,
    time_slices,
)
from foreshock.windows.dataset.manifest import BlockShape
from foreshock.windows.dataset.schema import BlockRow, read_rows

BLOCKS_AT_ONCE = 64
FIELDS = ("x", "event_time", "event_partition", "event_group", "n_windows")
DDL = "split string, `group` string, partition string, slice int, feature string, histogram string"


@dataclass(frozen=True)
class ShapedChunk:
    """A chunk file of blocks: what its histograms are of, and the time that slices are cut from.

    split: as drift calls it. span: first and last event time, microseconds.
    """

    file: str
    split: str
    span: tuple[int, int]


def feature_shapes(
    spark: SparkSession,
    chunks: Sequence[ShapedChunk],
    features: tuple[str, ...],
    length: int,
    stride: int,
) -> SlicedHistograms:
    """Histograms of the scaled features of the events that end a window, length and stride in
    events."""

    def shapes_of_chunk(chunk: ShapedChunk) -> Iterator[pa.RecordBatch]:
        histograms = _chunk_histograms(chunk, features, length, stride)
        yield from sliced_table(histograms).combine_chunks().to_batches()

    return add_sliced({}, (row.asDict() for row in each_item(spark, chunks, shapes_of_chunk, DDL)))


def _chunk_histograms(
    chunk: ShapedChunk, features: tuple[str, ...], length: int, stride: int
) -> SlicedHistograms:
    shape = BlockShape(len(features), length, stride)
    rows = read_rows(at(chunk.file), shape, FIELDS, BLOCKS_AT_ONCE)
    blocks = [_window_ends(row, length, stride) for row in rows]
    if not blocks:
        return {}
    groups, partitions, times, x = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    by_feature: dict[str | None, Float32Array] = {
        name: x[:, number] for number, name in enumerate(features)
    }
    slices = time_slices(times, chunk.span)
    return sliced_histograms(chunk.split, groups, partitions, slices, by_feature)


def _window_ends(row: BlockRow, length: int, stride: int) -> tuple[Any, ...]:
    """Group, partition, time (n,) and features (n, F) of the events that end a block's windows."""
    positions = np.arange(row["n_windows"]) * stride + length - 1
    arrays = (row["event_group"], row["event_partition"], row["event_time"], row["x"])
    return tuple(array[positions] for array in arrays)
