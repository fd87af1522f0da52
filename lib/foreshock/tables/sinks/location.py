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
    PARTITIONED_TABLES,
    SMALL_TABLES,
    PartitionKey,
    RunTables,
    TurnCheck,
    partition_folders,
)
from foreshock.tables.sinks.turn import wait_for_turn

CONCURRENT_PARTITIONS = 8
STAGING_FOLDER = ".staging"
# Of a small table of a run.
ONLY_FILE = "part-00000.parquet"


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
        """Note the files of every partition.

        Raises SettingsError if there is no such bucket.
        """
        check_bucket(self.location, "tables.location")
        self._noted = self._contents()

    def turn(self) -> AbstractContextManager[TurnCheck]:
        """Hold the folder: renaming and copying exclude nobody.

        Raises ServiceError if another run holds it for ten minutes.
        """
        return wait_for_turn(self.location, "tables.location")

    def conflict(self, tables: RunTables) -> str | None:
        """What is wrong with a partition of these that another run wrote, in words; None: nothing.

        A partition is another run's if its files are not those that `look` noted.
        """
        present_contents = self._contents()
        for table_name in PARTITIONED_TABLES:
            touched_folders = {**self._removable(tables, table_name), **tables.written[table_name]}
            for partition_key in tables.touched(table_name):
                if partition_key not in touched_folders:
                    continue
                place = PartitionFolder(table_name, touched_folders[partition_key])
                # Names, sizes and stamps: a file that was rewritten with as many bytes differs too.
                if present_contents.get(place) != self._noted.get(place):
                    return (
                        f"tables.location {self.location}: another run wrote {table_name}/"
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
        present_contents = self._contents()
        # What is there now is known from before: only what is new is taken away if this fails.
        places_to_fill = [
            PartitionFolder(table_name, folder)
            for table_name in PARTITIONED_TABLES
            for folder in tables.written[table_name].values()
        ]
        try:
            at_once(lambda place: self._put(tables, place), places_to_fill, CONCURRENT_PARTITIONS)
        except BaseException:
            for place in places_to_fill:
                if place not in present_contents:
                    with contextlib.suppress(Exception):
                        remove(self.location / place.table / place.folder)
            raise
        # A run that was killed may have left some.
        remove(self.location / STAGING_FOLDER)
        for table_name in PARTITIONED_TABLES:
            for folder in self._removable(tables, table_name).values():
                remove(self.location / table_name / folder)
        for table_name in SMALL_TABLES:
            if (tables.folder / table_name).exists():
                (self.location / table_name).mkdir(parents=True, exist_ok=True)
                small_table_file = self.location / table_name / f"{tables.run_id}.parquet"
                copy_whole(tables.folder / table_name / ONLY_FILE, small_table_file)
        self._noted = self._contents()
        return {}

    def publish_runs(self, folder: Path, run_id: str, description: TableDescription) -> None:
        """Copy the attempts of a run, a file each.

        folder: the run's `tables/runs`. Files of an attempt are replaced.
        """
        runs_folder = self.location / RUNS
        runs_folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.parquet"):
            copy_whole(file, runs_folder / f"{run_id}-{file.name}")

    def _removable(self, tables: RunTables, table: str) -> dict[PartitionKey, str]:
        """The partitions to remove that are there, with their folders."""
        removed_keys = tables.removed[table]
        present_folders = partition_folders(self.location / table) if removed_keys else {}
        return {
            partition_key: present_folders[partition_key]
            for partition_key in removed_keys
            if partition_key in present_folders
        }

    def _put(self, tables: RunTables, place: PartitionFolder) -> None:
        """A partition in place of what is there.

        S3 replaces an object at once, so files have the same names each time: of a partition of
        one file a reader sees the old or the new. Here a folder is put together beside, and then
        renamed.
        """
        source_folder = tables.folder / place.table / place.folder
        target_folder = self.location / place.table / place.folder
        files_by_name = {
            f"part-{file_number:05d}.parquet": file
            for file_number, file in enumerate(sorted(source_folder.glob("*.parquet")))
        }
        if is_remote(target_folder):
            for file_name, file in files_by_name.items():
                copy(file, target_folder / file_name)
            for former_file in target_folder.iterdir():
                if former_file.name not in files_by_name:
                    remove(former_file)
            return
        fresh_folder = self.location / STAGING_FOLDER / tables.run_id / place.table / place.folder
        try:
            remove(fresh_folder)
            fresh_folder.mkdir(parents=True)
            for file_name, file in files_by_name.items():
                copy(file, fresh_folder / file_name)
            # Between these two a reader may miss the partition; it never sees a part of it.
            remove(target_folder)
            move(fresh_folder, target_folder)
        finally:
            remove(fresh_folder)

    def _contents(self) -> Contents:
        """The files of every partition that lies there, with what tells a file from another."""
        contents: dict[PartitionFolder, list[FileStamp]] = {}
        for table_name in PARTITIONED_TABLES:
            if (self.location / table_name).exists():
                for file, size, mark in stamps(self.location / table_name):
                    partition_folder = f"{file.parent.parent.name}/{file.parent.name}"
                    place = PartitionFolder(table_name, partition_folder)
                    contents.setdefault(place, []).append(FileStamp(file.name, size, mark))
        return contents


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that no reader sees a part of it.

    Here it is copied beside and renamed; on S3 an object is there whole or not at all.
    """
    if is_remote(target) or is_remote(source):
        target.write_bytes(source.read_bytes())
    else:
        fresh_file = target.with_name(f".{target.name}")
        copy(source, fresh_file)
        fresh_file.replace(target)
