"""Moments of all training windows in Spark: one small matrix a task, merged as they come."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.parquet import parquet_file
from foreshock.platform.session import each_item
from foreshock.sequences.folds import touching
from foreshock.windows.dataset.schema import decode
from foreshock.windows.models.moments import WindowMoments

MOST_VALUES = 2048  # of a window: its matrix has the square of that
AT_ONCE = 256_000_000  # bytes of matrices that come to the driver together
COLUMNS = ["x", "event_time", "n_windows", "first_padding"]


def window_moments(
    spark: SparkSession,
    files: list[str],
    length: int,
    stride: int,
    features: int,
    without: tuple[int, int] | None = None,
    origin: npt.NDArray[np.float64] | None = None,
) -> WindowMoments:
    """Of every whole window in chunk files of blocks; padded windows are left out, and those that touch a span of time (`folds`).

    origin (F,): near the middle of the data (`moments.middle`), for every task the same; zero where not given.
    """

    def blocks(file: str) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        for batch in parquet_file(file).iter_batches(batch_size=64, columns=COLUMNS):
            for row in batch.to_pylist():
                starts = np.arange(row["n_windows"]) * stride
                if without is not None:
                    times = decode(row["event_time"])
                    starts = starts[~touching(times[starts], times[starts + length - 1], without)]
                if not row["first_padding"] and len(starts):
                    yield decode(row["x"]), starts

    def one(some: list[str]) -> Iterator[pa.RecordBatch]:
        found = WindowMoments.of_blocks(
            (block for file in some for block in blocks(file)), length, features, origin
        )
        yield pa.RecordBatch.from_pydict({"moments": pa.array([found.to_bytes()], pa.binary())})

    tasks = min(
        4 * spark.sparkContext.defaultParallelism, max(2, AT_ONCE // (8 * (length * features) ** 2))
    )
    each = -(-len(files) // tasks)
    total = WindowMoments.empty(length, features, origin)
    for row in each_item(
        spark,
        [files[at : at + each] for at in range(0, len(files), max(each, 1))],
        one,
        "moments binary",
    ):
        total = total + WindowMoments.from_bytes(bytes(row["moments"]))
    return total
