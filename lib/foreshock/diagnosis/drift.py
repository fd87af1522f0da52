"""How far the splits of a run lie apart, and what train alone would let one expect.

The number of events does not enter (`statistics.distances`), so sheer n alarms nobody. What is
ordinary comes from train itself, cut into slices of time: the distance of each slice to the rest of
train gives the null band.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from foreshock import columns as C
from foreshock.statistics.distances import effect, spread, total
from foreshock.statistics.histogram import Histogram
from foreshock.statistics.sliced import SlicedHistograms, SlicedKey

LEAST_EVENTS, LEAST_SLICES = 50, 4
MOST_GROUPS = 200
# In units of train's spread: the least shift that counts, the factor on the band, and the limit if
# there is no band. Set on planted runs (scripts/accept diagnosis).
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


@dataclass(frozen=True)
class Comparison:
    """A row of `drift`.

    band: the farthest that a slice of train lies from the rest of train; null with too few slices.
    """

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

    @property
    def is_shifted(self) -> bool:
        """Whether the second distribution lies apart from the first.

        It is False too if there are too few events to tell.
        """
        return self.verdict == SHIFTED


@dataclass
class Shapes:
    """Histograms by part, and sums of them."""

    parts: SlicedHistograms = field(default_factory=dict)
    _sums: dict[tuple[str, str | None, str], Histogram] = field(default_factory=dict, repr=False)

    @cached_property
    def _by_split(self) -> dict[tuple[str, str | None, str], SlicedHistograms]:
        """The parts of each (split, feature, group); group `all` holds every group's."""
        parts_of: dict[tuple[str, str | None, str], SlicedHistograms] = defaultdict(dict)
        for part, histogram in self.parts.items():
            for group in {part.group, C.ALL}:
                parts_of[part.split, part.feature, group][part] = histogram
        return parts_of

    def of(
        self, split: str, feature: str | None, group: str = C.ALL, partition: str | None = None
    ) -> Histogram:
        """All of a split and feature, or one partition's; group `all` is all groups together.

        feature None: the score. The histogram is empty if there is nothing.
        """
        key = (split, feature, group)
        parts = self._by_split.get(key, {})
        if partition is not None:
            return total(
                histogram for part, histogram in parts.items() if part.partition == partition
            )
        # Kept, for each pair of splits asks again; partitions are asked for once.
        if key not in self._sums:
            self._sums[key] = total(parts.values())
        return self._sums[key]

    def slices(self, split: str, feature: str | None, group: str = C.ALL) -> list[Histogram]:
        """A split's slices of time that hold enough events, in order.

        Enough are LEAST_EVENTS; partitions of a slice are joined.
        """
        by_slice: dict[int, list[Histogram]] = defaultdict(list)
        for part, histogram in self._by_split.get((split, feature, group), {}).items():
            by_slice[part.slice].append(histogram)
        slice_totals = [total(by_slice[number]) for number in sorted(by_slice)]
        return [histogram for histogram in slice_totals if histogram.n >= LEAST_EVENTS]

    def groups(self) -> list[str]:
        """The groups, sorted."""
        return sorted({part.group for part in self.parts})

    def features(self) -> list[str | None]:
        """The features in their order, after None for the score."""
        names = dict.fromkeys(part.feature for part in self.parts)
        return sorted(names, key=lambda feature: feature is not None)

    def partitions(self, split: str) -> list[str]:
        """The partitions of a split, sorted."""
        return sorted({part.partition for part in self.parts if part.split == split})

    def to_rows(self, splits: tuple[str, ...]) -> list[list[Any]]:
        """Plain data of some splits; `from_rows` reads it back.

        A row is split, group, partition, slice, feature and the histogram as JSON takes it.
        """
        ordered = sorted(self.parts.items(), key=lambda item: (item[0][:4], item[0].feature or ""))
        return [
            [*part, histogram.to_mapping()] for part, histogram in ordered if part.split in splits
        ]

    @classmethod
    def from_rows(cls, rows: list[list[Any]]) -> Shapes:
        """The shapes of plain data that `to_rows` gave."""
        return cls({SlicedKey(*row[:5]): Histogram.from_mapping(row[5]) for row in rows})


