"""Averages scores over an entity's last events, in Spark."""

from __future__ import annotations

import math
from pathlib import Path

from pyspark.sql import Column, SparkSession, Window, WindowSpec
from pyspark.sql import functions as F

from foreshock.scored import schema
from foreshock.scored.events import ScoredEvents
from foreshock.scored.rewrite_spark import written_files
from foreshock.sequences.split import Split

LEAST_WEIGHT = 1e-6  # of an exponential average's newest score: older ones are left out


def smoothed(
    spark: SparkSession,
    scored: ScoredEvents,
    mean: int | None,
    exponential: int | None,
    target: Path,
) -> ScoredEvents:
    """The events with every score averaged over the entity's last ones, in its order.

    mean: over so many events. exponential: with the span of so many events, as far back as a
    weight is at least 1e-6 of the newest one's. An event without a score stays without.
    """
    is_out_of_fold = F.col(schema.SPLIT) == int(Split.OUT_OF_FOLD)
    in_order = Window.partitionBy(schema.ENTITY, is_out_of_fold).orderBy(
        schema.EVENT_TIME, schema.BLOCK_ROLE, schema.BLOCK_ID, schema.BLOCK_ROW
    )
    frame = spark.read.parquet(*scored.files)
    averages = {}
    for name in scored.score_columns():
        if mean is not None:
            average = F.avg(name).over(in_order.rowsBetween(-(mean - 1), 0))
        else:
            average = _exponential_average(name, in_order, exponential or 1)
        rounded = average.cast("float").cast("double")
        averages[name] = F.when(F.col(name).isNotNull(), rounded)
    frame.withColumns(averages).select(*frame.columns).write.parquet(str(target))
    return scored.with_files(written_files(target))


def _exponential_average(name: str, in_order: WindowSpec, span: int) -> Column:
    keep = 1 - 2 / (span + 1)
    most_events = max(1, math.ceil(math.log(LEAST_WEIGHT) / math.log(keep)))
    newest_first = F.reverse(F.collect_list(name).over(in_order.rowsBetween(-(most_events - 1), 0)))
    start = F.struct(
        F.lit(0.0).alias("sum"), F.lit(0.0).alias("weights"), F.lit(1.0).alias("weight")
    )

    def add_score(state: Column, score: Column) -> Column:
        return F.struct(
            (state["sum"] + state["weight"] * score).alias("sum"),
            (state["weights"] + state["weight"]).alias("weights"),
            (state["weight"] * keep).alias("weight"),
        )

    state = F.aggregate(newest_first, start, add_score)
    return state["sum"] / state["weights"]
