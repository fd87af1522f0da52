"""Whole jobs, as commands, on the local stack: events from Athena and S3, tables to Iceberg and Glue, a day at a time."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from aws_stack import tables
from aws_stack.athena import Athena
from aws_stack.jobs import Process, arguments
from aws_stack.server import DENIED, KEY, REGION, SECRET, SLOW_DOWN, TOKEN, Stack, always, every

pytestmark = pytest.mark.slow
# `scripts/accept aws` tries the month; here nine days do.
FULL = "FORESHOCK_FULL_SIZE" in os.environ
DAYS, EVENTS = (31, 4_000) if FULL else (9, 2_400)
BEFORE = DAYS - 1
SPLIT = {"train": [tables.day(1), tables.day(DAYS // 2 + 1)], "calibration": [tables.day(DAYS // 2 + 1), tables.day(DAYS * 7 // 10 + 1)],
         "test": [tables.day(DAYS * 7 // 10 + 1), tables.day(DAYS + 5)]}
DATABASE, TABLE, LAKE = "ethereum", "transactions", "lake"
ATHENA = {"kind": "athena", "database": DATABASE, "table": TABLE, "output": f"s3://{LAKE}/unloaded"}
SORT = "ORDER BY split, partition, entity, event_time, event_id"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tables.daily(tmp_path_factory.mktemp("daily") / "transactions", events=EVENTS, days=DAYS)


@pytest.fixture(scope="module")
def stack(data: list[Path]) -> Iterator[Stack]:
    """All days but the last, on S3 and in Glue."""
    server = Stack()
    server.athena = Athena(server.client)
    s3 = server.client("s3")
    s3.create_bucket(Bucket=LAKE, CreateBucketConfiguration={"LocationConstraint": REGION})
    tables.upload(s3, data[:BEFORE], LAKE, TABLE)
    tables.register(server.client("glue"), data[:BEFORE], DATABASE, TABLE, f"s3://{LAKE}/{TABLE}")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def process(stack: Stack) -> Iterator[Process]:
    made = Process(stack.environment(), "glue")
    yield made
    made.stop()


def pipeline(process: Process, folder: Path, conf: dict[str, Any], run_dir: str, *flags: str) -> tuple[int, str]:
    """(exit code, what was printed) of the whole job."""
    code, printed = process.run(arguments(folder, conf, run_dir, *flags))
    for planted in (KEY, SECRET, TOKEN):
        assert planted not in printed
    return code, printed


def conf(source: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return tables.conf(source, **{"thresholds": {"min_count": 100}, "split": dict(SPLIT), **sections})


def iceberg(namespace: str) -> dict[str, Any]:
    there = {"catalog": "glue", "warehouse": f"s3://{LAKE}/warehouse", "namespace": namespace, "create": True}
    return {"sink": "iceberg", "iceberg": there}


def catalog_of(stack: Stack) -> Any:
    from pyiceberg.catalog import load_catalog

    own = {"client.region": REGION, "client.access-key-id": KEY, "client.secret-access-key": SECRET}
    return load_catalog("check", **{"type": "glue", "glue.endpoint": stack.url, "s3.endpoint": stack.url, **own})


def read_iceberg(stack: Stack, namespace: str, table: str) -> pa.Table:
    """A table's current rows, found and fetched by pyiceberg. (To parse Parquet itself it wants a newer pyarrow than Petastorm allows.)"""
    there = catalog_of(stack).load_table(f"{namespace}.{table}")
    parts = []
    for task in there.scan().plan_files():
        assert not task.delete_files
        with there.io.new_input(task.file.file_path).open() as file:
            parts.append(pq.read_table(io.BytesIO(file.read())))
    return pa.concat_tables(parts).select([f.name for f in there.schema().fields])


def scores(where: str) -> pa.Table:
    """`scores` of local Parquet as DuckDB reads it, without the run's name, in order."""
    found = duckdb.sql(f"SELECT * EXCLUDE (run_id) FROM read_parquet('{where}/**/*.parquet', hive_partitioning = true, "
                       f"hive_types = {{'split': VARCHAR, 'partition': VARCHAR}}) {SORT}")
    return found.to_arrow_table()


