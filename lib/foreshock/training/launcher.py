"""Starts training workers from a barrier stage of Spark and watches over them; one dead or stalled worker ends all.

Each task of the stage supervises one process (training.worker). The tasks exchange addresses through the barrier, so that every
process gets its TF_CONFIG, and read what their process says: no beat for 30 s, or too long at one thing (training.worker), is a
stall.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession

from foreshock import errors
from foreshock.platform.files import append_text
from foreshock.platform.paths import at, is_remote
from foreshock.platform.transfers import copy, remove
from foreshock.training.worker import FAILURE, note_failure

SILENT_SECONDS, START_SECONDS = 30.0, 120.0
LOST_SECONDS = 20.0
DOING = {
    "data": "waited for data",
    "step": "been at one step (it waits for the others there)",
    "save": "been saving a checkpoint",
    "validate": "been at the validation windows",
    "start": "been starting",
}
SLOTS_SECONDS = 60.0
PROGRESS = "progress.jsonl"


def launch(
    spark: SparkSession, given: dict[str, Any], attempts: int, say: Callable[..., None]
) -> list[dict[str, Any]]:
    """Train on several workers; after a worker died or stalled again, up to `attempts` times in all, from the newest checkpoint.

    Spark never starts a barrier stage that gives results again by itself. Raises as the last attempt.
    """
    for attempt in range(1, attempts + 1):
        try:
            return _launch(spark, given, say)
        except errors.ServiceError as error:
            if attempt == attempts:
                raise
            say(f"attempt {attempt} of {attempts} failed: {error}")
    raise ValueError("attempts must be at least 1")


def _launch(
    spark: SparkSession, given: dict[str, Any], say: Callable[..., None]
) -> list[dict[str, Any]]:
    """Train on several workers; each worker's result, in order. The weights are in the newest checkpoint.

    given: a training.fit.Fit as a mapping, for this file loads no TensorFlow.

    Raises ServiceError naming a worker that died or stalled, and what
    a worker raised.
    """
    workers, folder = int(given["workers"]), at(given["checkpoints"])
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PROGRESS, FAILURE):
        remove(folder / name)

    def supervise(_: Iterable[int]) -> Iterator[str]:
        yield json.dumps(_supervise(given))

    stop = threading.Event()
    follower = threading.Thread(target=_follow, args=(folder / PROGRESS, say, stop), daemon=True)
    follower.start()
    threading.Thread(target=_cancel, args=(spark, folder / FAILURE, stop), daemon=True).start()
    try:
        rows = (
            spark.sparkContext.parallelize(range(workers), workers)
            .barrier()
            .mapPartitions(supervise)
            .collect()
        )
    except Exception as error:
        known = _failure(folder)
        if known is not None:
            raise known from error
        raise errors.ServiceError(
            f"training on {workers} workers failed: {_lost(error)}. Run the same command again: training "
            "resumes at the newest checkpoint."
        ) from error
    finally:
        stop.set()
        follower.join(timeout=5)
    results = sorted((json.loads(row) for row in rows), key=lambda r: r["worker"])
    if len({r["weights_sha256"] for r in results}) != 1:
        raise errors.ForeshockError(
            "the workers' weights differ at the end of training: "
            + ", ".join(f"worker {r['worker']}: {r['weights_sha256'][:12]}" for r in results)
        )
    return results


def check_slots(spark: SparkSession, workers: int) -> None:
    """Raise SettingsError where Spark cannot run so many tasks at once: it would wait for ten minutes before it says so itself."""
    if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        raise errors.SettingsError(
            "training.workers: Spark's barrier stages do not work with dynamic allocation. Submit with "
            "--conf spark.dynamicAllocation.enabled=false and a fixed number of executors."
        )
    context: Any = spark.sparkContext._jsc.sc()  # type: ignore[union-attr]
    until = time.monotonic() + (
        0 if str(spark.sparkContext.master).startswith("local") else SLOTS_SECONDS
    )
    while (
        slots := int(
            context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile())
        )
    ) < workers:
        if time.monotonic() > until:
            raise errors.SettingsError(
                f"training.workers is {workers}, but Spark can run {slots} tasks at once here: at most {slots} "
                "workers. Lower it, or give Spark more executors."
            )
        time.sleep(1)


def _lost(error: Exception) -> str:
    """Which barrier task Spark lost, in words."""
    text = " ".join(str(error).split())
    found = re.search(
        r"ResultTask\((\d+), (\d+)\) finished unsuccessfully\.?(.{0,300})", text
    ) or re.search(r"Lost task (\d+)\.\d+ in stage.*?(\(.{0,300})", text)
    if found is None:
        return text[:400]
    task = found.group(2) if found.re.groups == 3 else found.group(1)
    return f"training worker {task} died ({found.group(found.re.groups).strip()[:250]})"


def _failure(folder: Path) -> errors.ForeshockError | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        found = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        kind: type[errors.ForeshockError] = getattr(errors, found["error"], errors.ForeshockError)
        return kind(found["message"])
    return None


def _follow(path: Path, say: Callable[..., None], stop: threading.Event) -> None:
    """Pass on what worker 0 says, until stopped and nothing is left."""
    at = 0
    while True:
        last = stop.is_set()
        with contextlib.suppress(OSError), io.BytesIO(path.read_bytes()) as handle:
            handle.seek(at)
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                at += len(line)
                found = json.loads(line)
                say(found["say"], **found["fields"])
        if last:
            return
        stop.wait(1.0)


def _cancel(spark: SparkSession, failure: Path, stop: threading.Event) -> None:
    """Once a worker has failed, give the others some time to end, then have Spark end the stage: a lost machine never answers."""
    while not stop.wait(1.0):
        if failure.exists():
            if not stop.wait(LOST_SECONDS):
                spark.sparkContext.cancelAllJobs()
            return


def _supervise(given: dict[str, Any]) -> dict[str, Any]:
    """In a barrier task: start the worker's process, watch it, return its result."""
    context = BarrierTaskContext.get()
    number, folder = context.partitionId(), at(given["checkpoints"])
    host = context.getTaskInfos()[number].address.rsplit(":", 1)[0]
    with socket.socket() as free:
        free.bind(("", 0))
        addresses = context.allGather(f"{host}:{free.getsockname()[1]}")
    cluster = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": number}}
    environment = {
        **os.environ,
        "TF_CONFIG": json.dumps(cluster),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    local = Path(tempfile.mkdtemp()) if is_remote(folder) else folder
    log = local / f"worker-{number}.log"
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
        return _watch(process, given, number, host, folder)
    except errors.ForeshockError as error:
        note_failure(folder, type(error).__name__, str(error))
        raise
    finally:
        process.kill()
        process.wait()
        if local != folder:
            with contextlib.suppress(OSError):
                copy(log, folder / log.name)
            shutil.rmtree(local, ignore_errors=True)


def _watch(
    process: subprocess.Popen[str], given: dict[str, Any], number: int, host: str, folder: Path
) -> dict[str, Any]:
    assert process.stdin is not None
    who = f"training worker {number} (of {given['workers']}, on {host}, process {process.pid})"
    again = "Run the same command again: training resumes at the newest checkpoint."
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"number": number, "fit": given}) + "\n")
        process.stdin.flush()
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    heard, patience = time.monotonic(), START_SECONDS
    while True:
        try:
            line = lines.get(timeout=1.0)
        except queue.Empty:
            if time.monotonic() - heard > patience:
                raise errors.ServiceError(
                    f"{who} stalled: nothing was heard of it for {patience:.0f} s. {again}"
                ) from None
            continue
        if line is None:
            code = process.wait()
            how = (
                f"killed by signal {-code} ({signal.Signals(-code).name})"
                if code < 0
                else f"exit code {code}"
            )
            raise errors.ServiceError(
                f"{who} died: {how}. Its last words are in {folder / f'worker-{number}.log'}. {again}"
            )
        heard = time.monotonic()
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if "result" in found:
                return {**found["result"], "host": host}
            if "error" in found:
                raise getattr(errors, found["error"], errors.ForeshockError)(found["message"])
            if "say" in found and number == 0:
                append_text(folder / PROGRESS, line)
            if "beat" in found:
                patience = SILENT_SECONDS
                if found["since"] > found["limit"]:
                    raise errors.ServiceError(
                        f"{who} stalled: it has {DOING[found['beat']]} for {found['since']:.0f} s. {again}"
                    )


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)
