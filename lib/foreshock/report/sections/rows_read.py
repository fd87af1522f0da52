"""What was read, and what became of it: counts that add up, and the dataset of windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foreshock.report.records.data import ReportData
from foreshock.report.records.fit import DatasetSize
from foreshock.report.records.run import RunCounts
from foreshock.report.wording import format_number

LINE_MEANINGS = {
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
LINE_NAMES = ("filtered", "quarantined", "outside_splits", "train", "judged", "unjudged")


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
    """What became of the rows read.

    >>> from foreshock.report.records.run import RunSummary
    >>> build_rows_read(ReportData(RunSummary("run-1", "pca", ("pca",)))).check
    'Not every count is known, so the sum cannot be checked.'
    """
    counts = data.summary.counts
    if counts is None:
        unknown_lines = tuple(
            CountLine(line_name, None, 0.0, 0.0, LINE_MEANINGS[line_name])
            for line_name in LINE_NAMES
        )
        unknown_sum = "Not every count is known, so the sum cannot be checked."
        return RowsRead(None, unknown_lines, None, unknown_sum, data.dataset)
    # The stage has checked it already; the page shows the sum to those who doubt it.
    adds_up = counts.total == counts.rows_read
    return RowsRead(counts.rows_read, count_lines(counts), adds_up, check_sum(counts), data.dataset)


def count_lines(counts: RunCounts) -> tuple[CountLine, ...]:
    """The lines of the table, each bar where the one before it ends.

    >>> lines = count_lines(RunCounts(10, 1, {"null": 2}, 0, 4, 2, {"warm_up": 1}))
    >>> [(line.name, line.start, line.width) for line in lines][1]
    ('quarantined', 10.0, 20.0)
    """
    listed_lines, rows_before = [], 0
    for line_name in LINE_NAMES:
        line_value = getattr(counts, line_name)
        by_reason: Mapping[str, int] = {} if isinstance(line_value, int) else line_value
        line_count = line_value if isinstance(line_value, int) else sum(by_reason.values())
        bar_start, bar_width = (
            100 * row_count / counts.rows_read if counts.rows_read else 0.0
            for row_count in (rows_before, line_count)
        )
        line_reasons = tuple(
            Reason(reason_name, row_count, LINE_MEANINGS.get(reason_name, ""))
            for reason_name, row_count in sorted(
                by_reason.items(), key=lambda reason_name: -reason_name[1]
            )
        )
        listed_lines.append(
            CountLine(
                line_name, line_count, bar_start, bar_width, LINE_MEANINGS[line_name], line_reasons
            )
        )
        rows_before += line_count
    return tuple(listed_lines)


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
