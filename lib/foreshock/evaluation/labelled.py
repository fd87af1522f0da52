"""What metrics need of scored events: labelled scores, counted or in their order.

Labels are read here only. Both are passes over scored files (`scored.passes`).
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

# Of a score's 32 bits those that are left out: what remains tells 1/4096 of its value.
COARSE_BITS = 10
COUNTED_BY = (schema.SPLIT, schema.PARTITION, schema.GROUP, schema.KIND, schema.LABEL)
CELL_COLUMNS = (*COUNTED_BY, "block")
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
    """The rows of judged splits that have a label.

    A label is 0 or 1; a negative one stands for unknown. The columns `label` and `split` are
    needed.
    """
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
        """A row of `LabelledScores` for each that the file holds.

        rows: with the columns of the pass and the scores of `detectors`.
        """
        labelled_events = labelled(rows)
        time_block = pa.array(self._blocks(labelled_events))
        blocked_table = labelled_events.table.append_column("block", time_block)
        cells = blocked_table.group_by(list(CELL_COLUMNS)).aggregate([])
        counted_scores: list[LabelledScores] = []
        for cell_keys in cells.select(list(CELL_COLUMNS)).to_pylist():
            is_in_cell = pc.equal(blocked_table[schema.LABEL], cell_keys[schema.LABEL])
            # Another number is compared before four texts are.
            for column_name in reversed(CELL_COLUMNS):
                is_equal = _equal(blocked_table[column_name], cell_keys[column_name])
                is_in_cell = pc.and_(is_in_cell, is_equal)
            cell_rows = ScoredRows(blocked_table.filter(pc.fill_null(is_in_cell, False)))
            for detector_name in self.detectors:
                counted_scores += self._counted(cell_keys, detector_name, cell_rows)
        counted_rows = [counted_score._asdict() for counted_score in counted_scores]
        return pa.Table.from_pylist(counted_rows, schema=COUNTS)

    def _blocks(self, events: ScoredRows) -> Int64Array:
        time_block = np.zeros(len(events), np.int64)
        event_splits, event_times = events.column(schema.SPLIT), events.column(schema.EVENT_TIME)
        for split_code, (first_time, last_time) in self.spans.items():
            is_of_split = event_splits == split_code
            time_block[is_of_split] = time_blocks(event_times[is_of_split], first_time, last_time)
        return time_block

    def _counted(
        self, cell: Mapping[str, Any], detector: str, rows: ScoredRows
    ) -> list[LabelledScores]:
        score_threshold = self.threshold_of(detector, cell[schema.GROUP], cell[schema.PARTITION])
        judged_scores = rows.judged(detector).scores(detector)
        score_keys = order_keys(judged_scores) >> (COARSE_BITS if self.is_coarse else 0)
        # Without a threshold nothing is flagged, and `has_threshold` says that it means nothing.
        is_flagged = judged_scores > (np.inf if score_threshold is None else score_threshold)
        counted_scores = []
        for flag_value in (False, True):
            distinct_keys, key_counts = np.unique(
                score_keys[is_flagged == flag_value], return_counts=True
            )
            if len(distinct_keys):
                counted_scores.append(
                    LabelledScores(
                        **cell,
                        detector=detector,
                        is_flagged=flag_value,
                        has_threshold=score_threshold is not None,
                        keys=distinct_keys.astype(np.int64),
                        counts=key_counts,
                    )
                )
        return counted_scores

    def empty(self) -> list[LabelledScores]:
        """No event."""
        return []

    def add(self, total: list[LabelledScores], part: pa.Table) -> list[LabelledScores]:
        """The counts with those of one more file.

        Parts are listed, not summed: metrics add up the counts of equal scores.
        """
        # Taken as arrays: lists of millions of keys would become as many Python objects.
        key_lists, count_lists = (part[name].combine_chunks() for name in ("keys", "counts"))
        counted_rows = part.drop_columns(["keys", "counts"]).to_pylist()
        for row_number, counted_row in enumerate(counted_rows):
            score_keys = key_lists[row_number].values.to_numpy()
            key_counts = count_lists[row_number].values.to_numpy()
            total.append(LabelledScores(**counted_row, keys=score_keys, counts=key_counts))
        return total


def _equal(column: pa.ChunkedArray, value: object) -> pa.ChunkedArray:
    # In Arrow null equals nothing, not even null.
    return pc.is_null(column) if value is None else pc.equal(column, value)


@dataclass(frozen=True)
class LabelledEvents:
    """A pass: labelled events one by one, for what depends on their order."""

    detectors: tuple[str, ...]
    columns: tuple[str, ...] = ORDERED_BY

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The labelled rows of the file.

        Scores are null where a detector did not judge the event.
        """
        return labelled(rows).table.select(
            [*ORDERED_BY, *(schema.score_column(detector_name) for detector_name in self.detectors)]
        )

    def empty(self) -> list[pa.Table]:
        """No event."""
        return []

    def add(self, total: list[pa.Table], part: pa.Table) -> list[pa.Table]:
        """The events with those of one more file.

        They are put in order later: the events of an entity may lie in several files.
        """
        total.append(part)
        return total
