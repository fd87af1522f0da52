"""Which windows there are, which block holds each, and why no window ends at an event. NumPy alone.

The windows of a cell (see `grid`) that belong to one role and follow each other form one *block*. A
cell is cut by the file that holds its last event, with a halo of the events before that file.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from foreshock.sequences.halos import FilePlace, SequenceRows
from foreshock.sequences.split import BlockRole, Split
from foreshock.statistics.arrays import BoolArray, Int8Array, Int64Array
from foreshock.windows.cut.grid import WindowGrid

# Of a window that belongs to no block.
NO_ROLE = 0
# By Split; a training window that ends in the last part of train is one of VALIDATION instead.
ROLE_OF_SPLIT = np.array(
    [NO_ROLE, BlockRole.FIT, BlockRole.CALIBRATION, BlockRole.TEST], dtype=np.int8
)


class NoWindow(enum.IntEnum):
    """Why no window of an event's split ends at it.

    >>> NoWindow.WARM_UP.text, NoWindow.WINDOW_ENDS.text
    ('warm_up', '')
    """

    WINDOW_ENDS = 0  # one does
    WARM_UP = 1
    STRIDE = 2
    SHORT_SEQUENCE = 3
    NOT_A_TRAINING_WINDOW = 4

    @property
    def text(self) -> str:
        """What the column `reason` says.

        >>> [reason.text for reason in NoWindow][1:3]
        ['warm_up', 'stride']
        """
        return "" if self is NoWindow.WINDOW_ENDS else self.name.lower()


@dataclass(frozen=True)
class EventFacts:
    """What cutting needs of a file's events behind their halo (n): arrays (n,).

    starts: where sequences start (the halo belongs to the file's first one). split: Split of each
    event. admitted: whether a training window may hold the event. in_fit: whether it is before the
    validation part of train.
    """

    starts: BoolArray
    split: Int8Array
    admitted: BoolArray
    in_fit: BoolArray


@dataclass(frozen=True)
class WindowBlocks:
    """Blocks of a file, in order: arrays (m,).

    start: row of the first event, halo included. windows: how many. role: BlockRole. padding: rows
    that the first window lacks, where the sequence is shorter than it.
    """

    start: Int64Array
    windows: Int64Array
    role: Int8Array
    padding: Int64Array

    def __len__(self) -> int:
        return len(self.start)

    def steps(self, grid: WindowGrid) -> Int64Array:
        """Rows of each block (m,), padding included.

        >>> grid = WindowGrid(length=3, stride=2, block=8, max_gap=None, pad=False)
        >>> WindowBlocks(*np.array([[0], [4], [1], [0]])).steps(grid).tolist()
        [9]
        """
        return (self.windows - 1) * grid.stride + grid.length

    def events(self, grid: WindowGrid) -> Int64Array:
        """Events that each block holds (m,), padding not counted.

        >>> grid = WindowGrid(length=3, stride=1, block=8, max_gap=None, pad=True)
        >>> WindowBlocks(*np.array([[0], [1], [1], [2]])).events(grid).tolist()
        [1]
        """
        return self.steps(grid) - self.padding


def cut_blocks(facts: EventFacts, place: FilePlace, grid: WindowGrid) -> WindowBlocks:
    """The blocks that a file owns.

    >>> facts = EventFacts(
    ...     starts=np.arange(5) == 0, split=np.full(5, Split.TEST, np.int8),
    ...     admitted=np.ones(5, bool), in_fit=np.ones(5, bool))
    >>> grid = WindowGrid(length=3, stride=1, block=2, max_gap=None, pad=False)
    >>> blocks = cut_blocks(facts, FilePlace(), grid)
    >>> blocks.start.tolist(), blocks.windows.tolist()
    ([0, 2], [2, 1])
    """
    sequence_rows = SequenceRows.of(facts.starts, place)
    # A window is known by the row at which it ends: that is where its split is read.
    last_rows = np.flatnonzero(
        _ends_window(sequence_rows, grid) & _is_owned(sequence_rows, place, grid)
    )
    window_roles = _roles(facts, sequence_rows, grid)[last_rows]
    sequence_numbers = sequence_rows.per_row(np.arange(len(sequence_rows.begin)))[last_rows]
    cell_numbers = _ordinals(sequence_rows, grid)[last_rows] // grid.cell_windows
    is_first = np.ones(len(last_rows), np.bool_)
    is_first[1:] = (
        (np.diff(sequence_numbers) != 0)
        | (np.diff(cell_numbers) != 0)
        | (np.diff(window_roles) != 0)
    )
    first_windows = np.flatnonzero(is_first)
    window_counts = np.diff(np.append(first_windows, len(last_rows)))
    # A window is padded only if its whole sequence is shorter, so its block has no other window.
    padding_rows = np.maximum(0, grid.length - sequence_rows.whole[last_rows[first_windows]])
    start_rows = last_rows[first_windows] - (grid.length - 1) + padding_rows
    # Windows outside every split part the blocks beside them, and are then left out.
    has_role = window_roles[first_windows] != NO_ROLE
    return WindowBlocks(
        start_rows[has_role],
        window_counts[has_role],
        window_roles[first_windows][has_role],
        padding_rows[has_role],
    )


def reasons(facts: EventFacts, place: FilePlace, grid: WindowGrid) -> Int8Array:
    """Why no window of its split ends at each row (n,), as NoWindow.

    >>> facts = EventFacts(
    ...     starts=np.arange(4) == 0, split=np.full(4, Split.TEST, np.int8),
    ...     admitted=np.ones(4, bool), in_fit=np.ones(4, bool))
    >>> grid = WindowGrid(length=2, stride=2, block=2, max_gap=None, pad=False)
    >>> [NoWindow(reason).text for reason in reasons(facts, FilePlace(), grid)]
    ['warm_up', '', 'stride', '']
    """
    sequence_rows = SequenceRows.of(facts.starts, place)
    ends_window = _ends_window(sequence_rows, grid)
    is_warm_up = sequence_rows.index < grid.length - 1
    is_short = (sequence_rows.whole < grid.length) & (not grid.pad)
    is_training = facts.split == Split.TRAIN
    # A window ends here, but train does not admit one of its events.
    is_mixed = ends_window & is_training & (_roles(facts, sequence_rows, grid) == NO_ROLE)
    # A later line wins: in a short sequence that is the reason, even for its warm-up.
    reason_of_row = np.where(is_warm_up, NoWindow.WARM_UP, NoWindow.STRIDE)
    reason_of_row = np.where(is_short, NoWindow.SHORT_SEQUENCE, reason_of_row)
    reason_of_row = np.where(ends_window, NoWindow.WINDOW_ENDS, reason_of_row)
    return np.where(is_mixed, NoWindow.NOT_A_TRAINING_WINDOW, reason_of_row).astype(np.int8)


def _ordinals(rows: SequenceRows, grid: WindowGrid) -> Int64Array:
    """The ordinal in its sequence of the window that ends at each row; of a padded one 0."""
    return np.maximum(0, rows.index - (grid.length - 1)) // grid.stride


def _ends_window(rows: SequenceRows, grid: WindowGrid) -> BoolArray:
    """Whether a window ends at each row, of whatever split: a whole one, or a padded one."""
    window_start = rows.index - (grid.length - 1)
    is_whole: BoolArray = (window_start >= 0) & (window_start % grid.stride == 0)
    if not grid.pad:
        return is_whole
    is_padded: BoolArray = (rows.whole < grid.length) & (rows.index == rows.whole - 1)
    return np.logical_or(is_whole, is_padded)


def _is_owned(rows: SequenceRows, place: FilePlace, grid: WindowGrid) -> BoolArray:
    """Whether this file cuts the cell of the window that ends at each row: it holds the cell's last
    event.
    """
    cell_numbers = _ordinals(rows, grid) // grid.cell_windows
    is_owned = np.ones(len(cell_numbers), np.bool_)
    # Earlier cells of the first sequence were cut by files before this one.
    if place.first_index:
        first_length = rows.lengths[0]
        is_owned[:first_length] = cell_numbers[:first_length] >= grid.first_cell(place.first_index)
    # A cell that goes on is left to a later file.
    if place.beyond:
        last_begin, last_index = rows.begin[-1], rows.index[-1]
        cell_last_event = (cell_numbers[last_begin:] + 1) * grid.cell_windows - 1
        cell_last_event = cell_last_event * grid.stride + grid.length - 1
        is_owned[last_begin:] &= cell_last_event <= last_index
    return is_owned


def _roles(facts: EventFacts, rows: SequenceRows, grid: WindowGrid) -> Int8Array:
    """The role of a window that ends at each row; NO_ROLE outside splits and where train does not
    admit it.
    """
    split_roles = ROLE_OF_SPLIT[facts.split]
    is_training = facts.split == Split.TRAIN
    # The cumulated sums are for training windows alone.
    if not is_training.any():
        return split_roles
    # Events refused before each row: the count rises over a window that holds one.
    refused_before = np.concatenate([[0], np.cumsum(~facts.admitted)])
    rows_after = np.arange(len(split_roles)) + 1
    window_events = np.minimum(rows.index + 1, grid.length)
    is_clean = (
        refused_before[rows_after] == refused_before[np.maximum(rows_after - window_events, 0)]
    )
    training_roles = np.where(facts.in_fit, BlockRole.FIT, BlockRole.VALIDATION)
    training_roles = np.where(is_clean, training_roles, NO_ROLE).astype(np.int8)
    return np.where(is_training, training_roles, split_roles)
