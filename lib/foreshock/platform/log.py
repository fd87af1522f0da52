"""Structured logs: JSON lines in the run directory, short progress lines on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foreshock.platform.paths import append_text, is_remote

FLUSH_SECONDS = 20.0


class RunLog:
    """Writes what happens in a run: run id, stage, message and fields; never a raw row or a secret.

    On S3, where nothing can be appended, lines are gathered and the file is written anew now and then, and at the end (`flush`).
    """

    def __init__(self, run_id: str, path: Path | None = None, *, quiet: bool = False) -> None:
        self.run_id, self.path, self.quiet = run_id, path, quiet
        self._started = self._flushed = time.monotonic()
        self._waiting: list[str] = []

    def event(self, stage: str, message: str, **fields: Any) -> None:
        """One line in events.log and on standard error."""
        if self.path is not None:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "run_id": self.run_id,
                "stage": stage,
                "message": message,
                **fields,
            }
            self._waiting.append(json.dumps(line, default=str) + "\n")
            if not is_remote(self.path) or time.monotonic() - self._flushed > FLUSH_SECONDS:
                self.flush()
        if not self.quiet:
            shown = " ".join(f"{k}={_short(v)}" for k, v in fields.items())
            print(
                f"[{time.monotonic() - self._started:7.1f}s] {stage:8s} {message} {shown}".rstrip(),
                file=sys.stderr,
            )

    def flush(self) -> None:
        """Write what waits. On S3 a failure leaves it waiting: a log does not end a run."""
        if self.path is None or not self._waiting:
            return
        self._flushed = time.monotonic()
        with contextlib.suppress(Exception) if is_remote(self.path) else contextlib.nullcontext():
            append_text(self.path, "".join(self._waiting))
            self._waiting.clear()


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 200 else text[:197] + "…"
