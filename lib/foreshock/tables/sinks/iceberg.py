"""Iceberg tables: a run's rows are replaced in one commit a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.platform import aws_boto
from foreshock.platform.aws import KMS_KEY, endpoint
from foreshock.platform.paths import at
from foreshock.settings.tables import IcebergSettings
from foreshock.tables.describe import TableDescription
from foreshock.tables.sinks.iceberg_catalog import AwsOptions, catalog_options
from foreshock.tables.sinks.iceberg_schema import in_partitions
from foreshock.tables.sinks.iceberg_tables import IcebergTables
from foreshock.tables.sinks.protocol import PARTITIONED_TABLES, SMALL_TABLES, RunTables, TurnCheck
from foreshock.tables.sinks.turn import wait_for_turn

# Scores last: a reader that finds them finds the rest.
WRITING_ORDER = (C.DETECTOR_SCORES, *SMALL_TABLES, C.SCORES)


@dataclass
class IcebergSink:
    """`tables.iceberg`. open_spark: gives the session. check_run: raises once the run is lost.

    announce: told of each table before it is written.
    """

    settings: IcebergSettings
    open_spark: Callable[[], SparkSession]
    check_run: TurnCheck
    announce: Callable[[str], None]

    def look(self, descriptions: Mapping[str, TableDescription]) -> None:
        """Note what the tables' snapshots are.

        Raises SettingsError if no region is set, or the namespace cannot take the tables.
        """
        if self.settings.catalog in ("glue", "s3tables"):
            aws_boto.client(self.settings.catalog)
        self._tables.look(descriptions)

    def turn(self) -> AbstractContextManager[TurnCheck]:
        """Hold the namespace's folder of a hadoop catalog; other catalogs order commits.

        Raises ServiceError if another run holds it for ten minutes.
        """
        if self.settings.catalog != "hadoop":
            return nullcontext(self.check_run)
        folder = at(str(self.settings.warehouse)) / self.settings.namespace
        return wait_for_turn(folder, "tables.iceberg.warehouse")

    def conflict(self, tables: RunTables) -> str | None:
        """What is wrong with a partition of these that another run wrote, in words; None: nothing.

        Small tables have rows by run, so that runs do not meet there.
        """
        for table_name in PARTITIONED_TABLES:
            other_partition = self._tables.conflict(table_name, tables.touched(table_name))
            if other_partition is not None:
                return (
                    f"Iceberg table {self.settings.namespace}.{table_name}: another run wrote "
                    f"split={other_partition.split}, partition={other_partition.partition} while "
                    "this one was at work; its rows stay, and nothing of this run is in. Run the "
                    "same command again to replace them."
                )
        return None

    def replace(self, tables: RunTables, check_turn: TurnCheck) -> dict[str, int]:
        """Replace the run's rows, one commit a table; returns the snapshots that came of it.

        Raises ServiceError if another run changed such rows since `look`, or once the turn is lost.
        """
        snapshots = {}
        for table_name in WRITING_ORDER:
            if table_name in PARTITIONED_TABLES and not tables.touched(table_name):
                continue
            run_rows = self._frame(tables.folder / table_name, tables.run_id)
            replaced_rows = F.col("run_id") == tables.run_id
            if table_name in PARTITIONED_TABLES:
                replaced_rows = in_partitions(tables.touched(table_name))
                written_keys = list(tables.written[table_name])
                if not written_keys:
                    run_rows = None
                elif run_rows is not None:
                    run_rows = run_rows.filter(in_partitions(written_keys))
            # Told first: a commit may take minutes.
            self.announce(table_name)
            # The turn may have been lost while the rows were made.
            check_turn()
            snapshot = self._tables.replace(
                table_name, tables.descriptions[table_name], run_rows, replaced_rows
            )
            if snapshot is not None:
                snapshots[table_name] = snapshot
        return snapshots

    def publish_runs(self, folder: Path, run_id: str, description: TableDescription) -> None:
        """Replace the run's attempts in the table `runs`, in one commit.

        It waits for the turn itself.
        """
        with self.turn():
            replaced_rows = F.col("run_id") == run_id
            self._tables.replace(C.RUNS, description, self._frame(folder, run_id), replaced_rows)

    @cached_property
    def _tables(self) -> IcebergTables:
        settings = self.settings
        aws_options = AwsOptions(
            endpoint=endpoint(),
            glue_endpoint=endpoint("GLUE"),
            s3tables_endpoint=endpoint("S3TABLES"),
            region=os.environ.get("AWS_REGION"),
            kms_key=os.environ.get(KMS_KEY),
        )
        spark_options = catalog_options(
            settings.catalog, settings.warehouse, settings.uri, aws_options
        )
        return IcebergTables(self.open_spark(), settings.namespace, spark_options, settings.create)

    def _frame(self, table: Path, run_id: str) -> DataFrame | None:
        """The run's rows of a table of files; None without files."""
        if not any(table.rglob("*.parquet")):
            return None
        rows = self.open_spark().read.parquet(str(table))
        return rows.filter(F.col("run_id") == run_id)
