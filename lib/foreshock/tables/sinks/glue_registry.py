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

# What Glue takes in one call to delete; it takes 100 to create.
PARTITIONS_A_CALL = 25
PARQUET_PACKAGE = "org.apache.hadoop.hive.ql.io.parquet"
PARQUET_STORAGE = {
    "InputFormat": f"{PARQUET_PACKAGE}.MapredParquetInputFormat",
    "OutputFormat": f"{PARQUET_PACKAGE}.MapredParquetOutputFormat",
    "SerdeInfo": {"SerializationLibrary": f"{PARQUET_PACKAGE}.serde.ParquetHiveSerDe"},
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
        for table_name, (description, location) in tables.items():
            registered = self._table(table_name)
            if registered is not None:
                self._check_place(table_name, registered, location)
                self._check_partitions(table_name, registered, description)
                self._check_types(table_name, registered, description)

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
                **PARQUET_STORAGE,
                "Location": location,
                "Columns": _all_columns(registered, description),
            }
            table_input = {
                "Name": name,
                "Description": description.comment,
                "TableType": "EXTERNAL_TABLE",
                "StorageDescriptor": storage,
                "PartitionKeys": [
                    _glue_column(partition_column)
                    for partition_column in description.partition_columns
                ],
                "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"},
            }
            if registered is None:
                self._create_table(table_input)
            elif _columns_of(registered) != _columns_of(table_input):
                self.client.update_table(DatabaseName=self.database, TableInput=table_input)
            if description.partitioned_by:
                # Forgotten first: a partition that is written again is not to vanish.
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
        database_input = {"Name": self.database, "Description": "Foreshock's result tables"}
        try:
            self.client.create_database(DatabaseInput=database_input)
        except ClientError as error:
            # Another run may have made it meanwhile.
            if not has_code(error, THERE_ALREADY):
                raise service_error("CreateDatabase", error) from None

    def _create_table(self, body: GlueObject) -> None:
        try:
            self.client.create_table(DatabaseName=self.database, TableInput=body)
        except ClientError as error:
            # Another run may have made it meanwhile.
            if not has_code(error, THERE_ALREADY):
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
        present_keys = [column["Name"] for column in registered.get("PartitionKeys", [])]
        if present_keys != list(description.partitioned_by):
            raise SettingsError(
                f"`tables.glue.database`: {self.database}.{name} is there, partitioned by "
                f"{', '.join(present_keys) or 'nothing'}; "
                f"{', '.join(description.partitioned_by) or 'nothing'} is wanted. Use another "
                "database."
            )

    def _check_types(
        self, name: str, registered: GlueObject, description: TableDescription
    ) -> None:
        present_types = {column["Name"]: column["Type"] for column in _listed_columns(registered)}
        for column in description.file_columns:
            present_type = present_types.get(column.name, column.sql_type)
            # Structs are merged: their fields are the features, which differ from run to run.
            are_structs = _is_struct(present_type) and _is_struct(column.sql_type)
            if present_type != column.sql_type and not are_structs:
                raise SettingsError(
                    f"`tables.glue.database`: {self.database}.{name} is there, its column "
                    f"{column.name} is {present_type}; {column.sql_type} is wanted. Use another "
                    "database."
                )

    def _forget_partitions(self, name: str, removed: Sequence[PartitionKey]) -> None:
        for some_keys in _chunks(removed):
            answer = self.client.batch_delete_partition(
                DatabaseName=self.database,
                TableName=name,
                PartitionsToDelete=[{"Values": list(partition_key)} for partition_key in some_keys],
            )
            self._refused("BatchDeletePartition", name, answer, MISSING)

    def _add_partitions(
        self, name: str, storage: GlueObject, written: Mapping[PartitionKey, str]
    ) -> None:
        location = storage["Location"]
        for some_keys in _chunks(sorted(written)):
            partition_inputs = [
                {
                    "Values": list(partition_key),
                    "StorageDescriptor": {
                        **storage,
                        "Location": f"{location}/{written[partition_key]}",
                    },
                }
                for partition_key in some_keys
            ]
            answer = self.client.batch_create_partition(
                DatabaseName=self.database, TableName=name, PartitionInputList=partition_inputs
            )
            known_partitions = self._refused("BatchCreatePartition", name, answer, THERE_ALREADY)
            for partition_key, partition_input in zip(some_keys, partition_inputs, strict=True):
                # One that is known already may be known with other columns.
                if partition_key in known_partitions:
                    self.client.update_partition(
                        DatabaseName=self.database,
                        TableName=name,
                        PartitionValueList=list(partition_key),
                        PartitionInput=partition_input,
                    )

    def _refused(
        self, call: str, name: str, answer: GlueObject, expected: str
    ) -> set[tuple[str, ...]]:
        """The partitions of an answer with the error that may be expected.

        Raises ServiceError for any other error.
        """
        partition_errors = answer.get("Errors", [])
        for partition_error in partition_errors:
            error_detail = partition_error.get("ErrorDetail", {})
            if error_detail.get("ErrorCode") != expected:
                partition = "/".join(partition_error["PartitionValues"])
                raise ServiceError(
                    f"Glue {call} {self.database}.{name} {partition}: "
                    f"{error_detail.get('ErrorCode')}: {error_detail.get('ErrorMessage')}."
                )
        return {tuple(partition_error["PartitionValues"]) for partition_error in partition_errors}


def merged_type(present: str, wanted: str) -> str:
    """A column's type that holds both: of structs of plain fields, the fields of either.

    >>> merged_type("struct<gas:double>", "struct<value:double>")
    'struct<gas:double,value:double>'
    >>> merged_type("int", "bigint")
    'bigint'
    """
    if not (_is_struct(present) and _is_struct(wanted)):
        return wanted
    inner_fields = [sql_type.removeprefix("struct<")[:-1] for sql_type in (present, wanted)]
    # Fields of nested types hold commas, which the split below would take for ends of fields.
    if any("<" in fields for fields in inner_fields):
        return wanted
    field_types = {}
    for field_text in ",".join(inner_fields).split(","):
        field_name, _, field_type = field_text.partition(":")
        # The wanted struct comes last, so that its type counts for a field of both.
        field_types[field_name] = field_type
    fields = ",".join(
        f"{field_name}:{field_type}" for field_name, field_type in field_types.items()
    )
    return f"struct<{fields}>"


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
    # A table may hold rows of runs with other features, whose columns must stay readable.
    described_columns = [_glue_column(column) for column in description.file_columns]
    if registered is None:
        return described_columns
    known_columns = {column["Name"]: column for column in _listed_columns(registered)}
    described_names = {column["Name"] for column in described_columns}
    for column in described_columns:
        if column["Name"] in known_columns:
            column["Type"] = merged_type(known_columns[column["Name"]]["Type"], column["Type"])
    return described_columns + [
        column
        for column_name, column in known_columns.items()
        if column_name not in described_names
    ]
