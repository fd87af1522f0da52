"""Structured logs: JSON lines in the run directory, short progress lines on standard error."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class RunLog:
    """Writes what happens in a run: run id, stage, message and fields; never a raw row or a secret."""

    def __init__(self, run_id: str, path: Path | None = None, *, quiet: bool = False) -> None:
        self.run_id, self.path, self.quiet = run_id, path, quiet
        self._started = time.monotonic()

    def event(self, stage: str, message: str, **fields: Any) -> None:
        """One line in events.log and on standard error."""
        if self.path is not None:
            line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "run_id": self.run_id, "stage": stage,
                    "message": message, **fields}
            with self.path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line, default=str) + "\n")
        if not self.quiet:
            shown = " ".join(f"{k}={_short(v)}" for k, v in fields.items())
            print(f"[{time.monotonic() - self._started:7.1f}s] {stage:8s} {message} {shown}".rstrip(), file=sys.stderr)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return text if len(text) <= 200 else text[:197] + "…"
