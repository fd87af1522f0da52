"""What thresholds need of scored events: histograms, exact quantiles, tails, maxima of event runs.

Each is a pass over scored files (`scored.passes`). A detector's null scores count nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foreshock.scored import schema
from foreshock.scored.events import CELL_KEYS, ScoredCell, ScoredRows
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import AnyArray, Float64Array, Int64Array
from foreshock.statistics.histogram import Histogram, refine
from foreshock.thresholds.conformal import unit_maxima
from foreshock.thresholds.distribution import (
    ADMITTED,
    LOW_KEYS,
    Distributions,
    Exact,
    Key,
    TailEvents,
    Wanted,
    resolve,
)

CELL_COLUMNS = (*CELL_KEYS, schema.CALIBRATE)
Tail = tuple[Key, float]  # a distribution, and the value from which its tail is wanted


def named_cells(rows: ScoredRows, admitted_split: str | None) -> Iterator[tuple[str, ScoredCell]]:
    """(split, rows) of each split, partition and group of a file.

    Those of `admitted_split` that `events.calibrate_where` admits come again as ADMITTED.
    """
    for cell in rows.cells:
        yield cell.split.text, cell
        if admitted_split and cell.split == Split.of(admitted_split):
            yield ADMITTED, cell.admitted()


@dataclass(frozen=True)
class ScoreHistograms:
    """A pass: the histogram of every detector, split, partition and group."""

    detectors: tuple[str, ...]
    admitted_split: str | None
    columns: tuple[str, ...] = CELL_COLUMNS

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each detector, split, partition and group."""
        histograms = []
        for split, cell in named_cells(rows, self.admitted_split):
            for detector in self.detectors:
                scores = cell.rows.judged(detector).scores(detector)
                key = Key(detector, split, cell.partition, cell.group)
                histogram = json.dumps(Histogram.of(scores).to_mapping())
                n_unjudged = len(cell.rows) - len(scores)
                histograms.append({**key._asdict(), "histogram": histogram, "unjudged": n_unjudged})
        return pa.Table.from_pylist(histograms)

    def empty(self) -> Distributions:
        """No distribution."""
        return Distributions({})

    def add(self, total: Distributions, part: pa.Table) -> Distributions:
        """The distributions with those of one more file."""
        for row in part.to_pylist():
            key = Key(row["detector"], row["split"], row["partition"], row["group"])
            histogram = Histogram.from_mapping(json.loads(row["histogram"]))
            total.add(key, histogram, row["unjudged"])
        return total


BinCounts = dict[tuple[Key, int], Int64Array]


@dataclass(frozen=True)
class ExactQuantiles:
    """A pass: the scores in the bins that hold wanted quantiles, so that these are exact."""

    wanted: tuple[Wanted, ...]
    admitted_split: str | None
    columns: tuple[str, ...] = CELL_COLUMNS

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors of the wanted quantiles."""
        return tuple(dict.fromkeys(want.key.detector for want in self.wanted))

    @property
    def bins(self) -> tuple[tuple[Key, int], ...]:
        """The bins to look into, each once."""
        return tuple(dict.fromkeys((want.key, want.bin) for want in self.wanted))

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each bin and cell that has a score in it: counts by the lower 16 bits."""
        counted = []
        bins = self.bins
        for split, cell in named_cells(rows, self.admitted_split) if bins else ():
            for number, (key, bin_) in enumerate(bins):
                if key.holds(split, cell.partition, cell.group):
                    scores = cell.rows.judged(key.detector).scores(key.detector)
                    lows, counts = refine(scores, bin_)
                    if len(lows):
                        counted.append({"bin": number, "lows": lows, "counts": counts})
        return pa.Table.from_pylist(counted)

    def empty(self) -> BinCounts:
        """No score in any bin."""
        return {}

    def add(self, total: BinCounts, part: pa.Table) -> BinCounts:
        """The counts with those of one more file."""
        bins = self.bins
        for row in part.to_pylist():
            counts = total.setdefault(bins[row["bin"]], np.zeros(LOW_KEYS, np.int64))
            np.add.at(counts, row["lows"], row["counts"])
        return total

    def resolved(self, counts: BinCounts) -> Exact:
        """The quantiles, from the counts over all files."""
        return resolve(self.wanted, counts)


@dataclass(frozen=True)
class _TailPart:
    """What files add to a tail: event runs and their sizes, values and the run of each."""

    runs: list[Int64Array]
    sizes: list[Int64Array]
    values: list[Float64Array]
    homes: list[Int64Array]

    def tail(self) -> TailEvents:
        """All of it in order; the events of a run may lie in several files."""
        runs, place = np.unique(np.concatenate(self.runs), return_inverse=True)
        sizes = np.bincount(place, weights=np.concatenate(self.sizes)).astype(np.int64)
        values, homes = np.concatenate(self.values), np.concatenate(self.homes)
        order = np.lexsort((homes, values))
        return TailEvents(runs, sizes, values[order], homes[order])


