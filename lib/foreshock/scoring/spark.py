"""Scores a dataset's chunks in Spark, one task a file, and merges what several blocks know of the same event."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from foreshock.scoring.aggregate import ENDING
from foreshock.scoring.scorer import KEYS, Plan, Task, schema_of, score_chunk
from foreshock.session import map_items


def score_files(spark: SparkSession, plan: Plan, tasks: list[Task], features: int, work: Path) -> list[str]:
    """Score every task's file of so many features and write one row an event under `work`; returns the Parquet files, in order."""
    schema = from_arrow_schema(schema_of(plan.detectors))

    def one(task: Task) -> Iterator[pa.RecordBatch]:
        yield from score_chunk(plan, task)

    raw = work / "raw"
    ddl = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in schema)
    largest_first = sorted(tasks, key=lambda t: -t.windows)  # so that the last ones to end are small
    map_items(spark, largest_first, one, ddl).write.parquet(str(raw))
    if plan.kind in ENDING:
        return _files(raw)
    everything = spark.read.parquet(str(raw))
    everything.filter(~F.col("partial")).write.parquet(str(work / "whole"))
    _merge(everything.filter("partial"), plan, features).write.parquet(str(work / "merged"))
    return _files(work / "whole") + _files(work / "merged")


def _files(folder: Path) -> list[str]:
    return sorted(str(f) for f in folder.glob("part-*.parquet"))


def _merge(partial: DataFrame, plan: Plan, features: int) -> DataFrame:
    keys = [f.name for f in KEYS]
    total = F.sum("n")
    # The block in which the event lies deepest explains it best, and its unit stands for it.
    place = F.max(F.struct("n", "unit", "block_id", "at", "file", "step", "value", "expected"))
    values: list[Column] = []
    for i, name in enumerate(plan.detectors):
        score = F.col(f"s{i}")
        if name == "isolation_forest":
            merged = F.max(score)
        elif plan.kind in ("cover", "mean"):
            merged = F.sum(score) / total
        elif plan.kind == "median":
            ordered = F.array_sort(F.flatten(F.collect_list(f"v{i}")))
            half = F.size(ordered) / 2
            low, high = F.ceil(half).cast("int"), (F.floor(half) + 1).cast("int")
            merged = (F.element_at(ordered, low) + F.element_at(ordered, high)) / 2
        else:
            merged = F.max(score) if plan.kind == "max" else F.min(score)
        values.append(merged.cast("float").cast("double").alias(f"s{i}"))
    errors = F.array(*[F.sum(F.col("errors")[j]).cast("float") for j in range(features)])
    errors = F.when(F.count("errors") > 0, errors).cast("array<float>").alias("errors")
    grouped = partial.groupBy(*keys).agg(place.alias("place"), total.cast("int").alias("n"), errors, *values)
    rest = [F.col(f"place.{c}").alias(c) for c in ("unit", "block_id", "at", "file", "step", "value", "expected")]
    empty = [F.lit(None).cast("array<double>").alias(f"v{i}") for i in range(len(plan.detectors))]
    scores = [f"s{i}" for i in range(len(plan.detectors))]
    return grouped.select(*keys, *rest, F.lit(False).alias("partial"), "n", "errors", *scores, *empty)
