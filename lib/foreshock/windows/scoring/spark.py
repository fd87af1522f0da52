"""Scores a dataset's chunks in Spark, one task a file, and merges what several blocks know of the same event."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from foreshock.platform.parquet import read_table
from foreshock.platform.session import each_item, map_items
from foreshock.windows.scoring.aggregate import ENDING
from foreshock.windows.scoring.scorer import CODE_SHIFT, KEYS, Plan, Task, schema_of, score_chunk

PLACE = ("unit", "block_id", "at", "file", "step", "value", "expected")


def score_files(
    spark: SparkSession, plan: Plan, tasks: list[Task], features: int, work: Path
) -> list[str]:
    """Score every task's file of so many features and write one row an event under `work`; returns the Parquet files, in order."""
    schema = from_arrow_schema(schema_of(plan.detectors))

    def one(task: Task) -> Iterator[pa.RecordBatch]:
        yield from score_chunk(plan, task)

    raw = work / "raw"
    ddl = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in schema)
    largest_first = sorted(
        tasks, key=lambda t: -t.windows
    )  # so that the last ones to end are small
    map_items(spark, largest_first, one, ddl).write.parquet(str(raw))
    if plan.kind in ENDING:
        return _files(raw)
    everything = spark.read.parquet(str(raw))
    everything.filter(~F.col("partial")).write.parquet(str(work / "whole"))
    _merge(everything.filter("partial"), plan, features).write.parquet(str(work / "merged"))
    return _files(work / "whole") + _files(work / "merged")


def codes_of(table: pa.Table) -> npt.NDArray[np.int64]:
    """The code of each event (columns.FIT …), of columns `unit` and `split`: of calibration and test its own split's, for a block of test
    may hold events of calibration."""
    split = table["split"].to_numpy().astype(np.int64)
    return np.where(split >= 2, split + 1, table["unit"].to_numpy() >> CODE_SHIFT)


def event_spans(spark: SparkSession, files: list[str]) -> dict[int, tuple[int, int]]:
    """The first and last event time, microseconds, of scored events by code (`codes_of`)."""

    def one(file: str) -> Iterator[pa.RecordBatch]:
        table = read_table(file, columns=["unit", "split", "event_time"])
        codes, times = codes_of(table), table["event_time"].to_numpy()
        rows = [
            {"code": c, "low": int(times[codes == c].min()), "high": int(times[codes == c].max())}
            for c in np.unique(codes).tolist()
        ]
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    found: dict[int, tuple[int, int]] = {}
    for row in each_item(spark, files, one, "code int, low bigint, high bigint"):
        low, high = found.get(row["code"], (row["low"], row["high"]))
        found[row["code"]] = (min(low, row["low"]), max(high, row["high"]))
    return found


def _files(folder: Path) -> list[str]:
    return sorted(str(f) for f in folder.glob("part-*.parquet"))


def _merge(partial: DataFrame, plan: Plan, features: int) -> DataFrame:
    keys = [f.name for f in KEYS]
    total = F.sum("n")
    # The block with most forecasts of the event, then that in which it lies deepest, explains it best, and its unit stands for it.
    place = F.max(F.struct("forecasts", "n", *PLACE))
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
    grouped = partial.groupBy(*keys).agg(
        place.alias("place"), total.cast("int").alias("n"), errors, *values
    )
    rest = [F.col(f"place.{c}").alias(c) for c in ("forecasts", *PLACE)]
    empty = [F.lit(None).cast("array<double>").alias(f"v{i}") for i in range(len(plan.detectors))]
    scores = [f"s{i}" for i in range(len(plan.detectors))]
    return grouped.select(
        *keys, *rest, F.lit(False).alias("partial"), "n", "errors", *scores, *empty
    )
