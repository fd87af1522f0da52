"""Pulls a table's partitions out of Athena: one UNLOAD to Parquet each, several at once, within a budget, and none left running."""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from foreshock.errors import ServiceError, SettingsError

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
POLL_SECONDS, POLL_MOST = 0.2, 5.0
STOP_SECONDS, STOPS_AT_ONCE = 10.0, 16  # that a query is given to end in, once it is told to


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


class Unloading:
    """The queries of one extraction. `run` them within a `with` block, whose end stops whatever still runs."""

    def __init__(
        self,
        client: Any,
        *,
        database: str | None,
        workgroup: str | None,
        results: str,
        at_once: int,
        budget: int | None,
        timeout: float,
        say: Callable[..., None],
        kms_key: str | None = None,
        stopper: Any = None,
    ) -> None:
        """stopper: a client that does not wait long, for when the job is told to end; kms_key: encrypts what is unloaded."""
        self.client, self.database, self.workgroup, self.results = (
            client,
            database,
            workgroup,
            results,
        )
        self.at_once, self.budget, self.timeout, self._say = at_once, budget, timeout, say
        self.kms_key, self._stopper = kms_key, stopper or client
        self.done = Done()
        self._running: list[Query] = []
        self._attempt = uuid.uuid4().hex

    def __enter__(self) -> Unloading:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop every query that runs, and wait until they have ended; what cannot be stopped is logged."""
        if not self._running:
            return
        with ThreadPoolExecutor(min(STOPS_AT_ONCE, len(self._running))) as pool:
            whys = list(pool.map(self._stop, self._running))
        for query, why in zip(self._running, whys, strict=True):
            self._say(
                "a query could not be stopped" if why else "query stopped",
                partition=query.unit,
                query=query.id,
                state=query.state,
                **({"why": why} if why else {}),
            )
            if query.id is not None:
                self._note(query)
        self._running = []

    def _stop(self, query: Query) -> str | None:
        """Stop a query and see it end; why not, where it cannot. Throttling, too, is waited out."""
        client, until = self._stopper, time.monotonic() + STOP_SECONDS
        told, why = False, None
        while time.monotonic() < until:
            try:
                if query.id is None:  # it may have begun: the same token tells its id
                    query.id = client.start_query_execution(**self._request(query))[
                        "QueryExecutionId"
                    ]
                if not told:
                    client.stop_query_execution(QueryExecutionId=query.id)
                    told = True
                found = client.get_query_execution(QueryExecutionId=query.id)["QueryExecution"]
                query.state, query.bytes = (
                    found["Status"]["State"],
                    int(found.get("Statistics", {}).get("DataScannedInBytes", 0)),
                )
                if (
                    query.state in ENDED
                ):  # what it has written is cleared away next, so nothing may come after
                    return None
                why = f"it is still {query.state}"
            except (BotoCoreError, ClientError) as error:
                why = str(error)[:300]
            time.sleep(POLL_SECONDS)
        return why

    def _note(self, query: Query) -> None:
        self.done.queries.append(
            {"partition": query.unit, "id": query.id, "state": query.state, "bytes": query.bytes}
        )
        self.done.bytes_scanned += query.bytes

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
                self._say(
                    "unloading",
                    done=len(queries) - len(waiting) - len(self._running),
                    of=len(queries),
                    bytes_scanned=self.done.bytes_scanned,
                )

    def _request(self, query: Query) -> dict[str, Any]:
        # Its own token, so that a start that is tried again, because its answer was lost, is not a second query; but the same partition
        # asked for by a later run is one: Athena would answer with the old one, failed as it may be.
        token = hashlib.sha256(f"{self._attempt}\n{query.sql}".encode()).hexdigest()
        result: dict[str, Any] = {"OutputLocation": self.results}
        if self.kms_key:
            result["EncryptionConfiguration"] = {
                "EncryptionOption": "SSE_KMS",
                "KmsKey": self.kms_key,
            }
        request: dict[str, Any] = {
            "QueryString": query.sql,
            "ClientRequestToken": token,
            "ResultConfiguration": result,
        }
        if self.database:
            request["QueryExecutionContext"] = {"Database": self.database}
        if self.workgroup:
            request["WorkGroup"] = self.workgroup
        return request

    def _start(self, query: Query) -> None:
        self._running.append(
            query
        )  # before it runs: a signal may come when it does, but its answer is not here
        try:
            query.id = self.client.start_query_execution(**self._request(query))["QueryExecutionId"]
        except ClientError as error:
            self._running.remove(query)
            found = error.response.get("Error", {})
            if (
                found.get("Code") == "InvalidRequestException"
                and "workgroup" in found.get("Message", "").lower()
            ):
                raise SettingsError(
                    f"`source.workgroup` {self.workgroup!r}: Athena says: {found['Message']}"
                ) from None
            raise ServiceError(
                f"Athena StartQueryExecution for partition {query.unit}: {error}"
            ) from None
        except BotoCoreError as error:
            raise ServiceError(
                f"Athena StartQueryExecution for partition {query.unit}: {error}"
            ) from None
        query.state, query.started = "RUNNING", time.monotonic()

    def _look(self, query: Query) -> bool:
        """Whether a query has ended, well."""
        try:
            found = self.client.get_query_execution(QueryExecutionId=query.id)["QueryExecution"]
        except (BotoCoreError, ClientError) as error:
            raise ServiceError(
                f"Athena GetQueryExecution {query.id} (partition {query.unit}): {error}"
            ) from None
        query.state = found["Status"]["State"]
        query.bytes = int(found.get("Statistics", {}).get("DataScannedInBytes", 0))
        if query.state in ENDED:
            self._running.remove(query)
            self._note(query)
            if query.state != "SUCCEEDED":
                status = found["Status"]
                why = (
                    status.get("AthenaError", {}).get("ErrorMessage")
                    or status.get("StateChangeReason")
                    or "no reason given"
                )
                raise self._failed(query, f"ended {query.state}: {why}")
            if self.budget is not None and self.done.bytes_scanned > self.budget:
                self.stop()
                raise self._failed(
                    query,
                    f"brought the bytes scanned to {self.done.bytes_scanned}, over source.max_bytes_scanned "
                    f"({self.budget}); the queries still running were stopped. Raise it, or ask for fewer partitions",
                )
            return True
        if time.monotonic() - query.started > self.timeout:
            raise self._failed(
                query,
                f"did not end within source.query_timeout ({self.timeout:g} s; state {query.state}) and was stopped",
            )
        return False

    def _failed(self, query: Query, what: str) -> ServiceError:
        self.done.failure = {
            "partition": query.unit,
            "id": query.id,
            "bytes": query.bytes,
            "what": what,
        }
        return ServiceError(
            f"Athena query {query.id} (partition {query.unit}, {query.bytes} bytes scanned) {what}."
        )
