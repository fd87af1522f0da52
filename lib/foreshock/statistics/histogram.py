"""A mergeable histogram over the bits of float32, with exact moments. NumPy alone.

If the bits of a float32 are flipped so that unsigned order is numeric order, their upper 16 are the
number of a bin whose width is at most 1/128 of its values. Counts add, so a histogram depends on no
order, grouping or partitioning. A second pass over the bin that holds a wanted rank, by the lower
16 bits, gives the exact order statistic: selection in two passes over digits, as in radix selection
(Knuth, "The Art of Computer Programming" 3, section 5.2.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import Float32Array, Int32Array, Int64Array, UInt32Array

BINS = 1 << 16
LOWER_BITS = np.uint32(0xFFFF)
SIGN_BIT = np.uint32(0x80000000)
# Values counted together: few enough that sums of 32-bit numbers are exact in float64.
CHUNK = 1 << 21
SMALLEST_EXPONENT = 149  # the smallest float32 above 0 is 2^-149


def order_keys(values: npt.ArrayLike) -> UInt32Array:
    """uint32 keys whose order is the numeric order of float32 values; −0 counts as 0.

    >>> np.argsort(order_keys([2.0, -3.0, 0.5])).tolist()
    [1, 2, 0]
    """
    float_bits = (np.asarray(values, np.float32) + np.float32(0)).view(np.uint32)
    # The sign bit makes negative numbers the larger ones, and their order is reversed.
    return np.where(float_bits >> 31, ~float_bits, float_bits | SIGN_BIT)


def key_values(keys: npt.ArrayLike) -> Float32Array:
    """The float32 values of order keys: the inverse of `order_keys`.

    >>> key_values(order_keys([2.0, -3.0])).tolist()
    [2.0, -3.0]
    """
    order_key = np.asarray(keys, np.uint32)
    float_bits = np.where(order_key >> 31, order_key & ~SIGN_BIT, ~order_key).astype(np.uint32)
    return float_bits.view(np.float32)


def rank_of(level: float, count: int) -> int:
    """The 0-based rank of `numpy.quantile(method="inverted_cdf")` at a level among `count` values.

    >>> rank_of(0.5, 4), rank_of(0.75, 4), rank_of(1.0, 4)
    (1, 2, 3)
    """
    return int(min(max(np.ceil(level * count - 1), 0), count - 1))


@dataclass
class Histogram:
    """Counts by bin, how many values (`n`), and their exact minimum, maximum and moments.

    bins: int32, sorted. counts: int64. power1, power2: the sum of the values in units of 2^−149,
    and of their squares in units of 2^−298, as exact integers.

    >>> both = Histogram.of([1.0, 2.0]) + Histogram.of([6.0])
    >>> both.n, both.mean, both.maximum
    (3, 3.0, 6.0)
    """

    bins: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    counts: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    n: int = 0
    minimum: float | None = None
    maximum: float | None = None
    power1: int = 0
    power2: int = 0

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Histogram:
        """The histogram of finite values of any shape, cast to float32 first.

        Raises ValueError for NaN or infinity.
        """
        flat = np.asarray(values, np.float32).ravel() + np.float32(0)  # −0 becomes 0
        if not np.isfinite(flat).all():
            raise ValueError("a histogram takes finite values only")
        bit_sums = _BitSums.of(flat)
        # The bits of negative numbers rise as the numbers fall.
        counts_in_order = np.concatenate([bit_sums.counts[:0x7FFF:-1], bit_sums.counts[:0x8000]])
        filled_bins = np.flatnonzero(counts_in_order)
        power1, power2 = bit_sums.powers()
        return cls(
            filled_bins.astype(np.int32),
            counts_in_order[filled_bins],
            len(flat),
            float(flat.min()) if len(flat) else None,
            float(flat.max()) if len(flat) else None,
            power1,
            power2,
        )

    def __add__(self, other: Histogram) -> Histogram:
        all_bins = np.union1d(self.bins, other.bins)
        # Both bins are sorted and without repeats, so each lands in one place.
        added_counts = np.zeros(len(all_bins), np.int64)
        added_counts[np.searchsorted(all_bins, self.bins)] += self.counts
        added_counts[np.searchsorted(all_bins, other.bins)] += other.counts
        minima = [low for low in (self.minimum, other.minimum) if low is not None]
        maxima = [high for high in (self.maximum, other.maximum) if high is not None]
        return Histogram(
            all_bins.astype(np.int32),
            added_counts,
            self.n + other.n,
            min(minima, default=None),
            max(maxima, default=None),
            self.power1 + other.power1,
            self.power2 + other.power2,
        )

    @property
    def mean(self) -> float | None:
        """The exact mean, correctly rounded; None if the histogram is empty.

        >>> Histogram.of([1e8, 1.0, -1e8]).mean
        0.3333333333333333
        """
        return float(Fraction(self.power1, self.n << SMALLEST_EXPONENT)) if self.n else None

    @property
    def std(self) -> float | None:
        """The population standard deviation from the exact moments; None if there is no value."""
        if not self.n:
            return None
        scaled_variance = Fraction(self.power2, self.n) - Fraction(self.power1, self.n) ** 2
        # Divided by the unit before it is a float: the integer alone may exceed float64's range.
        return float(np.sqrt(float(scaled_variance / (1 << 2 * SMALLEST_EXPONENT))))

    def locate(self, level: float) -> tuple[int, int]:
        """The bin that holds the quantile at a level, and the quantile's rank within the bin.

        Raises ValueError if the histogram is empty.
        """
        if not self.n:
            raise ValueError("an empty histogram has no quantile")
        rank = rank_of(level, self.n)
        cumulated = np.cumsum(self.counts)
        bin_position = int(np.searchsorted(cumulated, rank, side="right"))
        count_before = int(cumulated[bin_position - 1]) if bin_position else 0
        return int(self.bins[bin_position]), rank - count_before

    def quantile(self, level: float) -> float | None:
        """The quantile to within 1/128 of its value, from above in its bin; None if the histogram
        is empty.

        >>> 50 <= Histogram.of(range(101)).quantile(0.5) <= 50 * (1 + 1 / 128)
        True
        """
        if not self.n or self.minimum is None or self.maximum is None:
            return None
        bin_number, _ = self.locate(level)
        upper_end = key_values(np.array([_key(bin_number, 0xFFFF)], np.uint32))[0]
        return float(min(max(float(upper_end), self.minimum), self.maximum))

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON; `from_mapping` reads it back.

        The moments' integers are text: they are too large for JSON's numbers.
        """
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
    def from_mapping(cls, raw: Mapping[str, Any]) -> Histogram:
        """The histogram that `to_mapping` gave.

        >>> Histogram.from_mapping(Histogram.of([1.0, 2.0]).to_mapping()).mean
        1.5
        """
        return cls(
            np.array(raw["bins"], np.int32),
            np.array(raw["counts"], np.int64),
            int(raw["n"]),
            raw["min"],
            raw["max"],
            int(raw["power1"]),
            int(raw["power2"]),
        )


