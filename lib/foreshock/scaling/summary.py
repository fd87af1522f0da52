"""What is kept of training values so that a new partition costs a partition: histograms, and counts within the bins of interest.

A feature's quartiles lie in a few bins of its histogram. The *guide* names the ranges of bins that hold the ranks within `REACH` of
each quartile; of their values the lower 16 bits are counted too, so the merged summary gives the exact quartile as long as it stays
in these ranges: 1 % of new values cannot move it out. Summaries add up in any order and grouping. NumPy alone.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.scaling.robust import QUARTILES
from foreshock.statistics.histogram import BINS, Histogram, exact_value, order_keys

REACH = 0.01
Guide = dict[str, list[list[int]]]  # feature -> ranges of bins [first, last]
DAMAGE = (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass
class Summary:
    """Of some training values, by feature: the histogram, and the counts of order keys (uint32, sorted) in the guide's bins."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    keys: dict[str, npt.NDArray[np.uint32]] = field(default_factory=dict)
    counts: dict[str, npt.NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Iterable[tuple[str, npt.NDArray[np.float32]]], guide: Guide) -> Summary:
        """The summary of (feature, finite values)."""
        made = cls()
        for name, own in values:
            made.histograms[name] = Histogram.of(own)
            wanted = np.zeros(BINS, bool)
            for first, last in guide.get(name, []):
                wanted[first : last + 1] = True
            keys = order_keys(own)
            made.keys[name], made.counts[name] = np.unique(
                keys[wanted[keys >> 16]], return_counts=True
            )
        return made

    @classmethod
    def total(cls, parts: Iterable[Summary]) -> Summary:
        """The sum of summaries that were taken with the same guide."""
        own, made = list(parts), cls()
        for name in sorted({n for p in own for n in p.histograms}):
            there = [p for p in own if name in p.histograms]
            made.histograms[name] = sum((p.histograms[name] for p in there), Histogram())
            keys, place = np.unique(
                np.concatenate([p.keys[name] for p in there]), return_inverse=True
            )
            counts = np.zeros(len(keys), np.int64)
            np.add.at(counts, place, np.concatenate([p.counts[name] for p in there]))
            made.keys[name], made.counts[name] = keys, counts
        return made

    def guide(self) -> Guide:
        """The ranges of bins that hold the ranks within REACH of each quartile."""
        return {
            name: [[h.locate(q + side)[0] for side in (-REACH, REACH)] for q in QUARTILES]
            for name, h in self.histograms.items()
            if h.n
        }

    def reaches(self, guide: Guide) -> bool:
        """Whether all quartiles lie in bins of the guide by which this summary was taken."""
        return all(
            any(first <= h.locate(q)[0] <= last for first, last in guide.get(n, []))
            for n, h in self.histograms.items()
            if h.n
            for q in QUARTILES
        )

    def quartiles(self) -> dict[str, tuple[float, float, float]]:
        """The exact quartiles of each feature (`numpy.quantile(method="inverted_cdf")`). Needs `reaches`."""
        found = {}
        for name, histogram in self.histograms.items():
            if histogram.n:
                exact = []
                for bin_, rank in (histogram.locate(q) for q in QUARTILES):
                    inside = (self.keys[name] >> 16) == bin_
                    exact.append(
                        exact_value(
                            bin_,
                            rank,
                            self.keys[name][inside] & np.uint32(0xFFFF),
                            self.counts[name][inside],
                        )
                    )
                found[name] = (exact[0], exact[1], exact[2])
        return found

    def to_bytes(self, note: dict[str, Any]) -> bytes:
        """An npz file with a JSON member: `note` and what arrays do not hold."""
        memory = io.BytesIO()
        plain = {
            n: {
                "n": h.n,
                "min": h.minimum,
                "max": h.maximum,
                "power1": str(h.power1),
                "power2": str(h.power2),
            }
            for n, h in self.histograms.items()
        }
        arrays: dict[str, Any] = {}
        for i, (name, h) in enumerate(self.histograms.items()):
            arrays |= {
                f"bins{i}": h.bins.astype(np.uint16),
                f"counts{i}": _small(h.counts),
                f"keys{i}": self.keys[name],
                f"key_counts{i}": _small(self.counts[name]),
            }
        text = json.dumps({"note": note, "features": plain})
        np.savez(memory, state=np.frombuffer(text.encode(), np.uint8), **arrays)
        return memory.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes) -> tuple[Summary, dict[str, Any]]:
        """The summary and note of `to_bytes`. Raises what is in DAMAGE where the bytes were altered."""
        made = cls()
        with np.load(io.BytesIO(raw), allow_pickle=False) as members:
            state = json.loads(bytes(members["state"]))
            for i, (name, h) in enumerate(state["features"].items()):
                made.histograms[name] = Histogram(
                    members[f"bins{i}"].astype(np.int32),
                    members[f"counts{i}"].astype(np.int64),
                    h["n"],
                    h["min"],
                    h["max"],
                    int(h["power1"]),
                    int(h["power2"]),
                )
                made.keys[name], made.counts[name] = (
                    members[f"keys{i}"],
                    members[f"key_counts{i}"].astype(np.int64),
                )
        return made, state["note"]


def _small(counts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
