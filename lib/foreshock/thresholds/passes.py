"""Histograms of scores and exact quantiles, from scored events.

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
from foreshock.statistics.arrays import Int64Array
from foreshock.statistics.histogram import Histogram, refine
from foreshock.thresholds.distribution import (
    ADMITTED,
    LOW_KEYS,
    Distributions,
    Exact,
    Key,
    Wanted,
    resolve,
)

CELL_COLUMNS = (*CELL_KEYS, schema.CALIBRATE)


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
        """A row for each detector, split, partition and group.

        rows: with CELL_COLUMNS and the scores of every detector.
        """
        histogram_rows = []
        for split_name, cell in named_cells(rows, self.admitted_split):
            for detector_name in self.detectors:
                judged_scores = cell.rows.judged(detector_name).scores(detector_name)
                distribution_key = Key(detector_name, split_name, cell.partition, cell.group)
                # JSON keeps every digit: Python writes a float so that it reads back the same.
                histogram_text = json.dumps(Histogram.of(judged_scores).to_mapping())
                n_unjudged = len(cell.rows) - len(judged_scores)
                histogram_rows.append(
                    {
                        **distribution_key._asdict(),
                        "histogram": histogram_text,
                        "unjudged": n_unjudged,
                    }
                )
        return pa.Table.from_pylist(histogram_rows)

    def empty(self) -> Distributions:
        """No distribution."""
        return Distributions({})

    def add(self, total: Distributions, part: pa.Table) -> Distributions:
        """The distributions with those of one more file.

        Histograms add exactly, so the order of files does not matter.
        """
        for part_row in part.to_pylist():
            distribution_key = Key(
                part_row["detector"], part_row["split"], part_row["partition"], part_row["group"]
            )
            histogram = Histogram.from_mapping(json.loads(part_row["histogram"]))
            total.add(distribution_key, histogram, part_row["unjudged"])
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
        return tuple(dict.fromkeys(wanted_quantile.key.detector for wanted_quantile in self.wanted))

    @property
    def bins(self) -> tuple[tuple[Key, int], ...]:
        """The bins to look into, each once.

        Quantiles of a distribution that are near each other share a bin.
        """
        return tuple(
            dict.fromkeys(
                (wanted_quantile.key, wanted_quantile.bin) for wanted_quantile in self.wanted
            )
        )

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each bin and cell that has a score in it: counts by the lower 16 bits.

        rows: with CELL_COLUMNS and the scores of `detectors`.
        """
        counted_rows = []
        wanted_bins = self.bins
        # Cells are sorted for when they are asked for: without a bin that would be for nothing.
        for split_name, cell in named_cells(rows, self.admitted_split) if wanted_bins else ():
            for bin_number, (distribution_key, bin_) in enumerate(wanted_bins):
                if distribution_key.holds(split_name, cell.partition, cell.group):
                    detector_name = distribution_key.detector
                    judged_scores = cell.rows.judged(detector_name).scores(detector_name)
                    low_keys, bin_counts = refine(judged_scores, bin_)
                    if len(low_keys):
                        counted_row = {"bin": bin_number, "lows": low_keys, "counts": bin_counts}
                        counted_rows.append(counted_row)
        return pa.Table.from_pylist(counted_rows)

    def empty(self) -> BinCounts:
        """No score in any bin."""
        return {}

    def add(self, total: BinCounts, part: pa.Table) -> BinCounts:
        """The counts with those of one more file."""
        wanted_bins = self.bins
        for part_row in part.to_pylist():
            bin_counts = total.setdefault(
                wanted_bins[part_row["bin"]], np.zeros(LOW_KEYS, np.int64)
            )
            np.add.at(bin_counts, part_row["lows"], part_row["counts"])
        return total

    def resolved(self, counts: BinCounts) -> Exact:
        """The quantiles, from the counts over all files.

        counts: the total of this pass.
        """
        return resolve(self.wanted, counts)
