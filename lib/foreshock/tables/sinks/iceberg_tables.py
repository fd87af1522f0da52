"""The Iceberg tables of a namespace: made with comments, looked at, their rows replaced.

Rows are replaced in one commit a table, which fails if another's commit came between.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from foreshock.errors import ServiceError, SettingsError
from foreshock.tables.describe import TableDescription
from foreshock.tables.sinks.iceberg_catalog import CATALOG
from foreshock.tables.sinks.iceberg_schema import (
    described_fields,
    fit_column,
    quoted,
    type_difference,
)
from foreshock.tables.sinks.protocol import PartitionKey

# How Iceberg's errors call rows that another commit changed, and commits that kept coming first.
CONFLICTS, OVERTAKEN = ("ValidationException", "ConcurrentModification"), "CommitFailedException"
# The property by which a snapshot is known as this commit's.
MARK_PROPERTY = "foreshock-publish"
# What tables without partitions of their own are partitioned by.
BY_RUN = ("run_id",)


@dataclass(frozen=True)
class SeenSnapshots:
    """The snapshots of a table that `look` found; current None: nothing was ever written.

    changes: those that changed rows, which compaction does not.
    """

    current: int | None = None
    changes: frozenset[int] = frozenset()


@dataclass
class IcebergTables:
    """The tables of a namespace. options: of Spark's catalog. create: make a missing namespace.

    `look` at them before work begins: `replace` then fails if others wrote the same rows since.
    """

    spark: SparkSession
    namespace: str
    options: Mapping[str, str]
    create: bool
    _seen: dict[str, SeenSnapshots] = field(default_factory=dict)

    def __post_init__(self) -> None:
        catalog_key = f"spark.sql.catalog.{CATALOG}"
        self.spark.conf.set(catalog_key, "org.apache.iceberg.spark.SparkCatalog")
        for key, value in self.options.items():
            self.spark.conf.set(f"{catalog_key}.{key}", value)

    def name(self, table: str, metadata: str = "") -> str:
        """A table's name in SQL; metadata: the suffix of one of its metadata tables."""
        return f"{CATALOG}.`{self.namespace}`.{table}{metadata}"

    def look(self, descriptions: Mapping[str, TableDescription]) -> None:
        """Note the snapshots of tables, and make the namespace if that is wanted.

        Raises SettingsError if the namespace is missing, or a table of one of these names has
        another schema or other partitions.
        """
        if not self.spark.catalog.databaseExists(f"{CATALOG}.`{self.namespace}`"):
            if not self.create and self.options.get("type") != "hadoop":
                raise SettingsError(
                    f"`tables.iceberg.namespace`: there is no {self.namespace!r} in the catalog "
                    "(Glue: no such database). Make it, correct the name, or set "
                    "tables.iceberg.create: true."
                )
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {CATALOG}.`{self.namespace}`")
        for table_name, description in descriptions.items():
            if self._exists(table_name):
                self._check(table_name, description)
                self._seen[table_name] = SeenSnapshots(
                    self._current(table_name), self._changes(table_name)
                )
            else:
                self._seen[table_name] = SeenSnapshots()

    def conflict(self, table: str, keys: Sequence[PartitionKey]) -> PartitionKey | None:
        """A partition of these that another run wrote since `look`; None: there is none."""
        if not self._exists(table):
            return None
        unseen_snapshots = self._changes(table) - self._seen[table].changes
        if not unseen_snapshots:
            return None
        # Status 1: the file was added by that snapshot.
        added_files = (
            self.spark.table(self.name(table, ".all_entries"))
            .filter(F.col("status") == 1)
            .filter(F.col("snapshot_id").isin(*unseen_snapshots))
        )
        partition_rows = (
            added_files.select("data_file.partition.split", "data_file.partition.partition")
            .distinct()
            .collect()
        )
        written_keys = {
            PartitionKey(partition_row[0], partition_row[1]) for partition_row in partition_rows
        }
        return min(written_keys & set(keys), default=None)

    def replace(
        self, table: str, description: TableDescription, frame: DataFrame | None, where: Column
    ) -> int | None:
        """Put the rows of `frame` in place of those that `where` tells, in one commit.

        frame None: no rows. Returns the commit's snapshot, None if it changed nothing. Raises
        ServiceError if another run changed such rows since `look`.
        """
        self._ensure(table, description)
        table_schema = self.spark.table(self.name(table)).schema
        if frame is None:
            new_rows = self.spark.createDataFrame([], table_schema)
        else:
            fitted_columns = [
                fit_column(frame.schema, table_column.name, table_column.dataType)
                for table_column in table_schema
            ]
            new_rows = frame.select(*fitted_columns)
        # Other runs commit too: a mark tells which snapshot is this commit's.
        commit_mark = uuid.uuid4().hex
        writer = (
            new_rows.writeTo(self.name(table))
            .option("isolation-level", "serializable")
            .option(f"snapshot-property.{MARK_PROPERTY}", commit_mark)
        )
        base_snapshot = self._seen.get(table, SeenSnapshots()).current
        if base_snapshot is not None:
            writer = writer.option("validate-from-snapshot-id", str(base_snapshot))
        try:
            writer.overwrite(where)
        except BaseException as error:
            with contextlib.suppress(Exception):
                self.spark.sparkContext.cancelAllJobs()
            refused = self._refusal(table, error)
            if refused is not None:
                raise refused from None
            raise
        return self._note_commit(table, commit_mark)

    def _refusal(self, table: str, error: BaseException) -> ServiceError | None:
        """What a failed commit means to the user; None: it is no conflict."""
        if OVERTAKEN in str(error):
            return ServiceError(
                f"Iceberg table {self.namespace}.{table}: other commits kept coming first "
                f"({_telling_line(error)}). Run the same command again."
            )
        if any(word in str(error) for word in CONFLICTS):
            return ServiceError(
                f"Iceberg table {self.namespace}.{table}: another run wrote the same partitions "
                f"while this one was at work; its rows stay ({_telling_line(error)}). Run the same "
                "command again to replace them."
            )
        return None

    def _note_commit(self, table: str, mark: str) -> int | None:
        """The snapshot that has a mark, noted as seen."""
        marked_snapshots = (
            self.spark.table(self.name(table, ".snapshots"))
            .filter(F.col("summary")[MARK_PROPERTY] == mark)
            .select("snapshot_id")
            .collect()
        )
        if not marked_snapshots:
            return None
        snapshot = int(marked_snapshots[0][0])
        self._seen[table] = SeenSnapshots(snapshot, self._changes(table))
        return snapshot

    def _exists(self, table: str) -> bool:
        return bool(self.spark.catalog.tableExists(self.name(table)))

    def _current(self, table: str) -> int | None:
        """The current snapshot; None: nothing was ever written."""
        query = f"SELECT snapshot_id FROM {self.name(table, '.refs')} WHERE name = 'main'"
        rows = self.spark.sql(query).collect()
        return int(rows[0][0]) if rows else None

    def _changes(self, table: str) -> frozenset[int]:
        snapshots = self.name(table, ".snapshots")
        # Compaction rewrites files and changes no row, so it conflicts with nothing.
        query = f"SELECT snapshot_id FROM {snapshots} WHERE operation <> 'replace'"
        return frozenset(row[0] for row in self.spark.sql(query).collect())

    def _partitioned_by(self, table: str) -> list[str]:
        described_rows = self.spark.sql(f"DESCRIBE TABLE {self.name(table)}").collect()
        column_names = [described_row["col_name"] for described_row in described_rows]
        heading_positions = [
            row_position
            for row_position, column_name in enumerate(column_names)
            if column_name.startswith("# Partition")
        ]
        if not heading_positions:
            return []
        partition_columns = []
        for described_row in described_rows[heading_positions[0] + 1 :]:
            column_name = described_row["col_name"]
            if column_name.startswith("# Metadata") or not column_name:
                break
            if not column_name.startswith("#"):
                partition_columns.append(
                    described_row["data_type"] if column_name.startswith("Part ") else column_name
                )
        return partition_columns

    def _check(self, table: str, description: TableDescription) -> None:
        table_schema = self.spark.table(self.name(table)).schema
        for column in described_fields(description):
            if column.name in table_schema.names:
                present_type = table_schema[column.name].dataType
                reason = type_difference(present_type, column.dataType, column.name)
                if reason:
                    raise SettingsError(
                        f"`tables.iceberg`: the table {self.namespace}.{table} is there with "
                        f"another schema: {reason}. Use another namespace, or rename that table."
                    )
        wanted_partitions = list(description.partitioned_by or BY_RUN)
        present_partitions = self._partitioned_by(table)
        if present_partitions != wanted_partitions:
            raise SettingsError(
                f"`tables.iceberg`: the table {self.namespace}.{table} is there, partitioned by "
                f"{', '.join(present_partitions) or 'nothing'}; {', '.join(wanted_partitions)} is "
                "wanted. Use another namespace, or rename that table."
            )

    def _ensure(self, table: str, description: TableDescription) -> None:
        """Make the table, or add the columns that it lacks."""
        if not self._exists(table):
            try:
                self._create(table, description)
                return
            except Exception:
                # Another run may have made it meanwhile.
                if not self._exists(table):
                    raise
        self._check(table, description)
        table_schema = self.spark.table(self.name(table)).schema
        comments = {column.name: column.comment for column in description.columns}
        for column in described_fields(description):
            comment = comments[column.name]
            if column.name not in table_schema.names:
                self._add(table, f"`{column.name}`", column.dataType, comment)
            elif isinstance(column.dataType, StructType):
                present_struct = cast(StructType, table_schema[column.name].dataType)
                for inner_field in column.dataType.fields:
                    if inner_field.name not in present_struct.names:
                        field_path = f"`{column.name}`.`{inner_field.name}`"
                        self._add(table, field_path, inner_field.dataType, comment)

    def _create(self, table: str, description: TableDescription) -> None:
        column_definitions = ", ".join(
            f"`{column.name}` {column.sql_type} COMMENT {quoted(column.comment)}"
            for column in description.columns
        )
        partition_names = ", ".join(
            f"`{partition_name}`" for partition_name in description.partitioned_by or BY_RUN
        )
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({column_definitions}) USING iceberg "
            f"PARTITIONED BY ({partition_names}) COMMENT {quoted(description.comment)}"
        )

    def _add(self, table: str, column: str, data_type: DataType, comment: str) -> None:
        try:
            self.spark.sql(
                f"ALTER TABLE {self.name(table)} ADD COLUMN {column} "
                f"{data_type.simpleString()} COMMENT {quoted(comment)}"
            )
        # Another run may have added it meanwhile.
        except Exception:
            try:
                self.spark.table(self.name(table)).select(F.col(column))
            except Exception:
                raise ServiceError(
                    f"Iceberg table {self.namespace}.{table}: the column {column} could not be "
                    "added. Run the same command again."
                ) from None


def _telling_line(error: BaseException) -> str:
    """The line of a long error that names the conflict."""
    for line in str(error).splitlines():
        if any(word in line for word in (*CONFLICTS, OVERTAKEN)):
            return line.strip()[:300].rstrip(".")
    return type(error).__name__
