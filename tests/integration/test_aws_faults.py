"""Faults at the server amid whole jobs.

After a fault that passes, the tables are right. Any other fault ends in exit 4 and the
service's words.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aws_stack.jobs import ROOT, arguments
from aws_stack.lake import ATHENA, FILES, FULL, LAKE, Lake, check_silence, conf, same, scores
from aws_stack.server import (
    DENIED,
    EXPIRED,
    SLOW_DOWN,
    THROTTLED,
    Fault,
    Request,
    after,
    always,
    every,
)

pytestmark = pytest.mark.slow
NTH = 10 if FULL else 40  # a request in so many fails
# Of bodies fewer are cut: S3A skips forward in a broken stream again and again until its task
# fails, so every task of many reads would.
CUT = 100 if FULL else 40


def reads(request: Request) -> bool:
    return request.reads("")


def athena(request: Request) -> bool:
    return request.target.startswith("AmazonAthena")


PASSING: dict[str, list[Fault]] = {
    "slow down": [every(NTH, SLOW_DOWN)],
    "resets": [every(NTH, "reset")],
    "truncated bodies": [every(CUT, "truncate", reads)],
    "throttling": [every(3, THROTTLED, athena)],
}
if not FULL:  # a quarter of an hour of waiting, one after another
    PASSING = {"all of them": [f for faults in PASSING.values() for f in faults]}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_faults_that_pass_end_in_the_right_tables(
    lake: Lake, local: Path, tmp_path: Path, faults: list[Fault]
) -> None:
    name = f"passing-{list(PASSING.values()).index(faults)}"
    lake.stack.faults.extend(faults)
    try:
        code, error = lake.run(
            tmp_path,
            conf(ATHENA, tables=lake.sink("glue", name.replace("-", "_"))),
            f"s3://{LAKE}/runs/{name}",
        )
    finally:
        lake.stack.faults.clear()
    assert code == 0, error
    same(lake.read("glue", name.replace("-", "_"), "scores"), scores(local / "tables" / "scores"))
    assert lake.temporary() == []
    assert lake.stack.athena.running == []


def attempts(lake: Lake, run: str) -> list[dict[str, Any]]:
    """The rows of `runs` that a run directory holds."""
    keys = [k for k in lake.objects(f"{run}/tables/runs/") if k.endswith(".parquet")]
    return [
        row
        for k in keys
        for row in pq.read_table(
            io.BytesIO(lake.s3.get_object(Bucket=LAKE, Key=k)["Body"].read())
        ).to_pylist()
    ]


def check_nothing_half(lake: Lake, run: str, namespace: str) -> None:
    """No query runs, and nothing temporary is left.

    No table is there that readers could take for whole.
    """
    assert lake.stack.athena.running == []
    assert lake.temporary() == []
    if not lake.objects(f"{run}/.stages/score.json"):
        assert not [k for k in lake.objects(run) if "/tables/" in k and "/tables/runs/" not in k]
    there = lake.stack.client("glue").get_databases()["DatabaseList"]
    if namespace in [d["Name"] for d in there]:
        assert all(
            not lake.live("glue", namespace, t["Name"])[1]
            for t in lake.stack.client("glue").get_tables(DatabaseName=namespace)["TableList"]
        )


QUERIES = {
    "failed": ("fail: HIVE_CURSOR_ERROR: no such block", {}, "HIVE_CURSOR_ERROR: no such block"),
    "cancelled": ("cancel", {}, "Query cancelled by an administrator"),
    "never ending": ("hang", {"query_timeout": 3}, "source.query_timeout (3 s"),
    "over the budget": (
        None,
        {"max_bytes_scanned": 20_000},
        "over source.max_bytes_scanned (20000)",
    ),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_that_ends_badly_ends_the_job_and_the_other_queries(
    lake: Lake, tmp_path: Path, case: str
) -> None:
    behaviour, settings, words = QUERIES[case]
    name = "query_" + case.replace(" ", "_")
    bad = "'2023-01-03'"
    lake.stack.athena.behaviours.append(
        lambda sql: (
            behaviour if bad in sql else "sleep: 60" if behaviour and bad < sql[-60:] else None
        )
    )
    try:
        code, error = lake.run(
            tmp_path,
            conf(ATHENA | settings, tables=lake.sink("glue", name)),
            f"s3://{LAKE}/runs/{name}",
        )
    finally:
        lake.stack.athena.behaviours.clear()
    assert code == 4, error
    assert words in error
    found = next(r for r in attempts(lake, f"runs/{name}") if r["status"] == "failed")
    noted = json.loads(found["counts"])["athena"]
    assert noted["failure"]["id"] in error
    assert noted["failure"]["id"] in {q["id"] for q in noted["queries"]}
    if case == "over the budget":
        assert str(noted["bytes_scanned"]) in error
    check_nothing_half(lake, f"runs/{name}", name)
    if not FULL:
        return
    code, error = lake.run(
        tmp_path,
        conf(
            ATHENA
            | settings
            | ({"max_bytes_scanned": None} if "max_bytes_scanned" in settings else {}),
            tables=lake.sink("glue", name),
        ),
        f"s3://{LAKE}/runs/{name}",
    )
    assert code == 0, error


SERVICES: dict[str, tuple[Fault, str]] = {
    "expired in prepare": (after("/.stages/extract.json", EXPIRED), "expired"),
    **(
        {
            "denied in extract": (
                always(DENIED, lambda r: r.method == "PUT" and "/.staging/" in r.path),
                "denied",
            )
        }
        if FULL
        else {}
    ),
    "denied when tables are published": (
        always(DENIED, lambda r: r.method == "PUT" and "/warehouse/" in r.path),
        "denied",
    ),
}


@pytest.mark.parametrize("case", SERVICES)
def test_what_a_service_refuses_ends_the_job_in_its_words(
    lake: Lake, local: Path, tmp_path: Path, case: str
) -> None:
    fault, words = SERVICES[case]
    name = "refused_" + case.replace(" ", "_")
    made = conf(FILES, tables=lake.sink("glue", name))
    argv = arguments(tmp_path, made, f"s3://{LAKE}/runs/{name}")
    with lake.stack.fault(
        fault
    ):  # as a command of its own, whose lock dies with it where it cannot be removed
        done = subprocess.run(
            [sys.executable, str(ROOT / "jobs" / "pipeline.py"), *argv],
            env=lake.stack.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    code, error = done.returncode, done.stderr
    check_silence(error)
    assert code == 4, error
    assert words in error.lower()
    if "expired" not in case:  # with which nothing can be cleared away
        check_nothing_half(lake, f"runs/{name}", name)
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/{name}")
    assert code == 0, error
    same(lake.read("glue", name, "scores"), scores(local / "tables" / "scores"))
    assert lake.temporary() == []


def test_a_glue_table_that_is_gone_is_said(lake: Lake, tmp_path: Path) -> None:
    code, error = lake.run(
        tmp_path,
        conf(ATHENA | {"table": "gone"}, tables=lake.sink("glue", "gone")),
        f"s3://{LAKE}/runs/gone",
    )
    assert code == 4, error
    assert "EntityNotFoundException" in error
    check_nothing_half(lake, "runs/gone", "gone")


UNNAMED = {k: v for k, v in ATHENA.items() if k != "table"}
BAD: dict[str, tuple[dict[str, Any], str, str, int, str]] = {
    "a bucket that is not there": (
        {"kind": "files", "path": "s3://no-such-bucket/x"},
        "glue",
        "a",
        2,
        "no bucket 'no-such-bucket'",
    ),
    "a prefix without objects": (
        {"kind": "files", "path": f"s3://{LAKE}/nothing/here"},
        "glue",
        "a",
        3,
        "there is no file in it",
    ),
    "a wrong workgroup": (
        ATHENA | {"workgroup": "nowhere"},
        "glue",
        "a",
        2,
        "WorkGroup nowhere is not found",
    ),
    "a table without the column": (
        ATHENA | {"table": "plain", "partitions": ["2023-01-01", "2023-01-02"]},
        "glue",
        "a",
        3,
        "no partition columns",
    ),
    "two statements": (UNNAMED | {"query": "SELECT 1; DROP TABLE t"}, "glue", "a", 2, "semicolon"),
    "no SELECT": (UNNAMED | {"query": "DELETE FROM transactions"}, "glue", "a", 2, "begins with"),
    "no bucket of tables": (FILES, "s3tables", "x", 4, "S3Tables"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_any_work(lake: Lake, tmp_path: Path, case: str) -> None:
    source, catalog, namespace, wanted, words = BAD[case]
    glue = lake.stack.client("glue")
    if "plain" not in [t["Name"] for t in glue.get_tables(DatabaseName="ethereum")["TableList"]]:
        glue.create_table(
            DatabaseName="ethereum",
            TableInput={
                "Name": "plain",
                "StorageDescriptor": {"Location": f"s3://{LAKE}/transactions", "Columns": []},
            },
        )
    made = conf(
        source,
        tables=lake.sink(catalog, namespace)
        if catalog == "glue"
        else {
            "sink": "iceberg",
            "iceberg": {
                "catalog": catalog,
                "namespace": namespace,
                "create": True,
                "warehouse": lake.table_bucket.replace("results", "no-results"),
            },
        },
    )
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/bad-{list(BAD).index(case)}")
    assert code == wanted, error
    assert words in error
    assert lake.temporary() == []
    assert not [
        k
        for k in lake.objects(f"runs/bad-{list(BAD).index(case)}")
        if "/events/" in k or "/.stages/" in k
    ]


def test_an_iceberg_table_of_another_schema_is_refused_before_any_work(
    lake: Lake, tmp_path: Path
) -> None:
    from pyiceberg.schema import Schema
    from pyiceberg.types import LongType, NestedField

    catalog = lake.stack.iceberg()
    catalog.create_namespace("taken")
    catalog.create_table(
        "taken.scores", Schema(NestedField(1, "score", LongType())), location=f"s3://{LAKE}/taken"
    )
    code, error = lake.run(
        tmp_path, conf(FILES, tables=lake.sink("glue", "taken")), str(tmp_path / "run")
    )
    assert code == 2, error
    assert "column score is bigint, double is wanted" in error
    assert not (tmp_path / "run" / "events").exists()
    missing = lake.sink("glue", "not_there")
    missing["iceberg"]["create"] = False
    code, error = lake.run(tmp_path, conf(FILES, tables=missing), str(tmp_path / "run"))
    assert code == 2, error
    assert "tables.iceberg.create" in error
