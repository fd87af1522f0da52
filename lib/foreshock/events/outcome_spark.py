"""What became of the rows: counted by partition, and written to `events/` and `quarantine/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.events.contract_spark import BAD_LABEL, BLAMED, NULL_PREFIX, ROW_JSON, SPLIT
from foreshock.events.ledger import OUTSIDE, PartitionCounts, TimeSpan
from foreshock.events.partitions import NULL
from foreshock.events.reasons_spark import FILTERED

QUARANTINE_FILES = 4
ROW_COUNT, BAD_LABELS, FIRST, LAST = "__rows", "__bad_labels", "__first", "__last"


def count_rows(rows: DataFrame, features: Sequence[str]) -> dict[str, PartitionCounts]:
    """Every row's fate by partition, exact, in one pass over the rows.

    features: their names; of train the nulls of each are counted. Raises DataError if kept rows
    have labels other than 0 and 1.
    """
    is_kept = F.col(C.REASON).isNull()
    in_train = (F.col(SPLIT) == C.TRAIN) & is_kept
    micros = F.unix_micros(C.EVENT_TIME)
    null_columns = [NULL_PREFIX + feature for feature in features]
    # One row of the result for each way a row can end, so that everything is counted in one pass.
    groups = (
        rows.groupBy(C.PARTITION, SPLIT, C.REASON, BLAMED)
        .agg(
            F.count(F.lit(1)).alias(ROW_COUNT),
            F.count_if(BAD_LABEL).alias(BAD_LABELS),
            F.min(micros).alias(FIRST),
            F.max(micros).alias(LAST),
            *[
                F.count_if(in_train & F.col(null_column)).alias(null_column)
                for null_column in null_columns
            ],
        )
        .collect()
    )
    # Labels of refused rows do not matter: nothing is measured on them.
    bad_labels = sum(group[BAD_LABELS] for group in groups if group[C.REASON] is None)
    if bad_labels:
        raise DataError(
            f"`events.label`: {bad_labels} rows hold a label that is not 0, 1 or null. "
            "Write an expression that yields 0 for normal and 1 for anomalous events."
        )
    counts_by_partition: dict[str, PartitionCounts] = {}
    for group in groups:
        partition = group[C.PARTITION] or NULL
        so_far = counts_by_partition.get(partition, PartitionCounts())
        counts_by_partition[partition] = so_far + _counts(group, features)
    return counts_by_partition


def _counts(group: Row, features: Sequence[str]) -> PartitionCounts:
    """The counts of rows with one split, reason and blamed column."""
    row_count, reason, blamed = group[ROW_COUNT], group[C.REASON], group[BLAMED]
    if reason == FILTERED:
        return PartitionCounts(filtered=row_count)
    if reason is not None:
        return PartitionCounts(quarantined={f"{reason}:{blamed}" if blamed else reason: row_count})
    split, span = group[SPLIT] or OUTSIDE, TimeSpan(group[FIRST], group[LAST])
    if split != C.TRAIN:
        return PartitionCounts(kept={split: row_count}, event_span=span)
    return PartitionCounts(
        kept={split: row_count},
        nulls_by_feature={feature: group[NULL_PREFIX + feature] for feature in features},
        train_span=span,
        event_span=span,
    )


def write_events(rows: DataFrame, target: Path, *, aligned: bool) -> None:
    """Write the kept rows to `target/partition=…/`, features beside the raw columns that they read.

    aligned: the source's files are divided by partition already, so rows need no gathering.
    """
    hidden = [column for column in rows.columns if column.startswith("__")]
    kept_rows = rows.filter(F.col(C.REASON).isNull()).drop(
        C.REASON, BLAMED, ROW_JSON, SPLIT, *hidden
    )
    if not aligned:
        # Without it every task would write a file into every partition.
        rebalance = f"SELECT /*+ REBALANCE(`{C.PARTITION}`) */ * FROM {{kept}}"
        kept_rows = kept_rows.sparkSession.sql(rebalance, kept=kept_rows)
    kept_rows.write.partitionBy(C.PARTITION).parquet(str(target))


def write_quarantine(rows: DataFrame, target: Path) -> None:
    """Write the refused rows to `target/partition=…/`: reason, column and the row as JSON.

    Rows that events.where leaves out are not among them.
    """
    is_refused = F.col(C.REASON).isNotNull() & (F.col(C.REASON) != FILTERED)
    refused_rows = rows.filter(is_refused).select(
        C.PARTITION, C.REASON, BLAMED, C.ENTITY, C.EVENT_TIME, C.EVENT_ID, ROW_JSON
    )
    # Refused rows are few, and a file for each task would be many small ones.
    refused_rows.coalesce(QUARANTINE_FILES).write.partitionBy(C.PARTITION).parquet(str(target))
