"""One table on its way through Spark: typed, counted, and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from pyspark.sql import DataFrame

from foreshock import columns as C
from foreshock.errors import DataError, ForeshockError
from foreshock.events import outcome_spark
from foreshock.events.column_types import Census, infer_types
from foreshock.events.expressions_spark import failing_setting
from foreshock.events.ledger import (
    EVENTS_FOLDERS,
    QUARANTINE_FOLDERS,
    TEST_TABLE,
    Ledger,
    PartitionCounts,
    SourcePartitionEntry,
    SourcePartitions,
)
from foreshock.events.partitions import SourceFiles
from foreshock.events.plan import ExtractPlan
from foreshock.events.rows_spark import contract_rows, known_ids
from foreshock.events.source_spark import SourceTable, open_source
from foreshock.platform.failures import failed_on_a_row, reason
from foreshock.platform.parquet import count_rows
from foreshock.stages.context import Context

# The fingerprint of what was extracted for some partitions only.
PARTIAL = "partial"
SHOWN_PARTITIONS = 5


@dataclass(frozen=True)
class TableExtraction:
    """The pending source partitions of one table on their way through Spark."""

    context: Context
    table: str
    source: SourceFiles
    plan: ExtractPlan
    census: Census
    partitions: list[str] | None
    work: Path

    @property
    def _asked(self) -> list[str] | None:
        """The partitions of rows to keep; None if whole source partitions were asked for."""
        return None if self.source.aligned else self.partitions

    def run(self) -> tuple[SourcePartitions, Mapping[Path, Path]]:
        """Bring the pending source partitions to the contract and write them to staging.

        Returns their entries for the ledger, and the folders to move into place. Raises DataError
        if an expression fails on a row, ForeshockError if the source changed meanwhile.
        """
        # Athena writes no file for no row.
        if not self.source.files(self.plan.pending):
            return {
                source_partition: self._entry(source_partition, {})
                for source_partition in self.plan.pending
            }, {}
        table = self._typed_table()
        with ExitStack() as block:
            with self._naming_the_expression_that_fails(table):
                rows = block.enter_context(self._rows(table))
                counts_by_partition = outcome_spark.count_rows(
                    rows, self.context.settings.feature_names
                )
            # Counted before they are written: what is wrong with the rows is said before any work.
            entries = self._entries(counts_by_partition)
            table_total = Ledger({self.table: entries}).total()
            self.context.log.event(
                "extract",
                "rows counted",
                table=self.table,
                partitions=len(counts_by_partition),
                **table_total.summary(),
            )
            return entries, self._write(rows, table_total)

    def _typed_table(self) -> SourceTable:
        settings = self.context.settings
        return open_source(
            self.context.spark,
            self.source,
            self.plan.pending,
            settings,
            inferred=infer_types(self.census, settings.quality.max_quarantined),
            typed_copy=self.work / f"typed-{self.table}",
        )

    def _rows(self, table: SourceTable) -> AbstractContextManager[DataFrame]:
        return contract_rows(
            table,
            self.context.settings,
            is_test_table=self.table == TEST_TABLE,
            known=known_ids(self.context.spark, self._known_folders()),
            partitions=self._asked,
        )

    @contextmanager
    def _naming_the_expression_that_fails(self, table: SourceTable) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            settings = self.context.settings
            setting = failing_setting(table, settings) if failed_on_a_row(error) else None
            if setting is None:
                raise
            raise DataError(
                f"`{setting}` fails on a row of {self.source.path}: {reason(error)}. "
                "Guard it, such as with nullif, if or a try_ function."
            ) from error

    def _known_folders(self) -> list[Path]:
        """The folders of events that were extracted before and stay."""
        folders = (
            partition_folder(self.context, EVENTS_FOLDERS[self.table], partition)
            for entry in self.plan.kept.values()
            for partition in entry.partitions
        )
        return [folder for folder in folders if folder.exists()]

    def _entry(
        self, source_partition: str, partitions: Mapping[str, PartitionCounts]
    ) -> SourcePartitionEntry:
        return SourcePartitionEntry(
            self.source.fingerprints[source_partition],
            partitions,
            self.census.get(source_partition),
        )

    def _entries(self, counts: Mapping[str, PartitionCounts]) -> SourcePartitions:
        """The counts by source partition. Raises ForeshockError for rows that belong to none."""
        entries: dict[str, SourcePartitionEntry] = {}
        for source_partition in self.plan.pending:
            partitions = counts
            if self.source.aligned:
                partitions = (
                    {source_partition: counts[source_partition]}
                    if source_partition in counts
                    else {}
                )
            entry = self._entry(source_partition, partitions)
            if self._asked is not None:
                # The next whole run is to take it for changed.
                entry = replace(entry, fingerprint=PARTIAL)
            if not entry.rows_read:
                self.context.log.event(
                    "extract", "a partition of the source is empty", partition=source_partition
                )
            entries[source_partition] = entry
        placed = {partition for entry in entries.values() for partition in entry.partitions}
        if lost := sorted(set(counts) - placed):
            raise ForeshockError(
                f"rows of the partitions {', '.join(lost[:SHOWN_PARTITIONS])} belong to no folder "
                f"of {self.source.path}."
            )
        return entries

    def _write(self, rows: DataFrame, total: PartitionCounts) -> Mapping[Path, Path]:
        moves: dict[Path, Path] = {}
        if total.rows_kept:
            folder = EVENTS_FOLDERS[self.table]
            outcome_spark.write_events(rows, self.work / folder, aligned=self.source.aligned)
            moves |= self._moves(folder)
            written = sum(count_rows(file) for made in moves for file in made.glob("*.parquet"))
            # Counts and files come from two passes over the source, which others may change.
            if written != total.rows_kept:
                raise ForeshockError(
                    f"extract wrote {written} events where {total.rows_kept} were counted; "
                    "the source changed meanwhile. Run the same command again."
                )
        if total.rows_quarantined:
            folder = QUARANTINE_FOLDERS[self.table]
            outcome_spark.write_quarantine(rows, self.work / folder)
            moves |= self._moves(folder)
        return moves

    def _moves(self, folder: str) -> dict[Path, Path]:
        written = sorted((self.work / folder).glob(f"{C.PARTITION}=*"))
        return {made: self.context.run / folder / made.name for made in written}


def partition_folders(base_folder: Path) -> list[Path]:
    """The folders of partitions in a folder; none if it is missing."""
    return list(base_folder.glob(f"{C.PARTITION}=*")) if base_folder.exists() else []


def partition_of(folder: Path) -> str:
    """The partition that a folder is named after, without Spark's escapes."""
    return unquote(folder.name).removeprefix(f"{C.PARTITION}=")


def partition_folder(context: Context, name: str, partition: str) -> Path:
    """The folder of a partition, whether it is there or not.

    name: a folder of the run directory, such as `events`. Spark escapes some characters in the
    names of the folders that it writes.
    """
    base_folder = context.run / name
    plain = base_folder / f"{C.PARTITION}={partition}"
    if plain.exists():
        return plain
    escaped = (f for f in partition_folders(base_folder) if partition_of(f) == partition)
    return next(escaped, plain)
