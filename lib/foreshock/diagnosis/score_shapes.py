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

ROLE_NAMES = {
    BlockRole.FIT: C.TRAIN,
    BlockRole.VALIDATION: VALIDATION,
    BlockRole.CALIBRATION: C.CALIBRATION,
    BlockRole.TEST: C.TEST,
}  # of blocks, as drift calls them


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
        """The histograms of one file."""
        judged = rows.judged(self.detector)
        roles, scores = schema.event_roles(judged.table), judged.scores(self.detector)
        is_out_of_fold = judged.column(schema.SPLIT) == Split.OUT_OF_FOLD
        groups, partitions = (
            judged.table[name].to_numpy(zero_copy_only=False).astype(str)
            for name in (schema.GROUP, schema.PARTITION)
        )
        times = judged.column(schema.EVENT_TIME)
        histograms: SlicedHistograms = {}
        for role, out_of_fold in itertools.product(sorted(set(roles.tolist())), (False, True)):
            mask = (roles == role) & (is_out_of_fold == out_of_fold)
            slices = time_slices(times[mask], self.spans.get(role, (0, 0)))
            name = C.OUT_OF_FOLD if out_of_fold else ROLE_NAMES[BlockRole(role)]
            of_role = sliced_histograms(
                name, groups[mask], partitions[mask], slices, {None: scores[mask]}
            )
            for key, histogram in of_role.items():
                before = histograms.get(key)
                histograms[key] = histogram if before is None else before + histogram
        return sliced_table(histograms)

    def empty(self) -> SlicedHistograms:
        """No histogram."""
        return {}

    def add(self, total: SlicedHistograms, part: pa.Table) -> SlicedHistograms:
        """The histograms with those of one more file."""
        return add_sliced(total, part.to_pylist())
