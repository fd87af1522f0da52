"""Moments of all training windows in Spark: one small matrix a task, merged as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.paths import at
from foreshock.platform.session import each_item
from foreshock.sequences.folds import touching
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import Float32Array, Float64Array, Int64Array
from foreshock.windows.dataset.manifest import BlockShape, Manifest
from foreshock.windows.dataset.schema import read_rows
from foreshock.windows.models.moments import WindowMoments

# Values of a window, at most: its matrix has the square of that.
MOST_VALUES = 2048
# Bytes of matrices that come to the driver together.
AT_ONCE = 256_000_000
FIELDS = ("x", "event_time", "n_windows", "first_padding")


@dataclass(frozen=True)
class MomentJob:
    """What the moments are taken of.

    Attributes:
        files: chunk files of blocks.
        length, stride, features: of their windows.
        without: leave out windows that touch this span of time, [from, to) in microseconds.
        origin: (F,), near the middle of the data (`moments.middle`), the same for every task.
    """

    files: tuple[str, ...]
    length: int
    stride: int
    features: int
    origin: Float64Array | None = None
    without: tuple[int, int] | None = None

    def blocks_of(self, file: str) -> Iterator[tuple[Float32Array, Int64Array]]:
        """The events (n, F) of a file's blocks with the starts (w,) of their whole windows.

        A block is passed over if it has none, or none that keeps clear of `without`.
        """
        shape = BlockShape(self.features, self.length, self.stride)
        for row in read_rows(at(file), shape, FIELDS, at_once=64):
            starts = np.arange(row["n_windows"]) * self.stride
            if self.without is not None:
                times = row["event_time"]
                ends = times[starts + self.length - 1]
                starts = starts[~touching(times[starts], ends, self.without)]
            # The window of a padded block is the only one that it has.
            if not row["first_padding"] and len(starts):
                yield row["x"], starts

    def moments_of(self, files: list[str]) -> WindowMoments:
        """The moments of all whole windows of some files."""
        blocks = (block for file in files for block in self.blocks_of(file))
        return WindowMoments.of_blocks(blocks, self.length, self.features, self.origin)


def fit_files(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """The chunk files of a training dataset that detectors are fitted on.

    folder: the dataset's. Files of the last part of train are not among them.
    """
    return tuple(str(folder / chunk.file) for chunk in manifest.chunks_of(BlockRole.FIT))


def moment_job(
    folder: Path,
    manifest: Manifest,
    *,
    origin: Float64Array | None = None,
    without: tuple[int, int] | None = None,
) -> MomentJob:
    """The moments of a training dataset's windows that detectors are fitted on, as a job.

    origin: (F,), near the middle of the data. without: leave out windows that touch this span of
    time, [from, to) in microseconds.
    """
    return MomentJob(
        fit_files(folder, manifest),
        manifest.length,
        manifest.stride,
        len(manifest.features),
        origin,
        without,
    )


def window_moments(spark: SparkSession, job: MomentJob) -> WindowMoments:
    """The moments of every whole window of the job's files.

    Padded windows are left out. A task gives a matrix of (L·F)² numbers, and the driver adds it to
    the sum as it comes.
    """

    def encoded_moments(files: list[str]) -> Iterator[pa.RecordBatch]:
        encoded = job.moments_of(files).to_bytes()
        yield pa.RecordBatch.from_pydict({"moments": pa.array([encoded], pa.binary())})

    # Every task sends a matrix to the driver, so long windows get fewer tasks.
    matrix_bytes = 8 * (job.length * job.features) ** 2
    tasks = min(4 * spark.sparkContext.defaultParallelism, max(2, AT_ONCE // matrix_bytes))
    files_a_task = max(1, -(-len(job.files) // tasks))
    begins = range(0, len(job.files), files_a_task)
    shares = [list(job.files[begin : begin + files_a_task]) for begin in begins]
    total = WindowMoments.empty(job.length, job.features, job.origin)
    for row in each_item(spark, shares, encoded_moments, "moments binary"):
        total = total + WindowMoments.from_bytes(bytes(row["moments"]))
    return total
