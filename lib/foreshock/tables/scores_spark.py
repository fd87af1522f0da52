"""Writes `scores` and `detector_scores` as Parquet with hive-style folders.

Their columns are described in `tables.describe`.
"""

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
        """Those of calibration and test, in the wanted partitions.

        The columns are those of REST_DDL; times are microseconds since 1970.
        """
        rest_events = spark.read.schema(REST_DDL).parquet(self.folder).filter(_is_judged_split())
        if self.partitions is None:
            return rest_events
        return rest_events.filter(F.col(C.PARTITION).isin(*self.partitions))


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
    all_events = _all_events(spark, scored, rest, units)
    model_score = F.col(scored.score_column(scored.model))
    threshold_column = _threshold_column(judging, scored.model)
    has_no_threshold = model_score.isNotNull() & threshold_column.isNull()
    reason_column = F.when(has_no_threshold, F.lit(NO_THRESHOLD)).otherwise(F.col(C.REASON))
    label_column = F.when(F.col(C.LABEL) >= 0, F.col(C.LABEL).cast("int"))
    score_columns = all_events.select(
        F.lit(run_id).alias("run_id"),
        _split_name().alias("split"),
        C.PARTITION,
        C.GROUP,
        C.ENTITY,
        C.EVENT_ID,
        F.timestamp_micros(C.EVENT_TIME).alias(C.EVENT_TIME),
        label_column.alias(C.LABEL),
        F.when(F.col(C.KIND) != "", F.col(C.KIND)).alias(C.KIND),
        model_score.alias("score"),
        threshold_column.alias("threshold"),
        (model_score > threshold_column).alias("is_anomaly"),
        reason_column.alias(C.REASON),
        *COLUMNS,
    )
    _write(score_columns, target / C.SCORES)
    if len(scored.detectors) > 1:
        detector_scores = _detector_scores(all_events, scored, run_id)
        _write(detector_scores, target / C.DETECTOR_SCORES)


def _detector_scores(events: DataFrame, scored: ScoredEvents, run_id: str) -> DataFrame:
    score_pairs = [
        F.struct(F.lit(detector_name).alias("detector"), F.col(score_column).alias("score"))
        for detector_name, score_column in zip(
            scored.detectors, scored.score_columns(), strict=True
        )
        if detector_name != scored.model
    ]
    kept_columns = [
        column_name for column_name in KEYS if column_name not in (C.GROUP, C.LABEL, C.KIND)
    ]
    by_detector = events.select(*kept_columns, F.explode(F.array(*score_pairs)).alias("pair"))
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
    judged_events = spark.read.parquet(*scored.files).filter(_is_judged_split())
    score_columns = scored.score_columns()
    reason_column = F.lit(None).cast("string")
    rest_events = None if rest is None else rest.judged_splits(spark)
    if scored.holds_all_events:
        model_score = F.col(scored.score_column(scored.model))
        rest_reason = F.lit(scored.unjudged_reason or NOT_SCORED)
        if rest_events is not None and scored.unjudged_reason is None:
            judged_events = judged_events.join(
                rest_events.select(*SAME_EVENT, C.REASON), list(SAME_EVENT), "left"
            )
            rest_reason = F.coalesce(F.col(C.REASON), rest_reason)
        reason_column = F.when(model_score.isNull(), rest_reason)
    all_events = judged_events.select(
        *KEYS, *score_columns, reason_column.alias(C.REASON), *explain(units)
    )
    if rest_events is None:
        return all_events
    if scored.holds_rest:
        # Left out here, for they have a row with their scores already.
        rest_events = rest_events.join(
            judged_events.select(*SAME_EVENT), list(SAME_EVENT), "left_anti"
        )
    no_scores = [F.lit(None).cast("double").alias(column_name) for column_name in score_columns]
    unscored_events = rest_events.select(*KEYS, *no_scores, C.REASON)
    return all_events.unionByName(unscored_events, allowMissingColumns=True)


def _is_judged_split() -> Column:
    return F.col("split") >= int(Split.CALIBRATION)


def _split_name() -> Column:
    is_calibration = F.col("split") == int(Split.CALIBRATION)
    is_test = F.col("split") == int(Split.TEST)
    return F.when(is_calibration, C.CALIBRATION).when(is_test, C.TEST)


def _threshold_column(judging: Judging, detector: str) -> Column:
    """The threshold of rows with group and partition."""
    pooled_threshold = judging.get((detector, None, None))
    threshold_column = F.lit(pooled_threshold).cast("double")
    by_group: dict[str, float] = {}
    by_cell: dict[str, float] = {}
    for (judged_detector, group, partition), threshold_value in judging.items():
        if judged_detector == detector and partition is not None:
            # A map's key is one text; the zero character keeps a group and its partition apart.
            by_cell[f"{group}\x00{partition}"] = threshold_value
        elif judged_detector == detector and group is not None:
            by_group[group] = threshold_value
    # A map of equal values would cost a look-up for each row and change nothing.
    if set(by_group.values()) - {pooled_threshold}:
        threshold_column = F.coalesce(_map(by_group)[F.col(C.GROUP)], threshold_column)
    if by_cell:
        cell_name = F.concat(C.GROUP, F.lit("\x00"), C.PARTITION)
        threshold_column = F.coalesce(_map(by_cell)[cell_name], threshold_column)
    return threshold_column


def _map(values: dict[str, float]) -> Column:
    map_keys = F.array(*[F.lit(map_key) for map_key in values])
    return F.map_from_arrays(
        map_keys, F.array(*[F.lit(threshold_value) for threshold_value in values.values()])
    )


def _write(frame: DataFrame, target: Path) -> None:
    hint = ", ".join(f"`{name}`" for name in BY_DAY)
    # Balanced: a partition is neither a thousand small files nor one file of a single task.
    balanced_frame = frame.sparkSession.sql(
        f"SELECT /*+ REBALANCE({hint}) */ * FROM {{frame}}", frame=frame
    )
    ordered_frame = balanced_frame.sortWithinPartitions(*BY_DAY, C.ENTITY, C.EVENT_TIME, C.EVENT_ID)
    ordered_frame.write.partitionBy(*BY_DAY).parquet(str(target))
