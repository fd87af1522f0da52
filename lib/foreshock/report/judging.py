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
    """
    events: Counter[str] = Counter()
    for row in rows:
        events[row.group] += row.n or 0
    if ALL in events:
        return ALL
    return max(events, key=lambda group: events[group], default=None)


def of_main_group(rows: Iterable[GroupRowType]) -> list[GroupRowType]:
    """The rows of the main group, in order."""
    listed = list(rows)
    group = main_group(listed)
    return [row for row in listed if row.group == group]


def judging_rule(data: ReportData) -> JudgingRule | None:
    """The rule that decides: the summary's, or else that of the first threshold."""
    if data.summary.rule is not None:
        return data.summary.rule
    return data.thresholds[0].judging_rule if data.thresholds else None


def judging_thresholds(data: ReportData, detector: str) -> list[ThresholdRow]:
    """A detector's thresholds by the deciding rule, pooled ones and those of partitions."""
    rule = judging_rule(data)
    return [row for row in data.thresholds if row.detector == detector and row.judging_rule == rule]


def pooled_thresholds(data: ReportData, detector: str) -> list[ThresholdRow]:
    """A detector's deciding thresholds over all partitions: one a group, the main group first."""
    rows = [row for row in judging_thresholds(data, detector) if row.partition is None]
    group = main_group(rows)
    return sorted(rows, key=lambda row: (row.group != group, -(row.n or 0)))


def pooled_threshold(data: ReportData, detector: str) -> ThresholdRow | None:
    """The main group's threshold of `pooled_thresholds`; None if there is none."""
    return next(iter(pooled_thresholds(data, detector)), None)
