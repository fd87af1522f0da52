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
    unjudged_reason: why a row has no score of the model, if the model itself made it null.
    """

    files: tuple[str, ...]
    detectors: tuple[str, ...]
    features: tuple[str, ...] = ()
    holds_rest: bool = False
    holds_all_events: bool = False
    unjudged_reason: str | None = None

    @property
    def model(self) -> str:
        """The detector whose scores are those of the run."""
        return self.detectors[0]

    def with_files(
        self, files: Sequence[str], detectors: tuple[str, ...] | None = None
    ) -> ScoredEvents:
        """The same events, rewritten to other files, perhaps with other detectors.

        detectors: None if they stay, else all of them, the run's model first.
        """
        return replace(self, files=tuple(files), detectors=detectors or self.detectors)

    def score_column(self, detector: str) -> str:
        """The column of a detector's scores. Raises KeyError for a detector that is not there.

        >>> ScoredEvents(("part.parquet",), ("pca", "zscore")).score_column("zscore")
        'score__zscore'
        """
        if detector not in self.detectors:
            raise KeyError(f"{detector}: scored are {', '.join(self.detectors)}")
        return schema.score_column(detector)

    def score_columns(self, detectors: Sequence[str] | None = None) -> list[str]:
        """The columns of several detectors' scores, of all unless said.

        Raises KeyError for a detector that is not there.

        >>> ScoredEvents(("part.parquet",), ("pca", "zscore")).score_columns()
        ['score__pca', 'score__zscore']
        """
        return [self.score_column(column_name) for column_name in (detectors or self.detectors)]

    def read_file(
        self, file: str, columns: Sequence[str], detectors: Sequence[str] = ()
    ) -> ScoredRows:
        """Some columns of one file, and the scores of some detectors.

        columns: names of `scored.schema`; one may be named twice. Raises KeyError for a detector
        that is not there.
        """
        score_columns = [self.score_column(detector) for detector in detectors]
        # Passes that share a read may ask for the same column.
        column_names = list(dict.fromkeys([*columns, *score_columns]))
        return ScoredRows(read_table(file, columns=column_names))

    def read(self, columns: Sequence[str], detectors: Sequence[str] = ()) -> Iterator[ScoredRows]:
        """The same of every file, one after the other.

        A file is read when its turn comes, so that one at a time is in memory.
        """
        for scored_file in self.files:
            yield self.read_file(scored_file, columns, detectors)


@dataclass(frozen=True)
class ScoredCell:
    """The rows of one split, partition and group in a file."""

    split: Split
    partition: str
    group: str
    rows: ScoredRows

    def admitted(self) -> ScoredCell:
        """Those of its rows that `events.calibrate_where` admits.

        The column `calibrate` must be among those read.
        """
        is_admitted = pc.not_equal(self.rows.table[schema.CALIBRATE], 0)
        return replace(self, rows=ScoredRows(self.rows.table.filter(is_admitted)))


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one scored file, with the columns that were asked for."""

    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> AnyArray:
        """A column of numbers (n,).

        Raises KeyError for a column that was not asked for.
        """
        column_values: AnyArray = self.table[name].to_numpy()
        return column_values

    def scores(self, detector: str) -> Float64Array:
        """A detector's scores (n,), NaN where it did not judge the event.

        Raises KeyError if its scores were not asked for.
        """
        return schema.scores_of(self.table, detector)

    def judged(self, detector: str) -> ScoredRows:
        """The rows that a detector judged.

        They are these very rows if it judged all of them.
        """
        score_column = self.table[schema.score_column(detector)]
        # A filter copies the whole table, even if it leaves nothing out.
        if not score_column.null_count:
            return self
        return ScoredRows(self.table.filter(pc.is_valid(score_column)))

    @cached_property
    def cells(self) -> tuple[ScoredCell, ...]:
        """The rows by split, partition and group. Sorted once, however many passes ask.

        Cells come in the order of their keys. The columns CELL_KEYS must be among those read.
        """
        if not len(self.table):
            return ()
        sort_keys = [(column_name, "ascending") for column_name in CELL_KEYS]
        # Once sorted, a cell is a slice of the table, which copies nothing.
        sorted_table = self.table.sort_by(sort_keys).combine_chunks()
        key_columns = [sorted_table[column_name].to_pylist() for column_name in CELL_KEYS]
        cell_keys = list(zip(*key_columns, strict=True))
        cell_changes = [
            row for row in range(1, len(cell_keys)) if cell_keys[row] != cell_keys[row - 1]
        ]
        scored_cells = []
        for first_row, end_row in itertools.pairwise([0, *cell_changes, len(cell_keys)]):
            split, partition, group = cell_keys[first_row]
            cell_rows = ScoredRows(sorted_table.slice(first_row, end_row - first_row))
            scored_cells.append(ScoredCell(Split(split), partition, group, cell_rows))
        return tuple(scored_cells)
