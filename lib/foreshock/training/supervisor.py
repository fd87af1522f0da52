"""A barrier task of Spark that watches over one training worker's process.

The tasks exchange addresses through the barrier, so that every process gets its TF_CONFIG, and
read what their process says. No beat for 30 s, or too long at one thing, is a stall.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark import BarrierTaskContext

from foreshock import errors
from foreshock.platform.files import append_text
from foreshock.platform.paths import at, is_remote
from foreshock.platform.transfers import copy
from foreshock.training.fitted import WorkerResult
from foreshock.training.spec import TrainingSpec
from foreshock.training.worker import AGAIN, note_failure

# A worker beats every two seconds; before its first beat Python has to start.
SILENT_SECONDS, START_SECONDS = 30.0, 120.0
PROGRESS = "progress.jsonl"
ACTIVITIES = {
    "data": "waited for data",
    "step": "been at one step (it waits for the others there)",
    "save": "been saving a checkpoint",
    "validate": "been at the validation windows",
    "start": "been starting",
}


@dataclass(frozen=True)
class _Place:
    """Which worker a task watches, and where."""

    number: int
    host: str
    # Of checkpoints, where all workers' logs lie.
    folder: Path

    def log_name(self) -> str:
        return f"worker-{self.number}.log"


def supervise(spec: TrainingSpec) -> WorkerResult:
    """In a barrier task: start the worker's process, watch it, return its result.

    Raises ServiceError if it dies or stalls, and what the worker raised. The first failure of all
    tasks is noted in the folder of checkpoints.
    """
    context = BarrierTaskContext.get()
    number = context.partitionId()
    host = context.getTaskInfos()[number].address.rsplit(":", 1)[0]
    place = _Place(number, host, at(spec.checkpoints))
    environment = _environment(context, place)
    # A process logs to a local file. If the folder lies on S3, it goes up at the end.
    log_folder = Path(tempfile.mkdtemp()) if is_remote(place.folder) else place.folder
    log = log_folder / place.log_name()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "foreshock.training.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    try:
        return _watched(process, spec, place)
    except errors.ForeshockError as error:
        note_failure(place.folder, type(error).__name__, str(error))
        raise
    finally:
        process.kill()
        process.wait()
        if log_folder != place.folder:
            with contextlib.suppress(OSError):
                copy(log, place.folder / log.name)
            shutil.rmtree(log_folder, ignore_errors=True)


def _environment(context: BarrierTaskContext, place: _Place) -> dict[str, str]:
    """The process's environment, with the addresses of all workers."""
    with socket.socket() as free_socket:
        free_socket.bind(("", 0))
        free_port = free_socket.getsockname()[1]
        addresses = context.allGather(f"{place.host}:{free_port}")
    cluster_config = {
        "cluster": {"worker": list(addresses)},
        "task": {"type": "worker", "index": place.number},
    }
    # A new process does not know the folders and archives that Spark has given to this one.
    python_path = os.pathsep.join(folder for folder in sys.path if folder)
    return {**os.environ, "TF_CONFIG": json.dumps(cluster_config), "PYTHONPATH": python_path}


def _watched(process: subprocess.Popen[str], spec: TrainingSpec, place: _Place) -> WorkerResult:
    """The result of a process, read line by line."""
    assert process.stdin is not None
    who = (
        f"training worker {place.number} (of {spec.workers}, on {place.host}, process "
        f"{process.pid})"
    )
    # A process that has died at once is told of below, with its exit code.
    with contextlib.suppress(BrokenPipeError):
        worker_order = {"number": place.number, "spec": spec.to_mapping()}
        process.stdin.write(json.dumps(worker_order) + "\n")
        process.stdin.flush()
    lines: queue.Queue[str | None] = queue.Queue()
    # A thread of its own: a read from a pipe cannot be given a limit of time.
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    last_heard, patience = time.monotonic(), START_SECONDS
    while True:
        try:
            line = lines.get(timeout=1.0)
        except queue.Empty:
            if time.monotonic() - last_heard > patience:
                raise errors.ServiceError(
                    f"{who} stalled: nothing was heard of it for {patience:.0f} s. {AGAIN}"
                ) from None
            continue
        if line is None:
            raise errors.ServiceError(
                f"{who} died: {_ending(process)}. Its last words are in "
                f"{place.folder / place.log_name()}. {AGAIN}"
            )
        last_heard = time.monotonic()
        # What is not JSON is a line of a library.
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            if "result" in fields:
                return WorkerResult(**fields["result"], host=place.host)
            if "beat" in fields:
                patience = SILENT_SECONDS
            _take_line(fields, line, who, place)


def _take_line(fields: dict[str, Any], line: str, who: str, place: _Place) -> None:
    """Pass on progress; raise what the worker raised, or ServiceError for a stall."""
    if "error" in fields:
        kind = getattr(errors, fields["error"], errors.ForeshockError)
        raise kind(fields["message"])
    if "say" in fields and place.number == 0:
        append_text(place.folder / PROGRESS, line)
    if "beat" in fields and fields["since"] > fields["limit"]:
        raise errors.ServiceError(
            f"{who} stalled: it has {ACTIVITIES[fields['beat']]} for {fields['since']:.0f} s. "
            f"{AGAIN}"
        )


def _ending(process: subprocess.Popen[str]) -> str:
    """How a process ended, in words."""
    exit_code = process.wait()
    if exit_code < 0:
        return f"killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"exit code {exit_code}"


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Put a process's lines into a queue, and None at their end."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)
