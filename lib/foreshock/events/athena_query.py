"""A query that Athena runs, and what is told of it in the table `runs`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Execution = dict[str, Any]
"""A query as Athena describes it."""


@dataclass
class Query:
    """An UNLOAD of a source partition to a folder that nothing else writes to."""

    source_partition: str
    sql: str
    target: str
    id: str | None = None
    state: str = "WAITING"
    bytes: int = 0
    started: float = 0.0  # on the monotonic clock, in seconds

    def update(self, execution: Execution) -> None:
        """Take over what Athena says of the query: its state, and the bytes scanned so far.

        >>> query = Query("2019-12-30", "SELECT 1", "s3://lake/out")
        >>> query.update({"Status": {"State": "RUNNING"}, "Statistics": {"DataScannedInBytes": 10}})
        >>> query.state, query.bytes
        ('RUNNING', 10)
        """
        self.state = execution["Status"]["State"]
        # A query that still waits has no statistics.
        self.bytes = int(execution.get("Statistics", {}).get("DataScannedInBytes", 0))


@dataclass(frozen=True)
class QueryOutcome:
    """How a query ended, for the table `runs`."""

    partition: str
    id: str | None
    state: str
    bytes: int


@dataclass(frozen=True)
class QueryFailure:
    """Why a query failed, for the table `runs`."""

    partition: str
    id: str | None
    bytes: int
    what: str


@dataclass
class UnloadOutcome:
    """What became of a run's queries, for the table `runs`."""

    queries: list[QueryOutcome] = field(default_factory=list)
    bytes_scanned: int = 0
    failure: QueryFailure | None = None
