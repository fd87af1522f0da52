"""Publishing the tables where analysts read them. A run's own tables stay in its directory.

What was published is noted in `sink.json` in the run directory. A run that was stopped before, or
failed, publishes when it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from foreshock import columns as C
from foreshock.detectors import entry_of
from foreshock.errors import ServiceError
from foreshock.platform.files import digest, read_json, write_json
from foreshock.platform.paths import at
from foreshock.platform.run_directory import RunDirectory
from foreshock.scaling.robust import Scaler
from foreshock.tables.describe import describe_tables
from foreshock.tables.sinks.location import LocationSink
from foreshock.tables.sinks.protocol import (
    PARTITIONED_TABLES,
    PartitionKey,
    RunTables,
    Sink,
    partition_folders,
)

if TYPE_CHECKING:
    from foreshock.stages.context import Context

RECORD_FILE = "sink.json"


def publisher_of(context: Context) -> Publisher:
    """The publisher that the stages of a process share.

    It is one, so that what `look` noted before the work still holds when tables are published.
    """
    if "publisher" not in context.shared:
        context.shared["publisher"] = Publisher(context)
    publisher: Publisher = context.shared["publisher"]
    return publisher


@dataclass(frozen=True)
class PublishRecord:
    """What a run published: partitions by table.

    fingerprint: of what was published; None if the run is at it, or was killed then.
    """

    fingerprint: str | None = None
    partitions: Mapping[str, tuple[PartitionKey, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, run: RunDirectory) -> PublishRecord:
        """The record in a run directory, empty if nothing was published.

        Raises DataError if the file is not JSON.
        """
        if not (run / RECORD_FILE).exists():
            return cls()
        raw_record: Mapping[str, Any] = read_json(run / RECORD_FILE)
        partitions = {
            table_name: tuple(
                PartitionKey(split_name, partition_name) for split_name, partition_name in raw_keys
            )
            for table_name, raw_keys in raw_record.get("partitions", {}).items()
        }
        return cls(raw_record.get("fingerprint"), partitions)

    def write(self, run: RunDirectory) -> None:
        """Write the record into a run directory."""
        partitions = {
            table_name: [list(partition_key) for partition_key in partition_keys]
            for table_name, partition_keys in self.partitions.items()
        }
        write_json(run / RECORD_FILE, {"fingerprint": self.fingerprint, "partitions": partitions})


@dataclass(frozen=True)
class PartitionChange:
    """Of a partitioned table: the partitions that a run published before, those that it writes
    now, key to folder, and those of the former that it has no more."""

    former: frozenset[PartitionKey]
    written: Mapping[PartitionKey, str]
    removed: tuple[PartitionKey, ...]

    @property
    def during(self) -> tuple[PartitionKey, ...]:
        """What may be the run's while it publishes: the former and the written ones."""
        return tuple(sorted({*self.former, *self.written}))

    @property
    def after(self) -> tuple[PartitionKey, ...]:
        """What is the run's once it has published."""
        return tuple(sorted({*self.former, *self.written} - set(self.removed)))


def partition_change(
    former: Iterable[PartitionKey],
    present: Mapping[PartitionKey, str],
    only: Sequence[str] | None,
) -> PartitionChange:
    """What publishing a table changes. present: the run's partitions now.

    only: the names of those that are published; None: all, and the former ones that are no more
    are removed.

    >>> day = PartitionKey("test", "2024-01-02")
    >>> change = partition_change([PartitionKey("test", "2024-01-01")], {day: "folder"}, None)
    >>> change.removed
    (PartitionKey(split='test', partition='2024-01-01'),)
    >>> change.after
    (PartitionKey(split='test', partition='2024-01-02'),)
    """
    former_keys = frozenset(former)
    written = {
        partition_key: folder
        for partition_key, folder in present.items()
        if only is None or partition_key.partition in only
    }
    removed = sorted(former_keys - set(written)) if only is None else []
    return PartitionChange(former_keys, written, tuple(removed))


