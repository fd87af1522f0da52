"""An Athena that executes queries: HTTP interface, state machine and errors over DuckDB.

Its tables are those of the Glue catalog on the same port.
"""

from __future__ import annotations

import io
import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from sqlglot import TokenType, exp

Behaviour = Callable[
    [str], str | None
]  # SQL -> None, "hang", "cancel", "fail: why", or "sleep: seconds"


@dataclass
class Execution:
    id: str
    sql: str
    database: str
    workgroup: str
    state: str = "QUEUED"
    reason: str = ""
    bytes: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


class Athena:
    """The service.

    workgroups: `primary`, and those that a test adds.
    behaviours: asked before a query is run.
    """

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self.workgroups = {"primary"}
        self.behaviours: list[Behaviour] = []
        self.executions: dict[str, Execution] = {}
        self._tokens: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    @property
    def running(self) -> list[Execution]:
        return [e for e in self.executions.values() if e.state in ("QUEUED", "RUNNING")]

    def handle(self, call: str, body: dict[str, Any]) -> tuple[str, bytes]:
        try:
            answer = getattr(self, f"_{call}")(body)
        except ValueError as error:
            text = str(error)
            return "400 Bad Request", json.dumps(
                {"__type": "InvalidRequestException", "Message": text, "message": text}
            ).encode()
        except AttributeError:
            return "400 Bad Request", json.dumps(
                {"__type": "UnknownOperationException", "Message": call}
            ).encode()
        return "200 OK", json.dumps(answer).encode()

    def _StartQueryExecution(self, body: dict[str, Any]) -> dict[str, Any]:
        workgroup = body.get("WorkGroup", "primary")
        if workgroup not in self.workgroups:
            raise ValueError(f"WorkGroup {workgroup} is not found.")
        if "OutputLocation" not in body.get("ResultConfiguration", {}):
            raise ValueError("No output location provided.")
        token, sql = body.get("ClientRequestToken", uuid.uuid4().hex), body["QueryString"]
        if not 32 <= len(token) <= 128:
            raise ValueError("clientRequestToken must have length between 32 and 128")
        with self._lock:
            if token in self._tokens:
                if self._tokens[token][1] != sql:
                    raise ValueError("Idempotent parameters do not match")
                return {"QueryExecutionId": self._tokens[token][0]}
            made = Execution(
                str(uuid.uuid4()),
                sql,
                body.get("QueryExecutionContext", {}).get("Database", "default"),
                workgroup,
            )
            self._tokens[token] = (made.id, sql)
            self.executions[made.id] = made
        threading.Thread(target=self._run, args=(made,), daemon=True).start()
        return {"QueryExecutionId": made.id}

    def _find(self, body: dict[str, Any]) -> Execution:
        if body["QueryExecutionId"] not in self.executions:
            raise ValueError(f"QueryExecution {body['QueryExecutionId']} was not found")
        return self.executions[body["QueryExecutionId"]]

    def _GetQueryExecution(self, body: dict[str, Any]) -> dict[str, Any]:
        e = self._find(body)
        status: dict[str, Any] = {"State": e.state, "SubmissionDateTime": time.time()}
        if e.reason:
            status |= {
                "StateChangeReason": e.reason,
                "AthenaError": {"ErrorCategory": 2, "ErrorMessage": e.reason},
            }
        return {
            "QueryExecution": {
                "QueryExecutionId": e.id,
                "Query": e.sql,
                "WorkGroup": e.workgroup,
                "Status": status,
                "Statistics": {"DataScannedInBytes": e.bytes, "TotalExecutionTimeInMillis": 1},
            }
        }

    def _StopQueryExecution(self, body: dict[str, Any]) -> dict[str, Any]:
        e = self._find(body)
        if e.state in ("QUEUED", "RUNNING"):
            e.state, e.reason = "CANCELLED", "Query cancelled by user"
            e.stop.set()
        return {}

    def _run(self, e: Execution) -> None:
        e.state = "RUNNING"
        for behaviour in self.behaviours:
            kind, _, what = (behaviour(e.sql) or "").partition(": ")
            if kind == "hang":
                e.stop.wait()
            elif kind == "sleep":
                e.stop.wait(float(what))
            elif kind == "cancel":
                e.state, e.reason = "CANCELLED", "Query cancelled by an administrator"
            elif kind == "fail":
                e.state, e.reason, e.bytes = "FAILED", what, 4096
        if e.state != "RUNNING":
            return
        try:
            self._execute(e)
        except Exception as error:
            if e.state == "RUNNING":
                e.state, e.reason = (
                    "FAILED",
                    f"{type(error).__name__}: {' '.join(str(error).split())[:500]}",
                )
        else:
            if e.state == "RUNNING":
                e.state = "SUCCEEDED"

    def _execute(self, e: Execution) -> None:
        select, target = unload_of(e.sql)
        bucket, _, prefix = target.removeprefix("s3://").partition("/")
        s3 = self._client("s3")
        if s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("KeyCount"):
            raise RuntimeError(
                "HIVE_PATH_ALREADY_EXISTS: Target directory for table 'null' already exists: "
                f"{target}"
            )
        tree = sqlglot.parse_one(select, read="athena")
        connection = duckdb.connect()
        connection.execute("SET threads = 1")
        named = {alias.alias for alias in tree.find_all(exp.CTE)}
        for i, table in enumerate(list(tree.find_all(exp.Table))):
            if table.name not in named:
                connection.register(
                    f"t{i}", self._rows(e, tree, table.db or e.database, table.name)
                )
                table.replace(exp.to_table(f"t{i}", alias=table.alias or table.name))
        found: pa.Table = connection.execute(tree.sql(dialect="duckdb")).to_arrow_table()
        if e.state == "RUNNING" and len(found):
            half = -(-len(found) // 2)
            for part in (found.slice(0, half), found.slice(half)):
                if len(part):
                    memory = io.BytesIO()
                    pq.write_table(part, memory)
                    s3.put_object(
                        Bucket=bucket,
                        Key=f"{prefix}{time.strftime('%Y%m%d_%H%M%S')}_{uuid.uuid4()}",
                        Body=memory.getvalue(),
                    )

    def _rows(self, e: Execution, tree: Any, database: str, name: str) -> pa.Table:
        """A table's rows, of the partitions that equalities on its partition columns leave."""
        glue = self._client("glue")
        try:
            table = glue.get_table(DatabaseName=database, Name=name)["Table"]
        except glue.exceptions.EntityNotFoundException:
            raise RuntimeError(
                f"TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.{database}.{name}' does not "
                "exist"
            ) from None
        keys = [k["Name"] for k in table.get("PartitionKeys", [])]
        fixed = {
            one.this.name: one.expression.this
            if isinstance(one.expression, exp.Literal)
            else one.expression.this.this
            for one in tree.find_all(exp.EQ)
            if isinstance(one.this, exp.Column)
            and one.this.name in keys
            and isinstance(one.expression, exp.Literal | exp.Cast)
        }
        parts: list[pa.Table] = []
        places = (
            [(table["StorageDescriptor"]["Location"], [])]
            if not keys
            else [
                (p["StorageDescriptor"]["Location"], p["Values"])
                for page in glue.get_paginator("get_partitions").paginate(
                    DatabaseName=database, TableName=name
                )
                for p in page["Partitions"]
            ]
        )
        s3 = self._client("s3")
        for location, values in places:
            if any(dict(zip(keys, values, strict=True)).get(k) != v for k, v in fixed.items()):
                continue
            bucket, _, prefix = location.removeprefix("s3://").partition("/")
            for page in s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix.rstrip("/") + "/"
            ):
                for item in page.get("Contents", []):
                    if e.stop.is_set():
                        raise RuntimeError("stopped")
                    body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
                    e.bytes += item["Size"]
                    part = pq.read_table(io.BytesIO(body))
                    for key, value in zip(keys, values, strict=True):
                        kind = next(k["Type"] for k in table["PartitionKeys"] if k["Name"] == key)
                        column = pa.array([value] * len(part), pa.string())
                        part = part.append_column(
                            key, column.cast(pa.date32()) if kind == "date" else column
                        )
                    parts.append(part)
        if not parts:
            empty = [
                (c["Name"], pa.string())
                for c in [*table["StorageDescriptor"]["Columns"], *table.get("PartitionKeys", [])]
            ]
            return pa.schema(empty).empty_table()
        return pa.concat_tables(parts)


def unload_of(sql: str) -> tuple[str, str]:
    """(the SELECT, the target) of an UNLOAD.

    Raises RuntimeError for any other statement, as Athena fails a query.
    """
    head = re.match(r"\s*UNLOAD\s*(?=\()", sql, re.IGNORECASE)
    if head is None:
        raise RuntimeError(
            f"mismatched input '{sql.split()[0] if sql.split() else ''}'. Expecting: 'UNLOAD'"
        )
    rest, depth, i = sql[head.end() :], 0, 0
    tokens = sqlglot.tokenize(rest, read="athena")
    for i, token in enumerate(tokens):  # noqa: B007 — where the parenthesis closes
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if not depth:
            break
    if tokens[i + 1].text.upper() != "TO" or tokens[i + 2].token_type != TokenType.STRING:
        raise RuntimeError("SYNTAX_ERROR: TO 's3://…' is wanted after the query")
    return rest[tokens[0].end + 1 : tokens[i].start], tokens[i + 2].text
