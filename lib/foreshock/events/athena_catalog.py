"""The tables and queries that Athena unloads, with their partitions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from foreshock.errors import DataError, SettingsError
from foreshock.events.athena_sql import (
    WHOLE_NUMBERS,
    AthenaTable,
    check_query,
    quoted_name,
    whole_number,
)
from foreshock.events.partitions import DAY, MONTH, NULL, WHOLE, identifier

CALENDAR_UNITS = {DAY: "D", MONTH: "M"}

CatalogEntry = Mapping[str, Any]
"""An answer of the Glue catalog."""

PartitionRange = tuple[str, str]
"""The first and the last partition asked for, both included: the setting `source.partitions`."""


def find_table(
    glue: Any, database: str, table: str, partition: str | None, asked: PartitionRange | None
) -> AthenaTable:
    """A table of the Glue catalog.

    glue: boto3's client. partition: the setting events.partition. asked: the partitions wanted.
    Raises DataError if partitions are asked for of a table without the column, or if there is none.
    """
    entry = glue.get_table(DatabaseName=database, Name=table)["Table"]
    key_types = {
        key["Name"]: key.get("Type", "string").lower() for key in entry.get("PartitionKeys", [])
    }
    full_name = f"{database}.{table}"
    partition_key = _partition_key(key_types, full_name, partition, asked)
    sql = f"SELECT * FROM {quoted_name(database)}.{quoted_name(table)}"
    is_projected = entry.get("Parameters", {}).get("projection.enabled", "").lower() == "true"
    if partition_key is None or (is_projected and asked is None):
        # Glue does not list the partitions of a projection.
        has_partitions = bool(key_types) and not is_projected
        listed_partitions = _catalog_partitions(glue, database, table) if has_partitions else []
        whole = {WHOLE: _all_locations(entry, listed_partitions)}
        return AthenaTable(sql, None, "string", whole, ())
    key_type = key_types[partition_key]
    if is_projected and asked is not None:
        locations = _projected_locations(entry, partition_key, len(key_types), asked)
    else:
        listed_partitions = _catalog_partitions(glue, database, table)
        locations = _listed_locations(
            listed_partitions, list(key_types).index(partition_key), key_type
        )
    values = _values_asked(locations, key_type, asked)
    if not values:
        raise DataError(_no_partition(full_name, locations, key_type, asked))
    chosen_locations = {value: locations[value] for value in values}
    return AthenaTable(sql, partition_key, key_type, chosen_locations, values)


def _partition_key(
    key_types: Mapping[str, str],
    full_name: str,
    partition: str | None,
    asked: PartitionRange | None,
) -> str | None:
    wanted = identifier(partition)
    matches = [key for key in key_types if wanted is not None and key.lower() == wanted.lower()]
    if matches:
        return matches[0]
    if asked is None:
        return None
    # Only of a single column is it plain that the partitions are meant to be its.
    if len(key_types) != 1:
        raise DataError(
            f"`source.partitions`: the table {full_name} has "
            f"{len(key_types) or 'no'} partition columns"
            f"{' (' + ', '.join(key_types) + ')' if key_types else ''}; "
            "set events.partition to the one that is meant."
        )
    return next(iter(key_types))


def _catalog_partitions(glue: Any, database: str, table: str) -> list[CatalogEntry]:
    pages = glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table)
    return [partition for page in pages for partition in page["Partitions"]]


def _location(entry: CatalogEntry) -> str | None:
    location: str | None = entry.get("StorageDescriptor", {}).get("Location")
    return location


def _all_locations(entry: CatalogEntry, partitions: list[CatalogEntry]) -> list[str]:
    """The folders of a table that is taken whole: its partitions', or its only one."""
    if partitions:
        return [partition["StorageDescriptor"]["Location"] for partition in partitions]
    location = _location(entry)
    return [location] if location else []


