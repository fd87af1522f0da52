"""Scores a dataset's chunks in Spark, one task a file.

What several blocks know of the same event is merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from foreshock.detectors import entry_of
from foreshock.platform.session import map_items
from foreshock.scored import schema
from foreshock.scored.events import ScoredEvents
from foreshock.scored.rewrite_spark import schema_ddl, written_files
from foreshock.windows.scoring.aggregate import ENDING
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask
from foreshock.windows.scoring.scorer import score_chunk

# Where a merged event stands, and why it has its score: as the block that explains it best says.
OF_BEST_BLOCK = (
    schema.EVENT_RUN,
    schema.BLOCK_ID,
    schema.BLOCK_ROW,
    schema.CHUNK_FILE,
    schema.WORST_STEP,
    schema.VALUES,
    schema.EXPECTED,
    schema.BLOCK_ROLE,
)


def score_files(
    spark: SparkSession,
    plan: ScoringPlan,
    tasks: list[ScoringTask],
    features: tuple[str, ...],
    work: Path,
) -> ScoredEvents:
    """Score every task's file and write one row an event under `work`.

    features: the names of the blocks' features.
    """

    def score_in_task(task: ScoringTask) -> Iterator[pa.RecordBatch]:
        yield from score_chunk(plan, task)

    raw_folder = work / "raw"
    # The largest come first, so that the last tasks to end are small.
    largest_first = sorted(tasks, key=lambda task: -task.windows)
    row_ddl = schema_ddl(schema.scored_schema(plan.detectors))
    map_items(spark, largest_first, score_in_task, row_ddl).write.parquet(str(raw_folder))
    judges_ends = plan.score_kind in ENDING
    scored_files = written_files(raw_folder)
    if not judges_ends:
        # Read back from files: rows are used twice, and nothing is scored twice.
        all_rows = spark.read.parquet(str(raw_folder))
        is_partial = F.col(schema.IS_PARTIAL)
        all_rows.filter(~is_partial).write.parquet(str(work / "whole"))
        merged_rows = _merged(all_rows.filter(is_partial), plan, len(features))
        merged_rows.write.parquet(str(work / "merged"))
        scored_files = written_files(work / "whole") + written_files(work / "merged")
    return ScoredEvents(tuple(scored_files), plan.detectors, features, holds_rest=not judges_ends)


def _merged(partial: DataFrame, plan: ScoringPlan, n_features: int) -> DataFrame:
    """One row an event from the rows that several blocks have of it."""
    n_windows = F.sum(schema.N_WINDOWS)
    # The block with most forecasts of the event, then that in which it lies deepest, explains it
    # best, and its event run stands for it.
    best_block = F.max(F.struct(schema.N_FORECASTS, schema.N_WINDOWS, *OF_BEST_BLOCK))
    score_columns = []
    for detector_name in plan.detectors:
        merged_rows = _merged_score(plan.score_kind, detector_name, n_windows)
        # Through float32, as `final_scores` rounds what one block knows.
        rounded_score = merged_rows.cast("float").cast("double")
        score_columns.append(rounded_score.alias(schema.score_column(detector_name)))
    error_lists = F.col(schema.ERRORS)
    error_sums = F.array(
        *[F.sum(error_lists[feature_number]).cast("float") for feature_number in range(n_features)]
    )
    error_sums = (
        F.when(F.count(error_lists) > 0, error_sums).cast("array<float>").alias(schema.ERRORS)
    )
    grouped_events = partial.groupBy(*schema.KEYS.names).agg(
        best_block.alias("best"),
        n_windows.cast("int").alias(schema.N_WINDOWS),
        error_sums,
        *score_columns,
    )
    derived_columns = {schema.IS_PARTIAL: F.lit(False)}
    derived_columns |= {
        name: F.col(f"best.{name}") for name in (schema.N_FORECASTS, *OF_BEST_BLOCK)
    }
    derived_columns |= {
        schema.window_scores_column(detector_name): F.lit(None).cast("array<double>")
        for detector_name in plan.detectors
    }
    wanted_columns = schema.scored_schema(plan.detectors).names
    return grouped_events.select(
        *[derived_columns.get(name, F.col(name)).alias(name) for name in wanted_columns]
    )


def _merged_score(score_kind: str, detector: str, n_windows: Column) -> Column:
    block_score = F.col(schema.score_column(detector))
    if entry_of(detector).scores_rows:
        return F.max(block_score)
    if score_kind in ("cover", "mean"):
        return F.sum(block_score) / n_windows
    if score_kind == "median":
        window_scores = F.collect_list(schema.window_scores_column(detector))
        ordered_scores = F.array_sort(F.flatten(window_scores))
        # Both are the middle score if the number of scores is odd.
        half_size = F.size(ordered_scores) / 2
        low_middle, high_middle = (
            F.ceil(half_size).cast("int"),
            (F.floor(half_size) + 1).cast("int"),
        )
        return (
            F.element_at(ordered_scores, low_middle) + F.element_at(ordered_scores, high_middle)
        ) / 2
    return F.max(block_score) if score_kind == "max" else F.min(block_score)
