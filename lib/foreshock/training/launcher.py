"""Starts training workers from a barrier stage of Spark; one dead or stalled worker ends all.

Each task of the stage supervises one process (`training.supervisor`). Loads no TensorFlow.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from foreshock import errors
from foreshock.platform.paths import at
from foreshock.platform.transfers import remove
from foreshock.training.fitted import WorkerResult
from foreshock.training.spec import TrainingSpec
from foreshock.training.supervisor import PROGRESS, supervise
from foreshock.training.trainable import Say
from foreshock.training.worker import AGAIN, FAILURE

# What the other workers have to end by themselves once one has failed.
LOST_SECONDS = 20.0
# Executors of a new cluster may register one after another.
SLOTS_SECONDS = 60.0
# No interface of Spark's tells which task of a barrier stage was lost; its messages do.
LOST_TASKS = (
    re.compile(r"ResultTask\(\d+, (?P<task>\d+)\) finished unsuccessfully\.?(?P<why>.{0,300})"),
    re.compile(r"Lost task (?P<task>\d+)\.\d+ in stage.*?(?P<why>\(.{0,300})"),
)


def launch(spark: SparkSession, spec: TrainingSpec, attempts: int, say: Say) -> list[WorkerResult]:
    """Train on several workers, at most `attempts` times, each from the newest checkpoint.

    Spark never starts a barrier stage that gives results again by itself. The weights are in the
    newest checkpoint. Raises as the last attempt: ServiceError that names a worker that died or
    stalled, and what a worker raised.
    """
    for attempt in range(1, attempts + 1):
        try:
            return _launch_once(spark, spec, say)
        except errors.ServiceError as error:
            if attempt == attempts:
                raise
            say(f"attempt {attempt} of {attempts} failed: {error}")
    raise ValueError("attempts must be at least 1")


def _launch_once(spark: SparkSession, spec: TrainingSpec, say: Say) -> list[WorkerResult]:
    folder = at(spec.checkpoints)
    folder.mkdir(parents=True, exist_ok=True)
    # What an attempt before this one left would be taken for this one's.
    for name in (PROGRESS, FAILURE):
        remove(folder / name)

    def supervise_worker(_: Iterable[int]) -> Iterator[str]:
        yield json.dumps(supervise(spec).to_mapping())

    stop_following = threading.Event()
    follower = threading.Thread(
        target=_pass_on, args=(folder / PROGRESS, say, stop_following), daemon=True
    )
    follower.start()
    canceller = threading.Thread(
        target=_cancel_when_failed, args=(spark, folder / FAILURE, stop_following), daemon=True
    )
    canceller.start()
    try:
        numbers = spark.sparkContext.parallelize(range(spec.workers), spec.workers)
        rows = numbers.barrier().mapPartitions(supervise_worker).collect()
    except Exception as error:
        # Spark may name a task that only followed; the note is of what failed first.
        known_error = _noted_failure(folder)
        if known_error is not None:
            raise known_error from error
        raise errors.ServiceError(
            f"training on {spec.workers} workers failed: {_lost_task(error)}. {AGAIN}"
        ) from error
    finally:
        stop_following.set()
        follower.join(timeout=5)
    results = sorted((WorkerResult(**json.loads(row)) for row in rows), key=lambda r: r.worker)
    # Workers start alike and take the same steps, so their weights are equal to the bit.
    if len({result.weights_sha256 for result in results}) != 1:
        digests = [f"worker {result.worker}: {result.weights_sha256[:12]}" for result in results]
        raise errors.ForeshockError(
            f"the workers' weights differ at the end of training: {', '.join(digests)}"
        )
    return results


def check_slots(spark: SparkSession, workers: int) -> None:
    """Raise SettingsError if Spark cannot run so many tasks at once.

    Spark itself would wait for ten minutes before it says so.
    """
    if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        raise errors.SettingsError(
            "training.workers: Spark's barrier stages do not work with dynamic allocation. Submit "
            "with --conf spark.dynamicAllocation.enabled=false and a fixed number of executors."
        )
    is_local = str(spark.sparkContext.master).startswith("local")
    deadline = time.monotonic() + (0 if is_local else SLOTS_SECONDS)
    while (slots := _slots(spark)) < workers:
        if time.monotonic() > deadline:
            raise errors.SettingsError(
                f"training.workers is {workers}, but Spark can run {slots} tasks at once here: at "
                f"most {slots} workers. Lower it, or give Spark more executors."
            )
        time.sleep(1)


def _slots(spark: SparkSession) -> int:
    """How many tasks Spark can run at once."""
    context: Any = spark.sparkContext._jsc.sc()
    profile = context.resourceProfileManager().defaultResourceProfile()
    return int(context.maxNumConcurrentTasks(profile))


def _lost_task(error: Exception) -> str:
    """Which barrier task Spark lost, in words."""
    text = " ".join(str(error).split())
    for pattern in LOST_TASKS:
        if match := pattern.search(text):
            return f"training worker {match['task']} died ({match['why'].strip()[:250]})"
    return text[:400]


def _noted_failure(folder: Path) -> errors.ForeshockError | None:
    """The first failure that a process of the training left."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        failure = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        kind: type[errors.ForeshockError] = getattr(errors, failure["error"], errors.ForeshockError)
        return kind(failure["message"])
    return None


def _pass_on(path: Path, say: Say, stopped: threading.Event) -> None:
    """Pass on what worker 0 says, until stopped and nothing is left."""
    read_position = 0
    while True:
        # Asked before the file is read: what was written until then is still passed on.
        is_last = stopped.is_set()
        with contextlib.suppress(OSError), io.BytesIO(path.read_bytes()) as handle:
            handle.seek(read_position)
            for line in handle:
                # A line that is still being written is read again the next time.
                if not line.endswith(b"\n"):
                    break
                read_position += len(line)
                progress = json.loads(line)
                say(progress["say"], **progress["fields"])
        if is_last:
            return
        stopped.wait(1.0)


def _cancel_when_failed(spark: SparkSession, failure: Path, stopped: threading.Event) -> None:
    """Once a worker has failed, give the others some time, then have Spark end the stage.

    A lost machine never answers.
    """
    while not stopped.wait(1.0):
        if failure.exists():
            if not stopped.wait(LOST_SECONDS):
                spark.sparkContext.cancelAllJobs()
            return
