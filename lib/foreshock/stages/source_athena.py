"""A table that Athena unloads to a folder on S3, which is cleared away afterwards."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from foreshock.errors import SettingsError
from foreshock.events import athena, athena_catalog, athena_sql
from foreshock.events.athena_query import Query
from foreshock.events.ledger import JsonObject
from foreshock.events.partitions import WHOLE, SourceFiles, identifier
from foreshock.platform import aws_boto
from foreshock.platform.aws import KMS_KEY
from foreshock.platform.files import digest, write_text
from foreshock.platform.paths import at, is_remote, stamps
from foreshock.platform.transfers import remove
from foreshock.stages.context import Context

UNLOAD_NAME = ".unload"
LISTED_AT_ONCE = 16

# Path, bytes, ETag: hashed as it is into fingerprints.
FileStamp = tuple[str, int, str]


def find_athena_source(context: Context) -> tuple[SourceFiles, athena_sql.AthenaTable]:
    """The source partitions and fingerprints of the table or query in `source`.

    No file is there before `unloaded`.
    """
    source = context.settings.source
    _unload_folder(context)
    # It says what is wrong with region or profile before anything is asked.
    aws_boto.client("athena")
    table = _athena_table(context)
    locations = _locations_by_partition(table, context.settings.events.partition)
    stamps_by_location = _stamps_by_location(locations)
    fingerprints = {}
    for source_partition, folders in locations.items():
        files = [mark for folder in folders for mark in stamps_by_location[folder]]
        # Without a target: folders differ between runs that ask for the same.
        statement = athena_sql.unload_statement(table, source_partition, "")
        fingerprints[source_partition] = digest([table.sql, statement, files])
    return SourceFiles(
        setting="source",
        path=f"{source.database}.{source.table}" if source.table else "source.query",
        base_folder="",
        files_by_partition=dict.fromkeys(locations, ()),
        fingerprints=fingerprints,
        folder_keys=(),
        partition_key=None if WHOLE in locations else table.partition_key,
    ), table


def _athena_table(context: Context) -> athena_sql.AthenaTable:
    source, partition = context.settings.source, context.settings.events.partition
    if source.query is not None:
        return athena_catalog.find_query(source.query, partition, source.partitions)
    return athena_catalog.find_table(
        aws_boto.client("glue"),
        str(source.database),
        str(source.table),
        partition,
        source.partitions,
    )


def _locations_by_partition(
    table: athena_sql.AthenaTable, partition: str | None
) -> dict[str, list[str]]:
    """The folders of each source partition.

    A source partition is a partition of the events only if the settings file events by the table's
    partition column.
    """
    key = table.partition_key
    if key is not None and (identifier(partition) or "").lower() == key.lower():
        return {value: table.locations.get(value, []) for value in table.values}
    return {WHOLE: [folder for folders in table.locations.values() for folder in folders]}


def _stamps_by_location(locations: Mapping[str, list[str]]) -> dict[str, list[FileStamp]]:
    distinct = list(dict.fromkeys(folder for folders in locations.values() for folder in folders))
    with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
        return dict(zip(distinct, pool.map(_file_stamps, distinct), strict=True))


def _file_stamps(location: str) -> list[FileStamp]:
    return [(str(file), size, stamp) for file, size, stamp in stamps(at(location))]


def _unload_folder(context: Context) -> Path:
    """A folder on S3 for what this run directory unloads and nothing else.

    Raises SettingsError if there is none.
    """
    output = context.settings.source.output
    if output is not None:
        return at(output) / f"foreshock-{_drawn_name(context)}"
    if not is_remote(context.run.path):
        raise SettingsError(
            "`source.output` is needed where the run directory is not on S3: "
            "the folder that UNLOAD writes to, s3://…."
        )
    return context.run / ".staging" / "unload"


def _drawn_name(context: Context) -> str:
    """The name of the run directory at `source.output`.

    It is drawn once: the same path may be another directory on another machine.
    """
    path = context.run / UNLOAD_NAME
    if not path.exists():
        write_text(path, uuid.uuid4().hex[:16])
    return path.read_text(encoding="utf-8").strip()


@contextmanager
def unloaded(
    context: Context,
    source: SourceFiles,
    table: athena_sql.AthenaTable,
    source_partitions: Sequence[str],
    counts: JsonObject,
) -> Iterator[SourceFiles]:
    """A source whose source partitions have files, while the block runs.

    The files are gone when the block ends, and no query runs any longer. What the queries did goes
    into `counts`.
    """
    folder = _unload_folder(context)
    # What a run that was killed left there.
    remove(folder)
    queries = []
    for number, source_partition in enumerate(source_partitions):
        target = f"{folder}/unit-{number:05d}"
        sql = athena_sql.unload_statement(table, source_partition, f"{target}/")
        queries.append(Query(source_partition, sql, target))
    unloading = _unloading(context, folder)
    try:
        try:
            with unloading:
                unloading.run(queries)
        finally:
            counts["athena"] = asdict(unloading.done)
        files = {
            query.source_partition: tuple(str(file) for file, _, _ in stamps(at(query.target)))
            for query in queries
        }
        files_by_partition = {**source.files_by_partition, **files}
        yield replace(source, base_folder=str(folder), files_by_partition=files_by_partition)
    finally:
        remove(folder)


def _unloading(context: Context, folder: Path) -> athena.Unloading:
    source = context.settings.source
    return athena.Unloading(
        aws_boto.client("athena"),
        database=source.database,
        workgroup=source.workgroup,
        results=f"{folder}/results/",
        at_once=source.queries,
        budget=source.max_bytes_scanned,
        timeout=source.query_timeout,
        say=partial(context.log.event, "extract"),
        kms_key=os.environ.get(KMS_KEY),
        stopper=aws_boto.client("athena", quick=True),
    )
