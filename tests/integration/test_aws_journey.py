"""Whole jobs on the local stack.

Events come from Athena and S3. Tables go to Iceberg in every catalog and to Glue, a day at a
time.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from aws_stack import tables
from aws_stack.lake import (
    ATHENA,
    BEFORE,
    DAYS,
    FILES,
    FULL,
    LAKE,
    TABLE,
    Lake,
    conf,
    daily,
    same,
    scores,
)

pytestmark = pytest.mark.slow
PUBLISHED = {"scores", "detector_scores", "error_distribution", "thresholds", "drift", "metrics"}


@pytest.fixture(scope="module")
def pulled(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All days but the last through Athena, into Iceberg on Glue, with the run on S3.

    Returns the folder of its confs.
    """
    folder = tmp_path_factory.mktemp("pulled")
    code, error = lake.run(
        folder, conf(ATHENA, tables=lake.sink("glue", "results")), f"s3://{LAKE}/runs/first"
    )
    assert code == 0, error
    return folder


def check_run(lake: Lake, found: pa.Table, runs: pa.Table, name: str) -> None:
    """The counts reconcile, also with the published table.

    The stages and the published tables are noted. Nothing temporary is left.
    """
    counts = lake.summary(f"runs/{name}")["counts"]
    assert counts["rows_read"] == sum(
        n for k in ("filtered", "outside_splits", "train", "judged") if (n := counts[k])
    ) + sum(counts["quarantined"].values()) + sum(counts["unjudged"].values())
    assert len(found) == counts["judged"] + sum(counts["unjudged"].values())
    stages = {r["stage"]: r for r in runs.to_pylist()}
    assert {"extract", "prepare", "train", "score", "publish", "report"} <= set(stages)
    if "snapshots" in (made := json.loads(stages["publish"]["counts"])):
        assert set(made["snapshots"]) == PUBLISHED
    assert lake.temporary() == []


def test_from_athena_to_iceberg_on_glue(lake: Lake, local: Path, pulled: Path) -> None:
    found, runs = lake.read("glue", "results", "scores"), lake.read("glue", "results", "runs")
    same(found, scores(local / "tables" / "scores"))
    check_run(lake, found, runs, "first")
    extract = next(r for r in runs.to_pylist() if r["stage"] == "extract")
    assert len(json.loads(extract["counts"])["athena"]["queries"]) == BEFORE
    glue = lake.stack.client("glue").get_table(DatabaseName="results", Name="scores")["Table"]
    assert {c["Name"]: c.get("Comment", "") for c in glue["StorageDescriptor"]["Columns"]}[
        "score"
    ].startswith("how anomalous")


@pytest.mark.parametrize("catalog", ["s3tables", "rest", "hadoop"] if FULL else ["s3tables"])
def test_the_same_into_other_catalogs(
    lake: Lake, local: Path, tmp_path: Path, catalog: str
) -> None:
    made = conf(ATHENA, tables=lake.sink(catalog, f"into_{catalog}"))
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/{catalog}")
    assert code == 0, error
    found = lake.read(catalog, f"into_{catalog}", "scores")
    same(found, scores(local / "tables" / "scores"))
    check_run(lake, found, lake.read(catalog, f"into_{catalog}", "runs"), catalog)
    there, before = lake.live(catalog, f"into_{catalog}", "scores")
    assert [f.name for f in there.spec().fields] == ["split", "partition"]
    assert there.schema().find_field("score").doc.startswith("how anomalous")
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/{catalog}")
    assert code == 0, error
    assert lake.live(catalog, f"into_{catalog}", "scores")[1] == before, (
        "a run that has nothing to do publishes nothing"
    )
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/{catalog}", "--force", job="score")
    assert code == 0, error
    same(lake.read(catalog, f"into_{catalog}", "scores"), scores(local / "tables" / "scores"))