@dataclass(frozen=True)
class Tails:
    """A pass: of each asked distribution the scores from a value on, with their event runs."""

    asked: tuple[Tail, ...]
    admitted_split: str | None
    columns: tuple[str, ...] = (*CELL_COLUMNS, schema.EVENT_RUN)

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors of the asked distributions."""
        return tuple(dict.fromkeys(key.detector for key, _ in self.asked))

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each asked distribution and cell of it."""
        parts = []
        for split, cell in named_cells(rows, self.admitted_split) if self.asked else ():
            counted: dict[str, tuple[Float64Array, AnyArray, AnyArray, AnyArray]] = {}
            for number, (key, start) in enumerate(self.asked):
                if not key.holds(split, cell.partition, cell.group):
                    continue
                if key.detector not in counted:
                    judged = cell.rows.judged(key.detector)
                    homes = judged.column(schema.EVENT_RUN)
                    runs, sizes = np.unique(homes, return_counts=True)
                    counted[key.detector] = (judged.scores(key.detector), homes, runs, sizes)
                scores, homes, runs, sizes = counted[key.detector]
                in_tail = scores >= start
                part = {"asked": number, "runs": runs, "sizes": sizes}
                parts.append(part | {"values": scores[in_tail], "homes": homes[in_tail]})
        return pa.Table.from_pylist(parts, schema=TAIL_PART)

    def empty(self) -> dict[int, _TailPart]:
        """No part of any tail."""
        return {}

    def add(self, total: dict[int, _TailPart], part: pa.Table) -> dict[int, _TailPart]:
        """The parts with those of one more file."""
        arrays = {name: part[name].combine_chunks() for name in part.column_names}
        for row, number in enumerate(arrays["asked"].to_pylist()):
            collected = total.setdefault(number, _TailPart([], [], [], []))
            for name in ("runs", "sizes", "values", "homes"):
                getattr(collected, name).append(arrays[name][row].values.to_numpy())
        return total

    def tails(self, parts: dict[int, _TailPart]) -> dict[Tail, TailEvents]:
        """The tail of each asked distribution."""
        return {tail: parts[number].tail() for number, tail in enumerate(self.asked)}


TAIL_PART = pa.schema(
    [
        ("asked", pa.int32()),
        ("runs", pa.list_(pa.int64())),
        ("sizes", pa.list_(pa.int64())),
        ("values", pa.list_(pa.float64())),
        ("homes", pa.list_(pa.int64())),
    ]
)


RUN_PART = pa.schema(
    [
        ("asked", pa.int32()),
        ("runs", pa.list_(pa.int64())),
        ("highest", pa.list_(pa.float64())),
    ]
)
RunParts = dict[Key, list[tuple[Int64Array, Float64Array]]]  # runs and their highest, by file


@dataclass(frozen=True)
class RunMaxima:
    """A pass: of each asked distribution the highest score of every event run."""

    asked: tuple[Key, ...]
    admitted_split: str | None
    columns: tuple[str, ...] = (*CELL_COLUMNS, schema.EVENT_RUN)

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors of the asked distributions."""
        return tuple(dict.fromkeys(key.detector for key in self.asked))

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each asked distribution and cell of it."""
        parts = []
        for split, cell in named_cells(rows, self.admitted_split) if self.asked else ():
            for number, key in enumerate(self.asked):
                if key.holds(split, cell.partition, cell.group):
                    judged = cell.rows.judged(key.detector)
                    runs, highest = unit_maxima(
                        judged.column(schema.EVENT_RUN), judged.scores(key.detector)
                    )
                    parts.append({"asked": number, "runs": runs, "highest": highest})
        return pa.Table.from_pylist(parts, schema=RUN_PART)

    def empty(self) -> RunParts:
        """No run."""
        return {}

    def add(self, total: RunParts, part: pa.Table) -> RunParts:
        """The parts with those of one more file."""
        runs, highest = (part[name].combine_chunks() for name in ("runs", "highest"))
        for row, number in enumerate(part["asked"].to_pylist()):
            both = (runs[row].values.to_numpy(), highest[row].values.to_numpy())
            total.setdefault(self.asked[number], []).append(both)
        return total

    def maxima(self, parts: RunParts) -> dict[Key, Float64Array]:
        """The highest scores of each asked distribution's runs, sorted."""
        sorted_maxima = {}
        for key in self.asked:
            highest = np.zeros(0)
            if key in parts:  # the events of a run may lie in two files
                runs, maxima = (np.concatenate(arrays) for arrays in zip(*parts[key], strict=True))
                highest = np.sort(unit_maxima(runs, maxima)[1])
            sorted_maxima[key] = highest
        return sorted_maxima
