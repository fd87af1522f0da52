"""The ledger of extract: what became of every row of the source.

A source has one or two tables, a table has source partitions (its folders, or `*` for all), and a
source partition has rows in one or more partitions of `events/`. The ledger lies in
`events/ledger.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from foreshock.errors import DataError
from foreshock.events.column_types import CellCounts, ColumnCells

MAIN, TEST_TABLE = "main", "test"
EVENTS_FOLDERS = {MAIN: "events", TEST_TABLE: "events_test"}
# Folder names are part of the run directory, which users read.
QUARANTINE_FOLDERS = {MAIN: "quarantine", TEST_TABLE: "quarantine_test"}
# The split of kept rows whose time lies in no split.
OUTSIDE = "outside"

JsonObject = dict[str, Any]
Json = Mapping[str, Any]


def time_text(micros: int) -> str:
    """Microseconds since 1970 UTC as text.

    >>> time_text(1_672_617_600_000_000)
    '2023-01-02 00:00:00+00:00'
    """
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return moment.isoformat(sep=" ", timespec="seconds")


@dataclass(frozen=True)
class TimeSpan:
    """The first and the last time of some events, both included, in microseconds since 1970 UTC."""

    first: int
    last: int

    def covering(self, other: TimeSpan | None) -> TimeSpan:
        """The shortest span that holds both.

        >>> TimeSpan(3, 5).covering(TimeSpan(1, 4))
        TimeSpan(first=1, last=5)
        """
        if other is None:
            return self
        return TimeSpan(min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True)
class PartitionCounts:
    """What became of some rows: those of a partition, or their sum over several.

    Every row read is filtered, quarantined or kept. `nulls_by_feature` counts kept rows of train.
    """

    filtered: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)  # by reason
    kept: Mapping[str, int] = field(default_factory=dict)  # by split
    nulls_by_feature: Mapping[str, int] = field(default_factory=dict)
    train_span: TimeSpan | None = None
    event_span: TimeSpan | None = None

    @property
    def rows_read(self) -> int:
        """All rows.

        >>> PartitionCounts(filtered=1, quarantined={"nan:gas": 2}, kept={"train": 3}).rows_read
        6
        """
        return self.filtered + self.rows_quarantined + self.rows_kept

    @property
    def rows_kept(self) -> int:
        """Rows that became events, of all splits."""
        return sum(self.kept.values())

    @property
    def rows_quarantined(self) -> int:
        """Rows refused, for all reasons."""
        return sum(self.quarantined.values())

    def __add__(self, other: PartitionCounts) -> PartitionCounts:
        return PartitionCounts(
            filtered=self.filtered + other.filtered,
            quarantined=_sum(self.quarantined, other.quarantined),
            kept=_sum(self.kept, other.kept),
            nulls_by_feature=_sum(self.nulls_by_feature, other.nulls_by_feature),
            train_span=_cover(self.train_span, other.train_span),
            event_span=_cover(self.event_span, other.event_span),
        )

    def summary(self) -> dict[str, int | dict[str, int]]:
        """Rows read, filtered, quarantined and kept, for the log and the table `runs`."""
        return {
            "rows_read": self.rows_read,
            "filtered": self.filtered,
            "quarantined": dict(self.quarantined),
            "kept": dict(self.kept),
        }

    def to_mapping(self) -> JsonObject:
        """The counts as ledger.json holds them."""
        return {
            **self.summary(),
            "nulls": dict(self.nulls_by_feature),
            "train": _span_to_list(self.train_span),
            "time": _span_to_list(self.event_span),
        }

    @classmethod
    def from_mapping(cls, mapping: Json) -> PartitionCounts:
        """The counts that `to_mapping` wrote.

        >>> counts = PartitionCounts(kept={"train": 3}, train_span=TimeSpan(1, 2))
        >>> PartitionCounts.from_mapping(counts.to_mapping()) == counts
        True
        """
        return cls(
            mapping["filtered"],
            mapping["quarantined"],
            mapping["kept"],
            mapping["nulls"],
            _span_from_list(mapping["train"]),
            _span_from_list(mapping["time"]),
        )


def _sum(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    # A Counter would drop zeros, and a feature without nulls is recorded with 0.
    keys = [*left, *(key for key in right if key not in left)]
    return {key: left.get(key, 0) + right.get(key, 0) for key in keys}


def _cover(left: TimeSpan | None, right: TimeSpan | None) -> TimeSpan | None:
    return right if left is None else left.covering(right)


def _span_to_list(span: TimeSpan | None) -> list[int]:
    return [] if span is None else [span.first, span.last]


def _span_from_list(times: list[int]) -> TimeSpan | None:
    return TimeSpan(*times) if times else None


@dataclass(frozen=True)
class SourcePartitionEntry:
    """A source partition that was extracted.

    fingerprint: that of its files, or `partial` where only some partitions were asked for.
    partitions: the counts of its rows, by partition of `events/`.
    cells: what its text columns parse as; None where types are not inferred.
    """

    fingerprint: str
    partitions: Mapping[str, PartitionCounts] = field(default_factory=dict)
    cells: ColumnCells | None = None

    @property
    def rows_read(self) -> int:
        """All rows of the source partition."""
        return sum(counts.rows_read for counts in self.partitions.values())

    def to_mapping(self) -> JsonObject:
        """The entry as ledger.json holds it; `cells` is there only if types are inferred."""
        partitions = {
            partition: counts.to_mapping() for partition, counts in self.partitions.items()
        }
        # Prepare's fingerprint is a hash of this mapping, so a key more or less repeats all work.
        mapping: JsonObject = {"fingerprint": self.fingerprint, "partitions": partitions}
        if self.cells is not None:
            mapping["cells"] = {column: cells.to_list() for column, cells in self.cells.items()}
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Json) -> SourcePartitionEntry:
        """The entry that `to_mapping` wrote."""
        cells: ColumnCells | None = None
        if "cells" in mapping:
            cells = {
                column: CellCounts.from_list(counts) for column, counts in mapping["cells"].items()
            }
        partitions = mapping["partitions"].items()
        return cls(
            mapping["fingerprint"],
            {partition: PartitionCounts.from_mapping(counts) for partition, counts in partitions},
            cells,
        )


SourcePartitions = Mapping[str, SourcePartitionEntry]
"""What was extracted of a table, by source partition."""


@dataclass(frozen=True)
class Ledger:
    """What was extracted, by table (`main`, `test`) and source partition."""

    tables: Mapping[str, SourcePartitions] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was extracted yet."""
        return not self.tables

    def entries(self, table: str) -> SourcePartitions:
        """What was extracted of a table, by source partition; empty if nothing was."""
        return self.tables.get(table, {})

    def partitions(self, table: str) -> Iterator[tuple[str, PartitionCounts]]:
        """Each partition of `events/` with its counts.

        One that has rows of two source partitions comes twice.
        """
        for entry in self.entries(table).values():
            yield from entry.partitions.items()

    def total(self, table: str | None = None) -> PartitionCounts:
        """The counts of all partitions of one table, or of both, together.

        >>> monday = SourcePartitionEntry("a1", {"2023-01-02": PartitionCounts(kept={"train": 2})})
        >>> tuesday = SourcePartitionEntry("b2", {"2023-01-03": PartitionCounts(kept={"test": 1})})
        >>> Ledger({"main": {"2023-01-02": monday, "2023-01-03": tuesday}}).total().kept
        {'train': 2, 'test': 1}
        """
        total_counts = PartitionCounts()
        for table_name in self.tables if table is None else (table,):
            for _, counts in self.partitions(table_name):
                total_counts += counts
        return total_counts

    def kept_partitions(self) -> list[str]:
        """The partitions that hold events, of all tables, sorted.

        >>> partitions = {"x": PartitionCounts(kept={"train": 2}), "y": PartitionCounts()}
        >>> entry = SourcePartitionEntry("a1", partitions)
        >>> Ledger({"main": {"*": entry}}).kept_partitions()
        ['x']
        """
        named = (pair for table in self.tables for pair in self.partitions(table))
        return sorted({partition for partition, counts in named if counts.kept})

    def to_mapping(self) -> JsonObject:
        """The ledger as ledger.json holds it."""
        return {
            table: {
                source_partition: entry.to_mapping() for source_partition, entry in entries.items()
            }
            for table, entries in self.tables.items()
        }

    @classmethod
    def from_mapping(cls, mapping: Json) -> Ledger:
        """The ledger that `to_mapping` wrote. Raises DataError for a mapping that is no ledger.

        >>> Ledger.from_mapping({"main": {"*": {"fingerprint": "a1"}}})
        Traceback (most recent call last):
        foreshock.errors.DataError: not a ledger of extract (KeyError: 'partitions').
        """
        try:
            return cls(
                {
                    table: {
                        source_partition: SourcePartitionEntry.from_mapping(entry)
                        for source_partition, entry in entries.items()
                    }
                    for table, entries in mapping.items()
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"not a ledger of extract ({type(error).__name__}: {error}).") from None
