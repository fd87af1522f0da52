"""Tails of scores and the maxima of event runs, from scored events.

Each is a pass over scored files (`scored.passes`). A detector's null scores count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foreshock.scored import schema
from foreshock.scored.events import ScoredRows
from foreshock.statistics.arrays import AnyArray, Float64Array, Int64Array
from foreshock.thresholds.conformal import unit_maxima
from foreshock.thresholds.distribution import Key, TailEvents
from foreshock.thresholds.passes import CELL_COLUMNS, named_cells

# A distribution, and the value from which its tail is wanted.
Tail = tuple[Key, float]


@dataclass(frozen=True)
class _TailPart:
    """What files add to a tail: event runs and their sizes, values and the run of each."""

    runs: list[Int64Array]
    sizes: list[Int64Array]
    values: list[Float64Array]
    homes: list[Int64Array]

    def tail(self) -> TailEvents:
        """All of it in order; the events of a run may lie in several files.

        Sizes of a run add up. Equal values are ordered by their run.
        """
        event_runs, run_place = np.unique(np.concatenate(self.runs), return_inverse=True)
        run_sizes = np.bincount(run_place, weights=np.concatenate(self.sizes)).astype(np.int64)
        tail_values, home_runs = np.concatenate(self.values), np.concatenate(self.homes)
        # lexsort goes by its last key first. Runs settle ties, whatever the order of files.
        value_order = np.lexsort((home_runs, tail_values))
        return TailEvents(event_runs, run_sizes, tail_values[value_order], home_runs[value_order])


@dataclass(frozen=True)
class Tails:
    """A pass: of each asked distribution the scores from a value on, with their event runs."""

    asked: tuple[Tail, ...]
    admitted_split: str | None
    columns: tuple[str, ...] = (*CELL_COLUMNS, schema.EVENT_RUN)

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors of the asked distributions."""
        return tuple(dict.fromkeys(distribution_key.detector for distribution_key, _ in self.asked))

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each asked distribution and cell of it.

        rows: with CELL_COLUMNS, the event run and the scores of `detectors`.
        """
        tail_parts = []
        for split_name, cell in named_cells(rows, self.admitted_split) if self.asked else ():
            for asked_number, (distribution_key, tail_start) in enumerate(self.asked):
                if distribution_key.holds(split_name, cell.partition, cell.group):
                    tail_part = self._tail_part(cell.rows, distribution_key.detector, tail_start)
                    tail_parts.append({"asked": asked_number, **tail_part})
        return pa.Table.from_pylist(tail_parts, schema=TAIL_PART)

    def _tail_part(
        self, rows: ScoredRows, detector: str, tail_start: float
    ) -> Mapping[str, AnyArray]:
        judged_rows = rows.judged(detector)
        judged_scores, home_runs = (
            judged_rows.scores(detector),
            judged_rows.column(schema.EVENT_RUN),
        )
        # All runs, not only the tail's: the bootstrap draws blocks without a high score too.
        event_runs, run_sizes = np.unique(home_runs, return_counts=True)
        is_in_tail = judged_scores >= tail_start
        return {
            "runs": event_runs,
            "sizes": run_sizes,
            "values": judged_scores[is_in_tail],
            "homes": home_runs[is_in_tail],
        }

    def empty(self) -> dict[int, _TailPart]:
        """No part of any tail."""
        return {}

    def add(self, total: dict[int, _TailPart], part: pa.Table) -> dict[int, _TailPart]:
        """The parts with those of one more file."""
        for column_name in ("runs", "sizes", "values", "homes"):
            # Taken as arrays: a tail may have a million values, too many for Python's lists.
            lists = part[column_name].combine_chunks()
            for row_number, asked_number in enumerate(part["asked"].to_pylist()):
                tail_part = total.setdefault(asked_number, _TailPart([], [], [], []))
                getattr(tail_part, column_name).append(lists[row_number].values.to_numpy())
        return total

    def tails(self, parts: dict[int, _TailPart]) -> dict[Tail, TailEvents]:
        """The tail of each asked distribution.

        parts: the total of this pass. Raises KeyError if a distribution has no event.
        """
        return {tail: parts[asked_number].tail() for asked_number, tail in enumerate(self.asked)}


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
# Runs and the highest score of each, by distribution, a pair a file.
RunParts = dict[Key, list[tuple[Int64Array, Float64Array]]]


@dataclass(frozen=True)
class RunMaxima:
    """A pass: of each asked distribution the highest score of every event run."""

    asked: tuple[Key, ...]
    admitted_split: str | None
    columns: tuple[str, ...] = (*CELL_COLUMNS, schema.EVENT_RUN)

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detectors of the asked distributions."""
        return tuple(dict.fromkeys(distribution_key.detector for distribution_key in self.asked))

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each asked distribution and cell of it.

        rows: with CELL_COLUMNS, the event run and the scores of `detectors`.
        """
        run_parts = []
        for split_name, cell in named_cells(rows, self.admitted_split) if self.asked else ():
            for asked_number, distribution_key in enumerate(self.asked):
                if distribution_key.holds(split_name, cell.partition, cell.group):
                    judged_rows = cell.rows.judged(distribution_key.detector)
                    event_runs, highest_scores = unit_maxima(
                        judged_rows.column(schema.EVENT_RUN),
                        judged_rows.scores(distribution_key.detector),
                    )
                    run_parts.append(
                        {"asked": asked_number, "runs": event_runs, "highest": highest_scores}
                    )
        return pa.Table.from_pylist(run_parts, schema=RUN_PART)

    def empty(self) -> RunParts:
        """No run."""
        return {}

    def add(self, total: RunParts, part: pa.Table) -> RunParts:
        """The parts with those of one more file."""
        event_runs, highest_scores = (
            part[column_name].combine_chunks() for column_name in ("runs", "highest")
        )
        for part_row, asked_number in enumerate(part["asked"].to_pylist()):
            run_scores = (
                event_runs[part_row].values.to_numpy(),
                highest_scores[part_row].values.to_numpy(),
            )
            total.setdefault(self.asked[asked_number], []).append(run_scores)
        return total

    def maxima(self, parts: RunParts) -> dict[Key, Float64Array]:
        """The highest scores of each asked distribution's runs, sorted, empty if it has no event.

        parts: the total of this pass.
        """
        sorted_maxima = {}
        for distribution_key in self.asked:
            highest_scores = np.zeros(0)
            # A run's events may lie in two files: its maximum is taken over all of them.
            if distribution_key in parts:
                event_runs, run_maxima = (
                    np.concatenate(part_columns)
                    for part_columns in zip(*parts[distribution_key], strict=True)
                )
                highest_scores = np.sort(unit_maxima(event_runs, run_maxima)[1])
            sorted_maxima[distribution_key] = highest_scores
        return sorted_maxima
