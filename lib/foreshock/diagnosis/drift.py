"""How far two distributions of a run lie apart: effect sizes from mergeable histograms, and what train alone would let one expect.

Distances are those of quantile functions, so the number of events does not enter: sheer n alarms nobody. What counts as ordinary comes
from train itself, cut into slices of time: each against the rest gives the null band. The trimmed Wasserstein distance is that of Munk
and Czado, "Nonparametric Validation of Similar Distributions and Assessment of Goodness of Fit", J. R. Stat. Soc. B 60 (1998); PSI is
the population stability index over the deciles of the reference, half an event added to each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foreshock import columns as C
from foreshock.statistics.histogram import Histogram, key_values

SLICES = 12
TRIM = 0.05
LEAST_EVENTS, LEAST_SLICES = 50, 4
MOST_GROUPS = 200
LEAST_SHIFT, OF_BAND, UNBANDED = 0.25, 1.5, 0.6
VALIDATION = "validation"
PAIRS = (
    (C.TRAIN, C.OUT_OF_FOLD),
    (C.TRAIN, VALIDATION),
    (C.TRAIN, C.CALIBRATION),
    (C.TRAIN, C.TEST),
    (C.OUT_OF_FOLD, C.CALIBRATION),
    (VALIDATION, C.CALIBRATION),
    (VALIDATION, C.TEST),
    (C.CALIBRATION, C.TEST),
)
STABLE, SHIFTED, TOO_FEW = "stable", "shifted", "too_few"
Floats = npt.NDArray[np.float64]


class Part(NamedTuple):
    """What a histogram is of. split: train without its validation tail, validation, calibration or test; slice: of the split's time, 0 to
    SLICES − 1; feature None: the model's score."""

    split: str
    group: str
    partition: str
    slice: int
    feature: str | None


@dataclass(frozen=True)
class Effect:
    """From one distribution to another. wasserstein and trimmed (its middle 90 % alone): in units of the reference's spread.

    quantile_ratio: of the 0.99 quantiles of scores; of the ranges between the quantiles 0.01 and 0.99 of features. Null where undefined.
    """

    wasserstein: float
    trimmed: float
    psi: float
    quantile_ratio: float | None


@dataclass(frozen=True)
class Comparison:
    """A row of `drift`. band: the farthest that a slice of train lies from the rest of train; null with too few slices."""

    from_split: str
    to_split: str
    group: str
    feature: str | None
    wasserstein: float | None
    psi: float | None
    quantile_ratio: float | None
    trimmed: float | None
    band: float | None
    n_from: int
    n_to: int
    verdict: str


@dataclass
class Shapes:
    """Histograms by part, and sums of them."""

    parts: dict[Part, Histogram] = field(default_factory=dict)
    _sums: dict[tuple[str, str | None, str], Histogram] = field(default_factory=dict, repr=False)

    @cached_property
    def _by(self) -> dict[tuple[str, str | None, str], dict[Part, Histogram]]:
        found: dict[tuple[str, str | None, str], dict[Part, Histogram]] = defaultdict(dict)
        for part, histogram in self.parts.items():
            for group in {part.group, C.ALL}:
                found[part.split, part.feature, group][part] = histogram
        return found

    def of(
        self, split: str, feature: str | None, group: str = C.ALL, partition: str | None = None
    ) -> Histogram:
        """All of a split and feature, or one partition's; group `all` is all groups together."""
        key = (split, feature, group)
        if partition is not None:
            return total(h for p, h in self._by.get(key, {}).items() if p.partition == partition)
        if key not in self._sums:
            self._sums[key] = total(self._by.get(key, {}).values())
        return self._sums[key]

    def slices(self, split: str, feature: str | None, group: str = C.ALL) -> list[Histogram]:
        """A split's slices of time that hold enough events, in order."""
        found: dict[int, list[Histogram]] = defaultdict(list)
        for p, h in self._by.get((split, feature, group), {}).items():
            found[p.slice].append(h)
        whole = [total(found[s]) for s in sorted(found)]
        return [h for h in whole if h.n >= LEAST_EVENTS]

    def groups(self) -> list[str]:
        return sorted({p.group for p in self.parts})

    def features(self) -> list[str | None]:
        return sorted(dict.fromkeys(p.feature for p in self.parts), key=lambda f: f is not None)

    def partitions(self, split: str) -> list[str]:
        return sorted({p.partition for p in self.parts if p.split == split})

    def to_rows(self, splits: tuple[str, ...]) -> list[list[Any]]:
        """Plain data of some splits; `from_rows` reads it back."""
        return [
            [*part, h.to_mapping()]
            for part, h in sorted(self.parts.items(), key=lambda i: (i[0][:4], i[0].feature or ""))
            if part.split in splits
        ]

    @classmethod
    def from_rows(cls, rows: list[list[Any]]) -> Shapes:
        return cls({Part(*row[:5]): Histogram.from_mapping(row[5]) for row in rows})


def total(histograms: Iterable[Histogram]) -> Histogram:
    """Their sum, merged in pairs."""
    level = list(histograms) or [Histogram()]
    while len(level) > 1:
        level = [a + b for a, b in zip(level[::2], level[1::2], strict=False)] + level[
            len(level) & ~1 :
        ]
    return level[0]


