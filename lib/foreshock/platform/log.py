"""Structured logs: JSON lines in the run directory, short progress lines on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foreshock.platform.files import append_text, write_text
from foreshock.platform.paths import is_remote
from foreshock.platform.transfers import remove

FLUSH_SECONDS = 20.0
# Characters of a value on standard error.
LONGEST_VALUE = 200


class RunLog:
    """Writes what happens in a run: run id, stage, message and fields; never a raw row or a secret.

    S3 cannot append to an object. There the lines since the last flush become an object of their
    own under `events.log.parts/`, so that a flush costs what is new and not the whole log. `close`
    joins the parts to events.log; the parts of a run that was killed are joined when the next run
    closes its log.
    """

    def __init__(self, run_id: str, path: Path | None = None, *, quiet: bool = False) -> None:
        self.run_id, self.path, self.quiet = run_id, path, quiet
        self._started = self._flushed = time.monotonic()
        self._waiting: list[str] = []

    def event(self, stage: str, message: str, **fields: Any) -> None:
        """Write one line to events.log and, unless the log is quiet, one to standard error.

        fields: plain data; never a raw row or a secret. On S3 lines wait until FLUSH_SECONDS have
        passed.
        """
        if self.path is not None:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "run_id": self.run_id,
                "stage": stage,
                "message": message,
                **fields,
            }
            self._waiting.append(json.dumps(line, default=str) + "\n")
            # On S3 an object for each line would cost a request each.
            is_due = time.monotonic() - self._flushed > FLUSH_SECONDS
            if is_due or not is_remote(self.path):
                self.flush()
        if not self.quiet:
            values = " ".join(f"{name}={_short(value)}" for name, value in fields.items())
            seconds = time.monotonic() - self._started
            print(f"[{seconds:7.1f}s] {stage:8s} {message} {values}".rstrip(), file=sys.stderr)

    def flush(self) -> None:
        """Write the lines that wait.

        A failure on S3 leaves them waiting and raises nothing: a log does not end a run.
        """
        if self.path is None or not self._waiting:
            return
        self._flushed = time.monotonic()
        text = "".join(self._waiting)
        if not is_remote(self.path):
            append_text(self.path, text)
            self._waiting.clear()
            return
        with contextlib.suppress(Exception):
            write_text(self._parts / f"{time.time_ns():020d}.jsonl", text)
            self._waiting.clear()

    def close(self) -> None:
        """Write the lines that wait; on S3, join all parts to events.log.

        Parts that cannot be joined stay for the next run.
        """
        self.flush()
        if self.path is None or not is_remote(self.path):
            return
        with contextlib.suppress(Exception):
            # Their names are times with leading zeros.
            parts = sorted(self._parts.iterdir(), key=lambda part: part.name)
            if parts:
                append_text(self.path, "".join(part.read_text(encoding="utf-8") for part in parts))
                remove(self._parts)

    @property
    def _parts(self) -> Path:
        if self.path is None:
            raise ValueError("a log without a path has no parts")
        return self.path.with_name(f"{self.path.name}.parts")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "…"
