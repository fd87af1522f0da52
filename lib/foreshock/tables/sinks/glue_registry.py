"""Tables of a Glue database: what they must be like, and how they come to be known there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from foreshock.errors import ServiceError, SettingsError
from foreshock.tables.describe import ColumnDescription, TableDescription
from foreshock.tables.sinks.glue_client import (
    MISSING,
    THERE_ALREADY,
    GlueClient,
    GlueObject,
    has_code,
    service_error,
)
from foreshock.tables.sinks.protocol import PartitionKey

PARTITIONS_A_CALL = 25  # what Glue takes in one call to delete; it takes 100 to create
PARQUET = "org.apache.hadoop.hive.ql.io.parquet"
SERDE = {
    "InputFormat": f"{PARQUET}.MapredParquetInputFormat",
    "OutputFormat": f"{PARQUET}.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": f"{PARQUET}.serde.ParquetHiveSerDe"},
}


@dataclass(frozen=True)
class GlueRegistry:
    """A Glue database; create: whether it is made if it is not there."""

    client: GlueClient
    database: str
    create: bool

    def look(self, tables: Mapping[str, tuple[TableDescription, str]]) -> None:
        """Check that tables (name to description and location) can be registered.

        Raises SettingsError if the database is missing, or a table of one of these names lies
        elsewhere, is partitioned by other columns or has columns of other types.
        """
        self._find_database()
        for name, (description, location) in tables.items():
            registered = self._table(name)
            if registered is not None:
                self._check_place(name, registered, location)
                self._check_partitions(name, registered, description)
                self._check_types(name, registered, description)

    def register(
        self,
        name: str,
        description: TableDescription,
        location: str,
        written: Mapping[PartitionKey, str] | None = None,
        removed: Sequence[PartitionKey] = (),
    ) -> None:
        """Have Glue know a table, its comments and, if it is partitioned, its partitions.

        written: partitions with their folders below `location`. removed: those to be forgotten.
        Columns that rows of others have besides stay. Raises ServiceError if Glue refuses.
        """
        try:
            registered = self._table(name)
            storage = {
                **SERDE,
                "Location": location,
                "Columns": _all_columns(registered, description),
            }
            body = {
                "Name": name,
                "Description": description.comment,
                "TableType": "EXTERNAL_TABLE",
                "StorageDescriptor": storage,
                "PartitionKeys": [_glue_column(key) for key in description.partition_columns],
                "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"},
            }
            if registered is None:
                self._create_table(body)
            elif _columns_of(registered) != _columns_of(body):
                self.client.update_table(DatabaseName=self.database, TableInput=body)
            if description.partitioned_by:
                self._forget_partitions(name, sorted(set(removed) - set(written or {})))
                self._add_partitions(name, storage, written or {})
        except (ClientError, BotoCoreError) as error:
            raise service_error(f"registering {self.database}.{name}", error) from None

    def _find_database(self) -> None:
        try:
            self.client.get_database(Name=self.database)
        except ClientError as error:
            if not has_code(error, MISSING):
                raise service_error("GetDatabase", error) from None
            if not self.create:
                raise SettingsError(
                    f"`tables.glue.database`: Glue has no database {self.database!r}. Make it, "
                    "correct the name, or set tables.glue.create: true."
                ) from None
            self._create_database()

    def _create_database(self) -> None:
        body = {"Name": self.database, "Description": "Foreshock's result tables"}
        try:
            self.client.create_database(DatabaseInput=body)
        except ClientError as error:
            if not has_code(error, THERE_ALREADY):  # another run may have made it meanwhile
                raise service_error("CreateDatabase", error) from None

    def _create_table(self, body: GlueObject) -> None:
        try:
            self.client.create_table(DatabaseName=self.database, TableInput=body)
        except ClientError as error:
            if not has_code(error, THERE_ALREADY):  # another run may have made it meanwhile
                raise

    def _table(self, name: str) -> GlueObject | None:
        try:
            answer = self.client.get_table(DatabaseName=self.database, Name=name)
        except ClientError as error:
            if has_code(error, MISSING):
                return None
            raise service_error("GetTable", error) from None
        table: GlueObject = answer["Table"]
        return table

    def _check_place(self, name: str, registered: GlueObject, location: str) -> None:
        place = registered.get("StorageDescriptor", {}).get("Location", "").rstrip("/")
        if place != location.rstrip("/"):
            raise SettingsError(
                f"`tables.glue.database`: {self.database}.{name} is there already, for "
                f"{place or 'no location'}. Use another database for these tables, or set "
                "tables.location to where that one's tables lie."
            )

    def _check_partitions(
        self, name: str, registered: GlueObject, description: TableDescription
    ) -> None:
        keys = [column["Name"] for column in registered.get("PartitionKeys", [])]
        if keys != list(description.partitioned_by):
            raise SettingsError(
                f"`tables.glue.database`: {self.database}.{name} is there, partitioned by "
                f"{', '.join(keys) or 'nothing'}; "
                f"{', '.join(description.partitioned_by) or 'nothing'} is wanted. Use another "
                "database."
            )

    def _check_types(
        self, name: str, registered: GlueObject, description: TableDescription
    ) -> None:
        types = {column["Name"]: column["Type"] for column in _listed_columns(registered)}
        for column in description.file_columns:
            present = types.get(column.name, column.sql_type)
            are_structs = _is_struct(present) and _is_struct(column.sql_type)
            if present != column.sql_type and not are_structs:
                raise SettingsError(
                    f"`tables.glue.database`: {self.database}.{name} is there, its column "
                    f"{column.name} is {present}; {column.sql_type} is wanted. Use another "
                    "database."
                )

    def _forget_partitions(self, name: str, removed: Sequence[PartitionKey]) -> None:
        for keys in _chunks(removed):
            answer = self.client.batch_delete_partition(
                DatabaseName=self.database,
                TableName=name,
                PartitionsToDelete=[{"Values": list(key)} for key in keys],
            )
            self._refused("BatchDeletePartition", name, answer, MISSING)

    def _add_partitions(
        self, name: str, storage: GlueObject, written: Mapping[PartitionKey, str]
    ) -> None:
        location = storage["Location"]
        for keys in _chunks(sorted(written)):
            inputs = [
                {
                    "Values": list(key),
                    "StorageDescriptor": {**storage, "Location": f"{location}/{written[key]}"},
                }
                for key in keys
            ]
            answer = self.client.batch_create_partition(
                DatabaseName=self.database, TableName=name, PartitionInputList=inputs
            )
            known = self._refused("BatchCreatePartition", name, answer, THERE_ALREADY)
            for key, partition in zip(keys, inputs, strict=True):
                # One that is known already may be known with other columns.
                if key in known:
                    self.client.update_partition(
                        DatabaseName=self.database,
                        TableName=name,
                        PartitionValueList=list(key),
                        PartitionInput=partition,
                    )

    def _refused(
        self, call: str, name: str, answer: GlueObject, expected: str
    ) -> set[tuple[str, ...]]:
        """The partitions of an answer with the error that may be expected.

        Raises ServiceError for any other error.
        """
        errors = answer.get("Errors", [])
        for error in errors:
            detail = error.get("ErrorDetail", {})
            if detail.get("ErrorCode") != expected:
                raise ServiceError(
                    f"Glue {call} {self.database}.{name} {'/'.join(error['PartitionValues'])}: "
                    f"{detail.get('ErrorCode')}: {detail.get('ErrorMessage')}."
                )
        return {tuple(error["PartitionValues"]) for error in errors}


def merged_type(present: str, wanted: str) -> str:
    """A column's type that holds both: of structs of plain fields, the fields of either.

    >>> merged_type("struct<gas:double>", "struct<value:double>")
    'struct<gas:double,value:double>'
    >>> merged_type("int", "bigint")
    'bigint'
    """
    if not (_is_struct(present) and _is_struct(wanted)):
        return wanted
    inner = [sql_type.removeprefix("struct<")[:-1] for sql_type in (present, wanted)]
    if any("<" in fields for fields in inner):
        return wanted
    types = {}
    for field in ",".join(inner).split(","):
        name, _, field_type = field.partition(":")
        types[name] = field_type
    return f"struct<{','.join(f'{name}:{field_type}' for name, field_type in types.items())}>"


def _is_struct(sql_type: str) -> bool:
    return sql_type.startswith("struct<")


def _chunks(keys: Sequence[PartitionKey]) -> Iterator[Sequence[PartitionKey]]:
    for start in range(0, len(keys), PARTITIONS_A_CALL):
        yield keys[start : start + PARTITIONS_A_CALL]


def _glue_column(column: ColumnDescription) -> dict[str, str]:
    return {"Name": column.name, "Type": column.sql_type, "Comment": column.comment}


def _listed_columns(table: GlueObject) -> list[dict[str, str]]:
    columns: list[dict[str, str]] = table["StorageDescriptor"].get("Columns", [])
    return columns


def _columns_of(table: GlueObject) -> list[tuple[str, str, str | None]]:
    return [
        (column["Name"], column["Type"], column.get("Comment")) for column in _listed_columns(table)
    ]


def _all_columns(
    registered: GlueObject | None, description: TableDescription
) -> list[dict[str, str]]:
    """The described columns, then those that a registered table has besides."""
    columns = [_glue_column(column) for column in description.file_columns]
    if registered is None:
        return columns
    known = {column["Name"]: column for column in _listed_columns(registered)}
    described = {column["Name"] for column in columns}
    for column in columns:
        if column["Name"] in known:
            column["Type"] = merged_type(known[column["Name"]]["Type"], column["Type"])
    return columns + [column for name, column in known.items() if name not in described]
