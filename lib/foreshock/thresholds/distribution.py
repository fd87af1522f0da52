"""Error distributions: one mergeable histogram per detector, split, partition and group.

Exact quantiles of any of them take a second read of the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from foreshock import columns as C
from foreshock.statistics.arrays import Float64Array, Int64Array
from foreshock.statistics.histogram import Histogram, exact_value, key_values

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
# The events of the split that thresholds are fitted on that calibrate_where admits.
ADMITTED = "admitted"
# A bin is the upper 16 of a float32's 32 bits; the lower ones tell its values apart.
LOW_KEYS = 1 << 16  # order keys of a bin


class Key(NamedTuple):
    """What a distribution is of. partition None: all partitions; group `all`: all groups."""

    detector: str
    split: str
    partition: str | None
    group: str

    def holds(self, split: str, partition: str, group: str) -> bool:
        """Whether the scores of a split, partition and group belong to the distribution.

        >>> Key("pca", "test", None, "all").holds("test", "2024-01-01", "north")
        True
        >>> Key("pca", "test", None, "south").holds("test", "2024-01-01", "north")
        False
        """
        of_split = self.split == split and self.partition in (None, partition)
        return of_split and self.group in (C.ALL, group)


class Wanted(NamedTuple):
    """A quantile wanted of a distribution: the bin that holds it and the rank within."""

    key: Key
    level: float
    bin: int
    rank: int

    @property
    def lowest(self) -> float:
        """The least value that falls into the bin: the quantile is not below it.

        A bin spans at most 1/128 of its values.
        """
        return float(key_values(np.array([self.bin << 16], np.uint32))[0])


Exact = dict[tuple[Key, float], float]  # quantiles by distribution and level


class TailEvents(NamedTuple):
    """The scores of a distribution from some value on, sorted, with the event run (`interval`) of
    each; and all runs, sorted, with their sizes."""

    units: Int64Array
    sizes: Int64Array
    values: Float64Array
    homes: Int64Array

    def from_value(self, start: float) -> TailEvents:
        """The tail from a higher value on.

        start: no less than the value that this tail begins at. Runs and their sizes stay.
        """
        first = int(np.searchsorted(self.values, start, side="left"))
        return self._replace(values=self.values[first:], homes=self.homes[first:])


@dataclass
class Distributions:
    """Histograms by key, and the pooled ones that are sums of them.

    unjudged: how many scored rows hold no score of the detector, where any do not.
    """

    parts: dict[Key, Histogram]
    unjudged: dict[Key, int] = field(default_factory=dict)

    def add(self, key: Key, histogram: Histogram, unjudged: int = 0) -> None:
        """Add the scores of more events to a distribution.

        >>> both = Distributions({})
        >>> for scores in ([1.0], [2.0, 4.0]):
        ...     both.add(Key("pca", "test", "day", "all"), Histogram.of(scores))
        >>> both.of(Key("pca", "test", None, "all")).n
        3
        """
        if histogram.n:
            self.parts[key] = self.parts.get(key, Histogram()) + histogram
        if unjudged:
            self.unjudged[key] = self.unjudged.get(key, 0) + unjudged

    def pooled(self, detector: str, split: str, group: str) -> Histogram:
        """All partitions of a split as one histogram; group `all` is all groups together.

        It is empty where the detector judged no event.
        """
        pooled_histogram = Histogram()
        for distribution_key, histogram in self.parts.items():
            if (
                distribution_key.detector == detector
                and distribution_key.split == split
                and group in (C.ALL, distribution_key.group)
            ):
                pooled_histogram = pooled_histogram + histogram
        return pooled_histogram

    def of(self, key: Key) -> Histogram:
        """The histogram of a key; empty where there is no score.

        >>> scores = Distributions({Key("pca", "test", "day", "eu"): Histogram.of([1.0, 2.0])})
        >>> scores.of(Key("pca", "test", None, "all")).n
        2
        """
        # Pooled histograms are summed, not stored: the parts alone are ever added to.
        if key.partition is None:
            return self.pooled(key.detector, key.split, key.group)
        return self.parts.get(key, Histogram())

    def groups(self, split: str) -> list[str]:
        """The groups that a split has scores of, sorted.

        >>> Distributions({Key("pca", "test", "day", "eu"): Histogram.of([1.0])}).groups("test")
        ['eu']
        """
        return sorted(
            {
                distribution_key.group
                for distribution_key in self.parts
                if distribution_key.split == split
            }
        )

    def partitions(self, split: str) -> list[str]:
        """The partitions that a split has scores of, sorted.

        >>> Distributions({Key("pca", "test", "day", "eu"): Histogram.of([1.0])}).partitions("test")
        ['day']
        """
        partition_names = {
            distribution_key.partition
            for distribution_key in self.parts
            if distribution_key.split == split
        }
        return sorted(name for name in partition_names if name is not None)

    def judged(self, detector: str, splits: tuple[str, ...]) -> int:
        """How many events of some splits a detector judged.

        >>> scores = Distributions({Key("pca", "test", "day", "eu"): Histogram.of([1.0, 2.0])})
        >>> scores.judged("pca", ("test",)), scores.judged("pca", ("calibration",))
        (2, 0)
        """
        detector_keys = (
            distribution_key
            for distribution_key in self.parts
            if distribution_key.detector == detector and distribution_key.split in splits
        )
        return sum(self.parts[distribution_key].n for distribution_key in detector_keys)


def locate(
    distributions: Distributions, keys: Iterable[Key], levels: Iterable[float]
) -> list[Wanted]:
    """Where the exact quantiles of some distributions lie; empty ones are left out.

    >>> key = Key("pca", "test", "day", "all")
    >>> scores = Distributions({key: Histogram.of([1.0, 2.0, 3.0])})
    >>> [(wanted.lowest, wanted.rank) for wanted in locate(scores, [key], [0.5])]
    [(2.0, 0)]
    """
    unique_levels = list(dict.fromkeys(levels))
    wanted_quantiles = []
    for distribution_key in keys:
        histogram = distributions.of(distribution_key)
        if histogram.n:
            wanted_quantiles += [
                Wanted(distribution_key, quantile_level, *histogram.locate(quantile_level))
                for quantile_level in unique_levels
            ]
    return wanted_quantiles


def resolve(wanted: Iterable[Wanted], counts: Mapping[tuple[Key, int], Int64Array]) -> Exact:
    """Exact quantiles from counts (65536,) by the lower 16 bits of the scores in each bin.

    counts: over all files, by distribution and bin. Raises KeyError if a wanted bin is not among
    them.
    """
    low_keys = np.arange(LOW_KEYS)
    return {
        (wanted_quantile.key, wanted_quantile.level): exact_value(
            wanted_quantile.bin,
            wanted_quantile.rank,
            low_keys,
            counts[wanted_quantile.key, wanted_quantile.bin],
        )
        for wanted_quantile in wanted
    }
