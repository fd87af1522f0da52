"""Figures of a start: seconds and memory of commands that have little or nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from benchmarks.measure import Figure, alternate, within

NAMES = (
    "start_help",
    "start_help_memory",
    "start_unknown_key",
    "start_finished_run",
    "start_small_run",
)
HELP_SECONDS, HELP_MEGABYTES = 0.5, 60.0
UNKNOWN_KEY_SECONDS, FINISHED_RUN_SECONDS = 1.0, 3.0
SMALL_RUN_FACTOR = 2.5  # times an empty PySpark job
ROWS = 3_200

COMMAND = "import sys; from foreshock.stages.command import main; sys.exit(main())"
HELP_AND_MEMORY = """
from foreshock.stages.command import main
assert main(["run", "--help"]) == 0
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).strip())
"""
EMPTY_JOB = """
from foreshock.platform.session import build_session
spark = build_session("empty")
assert spark.range(0, 1_000_000).count() == 1_000_000
spark.stop()
"""
SMALL_CONF = {
    "run": {"name": "small"},
    "source": {
        "kind": "synthetic",
        "events": ROWS,
        "entities": 20,
        "start": "2023-01-02",
        "days": 20,
    },
    "events": {
        "entity": "from_address",
        "time": "block_timestamp",
        "partition": "date",
        "tiebreak": ["block_number", "transaction_index"],
        "id": "hash",
        "label": "label",
        "kind": "kind",
        "features": {"value": "log10(1 + value / 1e15)", "gas": "log10(gas)"},
    },
    "split": {
        "train": ["2023-01-02", "2023-01-14"],
        "calibration": ["2023-01-14", "2023-01-17"],
        "test": ["2023-01-17", "2023-01-22"],
    },
    "windows": {"length": 16},
    "model": {"name": "pca"},
    "detectors": [],
    "thresholds": {"min_count": 100},
}


def seconds_of(arguments: list[str], expected_code: int = 0) -> float:
    """Run Python with these arguments; returns its wall time.

    Raises RuntimeError for another exit code than expected.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        env=os.environ | {"FORESHOCK_DRIVER_MEMORY": "1g"},
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode != expected_code:
        raise RuntimeError(f"{arguments}: exit {done.returncode}: {done.stderr[-2000:]!r}")
    return seconds


def megabytes_of_help() -> float:
    """The largest resident size of `foreshock run --help`, as the process itself reads it.

    The usage that a parent is told of a child counts the parent's own pages from before exec.
    """
    command = [sys.executable, "-c", HELP_AND_MEMORY]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(printed.splitlines()[-1].split()[1]) / 1024


def figures(folder: Path, names: set[str], *, quick: bool) -> Iterator[Figure]:
    """The figures of NAMES that are asked for."""
    repetitions = 1 if quick else 7
    help_arguments = ["-c", COMMAND, "run", "--help"]
    if "start_help" in names:
        yield within(
            "start_help",
            lambda: seconds_of(help_arguments),
            limit=HELP_SECONDS,
            unit="s",
            sizes="`foreshock run --help`, a process of its own",
            repetitions=repetitions,
        )
    if "start_help_memory" in names:
        yield within(
            "start_help_memory",
            megabytes_of_help,
            limit=HELP_MEGABYTES,
            unit="MB",
            sizes="`foreshock run --help`: largest resident size",
            repetitions=repetitions,
        )
    conf = folder / "small.yaml"
    conf.write_text(yaml.safe_dump(SMALL_CONF, sort_keys=False))
    if "start_unknown_key" in names:
        flags = ["--run-dir", str(folder / "never"), "--set", "run.sed=8"]
        yield within(
            "start_unknown_key",
            lambda: seconds_of(_run(conf, *flags), expected_code=2),
            limit=UNKNOWN_KEY_SECONDS,
            unit="s",
            sizes="`foreshock run` with an unknown key in the conf: exit code 2",
            repetitions=repetitions,
        )
    if "start_finished_run" in names:
        yield _finished_run(folder, conf, repetitions)
    if "start_small_run" in names:
        yield _small_run(folder, conf, 1 if quick else 3)


def _run(conf: Path, *flags: str) -> list[str]:
    return ["-c", COMMAND, "run", "--conf", str(conf), *flags]


def _finished_run(folder: Path, conf: Path, repetitions: int) -> Figure:
    command = _run(conf, "--run-dir", str(folder / "finished"))
    seconds_of(command)
    return within(
        "start_finished_run",
        lambda: seconds_of(command),
        limit=FINISHED_RUN_SECONDS,
        unit="s",
        sizes=f"the pipeline again over a finished run of {ROWS:,} rows: every stage is done",
        repetitions=repetitions,
    )


def _small_run(folder: Path, conf: Path, repetitions: int) -> Figure:
    return alternate(
        "start_small_run",
        _fresh_runs(folder, conf),
        lambda: seconds_of(["-c", EMPTY_JOB]),
        peer_name="an empty PySpark job: start a session like ours, count one range, stop",
        unit="s",
        wanted=1 / SMALL_RUN_FACTOR,
        sizes=f"the whole pipeline over {ROWS:,} synthetic rows, model pca, detectors []",
        repetitions=repetitions,
        is_cost=True,
    )


def _fresh_runs(folder: Path, conf: Path) -> Callable[[], float]:
    """Times a run in a run directory of its own at every call."""
    numbers = iter(range(1_000))

    def seconds() -> float:
        run_dir = folder / f"run-{next(numbers)}"
        return seconds_of(_run(conf, "--run-dir", str(run_dir)))

    return seconds
