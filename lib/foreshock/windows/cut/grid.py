"""Where windows lie in a sequence and how they are gathered into cells. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowGrid:
    """How windows are cut: length and stride in events, block in windows, max_gap in microseconds
    or None.

    A sequence's windows start at every `stride`-th event from its first. A *cell* is a fixed range
    of their ordinals, [k·W, (k+1)·W) with W = max(1, block // stride): it depends on the sequence
    alone, never on how events are partitioned. pad: whether a sequence shorter than a window gives
    a padded one.

    >>> grid = WindowGrid(length=3, stride=2, block=8, max_gap=None, pad=False)
    >>> grid.cell_windows, grid.cell_events, grid.last_event(cell=0)
    (4, 8, 8)
    """

    length: int
    stride: int
    block: int
    max_gap: int | None
    pad: bool

    @property
    def cell_windows(self) -> int:
        """Windows that a cell holds at most; at least one.

        >>> WindowGrid(length=3, stride=9, block=4, max_gap=None, pad=False).cell_windows
        1
        """
        return max(1, self.block // self.stride)

    @property
    def cell_events(self) -> int:
        """Events from one cell's first to the next cell's first.

        >>> WindowGrid(length=3, stride=2, block=8, max_gap=None, pad=False).cell_events
        8
        """
        return self.cell_windows * self.stride

    def first_cell(self, index: int) -> int:
        """The first cell that holds the event of an index in its sequence.

        >>> WindowGrid(length=3, stride=2, block=8, max_gap=None, pad=False).first_cell(10)
        1
        """
        # Of the windows that hold the event.
        first_start = max(0, index - self.length + 1)
        # Rounded up: a window that starts before `first_start` ends before the event.
        ordinal = -(-first_start // self.stride)
        return ordinal // self.cell_windows

    def last_event(self, cell: int) -> int:
        """Index of the last event of a full cell in its sequence.

        >>> WindowGrid(length=3, stride=1, block=4, max_gap=None, pad=False).last_event(1)
        9
        """
        last_ordinal = (cell + 1) * self.cell_windows - 1
        return last_ordinal * self.stride + self.length - 1

    def halo_before(self, index: int) -> int:
        """How many earlier events of its sequence are read with the event of an index in it.

        Those back to the start of the first cell that holds it, and those that the reasons why no
        window ends at an event, and the tails, look at.

        >>> WindowGrid(length=3, stride=1, block=4, max_gap=None, pad=False).halo_before(5)
        5
        """
        cell_start = self.first_cell(index) * self.cell_events
        return max(index - cell_start, min(index, self.length + self.stride - 2))
