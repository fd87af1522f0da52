"""Files of events in total order, each read with the rows before it that it needs. No Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from foreshock import columns as C
from foreshock.platform.parquet import parquet_file, read_table
from foreshock.sequences.halos import FilePlace, FileSummary, summarize
from foreshock.sequences.order import TABLE, entity_starts, is_on_or_after, sequence_starts


@dataclass(frozen=True)
class SortedFiles:
    """Events in total order as files, with each file's place; `longest`: events of the longest
    sequence.
    """

    paths: tuple[str, ...]
    places: tuple[FilePlace, ...]
    longest: int

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, number: int, columns: Sequence[str]) -> pa.Table:
        """A file's rows behind its halo, which may lie in several files before it."""
        names = list(columns)
        tables = [read_table(self.paths[number], columns=names)]
        missing, earlier = self.places[number].halo, number - 1
        while missing > 0:
            rows = last_rows(self.paths[earlier], missing, names)
            tables.insert(0, rows)
            missing -= len(rows)
            earlier -= 1
        return pa.concat_tables(tables)


def last_rows(path: str, count: int, columns: list[str]) -> pa.Table:
    """The last `count` rows of a file, or all where it holds fewer; only the row groups that hold
    them are read.
    """
    with parquet_file(path) as file:
        groups: list[int] = []
        rows = 0
        for group in range(file.num_row_groups - 1, -1, -1):
            if rows >= count:
                break
            groups.insert(0, group)
            rows += file.metadata.row_group(group).num_rows
        table = file.read_row_groups(groups, columns=columns).select(columns)
    return table.slice(max(0, len(table) - count))


def summarize_file(path: str, max_gap: int | None, first_time: int) -> FileSummary:
    """The summary of a file; `first_time`: of the run's first event, before which its donor's tails
    lie.
    """
    events = read_table(path, columns=[TABLE, C.ENTITY, C.EVENT_TIME])
    if not len(events):
        return FileSummary(0)
    first, last = (f"{events[TABLE][row]}/{events[C.ENTITY][row]}" for row in (0, -1))
    times = events[C.EVENT_TIME].to_numpy()
    starts = sequence_starts(entity_starts(events), times, max_gap)
    numbered = int(is_on_or_after(events, first_time).sum())
    return summarize(first, last, starts, times, numbered)
