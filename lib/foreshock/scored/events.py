"""Scored events: what every detector family hands on, and all that reads scores is given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from foreshock.platform.parquet import read_table
from foreshock.scored import schema
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import AnyArray, Float64Array

CELL_KEYS = (schema.SPLIT, schema.PARTITION, schema.GROUP)


@dataclass(frozen=True)
class ScoredEvents:
    """The scored files of a job.

    files: Parquet files of `schema.scored_schema(detectors)`, one row an event.
    detectors: whose scores they hold, the run's model first.
    features: the names of the elements of the attribution's lists.
    holds_rest: whether events that end no window may be among the rows.
    holds_all_events: whether every event is among the rows, judged by some detector at least.
    """

    files: tuple[str, ...]
    detectors: tuple[str, ...]
    features: tuple[str, ...] = ()
    holds_rest: bool = False
    holds_all_events: bool = False

    @property
    def model(self) -> str:
        """The detector whose scores are those of the run."""
        return self.detectors[0]

    def with_files(
        self, files: Sequence[str], detectors: tuple[str, ...] | None = None
    ) -> ScoredEvents:
        """The same events, rewritten to other files, perhaps with other detectors."""
        return replace(self, files=tuple(files), detectors=detectors or self.detectors)

    def score_column(self, detector: str) -> str:
        """The column of a detector's scores. Raises KeyError for a detector that is not there."""
        if detector not in self.detectors:
            raise KeyError(f"{detector}: scored are {', '.join(self.detectors)}")
        return schema.score_column(detector)

    def score_columns(self, detectors: Sequence[str] | None = None) -> list[str]:
        """The columns of several detectors' scores, of all unless said."""
        return [self.score_column(name) for name in (detectors or self.detectors)]

    def read_file(
        self, file: str, columns: Sequence[str], detectors: Sequence[str] = ()
    ) -> ScoredRows:
        """Some columns of one file, and the scores of some detectors."""
        names = dict.fromkeys([*columns, *(self.score_column(name) for name in detectors)])
        return ScoredRows(read_table(file, columns=list(names)))

    def read(self, columns: Sequence[str], detectors: Sequence[str] = ()) -> Iterator[ScoredRows]:
        """The same of every file, one after the other."""
        for file in self.files:
            yield self.read_file(file, columns, detectors)


@dataclass(frozen=True)
class ScoredCell:
    """The rows of one split, partition and group in a file."""

    split: Split
    partition: str
    group: str
    rows: ScoredRows

    def admitted(self) -> ScoredCell:
        """Those of its rows that `events.calibrate_where` admits."""
        is_admitted = pc.not_equal(self.rows.table[schema.CALIBRATE], 0)
        return replace(self, rows=ScoredRows(self.rows.table.filter(is_admitted)))


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one scored file, with the columns that were asked for."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> AnyArray:
        """A column of numbers (n,)."""
        values: AnyArray = self.table[name].to_numpy()
        return values

    def scores(self, detector: str) -> Float64Array:
        """A detector's scores (n,), NaN where it did not judge the event."""
        return schema.scores_of(self.table, detector)

    def judged(self, detector: str) -> ScoredRows:
        """The rows that a detector judged."""
        score = self.table[schema.score_column(detector)]
        return self if not score.null_count else ScoredRows(self.table.filter(pc.is_valid(score)))

    @cached_property
    def cells(self) -> tuple[ScoredCell, ...]:
        """The rows by split, partition and group. Sorted once, however many passes ask."""
        if not len(self.table):
            return ()
        table = self.table.sort_by([(name, "ascending") for name in CELL_KEYS]).combine_chunks()
        keys = list(zip(*(table[name].to_pylist() for name in CELL_KEYS), strict=True))
        changes = [row for row in range(1, len(keys)) if keys[row] != keys[row - 1]]
        cells = []
        for first, end in itertools.pairwise([0, *changes, len(keys)]):
            split, partition, group = keys[first]
            rows = ScoredRows(table.slice(first, end - first))
            cells.append(ScoredCell(Split(split), partition, group, rows))
        return tuple(cells)
