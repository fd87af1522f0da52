"""Folds of training time."""

from __future__ import annotations

import numpy as np
from foreshock.sequences.folds import BINS, END, apart, boundaries, counted, parts, spans, touching


def test_folds_hold_about_equally_many_events() -> None:
    times = np.sort(np.random.default_rng(1).exponential(1e6, 20_000)).astype(np.int64)
    low, high = int(times[0]), int(times[-1])
    counts = counted(times, parts(low, high))
    assert (
        counts.tolist()
        == np.bincount((times - low) * BINS // (high - low + 1), minlength=BINS).tolist()
    )
    edges = boundaries(low, high, counts, 5)
    sizes = [int(((times >= a) & (times < b)).sum()) for a, b in spans(edges)]
    assert len(sizes) == 5 and sum(sizes) == 20_000 and max(sizes) < 1.2 * min(sizes)


def test_a_hundred_years_do_not_overflow() -> None:
    times = np.array([f"{year}-03-01" for year in range(1900, 2000)], "datetime64[us]").astype(
        np.int64
    )
    low, high = int(times[0]), int(times[-1])
    counts = counted(times, parts(low, high))
    assert counts.sum() == 100 and counts.max() == 1 and counts[0] == counts[-1] == 1
    edges = boundaries(low, high, counts, 5)
    assert [int(((times >= a) & (times < b)).sum()) for a, b in spans(edges)] == [20] * 5


def test_one_moment_makes_one_fold() -> None:
    counts = np.zeros(BINS, int)
    counts[0] = 9
    assert spans(boundaries(7, 7, counts, 4)) == [(-END, END)]


def test_a_window_touches_every_fold_that_it_overlaps() -> None:
    first, last = np.array([0, 5, 8, 10]), np.array([4, 9, 12, 14])
    assert touching(first, last, (8, 10)).tolist() == [False, True, True, False]
    assert touching(first, last, (-END, 5)).tolist() == [True, False, False, False]


def test_runs_of_windows_apart_from_a_span() -> None:
    first, last = np.array([0, 3, 5, 8, 10, 12]), np.array([4, 7, 9, 12, 14, 15])
    assert apart(first, last, (8, 10)) == [(0, 2), (4, 6)]
    assert apart(first, last, (-END, 5)) == [(2, 6)] and apart(first, last, (13, END)) == [(0, 4)]
    assert apart(first, last, (-END, END)) == [] and apart(first, last, (100, END)) == [(0, 6)]
