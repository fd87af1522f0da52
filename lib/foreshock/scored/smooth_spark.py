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

# Relative to an exponential average's newest score: older scores with less are left out.
LEAST_WEIGHT = 1e-6


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
    # Out-of-fold scores come from other models, so they do not enter the averages of later events.
    is_out_of_fold = F.col(schema.SPLIT) == int(Split.OUT_OF_FOLD)
    in_order = Window.partitionBy(schema.ENTITY, is_out_of_fold).orderBy(
        schema.EVENT_TIME, schema.BLOCK_ROLE, schema.BLOCK_ID, schema.BLOCK_ROW
    )
    scored_frame = spark.read.parquet(*scored.files)
    averaged_columns = {}
    for score_column in scored.score_columns():
        if mean is not None:
            average_score = F.avg(score_column).over(in_order.rowsBetween(-(mean - 1), 0))
        else:
            average_score = _exponential_average(score_column, in_order, exponential or 1)
        # As every score is stored: float32 in a column of doubles.
        rounded_average = average_score.cast("float").cast("double")
        averaged_columns[score_column] = F.when(F.col(score_column).isNotNull(), rounded_average)
    scored_frame.withColumns(averaged_columns).select(*scored_frame.columns).write.parquet(
        str(target)
    )
    return scored.with_files(written_files(target))


def _exponential_average(name: str, in_order: WindowSpec, span: int) -> Column:
    kept_weight = 1 - 2 / (span + 1)
    most_events = max(1, math.ceil(math.log(LEAST_WEIGHT) / math.log(kept_weight)))
    # collect_list leaves out nulls: an event without a score takes no weight and no place.
    newest_first = F.reverse(F.collect_list(name).over(in_order.rowsBetween(-(most_events - 1), 0)))
    initial_state = F.struct(
        F.lit(0.0).alias("sum"), F.lit(0.0).alias("weights"), F.lit(1.0).alias("weight")
    )

    def add_score(state: Column, score: Column) -> Column:
        return F.struct(
            (state["sum"] + state["weight"] * score).alias("sum"),
            (state["weights"] + state["weight"]).alias("weights"),
            (state["weight"] * kept_weight).alias("weight"),
        )

    state = F.aggregate(newest_first, initial_state, add_score)
    return state["sum"] / state["weights"]
