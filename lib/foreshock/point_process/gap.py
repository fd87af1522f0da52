"""How unusual the time since an entity's last event is, against the gaps of train.

The p-value of a gap g is two-sided, with the gap itself counted in so that it is never 0:

    p = min(1, 2 min(1 + #{G <= g}, 1 + #{G >= g}) / (n + 1))

over the n gaps G of train in the same group and hour of the week (UTC). A group's hour with fewer
than `LEAST_GAPS` gaps takes the whole group, a group with fewer takes all groups. The score is
−log p. It is a conformal p-value in each tail: Vovk, Gammerman & Shafer, "Algorithmic Learning in a
Random World" (2005), chapter 2. The smallest of the two, doubled, is Bonferroni's bound.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.detectors import SequenceScores
from foreshock.point_process.gap_counts import GapCounts, merged
from foreshock.sequences.event_rows import GAP
from foreshock.statistics.arrays import AnyArray, Float64Array, Int64Array

# Gaps that an hour of the week, or a group, needs to be judged by itself: with n of them no
# p-value is below 2 / (n + 1).
LEAST_GAPS = 200
HOURS_A_WEEK = 168
MICROSECONDS_AN_HOUR = 3_600_000_000
# 1970-01-01 was a Thursday, 96 hours before a Monday.
MONDAY = 96
EVERY_HOUR = -1
EVERY_GROUP = ""

# (group, hour of the week) -> counts; EVERY_GROUP and EVERY_HOUR stand for all together.
Cell = tuple[str, int]
Cells = Mapping[Cell, GapCounts]


def hour_of_week(times: npt.ArrayLike) -> Int64Array:
    """The hour of the week (n,) in UTC, 0 for Monday's first, of times in microseconds since 1970.

    >>> hour_of_week([0, MICROSECONDS_AN_HOUR * MONDAY])
    array([72,  0])
    """
    hours = np.asarray(times, np.int64) // MICROSECONDS_AN_HOUR
    return np.asarray((hours - MONDAY) % HOURS_A_WEEK)


def microseconds(gaps: npt.ArrayLike) -> Int64Array:
    """Gaps in seconds, none null, as whole microseconds of the same shape.

    They are rounded to the nearest: float64 holds few microseconds exactly as seconds.

    >>> microseconds([0.1, 2.0]).tolist()
    [100000, 2000000]
    """
    return np.asarray(np.rint(np.asarray(gaps, np.float64) * 1e6), np.int64)


def count_cells(
    groups: npt.ArrayLike, times: npt.ArrayLike, gaps: npt.ArrayLike
) -> dict[Cell, GapCounts]:
    """The counts of each group's hours of the week.

    groups: (n,) text; times: (n,) microseconds since 1970 UTC; gaps: (n,) seconds, none null.
    """
    names, group_number = np.unique(np.asarray(groups, np.str_), return_inverse=True)
    key = group_number * HOURS_A_WEEK + hour_of_week(times)
    order = np.argsort(key, kind="stable")
    sorted_gaps, sorted_key = microseconds(gaps)[order], key[order]
    starts = np.flatnonzero(np.diff(sorted_key, prepend=-1))
    parts = np.split(sorted_gaps, starts[1:])
    cells = {}
    for start, part in zip(starts.tolist(), parts, strict=True):
        group, hour = divmod(int(sorted_key[start]), HOURS_A_WEEK)
        cells[str(names[group]), hour] = GapCounts.of(part)
    return cells


def merge_cells(parts: Iterable[Cells]) -> dict[Cell, GapCounts]:
    """The sum of counts by cell, the same for any order and grouping of the parts.

    >>> part = count_cells(["a"], [0], [60.0])
    >>> {cell: counts.n for cell, counts in merge_cells([part, part]).items()}
    {('a', 72): 2}
    """
    by_cell: dict[Cell, list[GapCounts]] = {}
    for part in parts:
        for cell, counts in part.items():
            by_cell.setdefault(cell, []).append(counts)
    return {cell: merged(counts) for cell, counts in sorted(by_cell.items())}


@dataclass(frozen=True)
class Gap:
    """Train's gaps by cell: each hour of the week with enough gaps, each group, and all groups.

    >>> times = np.arange(300) * 60_000_000
    >>> detector = Gap.fit([count_cells(["all"] * 300, times, np.full(300, 60.0))])
    >>> detector.scores(["all", "all"], times[:2], [60.0, 1.0]).round(3)
    array([0.   , 5.014])
    >>> detector.expected(["all"], times[:1])
    array([60.])
    """

    cells: Cells

    @classmethod
    def fit(cls, parts: Iterable[Cells]) -> Self:
        """The detector of counted cells (`count_cells`) of train, in any order and grouping.

        Raises ValueError if no gap was counted.
        """
        hours = merge_cells(parts)
        groups = merge_cells({(group, EVERY_HOUR): counts} for (group, _), counts in hours.items())
        everything = merged(groups.values())
        if not everything.n:
            raise ValueError("no gap was counted: no entity has two events")
        # Sparse cells judge nothing, but their gaps count in their group and in all together.
        kept = {cell: counts for cell, counts in (hours | groups).items() if counts.n >= LEAST_GAPS}
        return cls({**kept, (EVERY_GROUP, EVERY_HOUR): everything})

    @property
    def blind_events(self) -> int:
        """0: an event's gap says whether it is judged, not its position.

        The first event of an entity has no gap, so its score is NaN.
        """
        return 0

    @property
    def fitted_on(self) -> int | None:
        """How many gaps of train it was fitted on."""
        return self.cells[EVERY_GROUP, EVERY_HOUR].n

    def scores(
        self, groups: npt.ArrayLike, times: npt.ArrayLike, gaps: npt.ArrayLike
    ) -> Float64Array:
        """−log p (n,) of gaps (n,) in seconds; NaN for a gap that is NaN.

        groups: (n,) text; times: (n,) microseconds since 1970 UTC, of the events that end the gaps.
        """
        seconds = np.asarray(gaps, np.float64)
        scores = np.full(len(seconds), np.nan)
        for cell, rows in self._rows_by_cell(groups, times, ~np.isnan(seconds)):
            counts = self.cells[cell]
            ends = microseconds(seconds[rows])
            tail = np.minimum(counts.at_most(ends), counts.at_least(ends)) + 1
            # Not −log alone: a p-value of 1 would give −0.
            scores[rows] = 0.0 - np.log(np.minimum(1.0, 2 * tail / (counts.n + 1)))
        return scores

    def expected(self, groups: npt.ArrayLike, times: npt.ArrayLike) -> Float64Array:
        """The median gap (n,) in seconds that train has where an event is judged.

        groups: (n,) text; times: (n,) microseconds since 1970 UTC. The cell is that of `scores`, so
        a score and what was expected belong together.
        """
        n = len(np.asarray(times))
        medians = np.zeros(n)
        for cell, rows in self._rows_by_cell(groups, times, np.ones(n, np.bool_)):
            medians[rows] = self.cells[cell].median()
        return medians

    def _rows_by_cell(
        self, groups: npt.ArrayLike, times: npt.ArrayLike, mask: npt.NDArray[np.bool_]
    ) -> Iterable[tuple[Cell, Int64Array]]:
        """The rows of each cell that judges, of those in a mask."""
        rows = np.flatnonzero(mask)
        names, group_number = np.unique(np.asarray(groups, np.str_)[rows], return_inverse=True)
        key = group_number * HOURS_A_WEEK + hour_of_week(np.asarray(times, np.int64)[rows])
        by_cell: dict[Cell, list[Int64Array]] = {}
        # A cell is looked up once for each group and hour, not for each event.
        for present in np.unique(key).tolist():
            group, hour = divmod(present, HOURS_A_WEEK)
            cell = self._judging_cell(str(names[group]), hour)
            by_cell.setdefault(cell, []).append(rows[key == present])
        return [(cell, np.concatenate(parts)) for cell, parts in by_cell.items()]

    def _judging_cell(self, group: str, hour: int) -> Cell:
        for cell in ((group, hour), (group, EVERY_HOUR)):
            if cell in self.cells:
                return cell
        return EVERY_GROUP, EVERY_HOUR

    @staticmethod
    def summary(events: pa.Table) -> bytes:
        """The counts of events' gaps by cell, as bytes of an .npz file.

        events: rows of `sequences/`; those without a gap are passed over. Summaries of any grouping
        of the events give the same detector (`from_summaries`).
        """
        is_known = pc.is_valid(events[GAP])
        known = events.filter(is_known)
        columns = (
            known[C.GROUP].to_pylist(),
            known[C.EVENT_TIME].to_numpy(),
            known[GAP].to_numpy(),
        )
        packed = io.BytesIO()
        # Not fitted: counts are packed as a detector is, in which sparse cells may stand.
        counted = Gap(count_cells(*columns) if len(known) else {})
        description = np.frombuffer(json.dumps(counted.spec()).encode(), np.uint8)
        np.savez(packed, spec=description, **counted.arrays())
        return packed.getvalue()

    @classmethod
    def from_summaries(cls, summaries: Iterable[bytes]) -> Self:
        """The detector of what `summary` gave, in any order.

        Raises ValueError if no gap was counted.
        """
        parts = []
        for packed in summaries:
            with np.load(io.BytesIO(packed), allow_pickle=False) as members:
                spec = json.loads(bytes(members["spec"]))
                parts.append(
                    cls.load(spec, {"values": members["values"], "counts": members["counts"]})
                )
        return cls.fit(part.cells for part in parts)

    def judge(self, events: pa.Table) -> SequenceScores:
        """The scores (n,) of rows of `sequences/`, with observed and expected gaps (n, 1), seconds.

        The first event of an entity has no gap: its score and its observed gap are NaN.
        """
        gaps = events[GAP].to_numpy(zero_copy_only=False)
        groups, times = events[C.GROUP].to_pylist(), events[C.EVENT_TIME].to_numpy()
        scores, expected = self.scores(groups, times, gaps), self.expected(groups, times)
        return SequenceScores(scores, gaps[:, None], expected[:, None])

    def spec(self) -> Mapping[str, Any]:
        """The cells, how many values of `arrays` each has, and how many bits those leave out.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {
            "cells": [list(cell) for cell in self.cells],
            "sizes": [len(counts.values) for counts in self.cells.values()],
            "coarseness": [counts.coarseness for counts in self.cells.values()],
        }

    def arrays(self) -> Mapping[str, AnyArray]:
        """Values and counts (V,) of all cells, one cell after another in the order of `spec`.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return {
            "values": _joined([counts.values for counts in self.cells.values()]),
            "counts": _joined([counts.counts for counts in self.cells.values()]),
        }

    @classmethod
    def load(cls, spec: Mapping[str, Any], arrays: Mapping[str, AnyArray]) -> Self:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing, ValueError if they do not fit.
        """
        ends = np.cumsum(spec["sizes"], dtype=np.int64)
        if len(ends) != len(spec["cells"]) or sum(spec["sizes"]) != len(arrays["values"]):
            raise ValueError("the cells of gap do not fit their values")
        # np.split of nothing gives one part, where no cell is wanted.
        if not spec["cells"]:
            return cls({})
        values = np.split(arrays["values"], ends[:-1])
        counts = np.split(arrays["counts"], ends[:-1])
        entries = zip(spec["cells"], values, counts, spec["coarseness"], strict=True)
        return cls(
            {
                (str(group), int(hour)): GapCounts(cell_values, cell_counts, int(coarseness))
                for (group, hour), cell_values, cell_counts, coarseness in entries
            }
        )


def _joined(parts: list[Int64Array]) -> Int64Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
