"""What a place that tables are published to must do, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from foreshock import columns as C
from foreshock.tables.describe import TableDescription

# A run replaces its own partitions of these.
PARTITIONED_TABLES = (C.SCORES, C.DETECTOR_SCORES)
# And its rows of these.
SMALL_TABLES = (C.ERROR_DISTRIBUTION, C.THRESHOLDS, C.DRIFT, C.METRICS)

# Raises ServiceError once the turn to write is another run's.
TurnCheck = Callable[[], None]


class PartitionKey(NamedTuple):
    """Values of the columns that `scores` and `detector_scores` are partitioned by."""

    split: str
    partition: str


def partition_folders(table: Path) -> dict[PartitionKey, str]:
    """The partitions of a table of files: key to folder below the table.

    A folder is named as it is there: values that a file name cannot hold are percent-encoded.
    """
    folder_by_key = {}
    for folder in sorted(table.glob("split=*/partition=*")):
        # Spark writes values that a file name cannot hold as %XX.
        split_name = unquote(folder.parent.name.removeprefix("split="))
        partition_name = unquote(folder.name.removeprefix("partition="))
        folder_by_key[PartitionKey(split_name, partition_name)] = (
            f"{folder.parent.name}/{folder.name}"
        )
    return folder_by_key


@dataclass(frozen=True)
class RunTables:
    """A run's tables, and what of them is to be published.

    folder: where they lie. descriptions: of all tables but `runs`. written: of each partitioned
    table the partitions to put in place, key to folder below the table. removed: the partitions
    that the run published earlier and has no more.
    """

    run_id: str
    folder: Path
    descriptions: Mapping[str, TableDescription]
    written: Mapping[str, Mapping[PartitionKey, str]]
    removed: Mapping[str, Sequence[PartitionKey]]

    def touched(self, table: str) -> list[PartitionKey]:
        """The partitions of a table that change: those written, then those removed.

        A table that is not partitioned has none.
        """
        return [*self.written.get(table, {}), *self.removed.get(table, ())]


class Sink(Protocol):
    """A place that tables are published to: look before the work begins, then, in one turn, ask for
    a conflict and replace."""

    def look(self, descriptions: Mapping[str, TableDescription]) -> None:
        """Note what is there, before the work begins.

        Raises SettingsError if tables cannot be published there.
        """

    def turn(self) -> AbstractContextManager[TurnCheck]:
        """Wait for the turn to write, if writers do not exclude each other by themselves.

        Raises ServiceError if another run keeps it too long.
        """

    def conflict(self, tables: RunTables) -> str | None:
        """What another run wrote since `look` that these tables would replace, in words.

        None: nothing. Ask within the turn, right before `replace`.
        """

    def replace(self, tables: RunTables, check_turn: TurnCheck) -> dict[str, int]:
        """Put a run's rows in place of those that are there, each table all or nothing.

        Returns the snapshot of each table, if the place has snapshots.
        """

    def publish_runs(self, folder: Path, run_id: str, description: TableDescription) -> None:
        """Publish a run's rows of the table `runs`, which lies in `folder`.

        Rows of other runs stay.
        """
