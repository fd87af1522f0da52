"""The shapes of features over time, from the blocks of a dataset, in Spark, one task a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.paths import at
from foreshock.platform.session import each_item
from foreshock.statistics.arrays import Float32Array, Int64Array, TextArray
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
    shape: BlockShape,
) -> SlicedHistograms:
    """Histograms of the scaled features of the events that end a window of the blocks.

    features: their names, in the blocks' order. A key has the split of the event's chunk, and the
    event's group, partition and slice of the chunk's span.
    """

    def shapes_of_chunk(chunk: ShapedChunk) -> Iterator[pa.RecordBatch]:
        chunk_histograms = _chunk_histograms(chunk, features, shape)
        yield from sliced_table(chunk_histograms).combine_chunks().to_batches()

    return add_sliced(
        {}, (block_row.asDict() for block_row in each_item(spark, chunks, shapes_of_chunk, DDL))
    )


def _chunk_histograms(
    chunk: ShapedChunk, features: tuple[str, ...], shape: BlockShape
) -> SlicedHistograms:
    ends_by_block = [
        _window_ends(block, shape)
        for block in read_rows(at(chunk.file), shape, FIELDS, at_once=BLOCKS_AT_ONCE)
    ]
    if not ends_by_block:
        return {}
    event_groups, event_partitions, event_times, event_values = (
        np.concatenate(arrays) for arrays in zip(*ends_by_block, strict=True)
    )
    by_feature: dict[str | None, Float32Array] = {
        feature_name: event_values[:, feature_number]
        for feature_number, feature_name in enumerate(features)
    }
    slice_numbers = time_slices(event_times, chunk.span)
    return sliced_histograms(chunk.split, event_groups, event_partitions, slice_numbers, by_feature)


def _window_ends(
    block: BlockRow, shape: BlockShape
) -> tuple[TextArray, TextArray, Int64Array, Float32Array]:
    """Group, partition, time (n,) and features (n, F) of the events that end a block's windows."""
    # Of several windows no two end at the same event, so each event counts once.
    ends = np.arange(block["n_windows"]) * shape.stride + shape.length - 1
    return (
        block["event_group"][ends],
        block["event_partition"][ends],
        block["event_time"][ends],
        block["x"][ends],
    )
