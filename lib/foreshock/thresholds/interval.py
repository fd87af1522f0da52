"""The confidence interval of a quantile of scores that depend on each other: block bootstrap by entity.

Künsch, "The Jackknife and the Bootstrap for General Stationary Observations", Ann. Statist. 17 (1989): whole blocks are drawn
with replacement. Here blocks do not overlap and never cross a sequence; each holds at least a window. Few blocks reach the
tail, so the percentiles are expanded by Student's t with as many degrees of freedom: Hesterberg, "What Teachers Should Know
About the Bootstrap", Am. Stat. 69 (2015), section 5.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

REPLICATES = 400
LEAST_BLOCKS = 10
COVERAGE = 0.95
Ints = npt.NDArray[np.int64]
BLOCK_SHIFT = 20  # a unit's id is its dataset block's id shifted by this, plus its place within


def bootstrap_blocks(units: Ints) -> Ints:
    """For each unit (sorted ids; a unit is a window's length of events) the bootstrap block it belongs to.

    Blocks join g consecutive units of the same dataset block, g = the cube root of the number of units.
    """
    if not len(units):
        return np.zeros(0, np.int64)
    g = max(1, round(len(units) ** (1 / 3)))
    home, place = units >> BLOCK_SHIFT, units & ((1 << BLOCK_SHIFT) - 1)
    key = np.stack([home, place // g])
    return np.concatenate([[0], np.cumsum((np.diff(key) != 0).any(axis=0))])


def quantile_interval(
    units: npt.ArrayLike,
    sizes: npt.ArrayLike,
    tail: npt.ArrayLike,
    tail_units: npt.ArrayLike,
    level: float,
    seed: int,
) -> tuple[float | None, float | None]:
    """The 95 % interval of the quantile at `level`; (None, None) with fewer than 10 blocks.

    units: (U,) sorted ids; sizes: (U,) events in each; tail: the values from some value on upwards, all of them; tail_units: the
    id of the unit that each lies in. Replicates whose quantile lies below the tail count as its lowest value.
    """
    units, sizes = np.asarray(units, np.int64), np.asarray(sizes, np.int64)
    block = bootstrap_blocks(units)
    count = int(block[-1]) + 1 if len(block) else 0
    if count < LEAST_BLOCKS or not len(np.asarray(tail)):
        return None, None
    size = np.bincount(block, weights=sizes, minlength=count)
    order = np.argsort(-np.asarray(tail, np.float64), kind="stable")
    values = np.asarray(tail, np.float64)[order]
    home = block[np.searchsorted(units, np.asarray(tail_units, np.int64)[order])]
    rng = np.random.default_rng([seed, count, len(values)])
    found = np.empty(REPLICATES)
    for r in range(REPLICATES):
        draws = np.bincount(rng.integers(0, count, count), minlength=count)
        exceeding = np.cumsum(draws[home])
        allowed = np.floor((1 - level) * float(draws @ size) + 1e-9)
        found[r] = values[
            min(int(np.searchsorted(exceeding, allowed, side="right")), len(values) - 1)
        ]
    above = int((1 - level) * float(size.sum()))
    reaching = max(3, len(np.unique(home[: above + 1])))
    tail_area = stats.norm.cdf(
        stats.t.ppf((1 - COVERAGE) / 2, reaching - 1) * np.sqrt(reaching / (reaching - 1))
    )
    low, high = np.quantile(found, [tail_area, 1 - tail_area])
    return float(low), float(high)
