"""The shapes of a detector's scores over time: histograms by split, group, partition and slice."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from foreshock import columns as C
from foreshock.diagnosis.drift import VALIDATION
from foreshock.scored import schema
from foreshock.scored.events import ScoredRows
from foreshock.sequences.split import BlockRole, Split
from foreshock.statistics.sliced import (
    SlicedHistograms,
    add_sliced,
    sliced_histograms,
    sliced_table,
    time_slices,
)

# Roles of blocks, as drift calls them.
ROLE_NAMES = {
    BlockRole.FIT: C.TRAIN,
    BlockRole.VALIDATION: VALIDATION,
    BlockRole.CALIBRATION: C.CALIBRATION,
    BlockRole.TEST: C.TEST,
}


@dataclass(frozen=True)
class ScoreShapes:
    """A pass: histograms of a detector's scores in slices of the time of each block role.

    spans: first and last event time of each role, microseconds.
    """

    detector: str
    spans: Mapping[int, tuple[int, int]]
    columns: tuple[str, ...] = (
        schema.BLOCK_ROLE,
        schema.SPLIT,
        schema.GROUP,
        schema.PARTITION,
        schema.EVENT_TIME,
    )

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detector alone."""
        return (self.detector,)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The histograms of one file, as `sliced.sliced_table` writes them.

        rows: with the columns of the pass and the detector's scores.
        """
        judged_rows = rows.judged(self.detector)
        event_roles, judged_scores = (
            schema.event_roles(judged_rows.table),
            judged_rows.scores(self.detector),
        )
        # Out-of-fold scores share blocks with scores of train, but come from other models.
        is_out_of_fold = judged_rows.column(schema.SPLIT) == Split.OUT_OF_FOLD
        event_groups, event_partitions = (
            judged_rows.table[split_name].to_numpy(zero_copy_only=False).astype(str)
            for split_name in (schema.GROUP, schema.PARTITION)
        )
        event_times = judged_rows.column(schema.EVENT_TIME)
        histograms: SlicedHistograms = {}
        for block_role, out_of_fold in itertools.product(
            sorted(set(event_roles.tolist())), (False, True)
        ):
            is_of_role = (event_roles == block_role) & (is_out_of_fold == out_of_fold)
            slice_numbers = time_slices(event_times[is_of_role], self.spans.get(block_role, (0, 0)))
            split_name = C.OUT_OF_FOLD if out_of_fold else ROLE_NAMES[BlockRole(block_role)]
            role_histograms = sliced_histograms(
                split_name,
                event_groups[is_of_role],
                event_partitions[is_of_role],
                slice_numbers,
                {None: judged_scores[is_of_role]},
            )
            for sliced_key, histogram in role_histograms.items():
                earlier_histogram = histograms.get(sliced_key)
                histograms[sliced_key] = (
                    histogram if earlier_histogram is None else earlier_histogram + histogram
                )
        return sliced_table(histograms)

    def empty(self) -> SlicedHistograms:
        """No histogram."""
        return {}

    def add(self, total: SlicedHistograms, part: pa.Table) -> SlicedHistograms:
        """The histograms with those of one more file.

        Those of the same part are summed.
        """
        return add_sliced(total, part.to_pylist())