def same(ours: pa.Table, wanted: pa.Table, *, later: bool = False) -> None:
    """The same rows; scores to 1e-6. later: why an event has no score may have been otherwise then: its sequence was short."""
    assert set(ours.column_names) - {"run_id"} == set(wanted.column_names)
    mine = duckdb.from_arrow(ours).query("t", f"SELECT {', '.join(chr(34) + c + chr(34) for c in wanted.column_names)} FROM t {SORT}")
    a, b = mine.to_arrow_table().to_pylist(), wanted.to_pylist()
    assert len(a) == len(b) > 0
    for left, right in zip(a, b, strict=True):
        for name, value in right.items():
            if isinstance(value, float):
                assert left[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
            elif name == "reason" and later:
                assert {left[name], value} <= {"short_sequence", "warm_up"} or left[name] == value
            elif name not in ("feature_errors", "top_feature", "top_step", "top_value", "top_expected"):
                assert left[name] == value, name


@pytest.fixture(scope="module")
def local(process: Process, data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run over local files of all days but the last."""
    folder = tmp_path_factory.mktemp("local")
    for day in data[:BEFORE]:
        shutil.copytree(day, folder / "before" / day.name)
    code, error = pipeline(process, folder, conf({"kind": "files", "path": str(folder / "before")}), str(folder / "run"))
    assert code == 0, error
    return folder / "run"


@pytest.fixture(scope="module")
def pulled(stack: Stack, process: Process, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same through Athena, on S3, into Iceberg on Glue; returns the folder of its confs."""
    folder = tmp_path_factory.mktemp("pulled")
    code, error = pipeline(process, folder, conf(ATHENA, tables=iceberg("results")), f"s3://{LAKE}/runs/first")
    assert code == 0, error
    return folder


def test_from_athena_to_iceberg_on_glue(stack: Stack, local: Path, pulled: Path) -> None:
    found = read_iceberg(stack, "results", "scores")
    same(found, scores(str(local / "tables" / "scores")))
    s3 = stack.client("s3")
    summary = json.loads(s3.get_object(Bucket=LAKE, Key="runs/first/summary.json")["Body"].read())
    counts = summary["counts"]
    assert counts["rows_read"] == sum(n for k in ("filtered", "outside_splits", "train", "judged") if (n := counts[k])) + sum(
        counts["quarantined"].values()) + sum(counts["unjudged"].values())
    assert len(found) == counts["judged"] + sum(counts["unjudged"].values())
    runs = {r["stage"]: r for r in read_iceberg(stack, "results", "runs").to_pylist()}
    assert {"extract", "prepare", "train", "score", "publish", "report"} <= set(runs)
    assert set(json.loads(runs["publish"]["counts"])["snapshots"]) == {
        "scores", "detector_scores", "error_distribution", "thresholds", "drift", "metrics"}
    assert len(json.loads(runs["extract"]["counts"])["athena"]["queries"]) == BEFORE
    left = [o["Key"] for o in s3.list_objects_v2(Bucket=LAKE).get("Contents", []) if "unload" in o["Key"] or "/.staging/" in o["Key"]]
    assert left == []
    glue = stack.client("glue").get_table(DatabaseName="results", Name="scores")["Table"]
    assert {c["Name"]: c.get("Comment", "") for c in glue["StorageDescriptor"]["Columns"]}["score"].startswith("how anomalous")


def test_another_day_is_done_alone_and_joins_the_table(
    stack: Stack, process: Process, data: list[Path], local: Path, pulled: Path
) -> None:
    tables.upload(stack.client("s3"), data[BEFORE:], LAKE, TABLE)
    tables.register(stack.client("glue"), data[BEFORE:], DATABASE, TABLE, f"s3://{LAKE}/{TABLE}")
    last = data[BEFORE].name.removeprefix("date=")
    source = ATHENA | {"partitions": [last, last]}
    daily = conf(source, tables=iceberg("results"), model={"name": "pca", "from": f"s3://{LAKE}/runs/first"})
    daily["run"] = {"name": "daily", "seed": 7}
    daily["split"] = {"test": [last, tables.day(DAYS + 5)]}
    stack.requests.clear()
    code, error = pipeline(process, pulled, daily, f"s3://{LAKE}/runs/day31")
    assert code == 0, error
    old = {f"/{day.name}/" for day in data[:BEFORE]}
    read = {r.path for r in stack.requests if any(r.reads(d) for d in old)}
    assert not {p for p in read if f"/{TABLE}/" in p or "/runs/first/events" in p}, "of the days before, only what the run keeps is read"
    whole = conf({"kind": "files", "path": str(data[0].parent)}, model={"name": "pca", "from": str(local)})
    code, error = pipeline(process, pulled, whole, str(pulled / "whole"))
    assert code == 0, error
    same(read_iceberg(stack, "results", "scores"), scores(str(pulled / "whole" / "tables" / "scores")), later=True)


@pytest.mark.skipif(not FULL, reason="minutes of waiting for S3 to take requests again; FORESHOCK_FULL_SIZE=1 runs it")
def test_parquet_on_s3_registered_in_glue_while_s3_fails_now_and_then(
    stack: Stack, process: Process, data: list[Path], local: Path, tmp_path: Path
) -> None:
    source = {"kind": "files", "path": f"s3://{LAKE}/{TABLE}"}
    place = f"s3://{LAKE}/tables of a team/π=1"
    sink = {"location": place, "glue": {"database": "parquet_results"}}
    code, error = pipeline(process, tmp_path, conf(source, tables=sink), f"s3://{LAKE}/runs/parquet")
    assert code == 2 and "tables.glue.database" in error and "tables.glue.create" in error
    assert not stack.client("s3").list_objects_v2(Bucket=LAKE, Prefix="runs/parquet/tables").get("Contents")
    sink["glue"]["create"] = True
    with stack.fault(every(10, SLOW_DOWN)):
        code, error = pipeline(process, tmp_path, conf(source, tables=sink), f"s3://{LAKE}/runs/parquet")
    assert code == 0, error
    there = stack.client("glue").get_partitions(DatabaseName="parquet_results", TableName="scores")["Partitions"]
    listed = stack.client("s3").list_objects_v2(Bucket=LAKE, Prefix="tables of a team/π=1/scores/")["Contents"]
    folders = {o["Key"].rsplit("/", 1)[0] for o in listed}
    assert {p["StorageDescriptor"]["Location"].removeprefix(f"s3://{LAKE}/") for p in there} == folders
    copied = tmp_path / "scores"
    for own in listed:
        target = copied / own["Key"].partition("/scores/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(stack.client("s3").get_object(Bucket=LAKE, Key=own["Key"])["Body"].read())
    wanted = scores(str(local / "tables" / "scores"))
    found = scores(str(copied))
    last = data[BEFORE].name.removeprefix("date=")
    same(found.filter(pc.not_equal(found["partition"], last)), wanted, later=True)


def test_access_denied_is_said_in_the_services_words(stack: Stack, process: Process, tmp_path: Path) -> None:
    with stack.fault(always(DENIED, lambda r: r.is_s3 and "/runs/denied" in r.path)):
        code, error = pipeline(process, tmp_path, conf({"kind": "files", "path": f"s3://{LAKE}/{TABLE}"}), f"s3://{LAKE}/runs/denied")
    assert code == 4 and "denied" in error.lower(), error
    assert not stack.client("s3").list_objects_v2(Bucket=LAKE, Prefix="runs/denied").get("Contents")


def test_an_iceberg_table_of_another_schema_is_refused_before_any_work(
    stack: Stack, process: Process, data: list[Path], tmp_path: Path
) -> None:
    from pyiceberg.schema import Schema
    from pyiceberg.types import LongType, NestedField

    catalog = catalog_of(stack)
    catalog.create_namespace("taken")
    catalog.create_table("taken.scores", Schema(NestedField(1, "score", LongType())), location=f"s3://{LAKE}/taken")
    code, error = pipeline(process, tmp_path, conf({"kind": "files", "path": str(data[0].parent)}, tables=iceberg("taken")),
                           str(tmp_path / "run"))
    assert code == 2 and "column score is bigint, double is wanted" in error, error
    assert not (tmp_path / "run" / "events").exists()
