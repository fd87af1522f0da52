"""One worker of several, a process of its own: `python -m foreshock.training.worker`, started by training.launcher.

Its first line of standard input is the specification as JSON; when standard input ends, its supervisor is gone and it ends too. On
standard output it writes a JSON line each: `beat` every two seconds with what it is doing and since when, `say` for progress, and
last `result` or `error`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from foreshock.platform.files import create
from foreshock.platform.paths import at

FAILURE = "failure.json"
BEAT_SECONDS = 2.0
FIRST_SECONDS, AGAIN_SECONDS, AGAIN_TIMES = 300.0, 45.0, 20.0
COLLECTIVE_PATIENCE = 38.0  # a dead peer's own supervisor is to be heard first
COLLECTIVE = (
    "UnavailableError",
    "AbortedError",
    "CancelledError",
    "InternalError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "UnknownError",
)


class _Line:
    """Writes JSON lines from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what libraries print to standard output is no line of ours

    def __call__(self, **fields: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(fields, default=str) + "\n")
            self._out.flush()


class _Pulse:
    """Says every two seconds what the worker does, since when, and how long that may take.

    Reading and saving may take 45 s. What is compiled when it is first done has five minutes for that; afterwards 45 s, or twenty
    times the longest that it took, whichever is more.
    """

    def __init__(self, write: _Line) -> None:
        self._write, self._doing, self._since = write, "start", time.monotonic()
        self._longest: dict[str, float] = {"data": 0.0, "save": 0.0}
        threading.Thread(target=self._run, daemon=True).start()

    def doing(self, what: str) -> None:
        now = time.monotonic()
        before = self._longest.get(self._doing)
        self._longest[self._doing] = 0.0 if before is None else max(before, now - self._since)
        self._doing, self._since = what, now

    def _run(self) -> None:
        while True:
            longest = self._longest.get(self._doing)
            limit = FIRST_SECONDS if longest is None else max(AGAIN_SECONDS, AGAIN_TIMES * longest)
            self._write(beat=self._doing, since=time.monotonic() - self._since, limit=limit)
            time.sleep(BEAT_SECONDS)


def note_failure(folder: Path, error: str, message: str) -> None:
    """Leave the first failure of a training's processes for the driver: what comes after follows from it."""
    with contextlib.suppress(OSError):
        create(folder / FAILURE, json.dumps({"error": error, "message": message}))


def _end_with_supervisor(number: int, folder: Path) -> None:
    sys.stdin.read()
    note_failure(
        folder,
        "ServiceError",
        f"training worker {number} lost the Spark task that watched over it: the task's Python process "
        "died. Run the same command again: training resumes at the newest checkpoint.",
    )
    os._exit(1)


def main() -> int:
    """Train as worker `number` of the specification; exit code 0 with a result, 1 with an error."""
    write = _Line()
    given = json.loads(sys.stdin.readline())
    number = int(given["number"])
    threading.Thread(
        target=_end_with_supervisor, args=(number, at(given["fit"]["checkpoints"])), daemon=True
    ).start()
    pulse = _Pulse(write)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from foreshock.errors import ForeshockError
    from foreshock.platform.failures import (
        explain,  # TF_CONFIG and the log level are set before TensorFlow is loaded
    )
    from foreshock.training.fit import Fit, fit
    from foreshock.training.loop import Options

    spec = Fit(**{**given["fit"], "options": Options(**given["fit"]["options"])})

    def say(message: str, **fields: Any) -> None:
        write(say=message, fields=fields)

    try:
        fitted = fit(spec, say, worker=number, beat=pulse.doing)
    except ForeshockError as error:
        write(error=type(error).__name__, message=str(error))
        return 1
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        known = explain(error, f"training worker {number}")
        if known is not None:
            write(error=type(known).__name__, message=str(known))
        elif type(error).__name__ in COLLECTIVE:
            time.sleep(COLLECTIVE_PATIENCE)
            write(
                error="ServiceError",
                message=f"training worker {number} lost another worker: {text}. Run the same command again: "
                "training resumes at the newest checkpoint.",
            )
        else:
            write(
                error="ForeshockError",
                message=f"a defect of ours in training worker {number}: {text}",
            )
        return 1
    write(
        result={
            "worker": number,
            "weights_sha256": fitted.weights_sha256,
            "replicas": fitted.replicas,
            "epochs": len(fitted.history.epochs),
            "pid": os.getpid(),
        }
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
