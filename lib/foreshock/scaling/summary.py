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
# What NumPy, zip and JSON raise for bytes that were altered or cut off.
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
        distinct_keys, key_counts = np.unique(keys, return_counts=True)
        return cls(distinct_keys, key_counts)

    @classmethod
    def total(cls, parts: Iterable[KeyCounts]) -> KeyCounts:
        """The sum of several, at least one.

        >>> part = KeyCounts.of(np.array([3, 7], np.uint32))
        >>> KeyCounts.total([part, part]).counts.tolist()
        [2, 2]
        """
        members = list(parts)
        all_keys = np.concatenate([part.keys for part in members])
        all_counts = np.concatenate([part.counts for part in members])
        distinct_keys, key_position = np.unique(all_keys, return_inverse=True)
        added_counts = np.zeros(len(distinct_keys), np.int64)
        # Plain `+=` counts a position that comes twice only once.
        np.add.at(added_counts, key_position, all_counts)
        return cls(distinct_keys, added_counts)

    def value(self, bin_number: int, rank: int) -> float:
        """The value of a rank within a bin that the guide holds.

        bin_number, rank: as `Histogram.locate` gives them; rank 0 is the least value of the bin.

        >>> counts = KeyCounts.of(order_keys([1.0, 2.0]))
        >>> counts.value(*Histogram.of([1.0, 2.0]).locate(0.5))
        1.0
        """
        inside_bin = (self.keys >> 16) == bin_number
        return exact_value(
            bin_number, rank, self.keys[inside_bin] & LOWER_BITS, self.counts[inside_bin]
        )


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
        for feature_name, feature_values in values:
            value_keys = order_keys(feature_values)
            in_guide = _guided_bins(guide.get(feature_name, []))
            summary.histograms[feature_name] = Histogram.of(feature_values)
            summary.refined[feature_name] = KeyCounts.of(value_keys[in_guide[value_keys >> 16]])
        return summary

    @classmethod
    def total(cls, parts: Iterable[Summary]) -> Summary:
        """The sum of summaries that were taken by the same guide.

        Their order does not matter, and a feature may be missing from some. Without a summary the
        total is empty.
        """
        summaries, total = list(parts), cls()
        for feature_name in sorted(
            {feature_name for summary in summaries for feature_name in summary.histograms}
        ):
            with_feature = [summary for summary in summaries if feature_name in summary.histograms]
            feature_histograms = (summary.histograms[feature_name] for summary in with_feature)
            total.histograms[feature_name] = sum(feature_histograms, Histogram())
            total.refined[feature_name] = KeyCounts.total(
                summary.refined[feature_name] for summary in with_feature
            )
        return total

    def guide(self) -> Guide:
        """The ranges of bins that hold the ranks within REACH of each quartile.

        A feature without a value has none.
        """
        return {
            feature_name: [
                [histogram.locate(level + side)[0] for side in (-REACH, REACH)]
                for level in QUARTILES
            ]
            for feature_name, histogram in self.histograms.items()
            if histogram.n
        }

    def reaches(self, guide: Guide) -> bool:
        """Whether all quartiles lie in bins of the guide by which this summary was taken.

        >>> summary = Summary.of([("fee", np.arange(5, dtype=np.float32))], {})
        >>> summary.reaches({}), summary.reaches(summary.guide())
        (False, True)
        """
        return all(
            any(
                first <= histogram.locate(level)[0] <= last
                for first, last in guide.get(feature_name, [])
            )
            for feature_name, histogram in self.histograms.items()
            if histogram.n
            for level in QUARTILES
        )

    def quartiles(self) -> dict[str, tuple[float, float, float]]:
        """The exact quartiles of each feature (`numpy.quantile(method="inverted_cdf")`).

        Needs `reaches`: values outside the guide's bins were not counted one by one. A feature
        without a value is left out.
        """
        feature_quartiles = {}
        for feature_name, histogram in self.histograms.items():
            if histogram.n:
                lower_quartile, median, upper_quartile = (
                    self.refined[feature_name].value(*histogram.locate(level))
                    for level in QUARTILES
                )
                feature_quartiles[feature_name] = (lower_quartile, median, upper_quartile)
        return feature_quartiles

    def to_bytes(self, note: Note) -> bytes:
        """An npz file with a JSON member: `note` and what arrays do not hold.

        note: plain data, which `from_bytes` gives back.
        """
        memory = io.BytesIO()
        plain_features = {
            feature_name: {
                "n": histogram.n,
                "min": histogram.minimum,
                "max": histogram.maximum,
                "power1": str(histogram.power1),
                "power2": str(histogram.power2),
            }
            for feature_name, histogram in self.histograms.items()
        }
        arrays: dict[str, AnyArray] = {}
        for number, (feature_name, histogram) in enumerate(self.histograms.items()):
            refined = self.refined[feature_name]
            arrays[f"bins{number}"] = histogram.bins.astype(np.uint16)
            arrays[f"counts{number}"] = _small(histogram.counts)
            arrays[f"keys{number}"] = refined.keys
            arrays[f"key_counts{number}"] = _small(refined.counts)
        # JSON for what arrays cannot hold: the moments are integers of hundreds of bits.
        json_text = json.dumps({"note": note, "features": plain_features})
        np.savez(memory, state=np.frombuffer(json_text.encode(), np.uint8), **arrays)
        return memory.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes) -> tuple[Summary, Note]:
        """The summary and the note that `to_bytes` was given.

        Raises one of DAMAGE if the bytes were altered.
        """
        summary = cls()
        # Whoever can write a run's directory must not run code here: nothing is unpickled.
        with np.load(io.BytesIO(raw), allow_pickle=False) as npz_members:
            json_state = json.loads(bytes(npz_members["state"]))
            for number, (feature_name, plain_feature) in enumerate(json_state["features"].items()):
                summary.histograms[feature_name] = Histogram(
                    npz_members[f"bins{number}"].astype(np.int32),
                    npz_members[f"counts{number}"].astype(np.int64),
                    plain_feature["n"],
                    plain_feature["min"],
                    plain_feature["max"],
                    int(plain_feature["power1"]),
                    int(plain_feature["power2"]),
                )
                key_counts = npz_members[f"key_counts{number}"].astype(np.int64)
                summary.refined[feature_name] = KeyCounts(npz_members[f"keys{number}"], key_counts)
        return summary, json_state["note"]


def _guided_bins(ranges: list[list[int]]) -> BoolArray:
    """Whether each bin (BINS,) lies in one of the ranges [first, last]."""
    guided = np.zeros(BINS, np.bool_)
    for first, last in ranges:
        guided[first : last + 1] = True
    return guided


def _small(counts: Int64Array) -> AnyArray:
    """Counts in the smallest unsigned type that holds them."""
    smallest_type = np.min_scalar_type(int(counts.max(initial=0)))
    return np.asarray(counts.astype(smallest_type))
