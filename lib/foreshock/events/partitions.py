"""A source's files, grouped by the partition their folders name; and which are time."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from foreshock.errors import DataError, SettingsError
from foreshock.platform.files import digest
from foreshock.platform.paths import at, below, check_bucket, filesystem, is_remote, stamp, stamps

# The source partition of a source that is not divided.
WHOLE = "*"
# How Spark and Hive file rows whose partition is null or empty.
NULL = "__HIVE_DEFAULT_PARTITION__"
DAY = r"^\d{4}-\d{2}-\d{2}$"
MONTH = r"^\d{4}-\d{2}$"
IDENTIFIER = re.compile(r"^`?([A-Za-z_][A-Za-z0-9_]*)`?$")
WILDCARDS = "*?["


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source, by source partition.

    A source partition is a Hive folder of the partition column, or `*` for all files if no folder
    names the column.

    setting, path: the setting that names the source, and its value.
    base_folder: the folder that holds everything.
    fingerprints: what a source partition's files are told apart by.
    folder_keys: the columns that folders name.
    partition_key: the one of them that names the source partitions.
    """

    setting: str
    path: str
    base_folder: str
    files_by_partition: Mapping[str, tuple[str, ...]]
    fingerprints: Mapping[str, str]
    folder_keys: tuple[str, ...]
    partition_key: str | None = None

    @property
    def aligned(self) -> bool:
        """Whether source partitions are partitions of the events."""
        return WHOLE not in self.files_by_partition

    def files(self, source_partitions: Collection[str]) -> list[str]:
        """The files of some source partitions."""
        return [
            file
            for source_partition in source_partitions
            for file in self.files_by_partition[source_partition]
        ]


@dataclass(frozen=True)
class StampedFile:
    """A file with its bytes and the stamp that changes when the file does."""

    path: Path
    size: int
    stamp: str


FilesByName = Mapping[str, StampedFile]
"""Files by their path below the source's base folder."""


def identifier(expression: str | None) -> str | None:
    """The column that an expression names, if the expression is a column's name and no more.

    >>> identifier(" `date` ")
    'date'
    >>> identifier("to_date(at)") is None
    True
    """
    match = IDENTIFIER.match(expression.strip()) if expression else None
    return match.group(1) if match else None


def is_time(partitions: Collection[str]) -> bool:
    """Whether the partition key is time: every value is a day (2019-12-30) or a month (2019-12).

    >>> is_time(["2019-12-30", "2020-01"])
    True
    >>> is_time(["2019-12-30", "north"])
    False
    """
    return bool(partitions) and all(
        re.match(DAY, partition) or re.match(MONTH, partition) for partition in partitions
    )


def hive_values(relative: str) -> dict[str, str]:
    """The `key=value` folders of a path.

    >>> hive_values("region=north%2Feast/date=2019-12-30/a.parquet")
    {'region': 'north/east', 'date': '2019-12-30'}
    """
    values: dict[str, str] = {}
    for folder in relative.split("/")[:-1]:
        key, separator, value = folder.partition("=")
        if key and separator:
            values[key] = unquote(value)
    return values


def list_source(path: str, partition: str | None, setting: str = "source.path") -> SourceFiles:
    """The files of a source: a file, folder or glob.

    Names that begin with `_` or `.` are passed over.

    partition: the setting `events.partition`, whose Hive folders become source partitions.
    Raises SettingsError if the path is not there, DataError if it holds no file.
    """
    base_folder, files = _list_files(path, setting)
    if not files:
        raise DataError(f"{setting} {path}: there is no file in it; the source is empty.")
    partition_key = identifier(partition)
    folder_values = {relative: hive_values(relative) for relative in files}
    # A file outside the folders may hold rows of any partition, so then all files are taken as one.
    if partition_key is not None and any(
        partition_key not in keys for keys in folder_values.values()
    ):
        partition_key = None
    files_by_partition: dict[str, list[str]] = {}
    # Tuples in this order are what fingerprints are the hashes of.
    stamps_by_partition: dict[str, list[tuple[str, int, str]]] = {}
    for relative, file in files.items():
        source_partition = (
            WHOLE if partition_key is None else folder_values[relative][partition_key] or NULL
        )
        files_by_partition.setdefault(source_partition, []).append(str(file.path))
        stamps_by_partition.setdefault(source_partition, []).append(
            (relative, file.size, file.stamp)
        )
    return SourceFiles(
        setting,
        path,
        str(base_folder),
        {
            source_partition: tuple(paths)
            for source_partition, paths in sorted(files_by_partition.items())
        },
        {
            source_partition: digest(stamped)
            for source_partition, stamped in sorted(stamps_by_partition.items())
        },
        tuple(sorted({key for keys in folder_values.values() for key in keys})),
        partition_key,
    )


def _list_files(path: str, setting: str) -> tuple[Path, FilesByName]:
    root = at(path)
    check_bucket(root, setting)
    try:
        if root.is_file():
            return root.parent, {root.name: _stamped(root)}
        if root.is_dir():
            return root, _files_below(root, root)
        if any(wildcard in path for wildcard in WILDCARDS):
            return _glob_files(root, path, setting)
    except PermissionError as error:
        if is_remote(root):
            raise
        raise SettingsError(
            f"{setting}: {path!r} cannot be read ({error}). Change its permissions."
        ) from None
    if is_remote(root):
        # On S3 a folder that is not there is an empty one.
        return root, {}
    raise SettingsError(
        f"{setting}: there is no file or folder {path!r}. "
        "Give a file, a folder or a glob that is there."
    )


def _glob_files(root: Path, path: str, setting: str) -> tuple[Path, FilesByName]:
    base_folder, matches = _matches(root, path)
    files: dict[str, StampedFile] = {}
    for match in matches:
        if match.is_file():
            files[str(below(match, base_folder))] = _stamped(match)
        else:
            files |= _files_below(match, base_folder)
    visible = {
        relative: file for relative, file in sorted(files.items()) if not _is_hidden(relative)
    }
    if not visible:
        raise SettingsError(
            f"{setting}: nothing matches {path!r}. Give a file, a folder or a glob that is there."
        )
    return base_folder, visible


def _stamped(file: Path) -> StampedFile:
    return StampedFile(file, *stamp(file))


def _files_below(folder: Path, base_folder: Path) -> FilesByName:
    stamped = [StampedFile(*file) for file in stamps(folder)]
    files = {str(below(file.path, base_folder)): file for file in stamped}
    return {relative: file for relative, file in files.items() if not _is_hidden(relative)}


def _matches(root: Path, path: str) -> tuple[Path, list[Path]]:
    """The last folder that no wildcard is above, and what a glob matches."""
    steps = path.split("/")
    wild = [any(wildcard in step for wildcard in WILDCARDS) for step in steps]
    base_folder = at("/".join(steps[: wild.index(True)]) or "/")
    if not is_remote(root):
        matches = glob.glob(path, recursive=True)  # noqa: PTH207 — absolute patterns
        return base_folder, sorted(map(Path, matches))
    pattern, file_system = filesystem(root)
    return base_folder, [at(f"s3://{match}") for match in sorted(file_system.glob(pattern))]


def _is_hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/"))
