"""Fits detectors of sequences in Spark: a summary a file, merged on the driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.detectors import DetectorEntry, SequenceDetector
from foreshock.errors import DataError
from foreshock.platform.parquet import read_table
from foreshock.platform.session import each_item
from foreshock.sequences.event_rows import GAP, SEQUENCES
from foreshock.sequences.folds import touching
from foreshock.sequences.order import SPLIT
from foreshock.sequences.split import Split

# [from, to) in microseconds.
Span = tuple[int, int]


def sequence_files(run: Path) -> list[str]:
    """The files of a run's `sequences/`, in order."""
    return sorted(str(file) for file in (run / SEQUENCES).glob("*.parquet"))


def fit_sequences(
    spark: SparkSession, files: Sequence[str], entry: DetectorEntry, without: Span | None = None
) -> SequenceDetector:
    """A detector fitted on the training events of `sequences/`.

    without: a fold of time. Neither its events count nor later ones whose entity's last event lies
    in the fold or before it. Raises DataError if too little is left.
    """

    def summary_of_file(file: str) -> Iterator[pa.RecordBatch]:
        events = training_events(read_table(file), without)
        # A file without training events sends nothing to the driver.
        if len(events):
            summary = entry.load_class().summary(events)
            yield pa.RecordBatch.from_pydict({"summary": pa.array([summary], pa.binary())})

    rows = each_item(spark, files, summary_of_file, "summary binary")
    try:
        fitted: SequenceDetector = entry.load_class().from_summaries(
            bytes(row["summary"]) for row in rows
        )
    # A detector knows no settings, so what to do about too little data is said here.
    except ValueError as error:
        where = "split.train" if without is None else "split.train without a fold"
        raise DataError(
            f"{where}: detector {entry.name} cannot be fitted ({error}). Widen split.train"
            + ("." if without is None else ", or lower calibration.folds.")
        ) from None
    return fitted


def training_events(events: pa.Table, without: Span | None = None) -> pa.Table:
    """The rows of `sequences/` that a detector is fitted on: train's events that it admits.

    without: a fold of time, [from, to) in microseconds. Its events are left out, and so are later
    ones whose gap began in it or before it.
    """
    is_training = pc.and_(pc.equal(events[SPLIT], int(Split.TRAIN)), events[C.TRAIN_OK])
    events = events.filter(is_training)
    if without is None:
        return events
    last = events[C.EVENT_TIME].to_numpy()
    # A first event has no gap, so it touches the fold only if it lies in it.
    gaps = np.nan_to_num(events[GAP].to_numpy(zero_copy_only=False), nan=0.0)
    first = last - np.rint(gaps * 1e6).astype(np.int64)
    return events.filter(pa.array(~touching(first, last, without)))
