"""Pulls a table's partitions out of Athena: one UNLOAD to Parquet each, several at once, within a budget, and none left running."""

from __future__ import annotations

import hashlib
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlglot
from botocore.exceptions import BotoCoreError, ClientError
from sqlglot.tokens import TokenType

from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.events.partitions import DAY, MONTH, NULL, WHOLE, identifier

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
POLL_SECONDS, POLL_MOST = 0.2, 5.0


@dataclass(frozen=True)
class Table:
    """What Athena is to give: SQL that yields the rows, its partition column with type, and the partitions' values and locations.

    locations is empty for a query, whose partitions are the days or months asked for, and where the table has none.
    """

    sql: str
    key: str | None
    kind: str
    locations: dict[str, list[str]]
    values: tuple[str, ...]


@dataclass
class Query:
    """An UNLOAD of one unit to a folder of its own."""

    unit: str
    sql: str
    target: str
    id: str | None = None
    state: str = "WAITING"
    bytes: int = 0
    started: float = 0.0


@dataclass
class Done:
    """What became of a run's queries, for `runs`."""

    queries: list[dict[str, Any]] = field(default_factory=list)
    bytes_scanned: int = 0
    failure: dict[str, Any] | None = None


def name(text: str) -> str:
    """An identifier quoted for Athena."""
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string quoted for Athena."""
    return "'" + text.replace("'", "''") + "'"


def check_query(query: str) -> None:
    """Raise SettingsError unless a query is one SELECT that no parenthesis of its own can break out of."""
    def refuse(why: str) -> SettingsError:
        return SettingsError(f"`source.query`: {why}; one SELECT is wanted, without a semicolon.")

    try:
        tokens = sqlglot.tokenize(query, read="athena")
    except Exception:
        raise refuse("it cannot be split into words (an open quote or comment)") from None
    if any(t.token_type == TokenType.SEMICOLON for t in tokens):
        raise refuse("it holds more than one statement or a semicolon")
    words = [t for t in tokens if t.token_type != TokenType.L_PAREN]
    if not words or words[0].token_type not in (TokenType.SELECT, TokenType.WITH):
        raise refuse(f"it begins with {words[0].text!r}" if words else "it is empty")
    depth = 0
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth < 0:
            break
    if depth:
        raise refuse("its parentheses do not match")
    try:
        parsed: Any = sqlglot.parse_one(query, read="athena")
    except sqlglot.errors.SqlglotError:
        return  # Athena knows more than the parser does
    if not isinstance(parsed, sqlglot.exp.Query):
        raise refuse("it is no SELECT")


def find_table(glue: Any, database: str, table: str, partition: str | None, asked: tuple[str, str] | None) -> Table:
    """A table of the Glue catalog. partition: the setting events.partition; asked: first and last partition wanted, both included.

    Raises DataError where partitions are asked for of a table without the column.
    """
    found = glue.get_table(DatabaseName=database, Name=table)["Table"]
    keys = {k["Name"]: k.get("Type", "string").lower() for k in found.get("PartitionKeys", [])}
    wanted = identifier(partition)
    key = next((k for k in keys if wanted is not None and k.lower() == wanted.lower()), None)
    if key is None and asked is not None:
        if len(keys) != 1:
            raise DataError(f"`source.partitions`: the table {database}.{table} has {len(keys) or 'no'} partition columns"
                            f"{' (' + ', '.join(keys) + ')' if keys else ''}; set events.partition to the one that is meant.")
        key = next(iter(keys))
    locations: dict[str, list[str]] = {}
    if key is not None:
        at = list(keys).index(key)
        for page in glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table):
            for one in page["Partitions"]:
                locations.setdefault(one["Values"][at], []).append(one["StorageDescriptor"]["Location"])
        if not locations and asked is not None:  # partition projection: Glue holds none
            locations = {v: [] for v in _between(*asked)}
    values = tuple(v for v in sorted(locations) if asked is None or asked[0] <= v <= asked[1])
    if asked is not None and not values:
        raise DataError(f"`source.partitions`: {database}.{table} has no partition from {asked[0]} to {asked[1]}"
                        + (f"; there are {len(locations)}, from {min(locations)} to {max(locations)}." if locations else "."))
    sql = f"SELECT * FROM {name(database)}.{name(table)}"
    return Table(sql, key, keys.get(key or "", "string"), {v: locations[v] for v in values}, values)


def find_query(query: str, partition: str | None, asked: tuple[str, str] | None) -> Table:
    """A query as a table; its partitions are the days or months from the first asked for to the last.

    Raises SettingsError for a query that is not one SELECT, or where partitions are asked for without a column or of another kind.
    """
    check_query(query)
    key = identifier(partition)
    sql = f"SELECT * FROM (\n{query}\n)"
    if asked is None:
        return Table(sql, None, "string", {}, ())
    if key is None:
        raise SettingsError("`source.partitions` with a query wants events.partition: the column of the query that holds the partition.")
    return Table(sql, key, "varchar", {}, tuple(_between(*asked)))


def _between(first: str, last: str) -> Iterator[str]:
    """Days or months from the first to the last, both included."""
    for pattern, step in ((DAY, "D"), (MONTH, "M")):
        if re.match(pattern, first) and re.match(pattern, last):
            yield from np.arange(np.datetime64(first, step), np.datetime64(last, step) + 1).astype(str).tolist()
            return
    raise SettingsError(f"`source.partitions`: where the catalog does not list them, first and last are days such as 2019-12-30 or months "
                        f"such as 2019-12; received {first!r} and {last!r}.")


def statement(table: Table, unit: str, target: str) -> str:
    """The UNLOAD of a unit (`*`: everything) to a folder."""
    where = ""
    if unit != WHOLE and table.key is not None:
        where = f" WHERE {_condition(table, unit)}"
    elif table.values and table.key is not None:
        where = f" WHERE {name(table.key)} BETWEEN {_typed(table.kind, table.values[0])} AND {_typed(table.kind, table.values[-1])}"
    return f"UNLOAD (\n{table.sql}{where}\n) TO {literal(target)} WITH (format = 'PARQUET', compression = 'SNAPPY')"


def _condition(table: Table, value: str) -> str:
    key = name(str(table.key))
    if value == NULL:
        return f"{key} IS NULL"
    if table.kind == "varchar":  # of a query: the column's type is not known
        return f"CAST({key} AS varchar) = {literal(value)}"
    return f"{key} = {_typed(table.kind, value)}"


def _typed(kind: str, value: str) -> str:
    if kind in ("int", "bigint", "smallint", "tinyint", "integer"):
        if not re.match(r"^-?\d+$", value):
            raise SettingsError(f"`source.partitions`: the partition column is {kind}; {value!r} is no whole number.")
        return value
    if kind == "date":
        return f"DATE {literal(value)}"
    return literal(value)


class Unloading:
    """The queries of one extraction. `run` them within a `with` block, whose end stops whatever still runs."""

    def __init__(self, client: Any, *, database: str | None, workgroup: str | None, results: str, at_once: int, budget: int | None,
                 timeout: float, say: Callable[..., None]) -> None:
        self.client, self.database, self.workgroup, self.results = client, database, workgroup, results
        self.at_once, self.budget, self.timeout, self._say = at_once, budget, timeout, say
        self.done = Done()
        self._running: list[Query] = []
        self._attempt = uuid.uuid4().hex

    def __enter__(self) -> Unloading:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every query that runs; what cannot be stopped is logged."""
        for query in self._running:
            try:
                self.client.stop_query_execution(QueryExecutionId=query.id)
                self._say("query stopped", partition=query.unit, query=query.id)
            except (BotoCoreError, ClientError) as error:
                self._say("a query could not be stopped", partition=query.unit, query=query.id, why=str(error)[:300])
        self._running = []

    def run(self, queries: list[Query]) -> None:
        """Run all queries. Raises ServiceError with Athena's own words where one fails, and when the budget or the time limit is passed."""
        waiting, wait, last = list(queries), POLL_SECONDS, time.monotonic()
        while waiting or self._running:
            while waiting and len(self._running) < self.at_once:
                self._start(waiting.pop(0))
            time.sleep(wait * random.uniform(0.5, 1.0))
            ended = [q for q in list(self._running) if self._look(q)]
            wait = POLL_SECONDS if ended else min(POLL_MOST, wait * 1.5)
            if ended or time.monotonic() - last > 10:
                last = time.monotonic()
                self._say("unloading", done=len(queries) - len(waiting) - len(self._running), of=len(queries),
                          bytes_scanned=self.done.bytes_scanned)

    def _start(self, query: Query) -> None:
        # Its own token, so that a start that is tried again, because its answer was lost, is not a second query; but the same partition
        # asked for by a later run is one: Athena would answer with the old one, failed as it may be.
        token = hashlib.sha256(f"{self._attempt}\n{query.sql}".encode()).hexdigest()
        request: dict[str, Any] = {"QueryString": query.sql, "ClientRequestToken": token,
                                   "ResultConfiguration": {"OutputLocation": self.results}}
        if self.database:
            request["QueryExecutionContext"] = {"Database": self.database}
        if self.workgroup:
            request["WorkGroup"] = self.workgroup
        try:
            query.id = self.client.start_query_execution(**request)["QueryExecutionId"]
        except ClientError as error:
            text = error.response.get("Error", {}).get("Message", str(error))
            if "workgroup" in text.lower():
                raise SettingsError(f"`source.workgroup` {self.workgroup!r}: Athena says: {text}") from None
            raise ServiceError(f"Athena StartQueryExecution for partition {query.unit}: {error}") from None
        query.state, query.started = "RUNNING", time.monotonic()
        self._running.append(query)

    def _look(self, query: Query) -> bool:
        """Whether a query has ended, well."""
        try:
            found = self.client.get_query_execution(QueryExecutionId=query.id)["QueryExecution"]
        except ClientError as error:
            raise ServiceError(f"Athena GetQueryExecution {query.id} (partition {query.unit}): {error}") from None
        query.state = found["Status"]["State"]
        query.bytes = int(found.get("Statistics", {}).get("DataScannedInBytes", 0))
        if query.state in ENDED:
            self._running.remove(query)
            self.done.queries.append({"partition": query.unit, "id": query.id, "state": query.state, "bytes": query.bytes})
            self.done.bytes_scanned += query.bytes
            if query.state != "SUCCEEDED":
                status = found["Status"]
                why = status.get("AthenaError", {}).get("ErrorMessage") or status.get("StateChangeReason") or "no reason given"
                raise self._failed(query, f"ended {query.state}: {why}")
            if self.budget is not None and self.done.bytes_scanned > self.budget:
                raise self._failed(query, f"brought the bytes scanned to {self.done.bytes_scanned}, over source.max_bytes_scanned "
                                          f"({self.budget}); the queries still running were stopped. Raise it, or ask for fewer partitions")
            return True
        if time.monotonic() - query.started > self.timeout:
            raise self._failed(query, f"did not end within source.query_timeout ({self.timeout:g} s; state {query.state}) and was stopped")
        return False

    def _failed(self, query: Query, what: str) -> ServiceError:
        self.done.failure = {"partition": query.unit, "id": query.id, "bytes": query.bytes, "what": what}
        return ServiceError(f"Athena query {query.id} (partition {query.unit}, {query.bytes} bytes scanned) {what}.")
