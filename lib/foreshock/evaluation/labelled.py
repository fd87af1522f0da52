"""What metrics need of scored events: labelled scores, counted or in their order. Labels are read here only.

Both are passes over scored files (`scored.passes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock.evaluation.bootstrap import time_blocks
from foreshock.scored import schema
from foreshock.scored.events import ScoredRows
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import Int64Array
from foreshock.statistics.histogram import order_keys

COARSE_BITS = 10  # of a score's 32 that are left out: 1/4096 of its value
COUNTED_BY = (schema.SPLIT, schema.PARTITION, schema.GROUP, schema.KIND, schema.LABEL)
ORDERED_BY = (
    schema.SPLIT,
    schema.ENTITY,
    schema.EVENT_TIME,
    schema.BLOCK_ID,
    schema.BLOCK_ROW,
    schema.GROUP,
    schema.PARTITION,
    schema.KIND,
    schema.LABEL,
)

# The threshold of an event by (detector, group, partition); None: there is none.
ThresholdOf = Callable[[str, str, str], float | None]


def labelled(rows: ScoredRows) -> ScoredRows:
    """The rows of judged splits that have a label."""
    has_label = pc.greater_equal(rows.table[schema.LABEL], 0)
    is_judged = pc.greater_equal(rows.table[schema.SPLIT], int(Split.CALIBRATION))
    return ScoredRows(rows.table.filter(pc.and_(has_label, is_judged)))


class LabelledScores(NamedTuple):
    """Scores of events that are alike but for their score.

    block: of time (`bootstrap.time_blocks`). is_flagged: whether the scores lie above their
    threshold; has_threshold: whether there is one. keys: scores as `histogram.order_keys`.
    counts: how many events have each.
    """

    split: int
    partition: str
    group: str
    kind: str
    label: int
    block: int
    detector: str
    is_flagged: bool
    has_threshold: bool
    keys: Int64Array
    counts: Int64Array


COUNTS = pa.schema(
    [
        ("split", pa.int32()),
        ("partition", pa.string()),
        ("group", pa.string()),
        ("kind", pa.string()),
        ("label", pa.int32()),
        ("block", pa.int64()),
        ("detector", pa.string()),
        ("is_flagged", pa.bool_()),
        ("has_threshold", pa.bool_()),
        ("keys", pa.list_(pa.int64())),
        ("counts", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True)
class LabelledCounts:
    """A pass: how many labelled events have each score, by what metrics tell apart.

    spans: first and last event time of each split, which blocks of time are cut from; empty: one
    block. is_coarse: scores are rounded to 22 bits, so that there are fewer of them.
    """

    detectors: tuple[str, ...]
    threshold_of: ThresholdOf
    spans: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    is_coarse: bool = False
    columns: tuple[str, ...] = (*COUNTED_BY, schema.EVENT_TIME)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row of `LabelledScores` for each that the file holds."""
        events = labelled(rows)
        table = events.table.append_column("block", pa.array(self._blocks(events)))
        names = [*COUNTED_BY, "block"]
        counted: list[LabelledScores] = []
        for cell in table.select(names).group_by(names).aggregate([]).to_pylist():
            # Two numbers are compared before four texts are.
            order = ("label", "block", schema.SPLIT, schema.PARTITION, schema.GROUP, schema.KIND)
            is_in_cell = pc.equal(table["label"], cell["label"])
            for name in order[1:]:
                is_in_cell = pc.and_(is_in_cell, _equal(table[name], cell[name]))
            of_cell = ScoredRows(table.filter(pc.fill_null(is_in_cell, False)))
            for detector in self.detectors:
                counted += self._counted(cell, detector, of_cell)
        return pa.Table.from_pylist([row._asdict() for row in counted], schema=COUNTS)

    def _blocks(self, events: ScoredRows) -> Int64Array:
        block = np.zeros(len(events), np.int64)
        splits, times = events.column(schema.SPLIT), events.column(schema.EVENT_TIME)
        for split, (first, last) in self.spans.items():
            is_of_split = splits == split
            block[is_of_split] = time_blocks(times[is_of_split], first, last)
        return block

    def _counted(
        self, cell: Mapping[str, Any], detector: str, rows: ScoredRows
    ) -> list[LabelledScores]:
        threshold = self.threshold_of(detector, cell[schema.GROUP], cell[schema.PARTITION])
        scores = rows.judged(detector).scores(detector)
        keys = order_keys(scores) >> (COARSE_BITS if self.is_coarse else 0)
        is_flagged = scores > (np.inf if threshold is None else threshold)
        counted = []
        for flag in (False, True):
            values, counts = np.unique(keys[is_flagged == flag], return_counts=True)
            if len(values):
                counted.append(
                    LabelledScores(
                        **cell,
                        detector=detector,
                        is_flagged=flag,
                        has_threshold=threshold is not None,
                        keys=values.astype(np.int64),
                        counts=counts,
                    )
                )
        return counted

    def empty(self) -> list[LabelledScores]:
        """No event."""
        return []

    def add(self, total: list[LabelledScores], part: pa.Table) -> list[LabelledScores]:
        """The counts with those of one more file."""
        keys, counts = (part[name].combine_chunks() for name in ("keys", "counts"))
        for number, row in enumerate(part.drop_columns(["keys", "counts"]).to_pylist()):
            of_keys, of_counts = keys[number].values.to_numpy(), counts[number].values.to_numpy()
            total.append(LabelledScores(**row, keys=of_keys, counts=of_counts))
        return total


def _equal(column: pa.ChunkedArray, value: object) -> pa.ChunkedArray:
    return pc.is_null(column) if value is None else pc.equal(column, value)


@dataclass(frozen=True)
class LabelledEvents:
    """A pass: labelled events one by one, for what depends on their order."""

    detectors: tuple[str, ...]
    columns: tuple[str, ...] = ORDERED_BY

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The labelled rows of the file."""
        return labelled(rows).table.select(
            [*ORDERED_BY, *(schema.score_column(detector) for detector in self.detectors)]
        )

    def empty(self) -> list[pa.Table]:
        """No event."""
        return []

    def add(self, total: list[pa.Table], part: pa.Table) -> list[pa.Table]:
        """The events with those of one more file."""
        return [*total, part]