def test_the_same_into_parquet_registered_in_glue(lake: Lake, local: Path, tmp_path: Path) -> None:
    place = "tables of a team/π=1"
    sink = {"location": f"s3://{LAKE}/{place}", "glue": {"database": "parquet_results"}}
    code, error = lake.run(tmp_path, conf(ATHENA, tables=sink), f"s3://{LAKE}/runs/parquet")
    assert code == 2, error
    assert "tables.glue.database" in error
    assert "tables.glue.create" in error
    assert not lake.objects("runs/parquet")
    sink["glue"] = {"database": "parquet_results", "create": True}
    code, error = lake.run(tmp_path, conf(ATHENA, tables=sink), f"s3://{LAKE}/runs/parquet")
    assert code == 0, error
    there = lake.stack.client("glue").get_partitions(
        DatabaseName="parquet_results", TableName="scores"
    )["Partitions"]
    folders = {k.rsplit("/", 1)[0] for k in lake.objects(f"{place}/scores/")}
    assert {
        p["StorageDescriptor"]["Location"].removeprefix(f"s3://{LAKE}/") for p in there
    } == folders
    found = lake.read_folder(f"{place}/scores").drop(
        ["π"]
    )  # to DuckDB a folder named so is a column
    same(found, scores(local / "tables" / "scores"))
    runs = (
        lake.duckdb()
        .sql(f"SELECT * FROM read_parquet('s3://{LAKE}/{place}/runs/*.parquet')")
        .to_arrow_table()
    )
    check_run(lake, found, runs, "parquet")


def test_another_day_is_done_alone_and_joins_the_table(
    lake: Lake, local: Path, pulled: Path
) -> None:
    lake.add(lake.data[BEFORE:])
    last = tables.day(DAYS)
    made = daily(
        ATHENA | {"partitions": [last, last]},
        last,
        f"s3://{LAKE}/runs/first",
        tables=lake.sink("glue", "results"),
    )
    lake.stack.requests.clear()
    code, error = lake.run(pulled, made, f"s3://{LAKE}/runs/day31")
    assert code == 0, error
    old = {f"/{day.name}/" for day in lake.data[:BEFORE]}
    read = {r.path for r in lake.stack.requests if any(r.reads(d) for d in old)}
    kept = {p for p in read if "/tails/" in p}
    assert not {p for p in read - kept if "/warehouse/" not in p}, (
        "of the days before, only what the run keeps is read"
    )
    assert not {
        p for p in read if "/warehouse/" in p and p.endswith(".parquet") and "/data/" in p
    }, "nor are their rows in the table"
    whole = conf(
        {"kind": "files", "path": str(lake.data[0].parent)},
        model={"name": "pca", "from": str(local)},
    )
    code, error = lake.run(pulled, whole, str(pulled / "whole"))
    assert code == 0, error
    same(
        lake.read("glue", "results", "scores"),
        scores(pulled / "whole" / "tables" / "scores"),
        later=True,
    )


def test_a_day_of_a_run_is_done_again_when_it_changes_and_goes_when_it_is_gone(
    lake: Lake, tmp_path: Path
) -> None:
    made = conf(FILES, tables=lake.sink("glue", "changing"))
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/changing")
    assert code == 0, error
    before = lake.read("glue", "changing", "scores")
    last, other = tables.day(BEFORE), tables.day(BEFORE - 1)
    key = next(k for k in lake.objects(f"{TABLE}/date={last}/"))
    body = lake.s3.get_object(Bucket=LAKE, Key=key)["Body"].read()
    lake.s3.delete_object(Bucket=LAKE, Key=key)
    lake.stack.requests.clear()
    code, error = lake.run(tmp_path, made, f"s3://{LAKE}/runs/changing")
    lake.s3.put_object(Bucket=LAKE, Key=key, Body=body)
    assert code == 0, error
    assert last in error, "a day that is gone is said"
    assert not [r for r in lake.stack.requests if r.reads(f"/{TABLE}/")], (
        "no day is extracted again for one that is gone"
    )
    after = lake.read("glue", "changing", "scores")
    assert last not in set(after["partition"].to_pylist())
    same(
        after.filter(pc.equal(after["partition"], other)).drop(["threshold", "is_anomaly"]),
        before.filter(pc.equal(before["partition"], other)).drop(["threshold", "is_anomaly"]),
        later=True,
    )
