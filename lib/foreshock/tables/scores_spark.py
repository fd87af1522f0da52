"""Writes `scores` and `detector_scores` as Parquet with hive-style folders (docs: interface, Tables)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.scored.events import ScoredEvents
from foreshock.sequences.split import Split
from foreshock.tables.attribution import COLUMNS, FeatureUnits, explain
from foreshock.thresholds.rules import Judging

NO_THRESHOLD, NOT_SCORED = "no_threshold", "not_scored"
BY_DAY = ("split", C.PARTITION)
SAME_EVENT = (C.EVENT_ID, C.ENTITY, C.EVENT_TIME, C.PARTITION, "split")
KEYS = ("split", C.PARTITION, C.GROUP, C.ENTITY, C.EVENT_ID, C.EVENT_TIME, C.LABEL, C.KIND)
REST_DDL = (
    "split tinyint, partition string, `group` string, entity string, event_id string, "
    "event_time bigint, label tinyint, kind string, calibrate_ok boolean, reason string"
)


@dataclass(frozen=True)
class Rest:
    """The events that end no window, with the reason why: Parquet files of REST_DDL.

    partitions: only these are wanted; None: all.
    """

    folder: str
    partitions: tuple[str, ...] | None = None

    def judged_splits(self, spark: SparkSession) -> DataFrame:
        """Those of calibration and test."""
        rest = spark.read.schema(REST_DDL).parquet(self.folder).filter(_is_judged_split())
        if self.partitions is None:
            return rest
        return rest.filter(F.col(C.PARTITION).isin(*self.partitions))


def write_scores(
    spark: SparkSession,
    scored: ScoredEvents,
    rest: Rest | None,
    judging: Judging,
    run_id: str,
    target: Path,
    units: FeatureUnits,
) -> None:
    """Write `scores` and `detector_scores` under `target`.

    They hold every event of calibration and test, with a score of each detector or, in `scores`,
    the reason why the run's model has none.
    """
    events = _all_events(spark, scored, rest, units)
    model_score = F.col(scored.score_column(scored.model))
    limit = _threshold_column(judging, scored.model)
    has_no_threshold = model_score.isNotNull() & limit.isNull()
    reason = F.when(has_no_threshold, F.lit(NO_THRESHOLD)).otherwise(F.col(C.REASON))
    label = F.when(F.col(C.LABEL) >= 0, F.col(C.LABEL).cast("int"))
    scores = events.select(
        F.lit(run_id).alias("run_id"),
        _split_name().alias("split"),
        C.PARTITION,
        C.GROUP,
        C.ENTITY,
        C.EVENT_ID,
        F.timestamp_micros(C.EVENT_TIME).alias(C.EVENT_TIME),
        label.alias(C.LABEL),
        F.when(F.col(C.KIND) != "", F.col(C.KIND)).alias(C.KIND),
        model_score.alias("score"),
        limit.alias("threshold"),
        (model_score > limit).alias("is_anomaly"),
        reason.alias(C.REASON),
        *COLUMNS,
    )
    _write(scores, target / C.SCORES)
    if len(scored.detectors) > 1:
        beside = _detector_scores(events, scored, run_id)
        _write(beside, target / C.DETECTOR_SCORES)


def _detector_scores(events: DataFrame, scored: ScoredEvents, run_id: str) -> DataFrame:
    pairs = [
        F.struct(F.lit(detector).alias("detector"), F.col(column).alias("score"))
        for detector, column in zip(scored.detectors, scored.score_columns(), strict=True)
        if detector != scored.model
    ]
    kept = [name for name in KEYS if name not in (C.GROUP, C.LABEL, C.KIND)]
    by_detector = events.select(*kept, F.explode(F.array(*pairs)).alias("pair"))
    return by_detector.select(
        F.lit(run_id).alias("run_id"),
        _split_name().alias("split"),
        C.PARTITION,
        "pair.detector",
        C.ENTITY,
        C.EVENT_ID,
        F.timestamp_micros(C.EVENT_TIME).alias(C.EVENT_TIME),
        "pair.score",
    )


def _all_events(
    spark: SparkSession, scored: ScoredEvents, rest: Rest | None, units: FeatureUnits
) -> DataFrame:
    """The scored events of calibration and test, and those of the rest that were not scored."""
    judged = spark.read.parquet(*scored.files).filter(_is_judged_split())
    scores = scored.score_columns()
    reason = F.lit(None).cast("string")
    others = None if rest is None else rest.judged_splits(spark)
    if scored.holds_all_events:
        model_score = F.col(scored.score_column(scored.model))
        given = F.lit(NOT_SCORED)
        if others is not None:
            judged = judged.join(others.select(*SAME_EVENT, C.REASON), list(SAME_EVENT), "left")
            given = F.coalesce(F.col(C.REASON), given)
        reason = F.when(model_score.isNull(), given)
    events = judged.select(*KEYS, *scores, reason.alias(C.REASON), *explain(units))
    if others is None:
        return events
    if scored.holds_rest:
        others = others.join(judged.select(*SAME_EVENT), list(SAME_EVENT), "left_anti")
    no_scores = [F.lit(None).cast("double").alias(name) for name in scores]
    unscored = others.select(*KEYS, *no_scores, C.REASON)
    return events.unionByName(unscored, allowMissingColumns=True)


def _is_judged_split() -> Column:
    return F.col("split") >= int(Split.CALIBRATION)


def _split_name() -> Column:
    is_calibration = F.col("split") == int(Split.CALIBRATION)
    is_test = F.col("split") == int(Split.TEST)
    return F.when(is_calibration, C.CALIBRATION).when(is_test, C.TEST)


def _threshold_column(judging: Judging, detector: str) -> Column:
    """The threshold of rows with group and partition."""
    pooled = judging.get((detector, None, None))
    threshold = F.lit(pooled).cast("double")
    by_group: dict[str, float] = {}
    by_cell: dict[str, float] = {}
    for (judged_detector, group, partition), value in judging.items():
        if judged_detector == detector and partition is not None:
            by_cell[f"{group}\x00{partition}"] = value
        elif judged_detector == detector and group is not None:
            by_group[group] = value
    if set(by_group.values()) - {pooled}:
        threshold = F.coalesce(_map(by_group)[F.col(C.GROUP)], threshold)
    if by_cell:
        cell = F.concat(C.GROUP, F.lit("\x00"), C.PARTITION)
        threshold = F.coalesce(_map(by_cell)[cell], threshold)
    return threshold


def _map(values: dict[str, float]) -> Column:
    keys = F.array(*[F.lit(key) for key in values])
    return F.map_from_arrays(keys, F.array(*[F.lit(value) for value in values.values()]))


def _write(frame: DataFrame, target: Path) -> None:
    hint = ", ".join(f"`{name}`" for name in BY_DAY)
    balanced = frame.sparkSession.sql(
        f"SELECT /*+ REBALANCE({hint}) */ * FROM {{frame}}", frame=frame
    )
    ordered = balanced.sortWithinPartitions(*BY_DAY, C.ENTITY, C.EVENT_TIME, C.EVENT_ID)
    ordered.write.partitionBy(*BY_DAY).parquet(str(target))
