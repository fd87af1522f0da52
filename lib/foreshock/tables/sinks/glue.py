"""Parquet tables on S3, registered in Glue so that Athena, Spark and Redshift know them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from foreshock.columns import RUNS
from foreshock.errors import SettingsError
from foreshock.platform import aws_boto
from foreshock.platform.paths import is_remote
from foreshock.tables.describe import TableDescription
from foreshock.tables.sinks.glue_registry import GlueRegistry
from foreshock.tables.sinks.protocol import RunTables, TurnCheck


@dataclass
class GlueSink:
    """`tables.glue`: the tables that lie in `location`. check_run: raises once the run is lost."""

    location: Path
    database: str
    create: bool
    check_run: TurnCheck

    def look(self, descriptions: Mapping[str, TableDescription]) -> None:
        """Check that the tables lie on S3 and that the database can take them.

        Raises SettingsError if not.
        """
        if not is_remote(self.location):
            raise SettingsError(
                "`tables.glue.database`: Glue registers tables on S3; these lie in "
                f"{self.location}. Set tables.location, or use a run directory on S3."
            )
        self._registry.look(
            {
                table_name: (table, self._place(table_name))
                for table_name, table in descriptions.items()
            }
        )

    def turn(self) -> AbstractContextManager[TurnCheck]:
        """No turn: registering the same partition twice changes nothing."""
        return nullcontext(self.check_run)

    def conflict(self, tables: RunTables) -> str | None:
        """None: the rows are not here.

        The sink that holds them tells of conflicts.
        """
        return None

    def replace(self, tables: RunTables, check_turn: TurnCheck) -> dict[str, int]:
        """Register each table that is there with the run's partitions.

        Returns no snapshots, for Glue has none. Raises ServiceError if Glue refuses.
        """
        for table_name, description in tables.descriptions.items():
            if (self.location / table_name).exists():
                self._registry.register(
                    table_name,
                    description,
                    self._place(table_name),
                    tables.written.get(table_name, {}),
                    tables.removed.get(table_name, ()),
                )
        return {}

    def publish_runs(self, folder: Path, run_id: str, description: TableDescription) -> None:
        """Register the table `runs`.

        Raises ServiceError if Glue refuses.
        """
        self._registry.register(RUNS, description, self._place(RUNS))

    @cached_property
    def _registry(self) -> GlueRegistry:
        return GlueRegistry(aws_boto.client("glue"), self.database, self.create)

    def _place(self, table: str) -> str:
        return f"{str(self.location).rstrip('/')}/{table}"
