"""Contiguous blocks of training time: windows that touch one are left out of the model that scores it. NumPy alone.

Cross-validation in blocks of time, without the windows that reach into the block: de Prado, "Advances in Financial Machine Learning"
(2018), section 7.4 (purging), for overlapping samples.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
END = np.iinfo(np.int64).max
BINS = 4096


def parts(low: int, high: int) -> Ints:
    """The times (BINS,), microseconds, at which the equal parts of [low, high] begin."""
    length = high - low + 1  # of Python's integers: 71 years times BINS is more than 64 bits
    return np.array([low - (-at * length // BINS) for at in range(BINS)], np.int64)


def counted(times: Ints, begins: Ints) -> Ints:
    """How many of times (n,) lie in each part (BINS,)."""
    return np.bincount(np.searchsorted(begins, times, side="right") - 1, minlength=BINS)


def boundaries(low: int, high: int, counts: npt.ArrayLike, folds: int) -> list[int]:
    """Times between folds of about equal counts, at most folds − 1; counts (BINS,): events in the `parts` of [low, high], microseconds."""
    cumulated = np.cumsum(np.asarray(counts, np.float64))
    wanted = cumulated[-1] * np.arange(1, folds) / folds
    begins = [*parts(low, high).tolist(), high + 1]
    edges = [begins[at] for at in (np.searchsorted(cumulated, wanted) + 1).tolist()]
    return [e for e in dict.fromkeys(edges) if low < e <= high]


def spans(edges: list[int]) -> list[tuple[int, int]]:
    """[from, to) of each fold; the first begins and the last ends at no time."""
    return list(itertools.pairwise([-END, *edges, END]))


def touching(first: Ints, last: Ints, span: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which windows, by the times of their first and last events, overlap a span of time."""
    return (last >= span[0]) & (first < span[1])


def apart(first: Ints, last: Ints, span: tuple[int, int]) -> list[tuple[int, int]]:
    """Runs [a, b) of a sequence's windows that touch no event of a span, at most two: before it and after it."""
    before, after = int(np.searchsorted(last, span[0])), int(np.searchsorted(first, span[1]))
    return [(a, b) for a, b in ((0, before), (max(before, after), len(first))) if a < b]
