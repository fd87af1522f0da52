"""Feature statistics over event partitions, each read once: a new one is added to what is kept of
the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.platform.files import digest
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.platform.paths import at, size
from foreshock.platform.session import each_item
from foreshock.platform.transfers import carry
from foreshock.scaling.robust import transform
from foreshock.scaling.summary import DAMAGE, Guide, Summary
from foreshock.statistics.arrays import Float32Array

# The file of all partitions' sum.
MERGED = "merged.npz"
MERGED_AT_ONCE = 32
PILOTS, PILOT_EVENTS = 8, 1 << 15
SUMMARIES = "partition string, summary binary"

PartitionFiles = Mapping[str, Sequence[str]]  # partition -> its files of events


@dataclass(frozen=True)
class TrainingValues:
    """Which values of the events are summarized: of these features, in a span of time, transformed.

    span: [from, to) in microseconds. transform: see `robust.transform`.
    """

    features: tuple[str, ...]
    span: tuple[int, int]
    transform: str

    def key(self, files: Sequence[str]) -> str:
        """What changes if the values, or the files that they are read from, do.

        A digest of features, span and transform, and of the files' names and sizes.
        """
        settings = {"features": self.features, "span": self.span, "transform": self.transform}
        return digest([settings, [(at(file).name, size(at(file))) for file in files]])

    def read(self, file: str, most: int | None = None) -> Iterator[tuple[str, Float32Array]]:
        """(feature, values that are not null) of a file's training events that train_where admits.

        most: look at the first so many events alone.
        """
        columns = [C.EVENT_TIME, C.TRAIN_OK, *self.features]
        if most is None:
            events = read_table(file, columns=columns)
        else:
            events = _first_rows(file, columns, most)
        event_times = (
            events[C.EVENT_TIME].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        )
        in_span = (event_times >= self.span[0]) & (event_times < self.span[1])
        admitted = in_span & events[C.TRAIN_OK].to_numpy()
        for feature_name in self.features:
            # In Arrow a null is no number; as NaN it can be left out together with what was NaN.
            feature_values = pc.fill_null(events[feature_name], float("nan")).to_numpy()[admitted]
            yield feature_name, transform(feature_values[~np.isnan(feature_values)], self.transform)


def _first_rows(file: str, columns: list[str], count: int) -> pa.Table:
    with parquet_file(file) as source:
        first_batches = list(islice(source.iter_batches(count, columns=columns), 1))
        empty_table = source.schema_arrow.empty_table()
    first_table = pa.Table.from_batches(first_batches) if first_batches else empty_table
    return first_table.select(columns)


@dataclass(frozen=True)
class _Kept:
    """What an earlier fit left that still holds: partition -> file of its summary, their sum, the
    guide of all.
    """

    files: dict[str, Path] = field(default_factory=dict)
    total: Summary = field(default_factory=Summary)
    guide: Guide = field(default_factory=dict)


def fit_summary(
    spark: SparkSession,
    partitions: PartitionFiles,
    features: tuple[str, ...],
    span: tuple[int, int],
    how: str,
    *,
    before: Path,
    after: Path,
    say: Callable[..., None] = lambda *_, **__: None,
    here: bool = False,
) -> Summary:
    """The summary of all training values, whose quartiles are exact.

    features, span, how: see `TrainingValues`. before: a folder that an earlier call wrote as
    `after`, if there is one. Only partitions that it does not hold, or holds of other files, are
    read; if one is gone or changed, the kept summaries are added up anew. The first guide is that
    of a few events of some partitions, read here. If quartiles lie outside the ranges that were
    counted finely, every partition is read once more. say: told how many partitions are read. here:
    in this process, without Spark.
    """
    training_values = TrainingValues(features, span, how)
    file_keys = {partition: training_values.key(files) for partition, files in partitions.items()}
    after.mkdir(parents=True)
    kept = _kept(before, file_keys)
    fresh_partitions = {
        partition: files for partition, files in partitions.items() if partition not in kept.files
    }
    say("scaler", partitions=len(partitions), read=len(fresh_partitions))
    # A rough guide saves the second pass in most first fits.
    guide = kept.guide or _pilot_guide(
        training_values, [files[0] for files in fresh_partitions.values()]
    )
    reading = _Reading(spark, training_values, file_keys, after, here)
    total_summary = reading.add(fresh_partitions, guide, kept.total)
    if total_summary.reaches(guide):
        for path in kept.files.values():
            # The next run finds every partition in one folder, whichever run read it.
            carry(path, after / path.name)
    else:
        guide = total_summary.guide()
        say("scaler, second pass", partitions=len(partitions))
        total_summary = reading.add(partitions, guide, Summary())
    (after / MERGED).write_bytes(total_summary.to_bytes({"keys": file_keys, "guide": guide}))
    return total_summary


def _pilot_guide(values: TrainingValues, files: list[str]) -> Guide:
    """The guide of a few events of some files."""
    file_step = -(-len(files) // PILOTS) or 1
    pilot_summaries = [
        Summary.of(values.read(file, PILOT_EVENTS), {}) for file in files[::file_step]
    ]
    return Summary.total(pilot_summaries).guide()


@dataclass(frozen=True)
class _Reading:
    """Reads partitions, each into a summary that is kept in the folder `after`."""

    spark: SparkSession
    values: TrainingValues
    keys: Mapping[str, str]
    after: Path
    here: bool

    def add(self, partitions: PartitionFiles, guide: Guide, total: Summary) -> Summary:
        """A total and the summaries of partitions, taken by a guide, together.

        Each partition's summary is written to the folder `after` on the way.
        """
        waiting_summaries = [total]
        for partition, summary in self._summaries(partitions, guide):
            note = {"key": self.keys[partition], "guide": digest(guide)}
            (self.after / _name(partition)).write_bytes(summary.to_bytes(note))
            waiting_summaries.append(summary)
            # Summing two by two would sort the same keys again and again.
            if len(waiting_summaries) > MERGED_AT_ONCE:
                waiting_summaries = [Summary.total(waiting_summaries)]
        return Summary.total(waiting_summaries)

    def _summaries(self, partitions: PartitionFiles, guide: Guide) -> Iterator[tuple[str, Summary]]:
        """The summary of each partition in turn."""
        partition_files = [
            (partition, file) for partition, files in partitions.items() for file in files
        ]
        # A task takes along what it names, and `self` holds the session.
        training_values = self.values

        def summarize_file(item: tuple[str, str]) -> Iterator[pa.RecordBatch]:
            """The summary of a file of a partition, as one row."""
            summary = Summary.of(training_values.read(item[1]), guide)
            row = {"partition": item[0], "summary": summary.to_bytes({})}
            yield pa.RecordBatch.from_pylist([row])

        summary_rows = each_item(
            self.spark, partition_files, summarize_file, SUMMARIES, here=self.here
        )
        for partition, of_partition in groupby(summary_rows, key=lambda row: str(row["partition"])):
            file_summaries = [Summary.from_bytes(bytes(row["summary"]))[0] for row in of_partition]
            yield (
                partition,
                Summary.total(file_summaries) if len(file_summaries) > 1 else file_summaries[0],
            )


def _name(partition: str) -> str:
    return f"{C.PARTITION}={partition}.npz"


def _kept(before: Path, keys: Mapping[str, str]) -> _Kept:
    """What an earlier fit left in the folder `before` that still holds; nothing where it is
    damaged.
    """
    with contextlib.suppress(*DAMAGE):
        total, note = Summary.from_bytes((before / MERGED).read_bytes())
        guide, kept_keys = cast(Guide, note["guide"]), cast(dict[str, str], note["keys"])
        kept_files = {
            partition: before / _name(partition)
            for partition, key in kept_keys.items()
            if keys.get(partition) == key
        }
        if len(kept_files) == len(kept_keys) and all(path.exists() for path in kept_files.values()):
            return _Kept(kept_files, total, guide)
        return _kept_parts(kept_files, keys, guide)
    return _Kept()


def _kept_parts(files: Mapping[str, Path], keys: Mapping[str, str], guide: Guide) -> _Kept:
    """What is kept of some partitions, added up anew from their summaries."""
    kept_summaries: dict[str, Summary] = {}
    # One damaged file costs reading its partition again, no more.
    for partition, path in files.items():
        with contextlib.suppress(*DAMAGE):
            summary, note = Summary.from_bytes(path.read_bytes())
            if note == {"key": keys[partition], "guide": digest(guide)}:
                kept_summaries[partition] = summary
    kept_files = {partition: files[partition] for partition in kept_summaries}
    return _Kept(kept_files, Summary.total(kept_summaries.values()), guide)
