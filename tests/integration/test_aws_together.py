"""Jobs that are told to stop, and jobs at work at the same time.

No query is left running, no table is half-published, and no row is lost.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from aws_stack import tables
from aws_stack.jobs import ROOT, Process, arguments
from aws_stack.lake import (
    ATHENA,
    BEFORE,
    DAYS,
    FILES,
    FULL,
    LAKE,
    Lake,
    check_silence,
    conf,
    daily,
    same,
    scores,
)
from aws_stack.server import REST_TOKEN, Fault, Request

pytestmark = pytest.mark.slow
STAGES = (
    ("extract", "prepare", "train", "score", "publish", "report")
    if FULL
    else ("extract", "score", "publish")
)
CATALOGS = ("glue", "s3tables", "rest", "hadoop", "location") if FULL else ("glue", "location")


def stopped_in(lake: Lake, argv: list[str], stage: str, how: int) -> tuple[int, float, str]:
    """(exit code, seconds from the signal to the end, what was printed) of a pipeline.

    The pipeline is told to stop once the stage has begun.
    """
    job = subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "pipeline.py"), *argv],
        env=lake.stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stderr
    said = []
    for line in job.stderr:
        said.append(line)
        if re.search(rf"\] {stage} +(started|unloading)", line):
            break
    until = time.monotonic() + 10
    while stage == "extract" and len(lake.stack.athena.running) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    told = time.monotonic()
    job.send_signal(how)
    rest = job.stderr.read()
    code = job.wait(60)
    return code, time.monotonic() - told, "".join(said) + rest


def test_a_job_told_to_stop_in_any_stage_leaves_nothing_half_and_the_next_finishes(
    lake: Lake, local: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run = f"s3://{LAKE}/runs/stopped"
    argv = arguments(tmp_path, conf(ATHENA, tables=lake.sink("glue", "stopped")), run)
    took = {}
    for stage in STAGES:
        if stage == "extract":
            lake.stack.athena.behaviours.append(lambda sql: "sleep: 60")
        code, took[stage], said = stopped_in(lake, argv, stage, signal.SIGTERM)
        lake.stack.athena.behaviours.clear()
        assert code == 128 + signal.SIGTERM, said
        assert "the same command finishes the run" in said
        check_silence(said)
        assert lake.stack.athena.running == []
        assert lake.temporary() == []
        if stage != "publish":
            assert not lake.objects(f"runs/stopped/.stages/{stage}.json"), "its record comes last"
    for stage, seconds in took.items():
        record_property(f"SIGTERM in {stage}: seconds to the end", round(seconds, 1))
    assert max(took.values()) < 30, took
    code, error = lake.run(tmp_path, conf(ATHENA, tables=lake.sink("glue", "stopped")), run)
    assert code == 0, error
    same(lake.read("glue", "stopped", "scores"), scores(local / "tables" / "scores"))


@pytest.fixture(scope="module")
def base(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of all days but the last, on S3, that publishes nothing. Then the last day comes."""
    code, error = lake.run(tmp_path_factory.mktemp("base"), conf(FILES), f"s3://{LAKE}/runs/base")
    assert code == 0, error
    lake.add(lake.data[BEFORE:])
    return f"s3://{LAKE}/runs/base"


@pytest.fixture(scope="module")
def second(lake: Lake) -> Iterator[Process]:
    made = Process(lake.stack.environment(), "s3tables", {"token": REST_TOKEN})
    yield made
    made.stop()


def meeting(runs: tuple[str, ...]) -> Fault:
    """Both runs wait for one another before they publish: each has looked at the tables by then."""
    barrier, seen, lock = threading.Barrier(len(runs)), set(), threading.Lock()

    def fault(request: Request, _: dict[str, Any]) -> None:
        own = next(
            (
                r
                for r in runs
                if request.method == "PUT" and request.path.endswith(f"/{r}/sink.json")
            ),
            None,
        )
        with lock:
            first = own is not None and own not in seen
            seen.add(own)
        if first:
            barrier.wait(300)

    return fault


def at_once(
    lake: Lake, second: Process, folder: Path, confs: dict[str, dict[str, Any]]
) -> dict[str, tuple[int, str]]:
    """What two daily runs, by name, end with that publish at the same time."""
    ended: dict[str, tuple[int, str]] = {}

    def one(name: str, process: Process) -> None:
        ended[name] = process.run(arguments(folder, confs[name], f"s3://{LAKE}/runs/{name}"))

    with lake.stack.fault(meeting(tuple(confs))):
        threads = [
            threading.Thread(target=one, args=pair)
            for pair in zip(confs, (lake.process, second), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for _, printed in ended.values():
        check_silence(printed)
    return ended


@pytest.mark.parametrize("catalog", CATALOGS)
def test_two_jobs_at_once_lose_nothing(
    lake: Lake, base: str, second: Process, tmp_path: Path, catalog: str
) -> None:
    place = f"together/{catalog}"
    sink = (
        {"location": f"s3://{LAKE}/{place}"}
        if catalog == "location"
        else lake.sink(catalog, f"together_{catalog}")
    )

    def one(name: str, day: int) -> dict[str, Any]:
        made = daily(
            FILES | {"path": f"s3://{LAKE}/transactions/date={tables.day(day)}"},
            tables.day(day),
            base,
            tables=sink,
        )
        made["run"] = {"name": name, "seed": 7}
        made["split"] = {"test": [tables.day(day), tables.day(day + 1)]}
        made["events"]["partition"] = None
        return made

    def there() -> dict[str, set[str]]:
        found = (
            lake.duckdb()
            .sql(
                f"SELECT * FROM read_parquet('s3://{LAKE}/{place}/scores/**/*.parquet', "
                "hive_partitioning = true, "
                "hive_types = {'split': VARCHAR, 'partition': VARCHAR})"
            )
            .to_arrow_table()
            if catalog == "location"
            else lake.read(catalog, f"together_{catalog}", "scores")
        )
        return {
            p: {
                r.rsplit("-", 1)[0]
                for r in found.filter(pc.equal(found["partition"], p))["run_id"].to_pylist()
            }
            for p in set(found["partition"].to_pylist())
        }

    a, b, c = f"{catalog}-a", f"{catalog}-b", f"{catalog}-c"
    ended = at_once(lake, second, tmp_path, {a: one(a, BEFORE), b: one(b, DAYS)})
    assert [code for code, _ in ended.values()] == [0, 0], ended
    assert there() == {tables.day(BEFORE): {a}, tables.day(DAYS): {b}}
    a = f"{catalog}-d"
    ended = at_once(lake, second, tmp_path, {a: one(a, DAYS), c: one(c, DAYS)})
    assert sorted(code for code, _ in ended.values()) == [0, 4], ended
    lost = next(name for name, (code, _) in ended.items() if code == 4)
    assert "another run wrote" in ended[lost][1]
    assert there()[tables.day(DAYS)] == {a, c} - {lost}, "one wins whole"
    code, error = lake.run(tmp_path, one(lost, DAYS), f"s3://{LAKE}/runs/{lost}")
    assert code == 0, error
    assert there()[tables.day(DAYS)] == {lost}
