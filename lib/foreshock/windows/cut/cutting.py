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
        """What cutting needs of a file's events behind their halo."""
        times, split = events[C.EVENT_TIME].to_numpy(), events[SPLIT].to_numpy()
        starts = sequence_starts(entity_starts(events), times, self.grid.max_gap)
        starts[:1] = self.files.places[number].begins_sequence
        admitted = (split == Split.TRAIN) & events[C.TRAIN_OK].to_numpy()
        return EventFacts(starts, split, admitted, times < self.validation_time)

    def blocks(self, facts: EventFacts, number: int) -> WindowBlocks:
        """The blocks that a file owns."""
        return cut_blocks(facts, self.files.places[number], self.grid)

    def rest(self, events: pa.Table, facts: EventFacts, number: int) -> pa.Table:
        """The file's events at which no window of their split ends, each with its reason."""
        place = self.files.places[number]
        why = reasons(facts, place, self.grid)
        has_none = (why != NoWindow.WINDOW_ENDS) & (facts.split != Split.OUTSIDE)
        has_none[: place.halo] = False
        texts = np.array([reason.text for reason in NoWindow])[why[has_none]]
        without = events.filter(pa.array(has_none))
        without = without.append_column(C.REASON, pa.array(texts.tolist(), pa.string()))
        return without.select(REST.names).cast(REST)


@dataclass(frozen=True)
class BlockCount:
    """Blocks of one role, and the rows that they hold, padding included."""

    blocks: int = 0
    rows: int = 0

    def __add__(self, other: BlockCount) -> BlockCount:
        return BlockCount(self.blocks + other.blocks, self.rows + other.rows)


RoleCounts = Mapping[BlockRole, BlockCount]


def count_by_role(blocks: WindowBlocks, grid: WindowGrid) -> dict[BlockRole, BlockCount]:
    """How many blocks of each role a file cuts."""
    steps = blocks.steps(grid)
    is_role = {role: blocks.role == role for role in BlockRole}
    return {
        role: BlockCount(int(mask.sum()), int(steps[mask].sum())) for role, mask in is_role.items()
    }


def total_counts(counts: Sequence[RoleCounts]) -> dict[BlockRole, BlockCount]:
    """How many blocks of each role all files cut."""
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
    running = dict.fromkeys(BlockRole, BlockCount())
    running[BlockRole.VALIDATION] = BlockCount(fit_blocks)
    firsts = []
    for file_counts in counts:
        firsts.append(dict(running))
        running = {role: running[role] + file_counts[role] for role in BlockRole}
    return firsts
