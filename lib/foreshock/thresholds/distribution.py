"""Error distributions: one mergeable histogram per detector, split, partition and group, and exact quantiles of any of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foreshock import columns as C
from foreshock.statistics.histogram import Histogram, exact_value

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
CHOSEN = (
    "chosen"  # the events that calibrate_where admits, of the split that thresholds are fitted on
)


class Key(NamedTuple):
    """What a distribution is of. partition None: all partitions; group `all`: all groups."""

    detector: str
    split: str
    partition: str | None
    group: str


class Wanted(NamedTuple):
    """A quantile wanted of a distribution: the bin that holds it and the rank within."""

    key: Key
    level: float
    bin: int
    rank: int


class TailEvents(NamedTuple):
    """The scores of a distribution from some value on, sorted, with the unit (`interval`) of each; and all units with their sizes."""

    units: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    homes: npt.NDArray[np.int64]


@dataclass
class Distributions:
    """Histograms by key, and the pooled ones that are sums of them."""

    parts: dict[Key, Histogram]

    def pooled(self, detector: str, split: str, group: str) -> Histogram:
        """All partitions of a split; group `all` is all groups together."""
        return sum(
            (
                h
                for k, h in self.parts.items()
                if k.detector == detector and k.split == split and group in (C.ALL, k.group)
            ),
            Histogram(),
        )

    def of(self, key: Key) -> Histogram:
        if key.partition is None:
            return self.pooled(key.detector, key.split, key.group)
        return self.parts.get(key, Histogram())

    def groups(self, split: str) -> list[str]:
        return sorted({k.group for k in self.parts if k.split == split})

    def partitions(self, split: str) -> list[str]:
        return sorted(
            {k.partition for k in self.parts if k.split == split and k.partition is not None}
        )


def locate(distributions: Distributions, keys: list[Key], levels: list[float]) -> list[Wanted]:
    """Where the exact quantiles of some distributions lie; empty ones are left out."""
    found = []
    for key in keys:
        histogram = distributions.of(key)
        if histogram.n:
            found += [
                Wanted(key, level, *histogram.locate(level)) for level in dict.fromkeys(levels)
            ]
    return found


def holds(key: Key, detector: str, split: str, partition: str, group: str) -> bool:
    """Whether a part's values belong to the distribution of a key."""
    return (
        key.detector == detector
        and key.split == split
        and key.partition in (None, partition)
        and key.group in (C.ALL, group)
    )


def resolve(
    wanted: list[Wanted], seconds: dict[tuple[Key, int], npt.NDArray[np.int64]]
) -> dict[tuple[Key, float], float]:
    """Exact quantiles from the merged second pass: (key, bin) -> counts (65536,) by the lower 16 bits."""
    low = np.arange(1 << 16)
    return {
        (w.key, w.level): exact_value(w.bin, w.rank, low, seconds[w.key, w.bin]) for w in wanted
    }
