"""Sorts events with Spark into files of the total order, and finds each file's place in it.

No entity is hashed into one task: the sort is by range of the total order, and a file that begins
within a sequence reads the few rows it needs from the files before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.platform.session import collect_items
from foreshock.sequences.halos import FileSummary, place_files
from foreshock.sequences.order import CARRIED, SHAPE, order_columns
from foreshock.sequences.sorted_files import SortedFiles, summarize_file

SUMMARY = (
    "file int, rows bigint, first_entity string, first_time bigint, last_entity string, "
    "last_time bigint, leading bigint, trailing bigint, longest bigint, numbered bigint"
)


def sort_events(
    events: DataFrame, features: Sequence[str], tiebreaks: int, files: int, target: Path
) -> list[str]:
    """Write events in total order to `target`, a file a range of it; returns the paths in order.

    Columns: those of the order, SHAPE, CARRIED and the features; times become microseconds.
    """
    sort_columns = order_columns(tiebreaks)
    # Whole microseconds compare the same in Spark, Arrow and NumPy.
    timed_events = events.withColumn(C.EVENT_TIME, F.unix_micros(C.EVENT_TIME))
    # One range needs no sampling of the events.
    range_files = (
        timed_events.repartitionByRange(files, *sort_columns)
        if files > 1
        else timed_events.coalesce(1)
    )
    # Every column of the order is written: Spark 3.5 sorts wrongly if a write leaves one out.
    written_columns = dict.fromkeys([*sort_columns, *SHAPE, *CARRIED, *features])
    writer = range_files.sortWithinPartitions(*sort_columns).select(*written_columns).write
    # These files are read three times and then removed: speed matters more than size.
    writer = writer.option("compression", "lz4_raw")
    # A dictionary of values that hardly recur costs time and saves nothing.
    for column_name in (C.EVENT_TIME, C.EVENT_ID, *features):
        writer = writer.option(f"parquet.enable.dictionary#{column_name}", "false")
    writer.parquet(str(target))
    return sorted(str(path) for path in target.glob("part-*.parquet"))


def place_sorted(
    spark: SparkSession,
    paths: Sequence[str],
    max_gap: int | None,
    halo_before: Callable[[int], int],
    *,
    first_time: int = 0,
    here: bool = False,
) -> SortedFiles:
    """Sorted files with their places, from one light pass over entity and time.

    max_gap, first_time (of the run's first event): microseconds. halo_before: see
    `halos.place_files`. here: in this process, without Spark.
    """

    def summarize_numbered(item: tuple[int, str]) -> Iterator[pa.RecordBatch]:
        """The summary of a file as one row, with the file's number."""
        summary = summarize_file(item[1], max_gap, first_time)
        yield pa.RecordBatch.from_pylist([{"file": item[0], **asdict(summary)}])

    summary_rows = collect_items(
        spark, list(enumerate(paths)), summarize_numbered, SUMMARY, here=here
    )
    summary_by_file = {row.pop("file"): FileSummary(**row) for row in summary_rows}
    summaries = [summary_by_file[file_number] for file_number in range(len(paths))]
    file_places = place_files(summaries, max_gap, halo_before)
    # A sequence over several files is whole where the last of them begins.
    crossing_lengths = [
        place.first_index + s.leading for place, s in zip(file_places, summaries, strict=True)
    ]
    longest = max([*(summary.longest for summary in summaries), *crossing_lengths], default=0)
    return SortedFiles(tuple(paths), tuple(file_places), longest)
