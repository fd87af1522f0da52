"""The server: every request is noted, may meet a fault, and goes to Athena's handler or to moto."""

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pyiceberg.catalog import Catalog, load_catalog
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler, make_server

from aws_stack.athena import Athena
from aws_stack.rest import PREFIX, Rest

logging.getLogger("werkzeug").setLevel(logging.ERROR)
KEY, SECRET, TOKEN = (
    "AKIAPLANTEDKEY000001",
    "planted-secret-do-not-log-1234567890abcdef",
    "planted-session-token-FwoGZXIvYXdzEJr",
)
INNER = "X-Stack-Inner"
REST_TOKEN = "planted-rest-token-9d1c4b"
REGION = "us-west-2"  # moto has S3 Tables in few regions


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    target: str  # of a JSON service: `AmazonAthena.StartQueryExecution`
    length: int = 0  # bytes of the body

    @property
    def is_s3(self) -> bool:
        return not self.target

    def reads(self, part: str) -> bool:
        """Whether the contents of an object with `part` in its name were asked for."""
        return (
            self.is_s3
            and self.method == "GET"
            and part in self.path
            and "list-type" not in self.query
        )


Answer = tuple[str, list[tuple[str, str]], bytes]  # status, headers, body
Fault = Callable[[Request, dict[str, Any]], Answer | str | None]


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


class Stack:
    """The stack on a free port.

    `faults` are asked in turn for each request. None lets it pass, and a triple answers it.
    "reset" breaks the connection. "truncate" breaks it in the middle of the answer's body.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.athena = Athena(self._inner)
        self.rest = Rest(self.iceberg, "s3://lake/rest", REST_TOKEN)
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = cast(
            ThreadedWSGIServer,
            make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Handler),
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.reset()  # what moto holds outlives a stack: it is the process's

    def environment(self) -> dict[str, str]:
        """What a process needs to use the stack, without the machine's settings of AWS."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        return own | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def _inner(self, service: str) -> Any:
        """A client of Athena's own, whose requests are noted but meet no fault."""
        made = self.client(service)
        made.meta.events.register(
            "before-send", lambda request, **_: request.headers.__setitem__(INNER, "1")
        )
        return made

    def iceberg(self) -> Catalog:
        """pyiceberg's catalog over Glue."""
        own = {
            "client.region": REGION,
            "client.access-key-id": KEY,
            "client.secret-access-key": SECRET,
        }
        return load_catalog(
            "check", **{"type": "glue", "glue.endpoint": self.url, "s3.endpoint": self.url, **own}
        )

    def reset(self) -> None:
        """Forget everything."""
        self.faults.clear()
        urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        ).close()
        self.requests.clear()

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        self.faults.append(fault)
        try:
            yield
        finally:
            self.faults.remove(fault)

    def stop(self) -> None:
        self._server.shutdown()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"].encode("latin1").decode("utf-8", "replace"),
            environ.get("QUERY_STRING", ""),
            environ.get("HTTP_X_AMZ_TARGET", ""),
            int(environ.get("CONTENT_LENGTH") or 0),
        )
        self.requests.append(request)
        cut = False
        for fault in (
            list(self.faults) if f"HTTP_{INNER.upper().replace('-', '_')}" not in environ else ()
        ):
            found = fault(request, environ)
            if found == "truncate":
                cut = True
            elif found == "reset":
                _break(environ)
                return [b""]
            elif found is not None:
                _drain(environ)
                status, headers, body = cast(Answer, found)
                start_response(status, [*headers, ("Content-Length", str(len(body)))])
                return [] if request.method == "HEAD" else [body]
        if request.target.startswith("AmazonAthena."):
            status, body = self.athena.handle(
                request.target.split(".")[1], json.loads(_drain(environ) or b"{}")
            )
            start_response(
                status,
                [
                    ("Content-Type", "application/x-amz-json-1.1"),
                    ("Content-Length", str(len(body))),
                ],
            )
            return [body]
        if request.path.startswith(PREFIX):
            status, body = self.rest.handle(
                request.method, request.path, environ.get("HTTP_AUTHORIZATION", ""), _drain(environ)
            )
            start_response(
                status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            )
            return [] if request.method == "HEAD" else [body]
        if cut:
            return self._truncated(environ, start_response)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer

    def _truncated(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        held: list[Any] = []
        body = b"".join(
            self._moto(environ, lambda status, headers, *_: held.append((status, headers)))
        )
        status, headers = held[0]
        start_response(
            status,
            [
                *((k, v) for k, v in headers if k.lower() != "content-length"),
                ("Content-Length", str(len(body))),
            ],
        )

        def half() -> Iterator[bytes]:
            yield body[: len(body) // 2]
            if len(body) > 1:
                _break(environ)

        return half()


def _drain(environ: dict[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    return environ["wsgi.input"].read(int(length)) if length else b""


def _break(environ: dict[str, Any]) -> None:
    """Reset the connection: no answer, no goodbye."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def s3_error(code: str, message: str, status: str) -> tuple[str, list[tuple[str, str]], bytes]:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>1</RequestId></Error>"
    )
    return status, [("Content-Type", "application/xml")], body.encode()


def every(nth: int, answer: Any, wanted: Callable[[Request], bool] = lambda r: r.is_s3) -> Fault:
    """A fault on one of so many requests, at most once in a row."""
    count, lock = itertools.count(1), threading.Lock()

    def fault(request: Request, _: dict[str, Any]) -> Any:
        if not wanted(request) or "moto-api" in request.path:
            return None
        with lock:
            return answer if next(count) % nth == 0 else None

    return fault


def always(answer: Any, wanted: Callable[[Request], bool] = lambda r: r.is_s3) -> Fault:
    return every(1, answer, wanted)


def after(marker: str, answer: Any) -> Fault:
    """A fault on every request to S3 once an object with `marker` in its name was written."""
    begun = threading.Event()

    def fault(request: Request, _: dict[str, Any]) -> Any:
        if begun.is_set() and request.is_s3:
            return answer
        if request.method == "PUT" and marker in request.path:
            begun.set()
        return None

    return fault


SLOW_DOWN = s3_error("SlowDown", "Please reduce your request rate.", "503 Slow Down")
EXPIRED = s3_error("ExpiredToken", "The provided token has expired.", "400 Bad Request")
DENIED = s3_error("AccessDenied", "Access Denied", "403 Forbidden")
THROTTLED = (
    "400 Bad Request",
    [("Content-Type", "application/x-amz-json-1.1")],
    b'{"__type": "ThrottlingException", "message": "Rate exceeded"}',
)
