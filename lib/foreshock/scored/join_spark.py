"""Joins the scored events of two detector families: one row an event, in Spark."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from foreshock.scored import schema
from foreshock.scored.events import ScoredEvents
from foreshock.scored.rewrite_spark import schema_ddl, written_files

# What tells one event from another, whichever family scored it.
EVENT = (
    schema.SPLIT,
    schema.ENTITY,
    schema.EVENT_ID,
    schema.EVENT_TIME,
    schema.PARTITION,
)


def joined(
    spark: SparkSession,
    first: ScoredEvents,
    second: ScoredEvents,
    detectors: tuple[str, ...],
    target: Path,
) -> ScoredEvents:
    """The events that either family judged, with the scores of both; null where one did not.

    Keys and place are the first family's where it has the event, else the second's. The
    attribution is that of the family whose detector is the run's model, the first of `detectors`.
    Raises ValueError if a detector is in both families or in none.
    """
    both = [*first.detectors, *second.detectors]
    if sorted(both) != sorted(detectors):
        raise ValueError(f"of {', '.join(detectors)} the families scored {', '.join(both)}")
    model_is_first = detectors[0] in first.detectors
    explained_family = first if model_is_first else second
    first_frame, second_frame = (
        spark.read.schema(schema_ddl(schema.scored_schema(scored_family.detectors)))
        .parquet(*scored_family.files)
        .alias(frame_alias)
        for scored_family, frame_alias in ((first, "first"), (second, "second"))
    )
    joined_frame = first_frame.join(second_frame, list(EVENT), "full_outer")
    selected_columns = []
    # Columns are chosen one by one: after a full join either side of a row may be null.
    for name in schema.scored_schema(detectors).names:
        either_value = F.coalesce(F.col(f"first.{name}"), F.col(f"second.{name}"))
        if name in EVENT:
            selected_columns.append(F.col(name))
        # Never a mixture of both: the lists of the two families have different elements.
        elif name in schema.ATTRIBUTION.names:
            side = "first" if model_is_first else "second"
            selected_columns.append(F.col(f"{side}.{name}").alias(name))
        elif name in schema.KEYS.names or name in schema.PLACE.names:
            selected_columns.append(either_value.alias(name))
        else:
            selected_columns.append(F.col(name))
    joined_frame.select(*selected_columns).write.parquet(str(target))
    return ScoredEvents(
        tuple(written_files(target)),
        detectors,
        explained_family.features,
        holds_rest=first.holds_rest or second.holds_rest,
        holds_all_events=first.holds_all_events or second.holds_all_events,
        unjudged_reason=explained_family.unjudged_reason,
    )
