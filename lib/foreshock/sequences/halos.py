"""Where each file of sorted events lies within the sequences that it shares with its neighbours.

A sequence may reach over several files. Each file's summary is made alone; the summaries together
tell each file how many events of its first sequence came before, and how many of its last come
after. NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foreshock.statistics.arrays import AnyArray, BoolArray, Int64Array


@dataclass(frozen=True)
class FileSummary:
    """What its neighbours need to know of a file: its ends, and the sequences that touch them.

    leading, trailing: events of its first and last sequence. longest: of its longest sequence.
    numbered: its events that have a position (those of the run, not of its donor's tails).
    Times are microseconds.
    """

    rows: int
    first_entity: str = ""
    first_time: int = 0
    last_entity: str = ""
    last_time: int = 0
    leading: int = 0
    trailing: int = 0
    longest: int = 0
    numbered: int = 0


@dataclass(frozen=True)
class FilePlace:
    """A file's place in the total order.

    first_index: of its first event, in that event's sequence. halo: rows before it, in other files,
    that are read with it. beyond: events of its last sequence in later files. previous_time: of the
    last event of its first entity in earlier files, microseconds. first_position: numbered events
    in earlier files.
    """

    first_index: int = 0
    halo: int = 0
    beyond: int = 0
    previous_time: int | None = None
    first_position: int = 0

    @property
    def begins_sequence(self) -> bool:
        """Whether the halo's first row begins a sequence.

        >>> FilePlace(first_index=3, halo=2).begins_sequence
        False
        """
        return self.first_index == self.halo


def summarize(
    first_entity: str, last_entity: str, starts: BoolArray, times: Int64Array, numbered: int = 0
) -> FileSummary:
    """The summary of a file from its sequence starts (n,) and its events' times (n,).

    >>> starts = np.array([True, False, False, True])
    >>> summary = summarize("a", "b", starts, np.array([1, 2, 3, 2]))
    >>> summary.leading, summary.trailing, summary.longest
    (3, 1, 3)
    """
    if not len(starts):
        return FileSummary(0)
    sequence_lengths = np.diff(np.append(np.flatnonzero(starts), len(starts)))
    return FileSummary(
        rows=len(starts),
        first_entity=first_entity,
        first_time=int(times[0]),
        last_entity=last_entity,
        last_time=int(times[-1]),
        leading=int(sequence_lengths[0]),
        trailing=int(sequence_lengths[-1]),
        longest=int(sequence_lengths.max()),
        numbered=numbered,
    )


def place_files(
    summaries: Sequence[FileSummary], max_gap: int | None, halo_before: Callable[[int], int]
) -> list[FilePlace]:
    """Each file's place, from the summaries of all in total order.

    halo_before: how many earlier events of a sequence are read with the event of a given index in
    it.

    >>> first = FileSummary(3, "a", 0, "a", 2, leading=3, trailing=3)
    >>> second = FileSummary(2, "a", 3, "b", 0, leading=1, trailing=1)
    >>> for place in place_files([first, second], None, lambda index: min(index, 2)):
    ...     print(place.first_index, place.halo, place.beyond, place.previous_time)
    0 0 1 None
    3 2 0 2
    """
    events_beyond = _events_beyond(summaries, max_gap)
    file_places: list[FilePlace] = []
    sequence_length = first_position = 0
    # The last file before that holds events.
    previous_file: FileSummary | None = None
    for file_number, summary in enumerate(summaries):
        # An empty file lies between its neighbours and changes nothing for them.
        if not summary.rows:
            file_places.append(FilePlace(first_position=first_position))
            continue
        first_index = sequence_length if _continues(previous_file, summary, max_gap) else 0
        same_entity = (
            previous_file is not None and previous_file.last_entity == summary.first_entity
        )
        file_places.append(
            FilePlace(
                first_index,
                halo_before(first_index),
                events_beyond[file_number],
                previous_file.last_time if previous_file is not None and same_entity else None,
                first_position,
            )
        )
        # A file within one sequence hands on its length and adds its rows.
        is_one_sequence = summary.leading == summary.rows
        sequence_length = first_index + summary.rows if is_one_sequence else summary.trailing
        first_position += summary.numbered
        previous_file = summary
    return file_places


def _continues(before: FileSummary | None, summary: FileSummary, max_gap: int | None) -> bool:
    if before is None or before.last_entity != summary.first_entity:
        return False
    return max_gap is None or summary.first_time - before.last_time <= max_gap


def _events_beyond(summaries: Sequence[FileSummary], max_gap: int | None) -> list[int]:
    """Of each file, the events of its last sequence that later files hold."""
    events_beyond = [0] * len(summaries)
    next_file: FileSummary | None = None
    # Events of the first sequence of `next_file`, with those in files after it.
    leading_events = 0
    for file_number in range(len(summaries) - 1, -1, -1):
        summary = summaries[file_number]
        if not summary.rows:
            continue
        if next_file is not None and _continues(summary, next_file, max_gap):
            events_beyond[file_number] = leading_events
        is_one_sequence = summary.leading == summary.rows
        leading_events = summary.leading + (events_beyond[file_number] if is_one_sequence else 0)
        next_file = summary
    return events_beyond


@dataclass(frozen=True)
class SequenceRows:
    """The rows of a file and its halo (n) by sequence (m of them).

    begin: row at which each sequence begins here (m,). lengths: its rows here (m,). index: of each
    row in its whole sequence (n,). whole: events of each row's sequence, in all files (n,).
    """

    begin: Int64Array
    lengths: Int64Array
    index: Int64Array
    whole: Int64Array

    @classmethod
    def of(cls, starts: BoolArray, place: FilePlace) -> SequenceRows:
        """The rows from where sequences start in them; the halo is of the file's first sequence.

        >>> starts = np.array([False, False, True])
        >>> rows = SequenceRows.of(starts, FilePlace(first_index=6, halo=1, beyond=4))
        >>> rows.index.tolist(), rows.whole.tolist()
        ([5, 6, 0], [7, 7, 5])
        """
        begin_rows = np.flatnonzero(starts)
        if len(starts) and (not len(begin_rows) or begin_rows[0] != 0):
            begin_rows = np.insert(begin_rows, 0, 0)
        row_counts = np.diff(np.append(begin_rows, len(starts)))
        whole_lengths, origin_rows = row_counts.copy(), begin_rows.copy()
        # Only the first sequence can begin before the halo, and only the last can go on after it.
        # Events of the first sequence before the halo.
        missing_events = place.first_index - place.halo
        origin_rows[:1] -= missing_events
        whole_lengths[:1] += missing_events
        whole_lengths[-1:] += place.beyond
        row_index = np.arange(len(starts)) - np.repeat(origin_rows, row_counts)
        return cls(begin_rows, row_counts, row_index, np.repeat(whole_lengths, row_counts))

    def per_row(self, values: AnyArray) -> AnyArray:
        """Values of sequences (m,) as values of their rows (n,).

        >>> rows = SequenceRows.of(np.array([True, False, True]), FilePlace())
        >>> rows.per_row(np.array([7, 8])).tolist()
        [7, 7, 8]
        """
        return np.repeat(values, self.lengths)


def tail_rows(
    starts: BoolArray, entity_starts: BoolArray, place: FilePlace, needed: int, stride: int = 1
) -> BoolArray:
    """Which rows of a file and its halo (n) a later run needs: the end of each entity's last
    sequence.

    That is its last `needed` events, and up to stride − 1 before them, so that the tail begins
    where a window does. A sequence that goes on in the next file is left to that file.

    >>> starts = np.array([True, False, False, True, False])
    >>> tail_rows(starts, starts, FilePlace(), needed=1).tolist()
    [False, False, True, False, True]
    """
    sequence_rows = SequenceRows.of(starts, place)
    last_row = sequence_rows.begin + sequence_rows.lengths - 1
    is_last = np.append(entity_starts, True)[last_row + 1]
    # The entity goes on in the next file, which keeps its tail.
    if place.beyond:
        is_last[-1:] = False
    end_index = sequence_rows.index[last_row] + 1
    begin_index = np.maximum(0, end_index - needed) // stride * stride
    return np.asarray(
        sequence_rows.per_row(is_last) & (sequence_rows.index >= sequence_rows.per_row(begin_index))
    )
