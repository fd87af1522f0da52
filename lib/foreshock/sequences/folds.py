"""Folds of training time: contiguous spans; a model that scores one has seen no window that touches
it.

Cross-validation in blocks of time, without the windows that reach into the block: de Prado,
"Advances in Financial Machine Learning" (2018), section 7.4 (purging), for samples that overlap.
NumPy alone.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import BoolArray, Int64Array

END = np.iinfo(np.int64).max
# Equal parts of training time, in which events are counted.
BINS = 4096


def parts(first_time: int, last_time: int) -> Int64Array:
    """The times (BINS,), microseconds, at which the equal parts of [first_time, last_time] begin.

    >>> begins = parts(0, 8191)
    >>> begins[:3].tolist(), begins[-1]
    ([0, 2, 4], 8190)
    """
    # In Python's integers: 71 years times BINS is more than 64 bits.
    length = last_time - first_time + 1
    return np.array([first_time - (-part * length // BINS) for part in range(BINS)], np.int64)


def counted(times: Int64Array, begins: Int64Array) -> Int64Array:
    """How many of the times (n,) lie in each part (BINS,) of those that begin at `begins`.

    >>> counted(np.array([0, 1, 5]), parts(0, 8191))[:3].tolist()
    [2, 0, 1]
    """
    part = np.searchsorted(begins, times, side="right") - 1
    return np.bincount(part, minlength=BINS)


def boundaries(first_time: int, last_time: int, counts: npt.ArrayLike, folds: int) -> list[int]:
    """The times between folds of about equally many events: at most folds − 1 of them.

    counts (BINS,): events in the `parts` of [first_time, last_time], microseconds.

    >>> counts = np.ones(BINS)
    >>> boundaries(0, 8191, counts, 4)
    [2048, 4096, 6144]
    """
    cumulated = np.cumsum(np.asarray(counts, np.float64))
    wanted = cumulated[-1] * np.arange(1, folds) / folds
    begins = [*parts(first_time, last_time).tolist(), last_time + 1]
    # Where events crowd, several folds would end at one time: `dict.fromkeys` leaves one.
    edges = [begins[part] for part in (np.searchsorted(cumulated, wanted) + 1).tolist()]
    return [edge for edge in dict.fromkeys(edges) if first_time < edge <= last_time]


def spans(edges: list[int]) -> list[tuple[int, int]]:
    """[from, to) of each fold; the first has no beginning, the last no end.

    >>> spans([10]) == [(-END, 10), (10, END)]
    True
    """
    return list(itertools.pairwise([-END, *edges, END]))


def touching(first: Int64Array, last: Int64Array, span: tuple[int, int]) -> BoolArray:
    """Which windows, by the times of their first and last events (n,), overlap a span of time.

    >>> touching(np.array([0, 5, 9]), np.array([4, 9, 12]), (5, 9)).tolist()
    [False, True, False]
    """
    overlaps: BoolArray = (last >= span[0]) & (first < span[1])
    return overlaps


def apart(first: Int64Array, last: Int64Array, span: tuple[int, int]) -> list[tuple[int, int]]:
    """Runs [begin, end) of a sequence's windows that touch no event of a span: at most two, before
    and after.

    >>> apart(np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7]), (3, 5))
    [(0, 1), (3, 4)]
    """
    before = int(np.searchsorted(last, span[0]))
    after = max(before, int(np.searchsorted(first, span[1])))
    runs = ((0, before), (after, len(first)))
    return [(begin, end) for begin, end in runs if begin < end]