def _projected_locations(
    entry: CatalogEntry, partition_key: str, key_count: int, asked: PartitionRange
) -> dict[str, list[str]]:
    base = str(_location(entry))
    placeholder = f"${{{partition_key}}}"
    template: str = entry["Parameters"].get(
        "storage.location.template", f"{base.rstrip('/')}/{partition_key}={placeholder}"
    )
    if key_count > 1:
        # The values of the other keys are not known.
        return {value: [base] for value in calendar_range(*asked)}
    return {value: [template.replace(placeholder, value)] for value in calendar_range(*asked)}


def _listed_locations(
    partitions: list[CatalogEntry], key_position: int, key_type: str
) -> dict[str, list[str]]:
    locations: dict[str, list[str]] = {}
    for partition in partitions:
        value = partition["Values"][key_position]
        if key_type in WHOLE_NUMBERS and value != NULL:
            # 09 and 9 are one partition.
            value = str(whole_number(value))
        locations.setdefault(value, []).append(partition["StorageDescriptor"]["Location"])
    return locations


def _values_asked(
    locations: Mapping[str, list[str]], key_type: str, asked: PartitionRange | None
) -> tuple[str, ...]:
    """The partitions asked for, in order.

    The one without a value comes last, and only if all are asked for.
    """
    sort_key = _sort_key(key_type)
    values = sorted((value for value in locations if value != NULL), key=sort_key)
    if asked is None:
        return (*values, *(value for value in locations if value == NULL))
    first, last = sort_key(asked[0]), sort_key(asked[1])
    return tuple(value for value in values if first <= sort_key(value) <= last)


def _no_partition(
    full_name: str,
    locations: Mapping[str, list[str]],
    key_type: str,
    asked: PartitionRange | None,
) -> str:
    if asked is None:
        return (
            f"`source.table`: {full_name} has no partition in the Glue catalog; "
            "the source is empty."
        )
    known = sorted((value for value in locations if value != NULL), key=_sort_key(key_type))
    there_is = ", nor any other in the Glue catalog"
    if known:
        there_is = f"; there are {len(known)}, from {known[0]} to {known[-1]}"
    return (
        f"`source.partitions`: {full_name} has no partition "
        f"from {asked[0]} to {asked[1]}{there_is}."
    )


def _sort_key(key_type: str) -> Callable[[str], Any]:
    """What the values of a partition column are sorted by: whole numbers are not text."""
    return whole_number if key_type in WHOLE_NUMBERS else str


def find_query(query: str, partition: str | None, asked: PartitionRange | None) -> AthenaTable:
    """A query as a table.

    Its partitions are the days or months from the first asked for to the last.

    Raises SettingsError for a query that is not one SELECT, or if partitions are asked for without
    a column or of another kind.

    >>> find_query("SELECT * FROM t", "date", ("2019-12-30", "2020-01-01")).values
    ('2019-12-30', '2019-12-31', '2020-01-01')
    """
    check_query(query)
    sql = f"SELECT * FROM (\n{query}\n)"
    if asked is None:
        return AthenaTable(sql, None, "string", {}, ())
    partition_key = identifier(partition)
    if partition_key is None:
        raise SettingsError(
            "`source.partitions` with a query wants events.partition: "
            "the column of the query that holds the partition."
        )
    return AthenaTable(sql, partition_key, "varchar", {}, tuple(calendar_range(*asked)))


def calendar_range(first: str, last: str) -> Iterator[str]:
    """Days or months from the first to the last, both included.

    Raises SettingsError for anything else.

    >>> list(calendar_range("2019-12", "2020-02"))
    ['2019-12', '2020-01', '2020-02']
    """
    for pattern, calendar_unit in CALENDAR_UNITS.items():
        if re.match(pattern, first) and re.match(pattern, last):
            start, end = np.datetime64(first, calendar_unit), np.datetime64(last, calendar_unit)
            yield from np.arange(start, end + 1).astype(str).tolist()
            return
    raise SettingsError(
        "`source.partitions`: where the catalog does not list them, first and last are days such "
        f"as 2019-12-30 or months such as 2019-12; received {first!r} and {last!r}."
    )
