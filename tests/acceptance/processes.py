"""Acceptance checks that need separate processes: kills, a standalone cluster, memory.

Sizes are arguments.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from acceptance import tools

JOBS = tools.ROOT / "jobs"
STAGES = ("extract", "prepare", "train", "score", "report")


def small_conf(work: Path, *, events: int = 20_000, **changes: Any) -> Path:
    """A small synthetic run with a network and both detectors."""
    made: dict[str, Any] = {
        "run": {"name": "small", "seed": 5},
        "source": {
            "kind": "synthetic",
            "events": events,
            "entities": 30,
            "start": "2023-01-02",
            "days": 12,
            "prevalence": 0.03,
            "anomalies_from": "2023-01-11",
        },
        "events": {
            "entity": "from_address",
            "time": "block_timestamp",
            "partition": "date",
            "tiebreak": ["block_number", "transaction_index"],
            "id": "hash",
            "label": "label",
            "kind": "kind",
            "features": {
                "value": "log10(1 + value / 1e15)",
                "gas": "log10(gas)",
                "used": "receipt_gas_used / gas",
                "price": "log10(gas_price)",
            },
        },
        "split": {
            "train": ["2023-01-02", "2023-01-09"],
            "calibration": ["2023-01-09", "2023-01-11"],
            "test": ["2023-01-11", "2023-01-14"],
        },
        "scaling": {"clip": 5},
        "windows": {"length": 8},
        "model": {"units": [8], "dense": 4},
        "training": {"epochs": 2, "windows_per_epoch": 4000},
        "thresholds": {"min_count": 500},
    }
    for name, value in changes.items():
        section, key = name.split("__")
        made.setdefault(section, {})[key] = value
    return tools.write_conf(made, work / "small.yaml")


def start(
    job: str, conf: Path, run_dir: Path, *flags: str, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        str(JOBS / f"{job}.py"),
        "--conf",
        str(conf),
        "--run-dir",
        str(run_dir),
        *flags,
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=3600)
    return process.returncode, out, err


def kill_all(
    work: Path, *, moments: tuple[float, ...] = (0.5,), in_turn: bool = False
) -> dict[str, Any]:
    """kill -9 of the driver in each stage, after which the same command finishes the run.

    The tables equal those of the undisturbed run. A further start does nothing.
    in_turn: one run is killed in every stage that it comes to, and then finishes.
    """
    conf = small_conf(work)
    code, _, err = finish(start("pipeline", conf, work / "calm"))
    assert code == 0, err
    figures: dict[str, Any] = {}
    for stage in STAGES:
        for moment in moments:
            run_dir = work / ("killed" if in_turn else f"killed-{stage}-{moment}")
            process = start("pipeline", conf, run_dir)
            wait_for(run_dir, f'"stage": "{stage}", "message": "started"')
            time.sleep(moment)
            alive = process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
            finish(process)
            if in_turn and stage != STAGES[-1]:
                continue
            code, _, err = finish(start("pipeline", conf, run_dir))
            assert code == 0, err
            difference = tools.largest_difference(work / "calm", run_dir)
            assert difference <= 1e-6, (stage, difference)
            assert not list((run_dir / ".staging").glob("*")), "leftovers in .staging"
            figures[f"{stage} after {moment} s (alive when killed: {alive})"] = difference
    before = {
        f: f.stat().st_mtime_ns
        for f in (work / "calm").rglob("*")
        if f.is_file() and f.name not in ("events.log", ".lock")
    }
    code, _, err = finish(start("pipeline", conf, work / "calm"))
    assert code == 0, err
    after = {
        f: f.stat().st_mtime_ns
        for f in (work / "calm").rglob("*")
        if f.is_file() and f.name not in ("events.log", ".lock")
    }
    assert before == after, "the same command again wrote something"
    code, _, err = finish(start("pipeline", conf, work / "calm", "--set", "windows.length=9"))
    assert code == 2 and "windows.length" in err, (code, err)
    return figures


def wait_for(run_dir: Path, text: str, seconds: float = 300) -> None:
    """Wait until the run's log holds a text."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(FileNotFoundError):
            if text in (run_dir / "events.log").read_text():
                return
        time.sleep(0.02)
    raise AssertionError(f"{text} not seen in {run_dir}/events.log")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.contextmanager
