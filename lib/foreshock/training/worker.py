"""One worker of several, a process of its own: `python -m foreshock.training.worker`.

`training.supervisor` starts it. Its first line of standard input is the specification as JSON;
when standard input ends, its supervisor is gone and it ends too. On standard output it writes JSON
lines: `beat` every two seconds with what it is doing and since when, `say` for progress, and last
`result` or `error`.
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
# Seconds: a dead peer's own supervisor is to be heard first.
COLLECTIVE_PATIENCE = 38.0
# How TensorFlow says that another worker did not answer.
COLLECTIVE_ERRORS = (
    "UnavailableError",
    "AbortedError",
    "CancelledError",
    "InternalError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "UnknownError",
)
AGAIN = "Run the same command again: training resumes at the newest checkpoint."


class _LineWriter:
    """Writes JSON lines from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
        # What libraries print to standard output is no line of ours.
        os.dup2(2, 1)

    def __call__(self, **fields: Any) -> None:
        with self._lock:
            self._output.write(json.dumps(fields, default=str) + "\n")
            self._output.flush()


class _Pulse:
    """Says every two seconds what the worker does, since when, and how long that may take.

    Reading and saving may take 45 s. What is compiled when it is first done has five minutes for
    that; afterwards 45 s, or twenty times the longest that it took, whichever is more.
    """

    def __init__(self, write: _LineWriter) -> None:
        self._write = write
        self._doing = "start"
        self._since = time.monotonic()
        self._longest: dict[str, float] = {"data": 0.0, "save": 0.0}
        threading.Thread(target=self._run, daemon=True).start()

    def doing(self, activity: str) -> None:
        """The worker does this from now on."""
        now = time.monotonic()
        longest = self._longest.get(self._doing)
        self._longest[self._doing] = 0.0 if longest is None else max(longest, now - self._since)
        self._doing, self._since = activity, now

    def _run(self) -> None:
        while True:
            longest = self._longest.get(self._doing)
            limit = FIRST_SECONDS if longest is None else max(AGAIN_SECONDS, AGAIN_TIMES * longest)
            self._write(beat=self._doing, since=time.monotonic() - self._since, limit=limit)
            time.sleep(BEAT_SECONDS)


def note_failure(folder: Path, error: str, message: str) -> None:
    """Leave the first failure of a training's processes for the driver.

    What comes after it follows from it.
    """
    # A file that exists is not replaced, so the first failure stays.
    with contextlib.suppress(OSError):
        create(folder / FAILURE, json.dumps({"error": error, "message": message}))


def _end_with_supervisor(number: int, folder: Path) -> None:
    sys.stdin.read()
    note_failure(
        folder,
        "ServiceError",
        f"training worker {number} lost the Spark task that watched over it: the task's Python "
        f"process died. {AGAIN}",
    )
    # Not sys.exit: the main thread may wait in TensorFlow for ever.
    os._exit(1)


def main() -> int:
    """Train as worker `number` of the specification, the first line of standard input.

    Returns the exit code: 0 with a result, 1 with an error, which is written to standard output.
    """
    write = _LineWriter()
    worker_order = json.loads(sys.stdin.readline())
    number, folder = int(worker_order["number"]), at(worker_order["spec"]["checkpoints"])
    threading.Thread(target=_end_with_supervisor, args=(number, folder), daemon=True).start()
    pulse = _Pulse(write)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow takes seconds to load, in which the pulse already beats.
    from foreshock.training.fit import fit
    from foreshock.training.spec import TrainingSpec

    def say(message: str, **fields: Any) -> None:
        write(say=message, fields=fields)

    try:
        spec = TrainingSpec.from_mapping(worker_order["spec"])
        fitted = fit(spec, say, worker=number, beat=pulse.doing)
    except Exception as error:
        kind, message = _explained(error, number)
        write(error=kind, message=message)
        return 1
    worker_result = {
        "worker": number,
        "weights_sha256": fitted.weights_sha256,
        "replicas": fitted.replicas,
        "epochs": len(fitted.history.epochs),
        "pid": os.getpid(),
    }
    write(result=worker_result)
    return 0


def _explained(error: Exception, number: int) -> tuple[str, str]:
    """The kind of error and the message that the supervisor is told."""
    from foreshock.errors import ForeshockError
    from foreshock.platform.failures import explain

    if isinstance(error, ForeshockError):
        return type(error).__name__, str(error)
    error_text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    known_error = explain(error, f"training worker {number}")
    if known_error is not None:
        return type(known_error).__name__, str(known_error)
    if type(error).__name__ in COLLECTIVE_ERRORS:
        # Whoever has died is to be named, and not the worker that noticed it.
        time.sleep(COLLECTIVE_PATIENCE)
        message = f"training worker {number} lost another worker: {error_text}. {AGAIN}"
        return "ServiceError", message
    return "ForeshockError", f"a defect of ours in training worker {number}: {error_text}"


if __name__ == "__main__":
    sys.exit(main())
