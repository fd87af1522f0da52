"""A mergeable histogram over the bits of float32, with exact moments (architecture.md § 5).

Flipping the bits of a float32 so that unsigned order is numeric order and counting by the upper 16 bits gives bins
whose width is at most 1/128 of their value. Counts add, so the histogram depends on no order, grouping or partitioning.
A second pass over the bin that holds a wanted rank, by the lower 16 bits, gives the exact order statistic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 1 << 16
CHUNK = 1 << 21
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def order_keys(values: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """uint32 keys whose order is the numeric order of float32 values; −0 counts as 0."""
    bits = (np.asarray(values, np.float32) + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))


def key_values(keys: npt.ArrayLike) -> Floats:
    """The float32 values of order keys (the inverse of `order_keys`)."""
    keys = np.asarray(keys, np.uint32)
    return (
        np.where(keys >> 31, keys & np.uint32(0x7FFFFFFF), ~keys).astype(np.uint32).view(np.float32)
    )


def rank_of(level: float, n: int) -> int:
    """The 0-based rank of `numpy.quantile(method="inverted_cdf")` at a level among n values."""
    return int(min(max(np.ceil(level * n - 1), 0), n - 1))


@dataclass
class Histogram:
    """Counts by bin (bins: int32 sorted, counts: int64), n, exact minimum, maximum and moments of float32 values.

    `power1`, `power2`: the sums of values in units of 2^−149 and of squares in units of 2^−298, as exact integers.
    """

    bins: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    counts: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    n: int = 0
    minimum: float | None = None
    maximum: float | None = None
    power1: int = 0
    power2: int = 0

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Histogram:
        """The histogram of finite values, any shape; cast to float32 first. Raises ValueError for NaN or infinity."""
        flat = np.asarray(values, np.float32).ravel() + np.float32(0)  # −0 is 0
        if not np.isfinite(flat).all():
            raise ValueError("a histogram takes finite values only")
        counts, lows, squares = (np.zeros(BINS, np.int64) for _ in range(3))
        for start in range(0, len(flat), CHUNK):
            bits = flat[start : start + CHUNK].view(np.uint32)
            upper, lower = (bits >> 16).astype(np.int64), (bits & 0xFFFF).astype(np.float64)
            counts += np.bincount(upper, minlength=BINS)
            # Exact in float64: fewer than 2^21 numbers below 2^32.
            lows += np.bincount(upper, weights=lower, minlength=BINS).astype(np.int64)
            squares += np.bincount(upper, weights=lower * lower, minlength=BINS).astype(np.int64)
        power1, power2 = _powers(counts, lows, squares)
        counts = np.concatenate(
            [counts[:0x7FFF:-1], counts[:0x8000]]
        )  # negative numbers' bits rise as they fall
        bins = np.flatnonzero(counts)
        return cls(
            bins.astype(np.int32),
            counts[bins],
            len(flat),
            float(flat.min()) if len(flat) else None,
            float(flat.max()) if len(flat) else None,
            power1,
            power2,
        )

    def __add__(self, other: Histogram) -> Histogram:
        bins = np.union1d(self.bins, other.bins)
        counts = np.zeros(len(bins), np.int64)
        counts[np.searchsorted(bins, self.bins)] += self.counts
        counts[np.searchsorted(bins, other.bins)] += other.counts
        ends = [
            (v, w)
            for v, w in ((self.minimum, self.maximum), (other.minimum, other.maximum))
            if v is not None
        ]
        return Histogram(
            bins.astype(np.int32),
            counts,
            self.n + other.n,
            min((v for v, _ in ends), default=None),
            max((w for _, w in ends if w is not None), default=None),
            self.power1 + other.power1,
            self.power2 + other.power2,
        )

    @property
    def mean(self) -> float | None:
        """The exact mean, correctly rounded; null when empty."""
        return float(Fraction(self.power1, self.n << 149)) if self.n else None

    @property
    def std(self) -> float | None:
        """The population standard deviation from the exact moments; null when empty."""
        if not self.n:
            return None
        variance = Fraction(self.power2, self.n) - Fraction(self.power1, self.n) ** 2
        return float(np.sqrt(float(variance / (1 << 298))))

    def locate(self, level: float) -> tuple[int, int]:
        """(bin, rank within it) of the quantile at a level. Raises ValueError when empty."""
        if not self.n:
            raise ValueError("an empty histogram has no quantile")
        rank = rank_of(level, self.n)
        cumulated = np.cumsum(self.counts)
        index = int(np.searchsorted(cumulated, rank, side="right"))
        before = int(cumulated[index - 1]) if index else 0
        return int(self.bins[index]), rank - before

    def quantile(self, level: float) -> float | None:
        """The quantile to the histogram's bound (1/128 of its value, from above within its bin); null when empty."""
        if not self.n or self.minimum is None or self.maximum is None:
            return None
        upper = key_values(np.array([(self.locate(level)[0] << 16) | 0xFFFF], np.uint32))[0]
        return float(min(max(float(upper), self.minimum), self.maximum))

    def to_mapping(self) -> dict[str, Any]:
        """Plain data; `from_mapping` reads it back. The moments' integers are text, since JSON's are too small."""
        return {
            "bins": self.bins.tolist(),
            "counts": self.counts.tolist(),
            "n": self.n,
            "min": self.minimum,
            "max": self.maximum,
            "power1": str(self.power1),
            "power2": str(self.power2),
        }

    @classmethod
    def from_mapping(cls, raw: dict[str, Any]) -> Histogram:
        """The histogram of `to_mapping`."""
        return cls(
            np.array(raw["bins"], np.int32),
            np.array(raw["counts"], np.int64),
            int(raw["n"]),
            raw["min"],
            raw["max"],
            int(raw["power1"]),
            int(raw["power2"]),
        )