def refine(values: npt.ArrayLike, bin_number: int) -> tuple[Int32Array, Int64Array]:
    """The second pass: the lower 16 bits of values in one bin, and their counts, which add across
    parts.

    >>> values = [1.0, 1.0, 1.001, 5.0]
    >>> bin_number, rank = Histogram.of(values).locate(0.75)
    >>> lower_bits, counts = refine(values, bin_number)
    >>> round(exact_value(bin_number, rank, lower_bits, counts), 6)
    1.001
    """
    value_keys = order_keys(np.asarray(values, np.float32).ravel())
    inside_bin = value_keys[(value_keys >> 16) == bin_number] & LOWER_BITS
    lower_bits, counts = np.unique(inside_bin, return_counts=True)
    return lower_bits.astype(np.int32), counts.astype(np.int64)


def exact_value(
    bin_number: int, rank: int, lower_bits: npt.ArrayLike, counts: npt.ArrayLike
) -> float:
    """The value of a rank within a bin, from the merged second pass.

    lower_bits, counts (n,): those of all parts, in any order; bits may repeat.
    """
    # Every lower part is counted anew: parts of the data may share some of them.
    merged_counts = np.zeros(BINS, np.int64)
    np.add.at(merged_counts, np.asarray(lower_bits, np.int64), np.asarray(counts, np.int64))
    lower_part = int(np.searchsorted(np.cumsum(merged_counts), rank, side="right"))
    return float(key_values(np.array([_key(bin_number, lower_part)], np.uint32))[0])


