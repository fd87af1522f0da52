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
        """A file's rows behind its halo, which may lie in several files before it.

        number: of the file, from 0. columns: those to read.
        """
        column_names = list(columns)
        tables = [read_table(self.paths[number], columns=column_names)]
        missing_rows, earlier_file = self.places[number].halo, number - 1
        # A file may hold fewer rows than its neighbour's halo needs: then the one before it helps.
        while missing_rows > 0:
            halo_rows = last_rows(self.paths[earlier_file], missing_rows, column_names)
            tables.insert(0, halo_rows)
            missing_rows -= len(halo_rows)
            earlier_file -= 1
        return pa.concat_tables(tables)


def last_rows(path: str, count: int, columns: list[str]) -> pa.Table:
    """The last `count` rows of a file, or all if it holds fewer.

    Only the row groups that hold them are read. columns: those of the result, in their order.
    """
    with parquet_file(path) as file:
        row_groups: list[int] = []
        rows_read = 0
        for group_number in range(file.num_row_groups - 1, -1, -1):
            if rows_read >= count:
                break
            row_groups.insert(0, group_number)
            rows_read += file.metadata.row_group(group_number).num_rows
        rows_of_groups = file.read_row_groups(row_groups, columns=columns).select(columns)
    return rows_of_groups.slice(max(0, len(rows_of_groups) - count))


def summarize_file(path: str, max_gap: int | None, first_time: int) -> FileSummary:
    """The summary of a sorted file of events.

    max_gap: microseconds; a longer gap ends a sequence. first_time: of the run's first event,
    microseconds; events before it are of the donor's tails and are not numbered.
    """
    events = read_table(path, columns=[TABLE, C.ENTITY, C.EVENT_TIME])
    if not len(events):
        return FileSummary(0)
    # One entity name in both tables is two entities, so the table is part of it.
    first_entity, last_entity = (f"{events[TABLE][row]}/{events[C.ENTITY][row]}" for row in (0, -1))
    event_times = events[C.EVENT_TIME].to_numpy()
    starts = sequence_starts(entity_starts(events), event_times, max_gap)
    numbered_rows = int(is_on_or_after(events, first_time).sum())
    return summarize(first_entity, last_entity, starts, event_times, numbered_rows)
