"""Which thresholds judge: those of the deciding rule, a rule being its name and its level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, TypeVar

from foreshock.columns import ALL
from foreshock.report.records.data import ReportData
from foreshock.report.records.rows import JudgingRule, ThresholdRow


class GroupRow(Protocol):
    """A row that belongs to a group and counts events."""

    @property
    def group(self) -> str:
        """The group; `all`: all groups together."""

    @property
    def n(self) -> int | None:
        """Events counted."""


GroupRowType = TypeVar("GroupRowType", bound=GroupRow)


def main_group(rows: Iterable[GroupRow]) -> str | None:
    """The group that a figure shows: `all`, or else the one with the most events.

    Returns None without rows.

    >>> from foreshock.report.records.rows import PartitionRow
    >>> main_group([PartitionRow("pca", "test", "2024-01-01", "small", 5)])
    'small'
    """
    group_events: Counter[str] = Counter()
    for group_row in rows:
        group_events[group_row.group] += group_row.n or 0
    if ALL in group_events:
        return ALL
    # Of groups with as many events the first counts, so that a page stays as it is.
    return max(group_events, key=lambda group: group_events[group], default=None)


def of_main_group(rows: Iterable[GroupRowType]) -> list[GroupRowType]:
    """The rows of the main group, in order.

    >>> from foreshock.report.records.rows import PartitionRow
    >>> day = "2024-01-01"
    >>> rows = [PartitionRow("pca", "test", day, group, n) for group, n in (("a", 5), ("b", 9))]
    >>> [row.group for row in of_main_group(rows)]
    ['b']
    """
    group_rows = list(rows)
    shown_group = main_group(group_rows)
    return [group_row for group_row in group_rows if group_row.group == shown_group]


def judging_rule(data: ReportData) -> JudgingRule | None:
    """The rule that decides: the summary's, or else that of the first threshold.

    >>> from foreshock.report.records.run import RunSummary
    >>> rule = JudgingRule("quantile", 0.999)
    >>> str(judging_rule(ReportData(RunSummary("run-1", "pca", ("pca",), rule=rule))))
    'quantile 0.999'
    """
    if data.summary.rule is not None:
        return data.summary.rule
    return data.thresholds[0].judging_rule if data.thresholds else None


def judging_thresholds(data: ReportData, detector: str) -> list[ThresholdRow]:
    """A detector's thresholds by the deciding rule, pooled ones and those of partitions.

    They come in the order of the table, and are none if no rule decides.
    """
    deciding_rule = judging_rule(data)
    return [
        threshold_row
        for threshold_row in data.thresholds
        if threshold_row.detector == detector and threshold_row.judging_rule == deciding_rule
    ]


def pooled_thresholds(data: ReportData, detector: str) -> list[ThresholdRow]:
    """A detector's deciding thresholds over all partitions: one a group, the main group first.

    The groups with more events come before those with fewer.
    """
    pooled_rows = [
        threshold_row
        for threshold_row in judging_thresholds(data, detector)
        if threshold_row.partition is None
    ]
    first_group = main_group(pooled_rows)
    # The main group first, then the groups with the most events.
    return sorted(
        pooled_rows,
        key=lambda threshold_row: (threshold_row.group != first_group, -(threshold_row.n or 0)),
    )


def pooled_threshold(data: ReportData, detector: str) -> ThresholdRow | None:
    """The main group's threshold of `pooled_thresholds`; None if there is none.

    Figures with room for one threshold show it.
    """
    return next(iter(pooled_thresholds(data, detector)), None)
