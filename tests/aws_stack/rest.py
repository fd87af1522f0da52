"""An Iceberg REST catalog that keeps its tables in the stack's Glue.

pyiceberg's catalog answers the protocol's requests.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest

PREFIX = "/iceberg/v1/"
MISSING, CONFLICT = "404 Not Found", "409 Conflict"
ERRORS = {
    NoSuchNamespaceError: (MISSING, "NoSuchNamespaceException"),
    NoSuchTableError: (MISSING, "NoSuchTableException"),
    CommitFailedException: (CONFLICT, "CommitFailedException"),
    TableAlreadyExistsError: (CONFLICT, "AlreadyExistsException"),
    NamespaceAlreadyExistsError: (CONFLICT, "AlreadyExistsException"),
}


class Rest:
    """The service.

    catalog: makes pyiceberg's catalog, when it is first asked for.
    warehouse: where the tables are.
    token: what a client must send.
    """

    def __init__(self, catalog: Callable[[], Catalog], warehouse: str, token: str) -> None:
        self._make, self.warehouse, self.token = catalog, warehouse, token
        self._made: Catalog | None = None
        self._lock = threading.Lock()

    def handle(self, method: str, path: str, authorization: str, body: bytes) -> tuple[str, bytes]:
        if authorization != f"Bearer {self.token}":
            return "401 Unauthorized", _error(
                "401", "NotAuthorizedException", "the token is missing or wrong"
            )
        parts = path.removeprefix(PREFIX).split("/")
        try:
            with self._lock:
                found = self._answer(method, parts, json.loads(body or b"{}"))
        except tuple(ERRORS) as error:
            status, kind = ERRORS[type(error)]
            return status, _error(status[:3], kind, str(error))
        if found is None:
            return MISSING, _error("404", "UnsupportedOperationException", f"{method} {path}")
        return "200 OK", json.dumps(found).encode()

    def _answer(self, method: str, parts: list[str], body: dict[str, Any]) -> dict[str, Any] | None:
        if parts == ["config"]:
            return {"defaults": {}, "overrides": {}}
        catalog = self._made = self._made or self._make()
        if parts == ["namespaces"] and method == "POST":
            catalog.create_namespace(
                ".".join(body["namespace"]),
                {"location": f"{self.warehouse}/{body['namespace'][0]}"},
            )
            return {"namespace": body["namespace"], "properties": {}}
        if parts[0] != "namespaces" or len(parts) < 2:
            return None
        namespace = parts[1]
        if len(parts) == 2 and method in ("GET", "HEAD"):
            return {
                "namespace": [namespace],
                "properties": dict(catalog.load_namespace_properties(namespace)),
            }
        if parts[2:] == ["tables"] and method == "POST":
            made = catalog.create_table(
                (namespace, body["name"]),
                Schema.model_validate(body["schema"]),
                location=f"{self.warehouse}/{namespace}/{body['name']}",
                properties=body.get("properties") or {},
                partition_spec=PartitionSpec.model_validate(body["partition-spec"]),
            )
            return _loaded(made)
        if len(parts) == 4 and parts[2] == "tables":
            table = catalog.load_table((namespace, parts[3]))
            if method == "POST":
                asked = CommitTableRequest.model_validate(
                    {"identifier": {"namespace": [namespace], "name": parts[3]}, **body}
                )
                done = catalog.commit_table(table, asked.requirements, asked.updates)
                return json.loads(done.model_dump_json(by_alias=True))  # type: ignore[no-any-return]
            return _loaded(table)
        if len(parts) == 5 and parts[4] == "metrics":
            return {}
        return None


def _loaded(table: Any) -> dict[str, Any]:
    return {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json()),
        "config": {},
    }


def _error(code: str, kind: str, message: str) -> bytes:
    return json.dumps({"error": {"code": int(code), "type": kind, "message": message}}).encode()