def _key(bin_number: int, lower_bits: int) -> int:
    return (bin_number << 16) | lower_bits


@dataclass(frozen=True)
class _BitSums:
    """By the upper 16 bits of values (BINS,): how many, and the sums of their lower 16 bits and of
    those squared.
    """

    counts: Int64Array
    lower: Int64Array
    lower_squared: Int64Array

    @classmethod
    def of(cls, flat: Float32Array) -> _BitSums:
        value_counts, lower_sums, square_sums = (np.zeros(BINS, np.int64) for _ in range(3))
        for chunk_start in range(0, len(flat), CHUNK):
            float_bits = flat[chunk_start : chunk_start + CHUNK].view(np.uint32)
            upper_bits, lower_bits = (
                (float_bits >> 16).astype(np.int64),
                (float_bits & LOWER_BITS).astype(np.float64),
            )
            value_counts += np.bincount(upper_bits, minlength=BINS)
            # Exact in float64: fewer than 2^21 numbers below 2^32.
            lower_sum = np.bincount(upper_bits, weights=lower_bits, minlength=BINS)
            square_sum = np.bincount(upper_bits, weights=lower_bits * lower_bits, minlength=BINS)
            lower_sums += lower_sum.astype(np.int64)
            square_sums += square_sum.astype(np.int64)
        return cls(value_counts, lower_sums, square_sums)

    def powers(self) -> tuple[int, int]:
        """The exact sums of the values and of their squares, as `Histogram` has them.

        A float32 is an integer of 24 bits, upper × 2^16 + lower, times a power of two by its
        exponent.
        """
        used_uppers = np.flatnonzero(self.counts)
        # Subnormal numbers have exponent 0 and no implicit leading bit.
        exponent = (used_uppers >> 7) & 0xFF
        upper_part = (used_uppers & 0x7F) + np.where(exponent > 0, 0x80, 0)
        bit_shifts = np.maximum(exponent, 1) - 1
        sign = np.where(used_uppers >> 15, -1, 1)
        value_counts, lower_sums = self.counts[used_uppers], self.lower[used_uppers]
        value_sums = _sums_by_shift(
            bit_shifts, sign * (((value_counts * upper_part) << 16) + lower_sums)
        )
        # (upper × 2^16 + lower)², term by term, so that each sum fits 64 bits.
        upper_square_sums = _sums_by_shift(bit_shifts, value_counts * upper_part * upper_part)
        product_sums = _sums_by_shift(bit_shifts, upper_part * lower_sums)
        lower_square_sums = _sums_by_shift(bit_shifts, self.lower_squared[used_uppers])
        power1 = power2 = 0
        for shift_bits in range(255):
            square_sum = (
                (upper_square_sums[shift_bits] << 32)
                + (product_sums[shift_bits] << 17)
                + lower_square_sums[shift_bits]
            )
            power1 += value_sums[shift_bits] << shift_bits
            power2 += square_sum << (2 * shift_bits)
        return power1, power2


def _sums_by_shift(shift: Int64Array, terms: Int64Array) -> list[int]:
    """The sum of the terms of each power of two, as Python's integers."""
    shift_sums = np.zeros(255, np.int64)
    np.add.at(shift_sums, shift, terms)
    return [int(total) for total in shift_sums.tolist()]
