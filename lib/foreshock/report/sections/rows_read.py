"""What was read, and what became of it: counts that add up, and the dataset of windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foreshock.report.records.data import ReportData
from foreshock.report.records.fit import DatasetSize
from foreshock.report.records.run import RunCounts
from foreshock.report.wording import format_number

MEANINGS = {
    "filtered": "left out by events.where",
    "quarantined": "broke the event contract; kept in quarantine/ with the reason",
    "outside_splits": "in none of the times of train, calibration and test",
    "train": "all events of the training split",
    "judged": "events of calibration and test with a score",
    "unjudged": "events of calibration and test without one",
    "warm_up": "too few events before it in its sequence to fill a window",
    "stride": "no window ends at it",
    "short_sequence": "its sequence is shorter than a window",
}
LINES = ("filtered", "quarantined", "outside_splits", "train", "judged", "unjudged")


@dataclass(frozen=True)
class Reason:
    """Why rows are in a line; meaning "": there is no more to say than its name."""

    name: str
    count: int
    meaning: str


@dataclass(frozen=True)
class CountLine:
    """A line of the table. start, width: of its bar, in percent of the rows read.

    count None: not known.
    """

    name: str
    count: int | None
    start: float
    width: float
    meaning: str
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class RowsRead:
    """adds_up: whether the lines are all rows read; None if it is not known. check: the same in
    words. dataset: split to the size of its windows."""

    rows_read: int | None
    lines: tuple[CountLine, ...]
    adds_up: bool | None
    check: str
    dataset: Mapping[str, DatasetSize]


def build_rows_read(data: ReportData) -> RowsRead:
    """What became of the rows read."""
    counts = data.summary.counts
    if counts is None:
        lines = tuple(CountLine(name, None, 0.0, 0.0, MEANINGS[name]) for name in LINES)
        unknown = "Not every count is known, so the sum cannot be checked."
        return RowsRead(None, lines, None, unknown, data.dataset)
    adds_up = counts.total == counts.rows_read
    return RowsRead(counts.rows_read, count_lines(counts), adds_up, check_sum(counts), data.dataset)


def count_lines(counts: RunCounts) -> tuple[CountLine, ...]:
    """The lines of the table, each bar where the one before it ends."""
    lines, before = [], 0
    for name in LINES:
        value = getattr(counts, name)
        by_reason: Mapping[str, int] = {} if isinstance(value, int) else value
        count = value if isinstance(value, int) else sum(by_reason.values())
        start, width = (
            100 * rows / counts.rows_read if counts.rows_read else 0.0 for rows in (before, count)
        )
        reasons = tuple(
            Reason(reason, rows, MEANINGS.get(reason, ""))
            for reason, rows in sorted(by_reason.items(), key=lambda reason: -reason[1])
        )
        lines.append(CountLine(name, count, start, width, MEANINGS[name], reasons))
        before += count
    return tuple(lines)


def check_sum(counts: RunCounts) -> str:
    """Whether the counts add up, in words.

    >>> check_sum(RunCounts(10, 1, {"null": 2}, 0, 4, 2, {"warm_up": 1}))
    'They add up: 10 = 1 + 2 + 0 + 4 + 2 + 1.'
    """
    terms = " + ".join(format_number(line.count) for line in count_lines(counts))
    total, rows_read = counts.total, counts.rows_read
    if total == rows_read:
        return f"They add up: {format_number(rows_read)} = {terms}."
    difference = format_number(abs(rows_read - total))
    comparison = "fewer" if total < rows_read else "more"
    return (
        f"They do not add up: {terms} = {format_number(total)}, which is {difference} "
        f"{comparison} than the {format_number(rows_read)} rows read."
    )
