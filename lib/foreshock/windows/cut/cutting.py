"""Cuts one sorted file: from its events to facts, blocks and the events that end no window. No
Spark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foreshock import columns as C
from foreshock.sequences.order import SPLIT, entity_starts, sequence_starts
from foreshock.sequences.sorted_files import SortedFiles
from foreshock.sequences.split import BlockRole, Split
from foreshock.windows.cut.blocks import EventFacts, NoWindow, WindowBlocks, cut_blocks, reasons
from foreshock.windows.cut.grid import WindowGrid

REST = pa.schema(
    [
        (SPLIT, pa.int8()),
        (C.PARTITION, pa.string()),
        (C.GROUP, pa.string()),
        (C.ENTITY, pa.string()),
        (C.EVENT_ID, pa.string()),
        (C.EVENT_TIME, pa.int64()),
        (C.LABEL, pa.int8()),
        (C.KIND, pa.string()),
        (C.CALIBRATE_OK, pa.bool_()),
        (C.REASON, pa.string()),
    ]
)


@dataclass(frozen=True)
class Cutting:
    """What every file's task needs to cut windows.

    validation_time: where the validation part of train begins. first_time: of the run's first
    event; what is before it is of its donor's tails. Both in microseconds.
    """

    files: SortedFiles
    grid: WindowGrid
    validation_time: int
    first_time: int = 0

    def facts(self, events: pa.Table, number: int) -> EventFacts:
        """What cutting needs of a file's events behind their halo.

        events: a table with the columns SHAPE (`sequences.order`). number: the file's in `files`.
        """
        event_times, event_splits = events[C.EVENT_TIME].to_numpy(), events[SPLIT].to_numpy()
        sequence_begins = sequence_starts(entity_starts(events), event_times, self.grid.max_gap)
        # The halo begins within a sequence unless it reaches back to its start.
        sequence_begins[:1] = self.files.places[number].begins_sequence
        admitted = (event_splits == Split.TRAIN) & events[C.TRAIN_OK].to_numpy()
        return EventFacts(
            sequence_begins, event_splits, admitted, event_times < self.validation_time
        )

    def blocks(self, facts: EventFacts, number: int) -> WindowBlocks:
        """The blocks that a file owns.

        facts: those of `facts`, of the same file.
        """
        return cut_blocks(facts, self.files.places[number], self.grid)

    def rest(self, events: pa.Table, facts: EventFacts, number: int) -> pa.Table:
        """The file's events at which no window of their split ends, each with its reason.

        events, facts: of the same file. Returns a table of REST; events outside every split are not
        in it.
        """
        place = self.files.places[number]
        reason_codes = reasons(facts, place, self.grid)
        has_none = (reason_codes != NoWindow.WINDOW_ENDS) & (facts.split != Split.OUTSIDE)
        # The halo's events are told of by the files that hold them.
        has_none[: place.halo] = False
        reason_texts = np.array([reason.text for reason in NoWindow])[reason_codes[has_none]]
        rest_events = events.filter(pa.array(has_none))
        rest_events = rest_events.append_column(
            C.REASON, pa.array(reason_texts.tolist(), pa.string())
        )
        return rest_events.select(REST.names).cast(REST)


@dataclass(frozen=True)
class BlockCount:
    """Blocks of one role, and the rows that they hold, padding included."""

    blocks: int = 0
    rows: int = 0

    def __add__(self, other: BlockCount) -> BlockCount:
        return BlockCount(self.blocks + other.blocks, self.rows + other.rows)


RoleCounts = Mapping[BlockRole, BlockCount]


def count_by_role(blocks: WindowBlocks, grid: WindowGrid) -> dict[BlockRole, BlockCount]:
    """How many blocks of each role a file cuts, and the rows in them.

    >>> blocks = WindowBlocks(*np.array([[0, 4], [2, 1], [1, 4], [0, 0]]))
    >>> grid = WindowGrid(length=3, stride=1, block=8, max_gap=None, pad=False)
    >>> count_by_role(blocks, grid)[BlockRole.FIT]
    BlockCount(blocks=1, rows=4)
    """
    block_rows = blocks.steps(grid)
    is_role = {role: blocks.role == role for role in BlockRole}
    return {
        role: BlockCount(int(of_role.sum()), int(block_rows[of_role].sum()))
        for role, of_role in is_role.items()
    }


def total_counts(counts: Sequence[RoleCounts]) -> dict[BlockRole, BlockCount]:
    """How many blocks of each role all files cut.

    >>> counts = [{role: BlockCount(2, 20) for role in BlockRole}] * 3
    >>> total_counts(counts)[BlockRole.TEST]
    BlockCount(blocks=6, rows=60)
    """
    return {role: sum((file[role] for file in counts), BlockCount()) for role in BlockRole}


def numbering(counts: Sequence[RoleCounts]) -> list[dict[BlockRole, BlockCount]]:
    """Of each file and role, the id of its first block and the rows in blocks of that role before
    it.

    Blocks of train are numbered with those of validation last; every other role begins at 0.

    >>> counts = [{role: BlockCount(2, 20) for role in BlockRole}] * 2
    >>> second = numbering(counts)[1]
    >>> second[BlockRole.FIT], second[BlockRole.VALIDATION]
    (BlockCount(blocks=2, rows=20), BlockCount(blocks=6, rows=20))
    """
    fit_blocks = total_counts(counts)[BlockRole.FIT].blocks
    next_numbers = dict.fromkeys(BlockRole, BlockCount())
    # One dataset holds both, so their ids must not meet.
    next_numbers[BlockRole.VALIDATION] = BlockCount(fit_blocks)
    first_numbers = []
    for file_counts in counts:
        first_numbers.append(dict(next_numbers))
        next_numbers = {role: next_numbers[role] + file_counts[role] for role in BlockRole}
    return first_numbers
