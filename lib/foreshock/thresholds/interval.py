"""The confidence interval of a quantile of scores that depend on each other: a block bootstrap.

Whole blocks are drawn with replacement: Künsch, "The Jackknife and the Bootstrap for General
Stationary Observations", Ann. Statist. 17 (1989). Here blocks do not overlap and never cross a
sequence, and each holds at least a window. Few blocks reach the tail, so the percentiles are
expanded by Student's t with as many degrees of freedom: Hesterberg, "What Teachers Should Know
About the Bootstrap", Am. Stat. 69 (2015), section 5.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from foreshock.statistics.arrays import Float64Array, Int64Array

REPLICATES = 400
LEAST_BLOCKS = 10
COVERAGE = 0.95
# An event run's id is its dataset block's id shifted by this, plus its place within the block.
BLOCK_SHIFT = 20


def bootstrap_blocks(event_runs: Int64Array) -> Int64Array:
    """The bootstrap block of each event run; ids are sorted, (U,) -> (U,).

    A block joins g consecutive runs of the same dataset block; g is the cube root of U.

    >>> bootstrap_blocks(np.array([0, 1, 2, 3, 1 << 20, (1 << 20) + 1, 2 << 20, 3 << 20]))
    array([0, 0, 1, 1, 2, 2, 3, 4])
    """
    if not len(event_runs):
        return np.zeros(0, np.int64)
    # The cube root lets blocks grow with the sample, but more slowly than their number does.
    runs_together = max(1, round(len(event_runs) ** (1 / 3)))
    dataset_block = event_runs >> BLOCK_SHIFT
    place = event_runs & ((1 << BLOCK_SHIFT) - 1)
    key = np.stack([dataset_block, place // runs_together])
    return np.concatenate([[0], np.cumsum((np.diff(key) != 0).any(axis=0))])


def quantile_interval(
    event_runs: npt.ArrayLike,
    run_sizes: npt.ArrayLike,
    tail: npt.ArrayLike,
    tail_runs: npt.ArrayLike,
    level: float,
    seed: int,
) -> tuple[float | None, float | None]:
    """The 95 % interval of the quantile at `level`; (None, None) with fewer than 10 blocks.

    event_runs: (U,) sorted ids; run_sizes: (U,) events in each; tail: every value from some value
    on; tail_runs: the event run of each of those. A replicate whose quantile lies below the tail
    counts as the tail's lowest value.
    """
    run_ids, event_counts = np.asarray(event_runs, np.int64), np.asarray(run_sizes, np.int64)
    tail_values = np.asarray(tail, np.float64)
    block = bootstrap_blocks(run_ids)
    block_count = int(block[-1]) + 1 if len(block) else 0
    if block_count < LEAST_BLOCKS or not len(tail_values):
        return None, None
    sizes = np.bincount(block, weights=event_counts, minlength=block_count)
    block_sizes = np.asarray(sizes, np.float64)
    descending = np.argsort(-tail_values, kind="stable")
    values = tail_values[descending]
    run_of_value = np.asarray(tail_runs, np.int64)[descending]
    home = block[np.searchsorted(run_ids, run_of_value)]
    quantiles = _replicates(values, home, block_sizes, level, seed)
    events_above = int((1 - level) * float(block_sizes.sum()))
    # How many blocks the scores above the quantile come from; t is too wide with one degree.
    reaching = max(3, len(np.unique(home[: events_above + 1])))
    # Student's t and the normal distribution; scipy.stats would take a second to load.
    student = special.stdtrit(reaching - 1, (1 - COVERAGE) / 2)
    tail_area = special.ndtr(student * np.sqrt(reaching / (reaching - 1)))
    low, high = np.quantile(quantiles, [tail_area, 1 - tail_area])
    return float(low), float(high)


def _replicates(
    values: Float64Array, home: Int64Array, block_sizes: Float64Array, level: float, seed: int
) -> Float64Array:
    """The quantile of each bootstrap replicate; values: descending; home: the block of each."""
    block_count = len(block_sizes)
    # The seed alone would give distributions of all sizes the same draws.
    generator = np.random.default_rng([seed, block_count, len(values)])
    quantiles = np.empty(REPLICATES)
    for replicate in range(REPLICATES):
        drawn_blocks = generator.integers(0, block_count, block_count)
        draws = np.bincount(drawn_blocks, minlength=block_count)
        exceeding = np.cumsum(draws[home])
        # 1e-9: rounding must not take away an event that may just lie above.
        allowed = np.floor((1 - level) * float(draws @ block_sizes) + 1e-9)
        rank = int(np.searchsorted(exceeding, allowed, side="right"))
        quantiles[replicate] = values[min(rank, len(values) - 1)]
    return quantiles
