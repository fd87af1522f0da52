"""Exact counts of gaps that merge by addition. NumPy alone.

A gap is the time since an entity's last event, in whole microseconds. Counts are kept by value. If
there are more values than `MOST_VALUES`, the lowest bits are left out, as many as it takes. How
many are left out depends on the values alone and not on the order in which counts were merged: what
a sum needs, its parts need at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import Int64Array

# Of one distribution: half a megabyte, and 1/65536 of its ranks.
MOST_VALUES = 1 << 16


@dataclass(frozen=True)
class GapCounts:
    """How often each gap occurred.

    Attributes:
        values: (V,) the gaps in microseconds, without their lowest `coarseness` bits, ascending.
        counts: (V,) how often each occurred.
        coarseness: how many of the lowest bits are left out; 0: every gap is exact.

    >>> counts = GapCounts.of([10, 30, 10])
    >>> counts.at_most([5, 10, 30]), counts.at_least([10, 11])
    (array([0, 2, 3]), array([3, 1]))
    """

    values: Int64Array
    counts: Int64Array
    coarseness: int = 0

    @classmethod
    def of(cls, gaps: npt.ArrayLike) -> GapCounts:
        """The counts of gaps (n,), in whole microseconds and none negative.

        More than MOST_VALUES different gaps are coarsened.
        """
        values, counts = np.unique(np.asarray(gaps, np.int64), return_counts=True)
        return cls(values, counts.astype(np.int64)).limited()

    @property
    def n(self) -> int:
        """How many gaps were counted."""
        return int(self.counts.sum())

    def coarsened(self, coarseness: int) -> GapCounts:
        """The same counts without so many of the lowest bits of their values.

        Counts that lack as many bits already come back as they are.

        >>> coarse = GapCounts.of([4, 5, 9]).coarsened(1)
        >>> coarse.values.tolist(), coarse.counts.tolist()
        ([2, 4], [2, 1])
        """
        if coarseness <= self.coarseness:
            return self
        kept, place = np.unique(self.values >> (coarseness - self.coarseness), return_inverse=True)
        counts = np.zeros(len(kept), np.int64)
        np.add.at(counts, place, self.counts)
        return GapCounts(kept, counts, coarseness)

    def limited(self) -> GapCounts:
        """The same counts, coarsened until there are at most MOST_VALUES values.

        No more bits are left out than that takes.
        """
        limited = self
        while len(limited.values) > MOST_VALUES:
            limited = limited.coarsened(limited.coarseness + 1)
        return limited

    def at_most(self, gaps: npt.ArrayLike) -> Int64Array:
        """How many gaps are at most as long as each of these (m,), in microseconds.

        Coarse counts compare without their lowest bits: gaps that differ in these alone are equal.

        >>> GapCounts.of([10, 30, 10]).at_most([10]).tolist()
        [2]
        """
        ranks = np.searchsorted(self.values, self._coarse(gaps), side="right")
        return np.concatenate([[0], np.cumsum(self.counts)])[ranks]

    def at_least(self, gaps: npt.ArrayLike) -> Int64Array:
        """How many gaps are at least as long as each of these (m,), in microseconds.

        Coarse counts compare without their lowest bits, as `at_most` does.

        >>> GapCounts.of([10, 30, 10]).at_least([30]).tolist()
        [1]
        """
        ranks = np.searchsorted(self.values, self._coarse(gaps), side="left")
        return self.n - np.concatenate([[0], np.cumsum(self.counts)])[ranks]

    def median(self) -> float:
        """The median gap in seconds, the lower one of two.

        Raises ValueError if there is none.

        >>> GapCounts.of([1_000_000, 3_000_000]).median()
        1.0
        """
        if not self.n:
            raise ValueError("no gap was counted, so there is no median")
        rank = np.searchsorted(np.cumsum(self.counts), (self.n + 1) // 2)
        return float(self.values[rank] << self.coarseness) / 1e6

    def _coarse(self, gaps: npt.ArrayLike) -> Int64Array:
        return np.asarray(gaps, np.int64) >> self.coarseness


def merged(parts: Iterable[GapCounts]) -> GapCounts:
    """The sum of counts, the same in whatever order and grouping they are merged.

    >>> merged([GapCounts.of([1, 2]), GapCounts.of([2])]).counts
    array([1, 2])
    """
    every_part = list(parts)
    if not every_part:
        return GapCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    # All become as coarse as the coarsest: values of fewer bits would not meet them.
    coarseness = max(part.coarseness for part in every_part)
    coarse_parts = [part.coarsened(coarseness) for part in every_part]
    values, place = np.unique(
        np.concatenate([part.values for part in coarse_parts]), return_inverse=True
    )
    counts = np.zeros(len(values), np.int64)
    np.add.at(counts, place, np.concatenate([part.counts for part in coarse_parts]))
    return GapCounts(values, counts, coarseness).limited()
