"""Scores a dataset's chunks in Spark, one task a file, and merges what several blocks know of the same event."""

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

    raw = work / "raw"
    # The largest come first, so that the last tasks to end are small.
    largest_first = sorted(tasks, key=lambda task: -task.windows)
    ddl = schema_ddl(schema.scored_schema(plan.detectors))
    map_items(spark, largest_first, score_in_task, ddl).write.parquet(str(raw))
    judges_ends = plan.score_kind in ENDING
    files = written_files(raw)
    if not judges_ends:
        everything = spark.read.parquet(str(raw))
        is_partial = F.col(schema.IS_PARTIAL)
        everything.filter(~is_partial).write.parquet(str(work / "whole"))
        merged = _merged(everything.filter(is_partial), plan, len(features))
        merged.write.parquet(str(work / "merged"))
        files = written_files(work / "whole") + written_files(work / "merged")
    return ScoredEvents(tuple(files), plan.detectors, features, holds_rest=not judges_ends)


def _merged(partial: DataFrame, plan: ScoringPlan, n_features: int) -> DataFrame:
    """One row an event from the rows that several blocks have of it."""
    n_windows = F.sum(schema.N_WINDOWS)
    # The block with most forecasts of the event, then that in which it lies deepest, explains it
    # best, and its event run stands for it.
    best_block = F.max(F.struct(schema.N_FORECASTS, schema.N_WINDOWS, *OF_BEST_BLOCK))
    scores = []
    for detector in plan.detectors:
        merged = _merged_score(plan.score_kind, detector, n_windows)
        rounded = merged.cast("float").cast("double")
        scores.append(rounded.alias(schema.score_column(detector)))
    errors = F.col(schema.ERRORS)
    sums = F.array(*[F.sum(errors[feature]).cast("float") for feature in range(n_features)])
    sums = F.when(F.count(errors) > 0, sums).cast("array<float>").alias(schema.ERRORS)
    grouped = partial.groupBy(*schema.KEYS.names).agg(
        best_block.alias("best"), n_windows.cast("int").alias(schema.N_WINDOWS), sums, *scores
    )
    derived = {schema.IS_PARTIAL: F.lit(False)}
    derived |= {name: F.col(f"best.{name}") for name in (schema.N_FORECASTS, *OF_BEST_BLOCK)}
    derived |= {
        schema.window_scores_column(detector): F.lit(None).cast("array<double>")
        for detector in plan.detectors
    }
    wanted = schema.scored_schema(plan.detectors).names
    return grouped.select(*[derived.get(name, F.col(name)).alias(name) for name in wanted])


def _merged_score(score_kind: str, detector: str, n_windows: Column) -> Column:
    score = F.col(schema.score_column(detector))
    if entry_of(detector).scores_rows:
        return F.max(score)
    if score_kind in ("cover", "mean"):
        return F.sum(score) / n_windows
    if score_kind == "median":
        window_scores = F.collect_list(schema.window_scores_column(detector))
        ordered = F.array_sort(F.flatten(window_scores))
        half = F.size(ordered) / 2
        low, high = F.ceil(half).cast("int"), (F.floor(half) + 1).cast("int")
        return (F.element_at(ordered, low) + F.element_at(ordered, high)) / 2
    return F.max(score) if score_kind == "max" else F.min(score)
