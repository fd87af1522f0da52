"""Runs passes over scored files in Spark, one task a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.platform.parquet import count_rows
from foreshock.platform.session import each_item
from foreshock.scored.events import ScoredEvents
from foreshock.scored.passes import Pass, PassResults, parts_of_file, put_together, run_here

# A Spark job over no more than these takes longer to start than to run.
FEW_FILES, FEW_ROWS = 16, 50_000


def run_passes(
    spark: SparkSession,
    scored: ScoredEvents,
    passes: Sequence[Pass[Any]],
    *,
    few_here: bool = True,
) -> PassResults:
    """Run passes over one read of the files in Spark; of few rows in this process instead.

    few_here: whether this process may. A product of matrices may not: its last digits depend on
    the threads that it uses, of which a Spark task has one.
    """
    if few_here and _are_few(scored):
        return run_here(scored, passes)

    def parts_in_task(file: str) -> Iterator[pa.RecordBatch]:
        for pass_number, file_part in parts_of_file(scored, passes, file):
            # Each pass has a schema, and all share one frame: parts travel as Arrow's bytes.
            packed_part = pa.BufferOutputStream()
            with pa.ipc.new_stream(packed_part, file_part.schema) as arrow_stream:
                arrow_stream.write_table(file_part)
            yield pa.RecordBatch.from_pydict(
                {"pass": [pass_number], "part": [packed_part.getvalue().to_pybytes()]}
            )

    def unpacked() -> Iterator[tuple[int, pa.Table]]:
        for part_row in each_item(spark, scored.files, parts_in_task, "pass int, part binary"):
            yield part_row["pass"], pa.ipc.open_stream(bytes(part_row["part"])).read_all()

    return put_together(passes, unpacked())


def _are_few(scored: ScoredEvents) -> bool:
    # Files are counted first: to count rows opens each of them.
    if len(scored.files) > FEW_FILES:
        return False
    return sum(count_rows(scored_file) for scored_file in scored.files) <= FEW_ROWS