class Publisher:
    """Where a run's tables go besides its directory.

    `look` before the work: it checks, and notes what others have written.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.settings = context, context.settings.tables
        self._looked = False

    @cached_property
    def sinks(self) -> list[Sink]:
        """The places, chosen when first asked for: what is published needs no Spark to be known."""
        return choose_sinks(self.context)

    @property
    def is_used(self) -> bool:
        """Whether the tables go anywhere besides the run directory."""
        settings = self.settings
        is_parquet = settings.location is not None or settings.glue.database is not None
        return settings.sink == "iceberg" or is_parquet

    def look(self) -> None:
        """Raise SettingsError for what cannot be published to, and note what others have written.

        Call it before any work. Only the first call of a process looks.
        """
        if self._looked or not self.is_used:
            return
        self._looked = True
        descriptions = describe_tables(tuple(self.context.settings.events.features))
        for sink in self.sinks:
            sink.look(descriptions)

    def publish(self, scaler: Scaler, partitions: list[str] | None = None) -> None:
        """Publish what the record does not say is published yet; partitions: of these alone.

        Raises ServiceError if a service fails, or another run wrote the same partitions since
        `look`.
        """
        if not self.is_used:
            return
        run = self.context.run
        fingerprint = digest(
            [run.record("score"), self.settings.model_dump(mode="json"), partitions]
        )
        former_record = PublishRecord.read(run)
        # Some partitions are asked for because they changed: they are published again.
        is_published = former_record.fingerprint == fingerprint and partitions is None
        if is_published and not self.context.force:
            return
        self.look()
        table_changes = {
            table_name: partition_change(
                former_record.partitions.get(table_name, ()),
                partition_folders(self.context.tables / table_name),
                partitions,
            )
            for table_name in PARTITIONED_TABLES
        }
        # Nothing may be noted in a run directory that another run has taken over.
        run.check_held()
        # Noted before too: what a run that is killed here has published is still its to replace.
        during = {
            table_name: table_change.during for table_name, table_change in table_changes.items()
        }
        PublishRecord(None, during).write(run)
        self._replace(scaler, table_changes)
        after = {
            table_name: table_change.after for table_name, table_change in table_changes.items()
        }
        PublishRecord(fingerprint, after).write(run)
        self.publish_runs(scaler)

    def publish_runs(self, scaler: Scaler) -> None:
        """Publish the table `runs` as it is now, if the run has published.

        Attempts that began after `publish`, such as the report's, are in it.
        """
        if not self.is_used or not (self.context.run / RECORD_FILE).exists():
            return
        self.look()
        description = describe_tables(self._attributed(scaler))[C.RUNS]
        for sink in self.sinks:
            sink.publish_runs(self.context.tables / C.RUNS, self.context.run_id, description)

    def _attributed(self, scaler: Scaler) -> tuple[str, ...]:
        """What the scores of the run's model are attributed to: the features unless it says."""
        return entry_of(self.context.settings.model.name).attributed or scaler.kept

    def _replace(self, scaler: Scaler, changes: Mapping[str, PartitionChange]) -> None:
        """Have every sink replace the run's rows, as an attempt of the stage `publish`."""
        descriptions = describe_tables(self._attributed(scaler))
        # The attempt is still running: its row is published when it has ended.
        del descriptions[C.RUNS]
        run_tables = RunTables(
            run_id=self.context.run_id,
            folder=self.context.tables,
            descriptions=descriptions,
            written={
                table_name: table_change.written for table_name, table_change in changes.items()
            },
            removed={
                table_name: table_change.removed for table_name, table_change in changes.items()
            },
        )
        with self.context.attempt("publish") as counts:
            snapshots: dict[str, int] = {}
            # Each place is taken in its turn; Glue comes after the files that it registers.
            for sink in self.sinks:
                with sink.turn() as check_turn:
                    conflict = sink.conflict(run_tables)
                    if conflict is not None:
                        raise ServiceError(conflict)
                    snapshots |= sink.replace(run_tables, check_turn)
            if snapshots:
                counts["snapshots"] = snapshots
            counts["partitions"] = {
                table_name: len(table_change.written)
                for table_name, table_change in changes.items()
                if table_change.written
            }
            removed_keys = changes[C.SCORES].removed
            if removed_keys:
                counts["removed"] = ["/".join(partition_key) for partition_key in removed_keys]


def choose_sinks(context: Context) -> list[Sink]:
    """The places that the settings name: Iceberg, or a shared location and Glue, or none.

    Without a location, Glue registers the tables of the run directory.
    """
    settings = context.settings.tables
    if settings.sink == "iceberg":
        # Spark's Python half loads for a second.
        from foreshock.tables.sinks.iceberg import IcebergSink

        return [
            IcebergSink(
                settings.iceberg,
                open_spark=lambda: context.spark,
                check_run=context.run.check_held,
                announce=lambda table: context.log.event(
                    "publish", "writing to Iceberg", table=table
                ),
            )
        ]
    sinks: list[Sink] = []
    location = at(settings.location) if settings.location else context.tables
    if str(location) != str(context.tables):
        sinks.append(LocationSink(location))
    if settings.glue.database is not None:
        # boto3 loads for half a second.
        from foreshock.tables.sinks.glue import GlueSink

        database, create = settings.glue.database, settings.glue.create
        sinks.append(GlueSink(location, database, create, context.run.check_held))
    return sinks
