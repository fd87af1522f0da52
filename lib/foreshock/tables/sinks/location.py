"""A folder that several runs share, here or on S3, with tables as Parquet.

A run replaces its own partitions of `scores` and `detector_scores`, and has a file of its own in
each small table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from foreshock.columns import RUNS
from foreshock.platform.paths import check_bucket, is_remote, stamps
from foreshock.platform.transfers import at_once, copy, move, remove
from foreshock.tables.describe import TableDescription
from foreshock.tables.sinks.protocol import (
    PARTITIONED,
    SMALL,
    PartitionKey,
    RunTables,
    TurnCheck,
    partition_folders,
)
from foreshock.tables.sinks.turn import wait_for_turn

CONCURRENT_PARTITIONS = 8
STAGING = ".staging"
ONLY_FILE = "part-00000.parquet"  # of a small table of a run


@dataclass(frozen=True)
class PartitionFolder:
    """A partition of a table, by its folder below the table."""

    table: str
    folder: str


@dataclass(frozen=True)
class FileStamp:
    """A file of a partition; mark changes when the file does."""

    name: str
    size: int
    mark: str


Contents = Mapping[PartitionFolder, list[FileStamp]]


@dataclass
class LocationSink:
    """`tables.location`. What lies there is noted by `look`, and again after each `replace`."""

    location: Path
    _noted: Contents = field(default_factory=dict)

    def look(self, descriptions: Mapping[str, TableDescription]) -> None:
        """Note the files of every partition. Raises SettingsError if there is no such bucket."""
        check_bucket(self.location, "tables.location")
        self._noted = self._contents()

    def turn(self) -> AbstractContextManager[TurnCheck]:
        """Hold the folder: renaming and copying exclude nobody."""
        return wait_for_turn(self.location, "tables.location")

    def conflict(self, tables: RunTables) -> str | None:
        """A partition of these whose files are not those that `look` noted."""
        present = self._contents()
        for table in PARTITIONED:
            folders = {**self._removable(tables, table), **tables.written[table]}
            for key in tables.touched(table):
                if key not in folders:
                    continue
                place = PartitionFolder(table, folders[key])
                if present.get(place) != self._noted.get(place):
                    return (
                        f"tables.location {self.location}: another run wrote {table}/"
                        f"{place.folder} while this one was at work; its rows stay, and nothing of "
                        "this run is in. Run the same command again to replace them."
                    )
        return None

    def replace(self, tables: RunTables, check_turn: TurnCheck) -> dict[str, int]:
        """Put the run's partitions and small tables in place, and remove what it has no more.

        If that fails, partitions that were not there before are taken away again. A partition
        that was replaced stays until the run comes again.
        """
        check_turn()
        present = self._contents()
        placed = [
            PartitionFolder(table, folder)
            for table in PARTITIONED
            for folder in tables.written[table].values()
        ]
        try:
            at_once(lambda place: self._put(tables, place), placed, CONCURRENT_PARTITIONS)
        except BaseException:
            for place in placed:
                if place not in present:
                    with contextlib.suppress(Exception):
                        remove(self.location / place.table / place.folder)
            raise
        remove(self.location / STAGING)  # a run that was killed may have left some
        for table in PARTITIONED:
            for folder in self._removable(tables, table).values():
                remove(self.location / table / folder)
        for table in SMALL:
            if (tables.folder / table).exists():
                (self.location / table).mkdir(parents=True, exist_ok=True)
                target = self.location / table / f"{tables.run_id}.parquet"
                copy_whole(tables.folder / table / ONLY_FILE, target)
        self._noted = self._contents()
        return {}

    def publish_runs(self, folder: Path, run_id: str, description: TableDescription) -> None:
        """Copy the attempts of a run, a file each."""
        target = self.location / RUNS
        target.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.parquet"):
            copy_whole(file, target / f"{run_id}-{file.name}")

    def _removable(self, tables: RunTables, table: str) -> dict[PartitionKey, str]:
        """The partitions to remove that are there, with their folders."""
        removed = tables.removed[table]
        present = partition_folders(self.location / table) if removed else {}
        return {key: present[key] for key in removed if key in present}

    def _put(self, tables: RunTables, place: PartitionFolder) -> None:
        """A partition in place of what is there.

        S3 replaces an object at once, so files have the same names each time: of a partition of
        one file a reader sees the old or the new. Here a folder is put together beside, and then
        renamed.
        """
        source = tables.folder / place.table / place.folder
        target = self.location / place.table / place.folder
        files = {
            f"part-{number:05d}.parquet": file
            for number, file in enumerate(sorted(source.glob("*.parquet")))
        }
        if is_remote(target):
            for name, file in files.items():
                copy(file, target / name)
            for former in target.iterdir():
                if former.name not in files:
                    remove(former)
            return
        fresh = self.location / STAGING / tables.run_id / place.table / place.folder
        try:
            remove(fresh)
            fresh.mkdir(parents=True)
            for name, file in files.items():
                copy(file, fresh / name)
            remove(target)
            move(fresh, target)
        finally:
            remove(fresh)

    def _contents(self) -> Contents:
        """The files of every partition that lies there."""
        contents: dict[PartitionFolder, list[FileStamp]] = {}
        for table in PARTITIONED:
            if (self.location / table).exists():
                for file, size, mark in stamps(self.location / table):
                    folder = f"{file.parent.parent.name}/{file.parent.name}"
                    place = PartitionFolder(table, folder)
                    contents.setdefault(place, []).append(FileStamp(file.name, size, mark))
        return contents


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that no reader sees a part of it."""
    if is_remote(target) or is_remote(source):
        target.write_bytes(source.read_bytes())
    else:
        fresh = target.with_name(f".{target.name}")
        copy(source, fresh)
        fresh.replace(target)
