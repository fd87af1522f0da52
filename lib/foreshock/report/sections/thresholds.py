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
    """Thresholds, pooled and by partition."""
    pooled = [row for row in data.thresholds if row.partition is None]
    rows = [row for row in judging_thresholds(data, data.model) if row.partition is not None]
    limit = pooled_threshold(data, data.model)
    return Thresholds(
        rule=judging_rule(data),
        pooled=sorted(pooled, key=lambda row: row.detector != data.model),
        by_partition=rows,
        fits=partition_bars(partition_fits(rows), limit, "o"),
    )


def partition_fits(rows: Sequence[ThresholdRow]) -> dict[str, list[PartitionBar]]:
    """What was fitted on to the thresholds of the main group that need no fallback."""
    fits: dict[str, list[PartitionBar]] = {str(row.fitted_on): [] for row in rows}
    for row in of_main_group(rows):
        if not row.fallback and row.partition is not None:
            bar = PartitionBar(row.partition, row.ci_low, row.ci_high, row.threshold)
            fits[str(row.fitted_on)].append(bar)
    return fits
