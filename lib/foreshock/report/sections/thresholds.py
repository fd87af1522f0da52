"""Thresholds: those over all partitions, and what each partition alone would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foreshock.report.judging import (
    judging_rule,
    judging_thresholds,
    of_main_group,
    pooled_threshold,
)
from foreshock.report.plots.by_partition import PartitionBar, partition_bars
from foreshock.report.records.data import ReportData
from foreshock.report.records.rows import JudgingRule, ThresholdRow

MOST_ROWS = 200


@dataclass(frozen=True)
class Thresholds:
    """rule: the one that judges. pooled: rows of all rules over all partitions, the model's first.

    by_partition: the model's by that rule. fits: their figure.
    """

    rule: JudgingRule | None
    pooled: list[ThresholdRow]
    by_partition: list[ThresholdRow]
    fits: str
    most_rows: int = MOST_ROWS


def build_thresholds(data: ReportData) -> Thresholds:
    """Thresholds, pooled and by partition.

    The pooled ones are of every rule and detector; the others are of the rule that judges.
    """
    pooled_rows = [
        threshold_row for threshold_row in data.thresholds if threshold_row.partition is None
    ]
    partition_rows = [
        threshold_row
        for threshold_row in judging_thresholds(data, data.model)
        if threshold_row.partition is not None
    ]
    pooled_limit = pooled_threshold(data, data.model)
    return Thresholds(
        rule=judging_rule(data),
        pooled=sorted(pooled_rows, key=lambda threshold_row: threshold_row.detector != data.model),
        by_partition=partition_rows,
        fits=partition_bars(partition_fits(partition_rows), pooled_limit, "o"),
    )


def partition_fits(rows: Sequence[ThresholdRow]) -> dict[str, list[PartitionBar]]:
    """What was fitted on to the thresholds of the main group that need no fallback.

    A threshold with a fallback is another distribution's, so it says nothing of its partition.
    """
    bars_by_origin: dict[str, list[PartitionBar]] = {
        str(threshold_row.fitted_on): [] for threshold_row in rows
    }
    for threshold_row in of_main_group(rows):
        # A fallback is drawn where it is from, not once more for each partition that borrows it.
        if not threshold_row.fallback and threshold_row.partition is not None:
            partition_bar = PartitionBar(
                threshold_row.partition,
                threshold_row.ci_low,
                threshold_row.ci_high,
                threshold_row.threshold,
            )
            bars_by_origin[str(threshold_row.fitted_on)].append(partition_bar)
    return bars_by_origin
