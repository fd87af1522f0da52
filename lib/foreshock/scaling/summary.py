"""What is kept of training values, so that a new partition costs a partition. NumPy alone.

A feature's quartiles lie in a few bins of its histogram. The *guide* names the ranges of bins that
hold the ranks within `REACH` of each quartile; of their values the lower 16 bits are counted too,
so the merged summary gives the exact quartile as long as it stays in these ranges: 1 % of new
values cannot move it out. Summaries add up in any order and grouping.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from foreshock.scaling.robust import QUARTILES
from foreshock.statistics.arrays import (
    AnyArray,
    BoolArray,
    Float32Array,
    Int64Array,
    UInt32Array,
)
from foreshock.statistics.histogram import (
    BINS,
    LOWER_BITS,
    Histogram,
    exact_value,
    order_keys,
)

REACH = 0.01
Guide = dict[str, list[list[int]]]  # feature -> ranges of bins [first, last]
Note = Mapping[str, object]  # plain data beside a summary
DAMAGE = (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class KeyCounts:
    """Order keys (n,) in the guide's bins, sorted, and how often each came (n,)."""

    keys: UInt32Array
    counts: Int64Array

    @classmethod
    def of(cls, keys: UInt32Array) -> KeyCounts:
        """Of keys in any order.

        >>> KeyCounts.of(np.array([7, 3, 7], np.uint32)).counts.tolist()
        [1, 2]
        """
        distinct, counts = np.unique(keys, return_counts=True)
        return cls(distinct, counts)

    @classmethod
    def total(cls, parts: Iterable[KeyCounts]) -> KeyCounts:
        """The sum of several, at least one."""
        members = list(parts)
        all_keys = np.concatenate([part.keys for part in members])
        all_counts = np.concatenate([part.counts for part in members])
        distinct, position = np.unique(all_keys, return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, position, all_counts)
        return cls(distinct, counts)

    def value(self, bin_number: int, rank: int) -> float:
        """The value of a rank within a bin that the guide holds."""
        inside = (self.keys >> 16) == bin_number
        return exact_value(bin_number, rank, self.keys[inside] & LOWER_BITS, self.counts[inside])


@dataclass
class Summary:
    """Of some training values, by feature: the histogram, and what is in the guide's bins."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    refined: dict[str, KeyCounts] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[tuple[str, Float32Array]], guide: Guide) -> Summary:
        """The summary of (feature, finite values) by a guide; an empty guide refines nothing.

        >>> values = np.arange(5, dtype=np.float32)
        >>> guide = Summary.of([("fee", values)], {}).guide()
        >>> Summary.of([("fee", values)], guide).quartiles()
        {'fee': (1.0, 2.0, 3.0)}
        """
        summary = cls()
        for name, numbers in values:
            keys = order_keys(numbers)
            in_guide = _guided_bins(guide.get(name, []))
            summary.histograms[name] = Histogram.of(numbers)
            summary.refined[name] = KeyCounts.of(keys[in_guide[keys >> 16]])
        return summary

    @classmethod
    def total(cls, parts: Iterable[Summary]) -> Summary:
        """The sum of summaries that were taken by the same guide."""
        summaries, total = list(parts), cls()
        for name in sorted({name for summary in summaries for name in summary.histograms}):
            members = [summary for summary in summaries if name in summary.histograms]
            histograms = (summary.histograms[name] for summary in members)
            total.histograms[name] = sum(histograms, Histogram())
            total.refined[name] = KeyCounts.total(summary.refined[name] for summary in members)
        return total

    def guide(self) -> Guide:
        """The ranges of bins that hold the ranks within REACH of each quartile."""
        return {
            name: [
                [histogram.locate(level + side)[0] for side in (-REACH, REACH)]
                for level in QUARTILES
            ]
            for name, histogram in self.histograms.items()
            if histogram.n
        }

    def reaches(self, guide: Guide) -> bool:
        """Whether all quartiles lie in bins of the guide by which this summary was taken."""
        return all(
            any(first <= histogram.locate(level)[0] <= last for first, last in guide.get(name, []))
            for name, histogram in self.histograms.items()
            if histogram.n
            for level in QUARTILES
        )

    def quartiles(self) -> dict[str, tuple[float, float, float]]:
        """The exact quartiles of each feature (`numpy.quantile(method="inverted_cdf")`). Needs
        `reaches`.
        """
        quartiles = {}
        for name, histogram in self.histograms.items():
            if histogram.n:
                lower, median, upper = (
                    self.refined[name].value(*histogram.locate(level)) for level in QUARTILES
                )
                quartiles[name] = (lower, median, upper)
        return quartiles

    def to_bytes(self, note: Note) -> bytes:
        """An npz file with a JSON member: `note` and what arrays do not hold."""
        memory = io.BytesIO()
        plain = {
            name: {
                "n": histogram.n,
                "min": histogram.minimum,
                "max": histogram.maximum,
                "power1": str(histogram.power1),
                "power2": str(histogram.power2),
            }
            for name, histogram in self.histograms.items()
        }
        arrays: dict[str, AnyArray] = {}
        for number, (name, histogram) in enumerate(self.histograms.items()):
            refined = self.refined[name]
            arrays[f"bins{number}"] = histogram.bins.astype(np.uint16)
            arrays[f"counts{number}"] = _small(histogram.counts)
            arrays[f"keys{number}"] = refined.keys
            arrays[f"key_counts{number}"] = _small(refined.counts)
        text = json.dumps({"note": note, "features": plain})
        np.savez(memory, state=np.frombuffer(text.encode(), np.uint8), **arrays)
        return memory.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes) -> tuple[Summary, Note]:
        """The summary and note of `to_bytes`. Raises one of DAMAGE if the bytes were altered."""
        summary = cls()
        with np.load(io.BytesIO(raw), allow_pickle=False) as members:
            state = json.loads(bytes(members["state"]))
            for number, (name, plain) in enumerate(state["features"].items()):
                summary.histograms[name] = Histogram(
                    members[f"bins{number}"].astype(np.int32),
                    members[f"counts{number}"].astype(np.int64),
                    plain["n"],
                    plain["min"],
                    plain["max"],
                    int(plain["power1"]),
                    int(plain["power2"]),
                )
                key_counts = members[f"key_counts{number}"].astype(np.int64)
                summary.refined[name] = KeyCounts(members[f"keys{number}"], key_counts)
        return summary, state["note"]


def _guided_bins(ranges: list[list[int]]) -> BoolArray:
    """Whether each bin (BINS,) lies in one of the ranges [first, last]."""
    guided = np.zeros(BINS, np.bool_)
    for first, last in ranges:
        guided[first : last + 1] = True
    return guided


def _small(counts: Int64Array) -> AnyArray:
    """Counts in the smallest unsigned type that holds them."""
    smallest = np.min_scalar_type(int(counts.max(initial=0)))
    return np.asarray(counts.astype(smallest))