def null_band(shapes: Shapes, feature: str | None, group: str = C.ALL) -> float | None:
    """The largest trimmed distance of a slice of train from the rest of train.

    Null with fewer than LEAST_SLICES slices.
    """
    slices = shapes.slices(C.TRAIN, feature, group)
    if len(slices) < LEAST_SLICES:
        return None
    train_spread = spread(total(slices))
    distances = []
    for number, one_slice in enumerate(slices):
        rest = total([*slices[:number], *slices[number + 1 :]])
        distances.append(effect(rest, one_slice, train_spread, score=feature is None).trimmed)
    return max(distances)


def limit_of(band: float | None) -> float:
    """The trimmed distance from which on a distribution has shifted, in units of train's spread.

    >>> limit_of(0.1), limit_of(0.4), limit_of(None)
    (0.25, 0.6000000000000001, 0.6)
    """
    return UNBANDED if band is None else max(LEAST_SHIFT, OF_BAND * band)


def compare(
    shapes: Shapes,
    pair: tuple[str, str],
    group: str,
    feature: str | None,
    band: float | None,
    partition: str | None = None,
) -> Comparison:
    """How far the second split of a pair lies from the first.

    With a partition, it is that partition of the second split. group, feature: of what; feature
    None: the score. band: what `null_band` gave. With fewer than LEAST_EVENTS on either side the
    verdict is `too_few` and the distances are null.
    """
    reference = shapes.of(pair[0], feature, group)
    other = shapes.of(pair[1], feature, group, partition)
    if min(reference.n, other.n) < LEAST_EVENTS:
        nothing = (None, None, None, None)
        counts = (reference.n, other.n)
        return Comparison(*pair, group, feature, *nothing, band, *counts, TOO_FEW)
    # One unit for all pairs, train's spread, so that their distances compare.
    train = shapes.of(C.TRAIN, feature, group)
    unit = spread(train if train.n else reference)
    distance = effect(reference, other, unit, score=feature is None)
    return Comparison(
        *pair,
        group,
        feature,
        distance.wasserstein,
        distance.psi,
        distance.quantile_ratio,
        distance.trimmed,
        band,
        reference.n,
        other.n,
        SHIFTED if distance.trimmed > limit_of(band) else STABLE,
    )


def comparisons(shapes: Shapes) -> list[Comparison]:
    """The rows of `drift` for the pairs of splits that exist: all groups together first.

    Each feature comes after the score. With more than MOST_GROUPS groups there are only all groups
    together.
    """
    splits = {part.split for part in shapes.parts}
    groups = shapes.groups()
    rows = []
    for group in dict.fromkeys([C.ALL, *(groups if len(groups) <= MOST_GROUPS else [])]):
        for feature in shapes.features():
            band = null_band(shapes, feature, group) if C.TRAIN in splits else None
            rows += [
                compare(shapes, pair, group, feature, band)
                for pair in PAIRS
                # Events out of fold are train's: their features cannot differ.
                if splits.issuperset(pair) and (feature is None or C.OUT_OF_FOLD not in pair)
            ]
    return rows


def since(shapes: Shapes, feature: str | None, band: float | None) -> str | None:
    """The first partition from which on every partition lies apart from train.

    Partitions are those of calibration and test. Null if the last one does not lie apart.
    """
    first = None
    judged_partitions = [
        (split, partition)
        for split in (C.CALIBRATION, C.TEST)
        for partition in shapes.partitions(split)
    ]
    for split, partition in reversed(judged_partitions):
        pair = (C.TRAIN, split)
        comparison = compare(shapes, pair, C.ALL, feature, band, partition=partition)
        if comparison.verdict == STABLE:
            break
        first = partition if comparison.verdict == SHIFTED else first
    return first
