"""Pulls a table's partitions out of Athena: an UNLOAD to Parquet each.

Several run at once, within a budget, and none is left running.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from foreshock.errors import ForeshockError, ServiceError, SettingsError
from foreshock.events.athena_query import (
    Execution,
    Query,
    QueryFailure,
    QueryOutcome,
    UnloadOutcome,
)

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
POLL_SECONDS, LONGEST_POLL_SECONDS, POLL_GROWTH = 0.2, 5.0, 1.5
PROGRESS_SECONDS = 10.0
# What a query is given to end in, once it is told to.
STOP_SECONDS = 10.0
STOPS_AT_ONCE = 16
WHY_LENGTH = 300


class Unloading:
    """The queries of one extraction.

    `run` them within a `with` block, whose end stops whatever still runs.
    """

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
        """Settle where and how queries run.

        client: boto3's client of Athena. results: the folder on S3 for Athena's own files.
        budget: bytes that all queries together may scan; None for no limit. timeout: seconds for
        each query.
        say: called with the text and fields of a line of the log. kms_key: encrypts what is
        unloaded.
        stopper: a client that does not wait long, for when the job is told to end.
        """
        self.client, self.stopper = client, stopper or client
        self.database, self.workgroup, self.results = database, workgroup, results
        self.at_once, self.budget, self.timeout = at_once, budget, timeout
        self.kms_key = kms_key
        self.done = UnloadOutcome()
        self._say = say
        self._running: list[Query] = []
        self._attempt = uuid.uuid4().hex

    def __enter__(self) -> Unloading:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, queries: Sequence[Query]) -> None:
        """Run all queries.

        Raises ServiceError with Athena's own words if one fails, and if the budget or the time
        limit is passed.
        """
        waiting, pause, last_said = list(queries), POLL_SECONDS, time.monotonic()
        while waiting or self._running:
            while waiting and len(self._running) < self.at_once:
                self._start(waiting.pop(0))
            # At random, so that many runs do not ask at the same moments.
            time.sleep(pause * random.uniform(0.5, 1.0))
            # A list, because each query is to be looked at, not only those up to the first ended.
            some_ended = any([self._has_ended(query) for query in list(self._running)])
            pause = POLL_SECONDS if some_ended else min(LONGEST_POLL_SECONDS, pause * POLL_GROWTH)
            if some_ended or time.monotonic() - last_said > PROGRESS_SECONDS:
                last_said = time.monotonic()
                self._say(
                    "unloading",
                    done=len(queries) - len(waiting) - len(self._running),
                    of=len(queries),
                    bytes_scanned=self.done.bytes_scanned,
                )

    def stop(self) -> None:
        """Stop every query that runs, and wait until they have ended.

        What cannot be stopped is logged.
        """
        if not self._running:
            return
        with ThreadPoolExecutor(min(STOPS_AT_ONCE, len(self._running))) as pool:
            reasons = list(pool.map(self._stop, self._running))
        for query, why in zip(self._running, reasons, strict=True):
            self._say(
                "a query could not be stopped" if why else "query stopped",
                partition=query.source_partition,
                query=query.id,
                state=query.state,
                **({"why": why} if why else {}),
            )
            # What it scanned is paid for, finished or not.
            if query.id is not None:
                self._note(query)
        self._running = []

    def _stop(self, query: Query) -> str | None:
        """Stop a query and see it end; why not, if it cannot be. Throttling, too, is waited out."""
        deadline, is_told, why = time.monotonic() + STOP_SECONDS, False, None
        while time.monotonic() < deadline:
            try:
                # It may have begun: the same token tells its id.
                if query.id is None:
                    query.id = self._begin(self.stopper, query)
                if not is_told:
                    self.stopper.stop_query_execution(QueryExecutionId=query.id)
                    is_told = True
                query.update(_execution(self.stopper, query))
                if query.state in ENDED:
                    # What it wrote is cleared away next, so nothing may come after.
                    return None
                why = f"it is still {query.state}"
            except (BotoCoreError, ClientError) as error:
                why = str(error)[:WHY_LENGTH]
            time.sleep(POLL_SECONDS)
        return why

    def _note(self, query: Query) -> None:
        outcome = QueryOutcome(query.source_partition, query.id, query.state, query.bytes)
        self.done.queries.append(outcome)
        self.done.bytes_scanned += query.bytes

    def _begin(self, client: Any, query: Query) -> str:
        """Have Athena start a query; returns its id."""
        execution_id: str = client.start_query_execution(**self._request(query))["QueryExecutionId"]
        return execution_id

    def _request(self, query: Query) -> dict[str, Any]:
        # A start that is tried again, because its answer was lost, has the same token, so it is
        # no second query. A later run has another: to the same token Athena would answer with the
        # old query, failed as it may be.
        token = hashlib.sha256(f"{self._attempt}\n{query.sql}".encode()).hexdigest()
        result_place: dict[str, Any] = {"OutputLocation": self.results}
        if self.kms_key:
            encryption = {"EncryptionOption": "SSE_KMS", "KmsKey": self.kms_key}
            result_place["EncryptionConfiguration"] = encryption
        request: dict[str, Any] = {
            "QueryString": query.sql,
            "ClientRequestToken": token,
            "ResultConfiguration": result_place,
        }
        if self.database:
            request["QueryExecutionContext"] = {"Database": self.database}
        if self.workgroup:
            request["WorkGroup"] = self.workgroup
        return request

    def _start(self, query: Query) -> None:
        # It counts as running before it does: a signal may come when it runs, but its answer is
        # not here.
        self._running.append(query)
        try:
            query.id = self._begin(self.client, query)
        except ClientError as error:
            self._running.remove(query)
            raise self._refused(query, error) from None
        except BotoCoreError as error:
            raise _not_started(query, error) from None
        query.state, query.started = "RUNNING", time.monotonic()

    def _refused(self, query: Query, error: ClientError) -> ForeshockError:
        answer = error.response.get("Error", {})
        names_workgroup = "workgroup" in answer.get("Message", "").lower()
        if answer.get("Code") == "InvalidRequestException" and names_workgroup:
            return SettingsError(
                f"`source.workgroup` {self.workgroup!r}: Athena says: {answer['Message']}"
            )
        return _not_started(query, error)

    def _has_ended(self, query: Query) -> bool:
        """Whether a query has ended well.

        Raises ServiceError for one that failed, or passed a limit.
        """
        try:
            execution = _execution(self.client, query)
        except (BotoCoreError, ClientError) as error:
            raise ServiceError(
                f"Athena GetQueryExecution {query.id} (partition {query.source_partition}): {error}"
            ) from None
        query.update(execution)
        if query.state not in ENDED:
            self._check_time(query)
            return False
        self._running.remove(query)
        self._note(query)
        if query.state != "SUCCEEDED":
            raise self._failed(query, f"ended {query.state}: {_reason(execution)}")
        self._check_budget(query)
        return True

    def _check_time(self, query: Query) -> None:
        if time.monotonic() - query.started > self.timeout:
            raise self._failed(
                query,
                f"did not end within source.query_timeout ({self.timeout:g} s; "
                f"state {query.state}) and was stopped",
            )

    def _check_budget(self, query: Query) -> None:
        if self.budget is None or self.done.bytes_scanned <= self.budget:
            return
        self.stop()
        raise self._failed(
            query,
            f"brought the bytes scanned to {self.done.bytes_scanned}, "
            f"over source.max_bytes_scanned ({self.budget}); "
            "the queries still running were stopped. Raise it, or ask for fewer partitions",
        )

    def _failed(self, query: Query, what: str) -> ServiceError:
        self.done.failure = QueryFailure(query.source_partition, query.id, query.bytes, what)
        return ServiceError(
            f"Athena query {query.id} (partition {query.source_partition}, "
            f"{query.bytes} bytes scanned) {what}."
        )


def _execution(client: Any, query: Query) -> Execution:
    execution: Execution = client.get_query_execution(QueryExecutionId=query.id)["QueryExecution"]
    return execution


def _not_started(query: Query, error: Exception) -> ServiceError:
    return ServiceError(
        f"Athena StartQueryExecution for partition {query.source_partition}: {error}"
    )


def _reason(execution: Execution) -> str:
    """Why a query failed, in Athena's words."""
    status = execution["Status"]
    message = status.get("AthenaError", {}).get("ErrorMessage") or status.get("StateChangeReason")
    return message or "no reason given"