def refine(values: npt.ArrayLike, bin_: int) -> tuple[npt.NDArray[np.int32], Ints]:
    """The second pass: (lower 16 bits, counts) of the values that fall into one bin; counts add across parts."""
    keys = order_keys(np.asarray(values, np.float32).ravel())
    lows, counts = np.unique(keys[(keys >> 16) == bin_] & np.uint32(0xFFFF), return_counts=True)
    return lows.astype(np.int32), counts.astype(np.int64)


def exact_value(bin_: int, rank: int, lows: npt.ArrayLike, counts: npt.ArrayLike) -> float:
    """The value of a rank within a bin, from the merged second pass (lows and counts in any order, repeats allowed)."""
    merged = np.zeros(BINS, np.int64)
    np.add.at(merged, np.asarray(lows, np.int64), np.asarray(counts, np.int64))
    low = int(np.searchsorted(np.cumsum(merged), rank, side="right"))
    return float(key_values(np.array([(bin_ << 16) | low], np.uint32))[0])


def _powers(counts: Ints, lows: Ints, squares: Ints) -> tuple[int, int]:
    """The exact moments from, by upper 16 bits: how many values, and the sums of their lower 16 bits and of those squared.

    A float32 is an integer of 24 bits, upper × 2^16 + lower, times a power of two by its exponent.
    """
    used = np.flatnonzero(counts)
    exponent = (used >> 7) & 0xFF
    upper = (used & 0x7F) + np.where(exponent > 0, 0x80, 0)
    shift = np.maximum(exponent, 1) - 1
    n, low = counts[used], lows[used]
    first = np.zeros(255, np.int64)
    np.add.at(first, shift, np.where(used >> 15, -1, 1) * (((n * upper) << 16) + low))
    parts = [np.zeros(255, np.int64) for _ in range(3)]
    for total, own in zip(parts, (n * upper * upper, upper * low, squares[used]), strict=True):
        np.add.at(total, shift, own)
    power1 = sum(int(first[s]) << int(s) for s in np.flatnonzero(first))
    power2 = sum(
        ((int(a) << 32) + (int(b) << 17) + int(c)) << (2 * s)
        for s, (a, b, c) in enumerate(zip(*parts, strict=True))
    )
    return power1, power2