def points(histogram: Histogram) -> tuple[Floats, Floats]:
    """(values ascending, counts): a histogram's bins by their middles."""
    middle = key_values((histogram.bins.astype(np.uint32) << 16) | 0x8000).astype(np.float64)
    return np.clip(middle, histogram.minimum, histogram.maximum), histogram.counts.astype(
        np.float64
    )


def quantiles(histogram: Histogram, levels: npt.ArrayLike) -> Floats:
    """Quantiles at several levels, to the histogram's bound. Raises ValueError when empty."""
    if not histogram.n:
        raise ValueError("an empty histogram has no quantile")
    values, counts = points(histogram)
    at = np.searchsorted(np.cumsum(counts) / counts.sum(), np.asarray(levels, np.float64) - 1e-12)
    return values[np.minimum(at, len(values) - 1)]


def spread(histogram: Histogram) -> float:
    """The interquartile range; the standard deviation where it is 0; 1 where that is 0 too."""
    low, high = quantiles(histogram, [0.25, 0.75])
    return float(high - low) or histogram.std or 1.0


def effect(reference: Histogram, other: Histogram, unit: float, *, score: bool) -> Effect:
    """The effect sizes from one distribution that is not empty to another; unit: the train spread."""
    (a, counts_a), (b, counts_b) = points(reference), points(other)
    both = np.union1d(a, b)
    cdf_a, cdf_b = (
        np.concatenate([[0.0], np.cumsum(c)])[np.searchsorted(v, both, side="right")] / c.sum()
        for v, c in ((a, counts_a), (b, counts_b))
    )
    wasserstein = float((np.abs(cdf_a - cdf_b)[:-1] * np.diff(both)).sum()) / unit
    levels = np.linspace(TRIM, 1 - TRIM, 181)
    trimmed = float(np.abs(quantiles(reference, levels) - quantiles(other, levels)).mean()) / unit
    edges = np.unique(quantiles(reference, np.arange(1, 10) / 10))
    p, q = (
        np.bincount(np.searchsorted(edges, v), weights=c, minlength=len(edges) + 1) + 0.5
        for v, c in ((a, counts_a), (b, counts_b))
    )
    p, q = p / p.sum(), q / q.sum()
    (low_a, high_a), (low_b, high_b) = (
        quantiles(reference, [0.01, 0.99]),
        quantiles(other, [0.01, 0.99]),
    )
    top, bottom = (high_b, high_a) if score else (high_b - low_b, high_a - low_a)
    return Effect(
        wasserstein,
        trimmed,
        float(((q - p) * np.log(q / p)).sum()),
        float(top / bottom) if bottom > 0 else None,
    )


def null_band(shapes: Shapes, feature: str | None, group: str = C.ALL) -> float | None:
    """The largest trimmed distance of a slice of train from the rest of it; null with fewer than LEAST_SLICES slices."""
    slices = shapes.slices(C.TRAIN, feature, group)
    if len(slices) < LEAST_SLICES:
        return None
    unit = spread(total(slices))
    return max(
        effect(total([*slices[:i], *slices[i + 1 :]]), own, unit, score=feature is None).trimmed
        for i, own in enumerate(slices)
    )


def limit_of(band: float | None) -> float:
    """The trimmed distance from which on a distribution has shifted."""
    return UNBANDED if band is None else max(LEAST_SHIFT, OF_BAND * band)


def compare(
    shapes: Shapes,
    pair: tuple[str, str],
    group: str,
    feature: str | None,
    band: float | None,
    partition: str | None = None,
) -> Comparison:
    """One pair of splits, or of the second one partition."""
    a, b = shapes.of(pair[0], feature, group), shapes.of(pair[1], feature, group, partition)
    if min(a.n, b.n) < LEAST_EVENTS:
        return Comparison(*pair, group, feature, None, None, None, None, band, a.n, b.n, TOO_FEW)
    train = shapes.of(C.TRAIN, feature, group)
    found = effect(a, b, spread(train if train.n else a), score=feature is None)
    verdict = SHIFTED if found.trimmed > limit_of(band) else STABLE
    return Comparison(
        *pair,
        group,
        feature,
        found.wasserstein,
        found.psi,
        found.quantile_ratio,
        found.trimmed,
        band,
        a.n,
        b.n,
        verdict,
    )


def comparisons(shapes: Shapes) -> list[Comparison]:
    """The rows of `drift`: all groups together first, each feature after the score; pairs of splits that are there.

    With more than MOST_GROUPS groups only all together.
    """
    there = {p.split for p in shapes.parts}
    groups = shapes.groups()
    rows = []
    for group in dict.fromkeys([C.ALL, *(groups if len(groups) <= MOST_GROUPS else [])]):
        for feature in shapes.features():
            band = null_band(shapes, feature, group) if C.TRAIN in there else None
            rows += [
                compare(shapes, pair, group, feature, band)
                for pair in PAIRS
                if there.issuperset(pair) and (feature is None or C.OUT_OF_FOLD not in pair)
            ]  # whose features are train's own
    return rows


def since(shapes: Shapes, feature: str | None, band: float | None) -> str | None:
    """The first partition of calibration or test from which on every one lies apart from train; null where the last one does not."""
    first = None
    judged = [(split, p) for split in (C.CALIBRATION, C.TEST) for p in shapes.partitions(split)]
    for split, partition in reversed(judged):
        found = compare(shapes, (C.TRAIN, split), C.ALL, feature, band, partition=partition)
        if found.verdict == STABLE:
            break
        first = partition if found.verdict == SHIFTED else first
    return first