def standalone_cluster(work: Path, *, cores: int = 1) -> Iterator[str]:
    """A Spark master and two workers on this machine, of some cores each."""
    import pyspark

    home = Path(pyspark.__file__).parent
    port = free_port()
    env = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_HOME": str(home),
    }
    run = [str(home / "bin" / "spark-class")]
    master = "org.apache.spark.deploy.master.Master"
    worker = "org.apache.spark.deploy.worker.Worker"
    url = f"spark://127.0.0.1:{port}"
    commands = [
        [*run, master, "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(free_port())]
    ]
    commands += [
        [
            *run,
            worker,
            "--host",
            "127.0.0.1",
            "--cores",
            str(cores),
            "--memory",
            "2g",
            "--webui-port",
            str(free_port()),
            "--work-dir",
            str(work / f"worker{i}"),
            url,
        ]
        for i in (1, 2)
    ]
    processes = []
    try:
        for i, command in enumerate(commands):
            log = (work / f"spark{i}.log").open("w")
            processes.append(
                subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
            )
            time.sleep(4)
        yield url
    finally:
        for p in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)


def submit_command(
    master: str, work: Path, job: str, conf: Path, run_dir: Path, *flags: str
) -> list[str]:
    """spark-submit of a job to a master, with the package as an archive for --py-files."""
    import pyspark

    archive = work / "foreshock.zip"
    if not archive.exists():
        with zipfile.ZipFile(archive, "w") as z:
            for file in (tools.ROOT / "lib").rglob("*"):
                if file.is_file() and file.suffix != ".pyc" and "egg-info" not in str(file):
                    z.write(file, file.relative_to(tools.ROOT / "lib"))
    return [
        str(Path(pyspark.__file__).parent / "bin" / "spark-submit"),
        "--master",
        master,
        "--py-files",
        str(archive),
        "--driver-memory",
        "1g",
        "--executor-memory",
        "1g",
        str(JOBS / f"{job}.py"),
        "--conf",
        str(conf),
        "--run-dir",
        str(run_dir),
        *flags,
    ]


def submit_environment() -> dict[str, str]:
    """What spark-submit needs to find this environment's Python and Spark."""
    import pyspark

    return {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
    }


def cluster(work: Path) -> dict[str, Any]:
    """spark-submit against a standalone cluster gives the tables of python jobs/pipeline.py.

    foreshock is shipped with --py-files.
    """
    conf = small_conf(work)
    code, _, err = finish(start("pipeline", conf, work / "local"))
    assert code == 0, err
    with standalone_cluster(work) as url:
        done = subprocess.run(
            submit_command(url, work, "pipeline", conf, work / "cluster"),
            env=submit_environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    difference = tools.largest_difference(work / "local", work / "cluster")
    assert difference <= 1e-6, difference
    assert Path(done.stdout.strip().splitlines()[-1]).exists()
    return {"largest difference of scores": difference}


class Peak:
    """The largest resident memory of a process tree's members, by kind, while it runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peaks, self._stop = (
            pid,
            {"driver": 0, "jvm": 0, "python worker": 0},
            threading.Event(),
        )
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(self.pid)
                for p in [root, *root.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        # A child that the JVM just forked has its memory, and its thread's name
                        # until it becomes another program.
                        kind = (
                            "driver"
                            if p.pid == self.pid
                            else "python worker"
                            if "python" in p.name()
                            else "jvm"
                        )
                        self.peaks[kind] = max(self.peaks[kind], p.memory_info().rss)

    def stop(self) -> dict[str, float]:
        self._stop.set()
        self._thread.join()
        return {k: v / 2**30 for k, v in self.peaks.items()}


def memory(work: Path, *, events: int, windows_per_epoch: int) -> dict[str, Any]:
    """Every process stays under 2 GiB on a large table.

    The job extracts, prepares, trains for one epoch and scores two partitions.
    """
    conf = small_conf(
        work,
        events=events,
        source__entities=20_000,
        source__days=30,
        training__epochs=1,
        training__windows_per_epoch=windows_per_epoch,
        windows__length=50,
        model__units=[16],
        model__dense=8,
        split__train=["2023-01-02", "2023-01-22"],
        split__calibration=["2023-01-22", "2023-01-26"],
        split__test=["2023-01-26", "2023-02-01"],
        source__anomalies_from="2023-01-26",
    )
    figures: dict[str, Any] = {}
    for job, flags in (
        ("extract", ()),
        ("prepare", ()),
        ("train", ()),
        ("score", ("--partitions", "2023-01-24,2023-01-28")),
    ):
        started = time.monotonic()
        process = start(job, conf, work / "big", *flags)
        peak = Peak(process.pid)
        code, _, err = finish(process)
        found = peak.stop()
        assert code == 0, err[-3000:]
        for kind, gib in found.items():
            figures[f"{job}: {kind}, GiB"] = round(gib, 3)
        figures[f"{job}: seconds"] = round(time.monotonic() - started, 1)
    worst = max(v for k, v in figures.items() if k.endswith("GiB"))
    assert worst < 2.0, figures
    return figures
