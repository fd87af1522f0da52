"""Parquet tables registered in Glue, with partitions and comments, so that Athena, Spark and Redshift know them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from foreshock.errors import ServiceError, SettingsError
from foreshock.tables.describe import Column, Described
from foreshock.tables.sinks.iceberg import Key

AT_ONCE = 25  # what Glue takes in one call to delete; it takes 100 to create
SERDE = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    },
}


class Registry:
    """A Glue database. client: boto3's of Glue."""

    def __init__(self, client: Any, database: str, create: bool) -> None:
        self.client, self.database, self.create = client, database, create

    def look(self, tables: dict[str, tuple[Described, str]]) -> None:
        """Raise SettingsError where the database is missing, or one of these tables (name -> description, location) is another's."""
        try:
            self.client.get_database(Name=self.database)
        except ClientError as error:
            if not _missing(error):
                raise _service("GetDatabase", error) from None
            if not self.create:
                raise SettingsError(
                    f"`tables.glue.database`: Glue has no database {self.database!r}. Make it, correct the name, or set "
                    "tables.glue.create: true."
                ) from None
            try:
                self.client.create_database(
                    DatabaseInput={
                        "Name": self.database,
                        "Description": "Foreshock's result tables",
                    }
                )
            except ClientError as second:
                if second.response["Error"]["Code"] != "AlreadyExistsException":
                    raise _service("CreateDatabase", second) from None
        for name, (wanted, location) in tables.items():
            there = self._table(name)
            if there is None:
                continue
            place = there.get("StorageDescriptor", {}).get("Location", "").rstrip("/")
            if place != location.rstrip("/"):
                raise SettingsError(
                    f"`tables.glue.database`: {self.database}.{name} is there already, for {place or 'no location'}. Use "
                    "another database for these tables, or set tables.location to where that one's tables lie."
                )
            keys = [c["Name"] for c in there.get("PartitionKeys", [])]
            if keys != list(wanted.partitions):
                by, other = (", ".join(k) or "nothing" for k in (wanted.partitions, keys))
                raise SettingsError(
                    f"`tables.glue.database`: {self.database}.{name} is there, partitioned by {other}; {by} is wanted. Use "
                    "another database."
                )
            types = {c["Name"]: c["Type"] for c in there["StorageDescriptor"].get("Columns", [])}
            for column in wanted.plain:
                have = types.get(column.name, column.type)
                if have != column.type and not (
                    have.startswith("struct<") and column.type.startswith("struct<")
                ):
                    raise SettingsError(
                        f"`tables.glue.database`: {self.database}.{name} is there, its column {column.name} is "
                        f"{have}; {column.type} is wanted. Use another database."
                    )

    def register(
        self,
        name: str,
        wanted: Described,
        location: str,
        added: Mapping[Key, str] | None = None,
        gone: Sequence[Key] = (),
    ) -> None:
        """Have Glue know a table, its comments and, where it is partitioned, these partitions (values -> folder below
        `location`); those in `gone` it forgets."""
        try:
            there = self._table(name)
            columns = [_column(c) for c in wanted.plain]
            if there is not None:  # what others' rows hold besides stays
                known = {c["Name"]: c for c in there["StorageDescriptor"].get("Columns", [])}
                own = {c["Name"] for c in columns}
                columns = [
                    c | {"Type": merged(known[c["Name"]]["Type"], c["Type"])}
                    if c["Name"] in known
                    else c
                    for c in columns
                ]
                columns += [c for n, c in known.items() if n not in own]
            storage = {**SERDE, "Location": location, "Columns": columns}
            body = {
                "Name": name,
                "Description": wanted.comment,
                "TableType": "EXTERNAL_TABLE",
                "StorageDescriptor": storage,
                "PartitionKeys": [_column(c) for c in wanted.keys],
                "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"},
            }
            if there is None:
                try:
                    self.client.create_table(DatabaseName=self.database, TableInput=body)
                except ClientError as error:
                    if error.response["Error"]["Code"] != "AlreadyExistsException":
                        raise
            elif _differs(there, body):
                self.client.update_table(DatabaseName=self.database, TableInput=body)
            if wanted.partitions:
                self._partitions(name, storage, location, added or {}, gone)
        except (ClientError, BotoCoreError) as error:
            raise _service(f"registering {self.database}.{name}", error) from None

    def _partitions(
        self,
        name: str,
        storage: dict[str, Any],
        location: str,
        added: Mapping[Key, str],
        gone: Sequence[Key],
    ) -> None:
        for some in _chunks(sorted(set(gone) - set(added))):
            answer = self.client.batch_delete_partition(
                DatabaseName=self.database,
                TableName=name,
                PartitionsToDelete=[{"Values": list(k)} for k in some],
            )
            self._refused("BatchDeletePartition", name, answer, "EntityNotFoundException")
        for some in _chunks(sorted(added)):
            inputs = [
                {
                    "Values": list(k),
                    "StorageDescriptor": {**storage, "Location": f"{location}/{added[k]}"},
                }
                for k in some
            ]
            answer = self.client.batch_create_partition(
                DatabaseName=self.database, TableName=name, PartitionInputList=inputs
            )
            known = self._refused("BatchCreatePartition", name, answer, "AlreadyExistsException")
            for own in inputs:
                if tuple(own["Values"]) in known:  # of other columns it may be
                    self.client.update_partition(
                        DatabaseName=self.database,
                        TableName=name,
                        PartitionValueList=own["Values"],
                        PartitionInput=own,
                    )

    def _refused(
        self, call: str, name: str, answer: dict[str, Any], expected: str
    ) -> set[tuple[str, ...]]:
        """The partitions of an answer that have the error which may be expected. Raises ServiceError for any other."""
        for error in answer.get("Errors", []):
            detail = error.get("ErrorDetail", {})
            if detail.get("ErrorCode") != expected:
                raise ServiceError(
                    f"Glue {call} {self.database}.{name} {'/'.join(error['PartitionValues'])}: {detail.get('ErrorCode')}: "
                    f"{detail.get('ErrorMessage')}."
                )
        return {tuple(e["PartitionValues"]) for e in answer.get("Errors", [])}

    def _table(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.client.get_table(DatabaseName=self.database, Name=name)[
                "Table"
            ]
        except ClientError as error:
            if _missing(error):
                return None
            raise _service("GetTable", error) from None
        return found


def merged(there: str, wanted: str) -> str:
    """A column's type that holds both: of structs of plain fields, such as shares of features, the fields of either."""
    if not (there.startswith("struct<") and wanted.startswith("struct<")):
        return wanted
    fields = {
        name: kind
        for text in (there, wanted)
        for name, _, kind in (f.partition(":") for f in text[7:-1].split(","))
    }
    return (
        f"struct<{','.join(f'{n}:{k}' for n, k in fields.items())}>"
        if "<" not in there[7:] + wanted[7:]
        else wanted
    )


def _chunks(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for at in range(0, len(keys), AT_ONCE):
        yield keys[at : at + AT_ONCE]


def _column(column: Column) -> dict[str, str]:
    return {"Name": column.name, "Type": column.type, "Comment": column.comment}


def _differs(there: dict[str, Any], wanted: dict[str, Any]) -> bool:
    have = [
        (c["Name"], c["Type"], c.get("Comment"))
        for c in there["StorageDescriptor"].get("Columns", [])
    ]
    return have != [
        (c["Name"], c["Type"], c.get("Comment")) for c in wanted["StorageDescriptor"]["Columns"]
    ]


def _missing(error: ClientError) -> bool:
    return str(error.response.get("Error", {}).get("Code")) == "EntityNotFoundException"


def _service(call: str, error: Exception) -> ServiceError:
    return ServiceError(
        f"Glue {call}: {error}. Check permissions and the service, then run the same command."
    )
