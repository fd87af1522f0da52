"""A transactions table on the stack, with all days but the last.

A process runs whole jobs over it. The tables that they publish can be read back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.table import StaticTable
from s3fs import S3FileSystem
from support.relations import relation

from aws_stack import tables
from aws_stack.jobs import Process, arguments
from aws_stack.server import KEY, REGION, REST_TOKEN, SECRET, TOKEN, Stack

# `scripts/accept aws` tries the month; in the tests it is nine days.
FULL = "FORESHOCK_FULL_SIZE" in os.environ
DAYS, EVENTS = (31, 31_000) if FULL else (9, 2_400)
BEFORE = DAYS - 1
SPLIT = {
    "train": [tables.day(1), tables.day(DAYS // 2 + 1)],
    "calibration": [tables.day(DAYS // 2 + 1), tables.day(DAYS * 7 // 10 + 1)],
    "test": [tables.day(DAYS * 7 // 10 + 1), tables.day(DAYS + 5)],
}
DATABASE, TABLE, LAKE, TABLE_BUCKET = "ethereum", "transactions", "lake", "results-of-a-team"
ATHENA = {"kind": "athena", "database": DATABASE, "table": TABLE, "output": f"s3://{LAKE}/unloaded"}
FILES = {"kind": "files", "path": f"s3://{LAKE}/{TABLE}"}
SORT = "ORDER BY split, partition, entity, event_time, event_id"
WHY = ("feature_errors", "top_feature", "top_step", "top_value", "top_expected")


class Lake:
    """A server, a table on it, and a process that runs jobs.

    data: the table's days. All but the last are in the lake.
    """

    def __init__(self, data: list[Path]) -> None:
        self.data, self.stack = data, Stack()
        s3 = self.s3 = self.stack.client("s3")
        s3.create_bucket(Bucket=LAKE, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.table_bucket = self.stack.client("s3tables").create_table_bucket(name=TABLE_BUCKET)[
            "arn"
        ]
        self.add(data[:BEFORE])
        self.process = Process(self.stack.environment(), "s3tables", {"token": REST_TOKEN})

    def add(self, days: list[Path]) -> None:
        tables.upload(self.s3, days, LAKE, TABLE)
        tables.register(self.stack.client("glue"), days, DATABASE, TABLE, f"s3://{LAKE}/{TABLE}")

    def stop(self) -> None:
        self.process.stop()
        self.stack.stop()

    def run(
        self, folder: Path, conf: dict[str, Any], run_dir: str, *flags: str, job: str = "pipeline"
    ) -> tuple[int, str]:
        """(exit code, what was printed) of a job. No secret may be in it, nor in the run's log."""
        code, printed = self.process.run(arguments(folder, conf, run_dir, *flags), job)
        log = Path(run_dir, "events.log")
        if run_dir.startswith("s3://"):
            held = self.objects(run_dir.removeprefix(f"s3://{LAKE}/") + "/events.log")
            body = (
                self.s3.get_object(Bucket=LAKE, Key=held[0])["Body"].read().decode() if held else ""
            )
        else:
            body = log.read_text() if log.exists() else ""
        check_silence(printed + body)
        return code, printed

    def objects(self, prefix: str) -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=LAKE, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def temporary(self) -> list[str]:
        """What was meant to be gone when a job ends: unloaded files, staging, locks."""
        marks = ("unloaded/", "/.staging/", "/_temporary/", "/.lock/")
        return [k for k in self.objects("") if any(m in k for m in marks)]

    def summary(self, run: str) -> dict[str, Any]:
        return json.loads(self.s3.get_object(Bucket=LAKE, Key=f"{run}/summary.json")["Body"].read())  # type: ignore[no-any-return]

    def sink(self, catalog: str, namespace: str) -> dict[str, Any]:
        """`tables` of a conf that publishes to a catalog's namespace."""
        there: dict[str, Any] = {
            "catalog": catalog,
            "namespace": namespace,
            "create": True,
            "warehouse": f"s3://{LAKE}/warehouse",
        }
        if catalog == "s3tables":
            there["warehouse"] = self.table_bucket
        if catalog == "rest":
            there |= {"uri": f"{self.stack.url}/iceberg", "warehouse": "s3://of-the-server"}
        return {"sink": "iceberg", "iceberg": there}

    def live(self, catalog: str, namespace: str, table: str) -> tuple[Any, list[str]]:
        """(the table, its live files) as pyiceberg finds them."""
        own = {
            "s3.endpoint": self.stack.url,
            "s3.access-key-id": KEY,
            "s3.secret-access-key": SECRET,
            "s3.region": REGION,
        }
        if catalog in ("glue", "rest"):
            there: Any = self.stack.iceberg().load_table(f"{namespace}.{table}")
        elif catalog == "s3tables":
            at = self.stack.client("s3tables").get_table_metadata_location(
                tableBucketARN=self.table_bucket, namespace=namespace, name=table
            )["metadataLocation"]
            there = StaticTable.from_metadata(at, own)
        else:
            hint = (
                self.s3.get_object(
                    Bucket=LAKE, Key=f"warehouse/{namespace}/{table}/metadata/version-hint.text"
                )["Body"]
                .read()
                .decode()
            )
            there = StaticTable.from_metadata(
                f"s3://{LAKE}/warehouse/{namespace}/{table}/metadata/v{hint.strip()}.metadata.json",
                own,
            )
        tasks = list(there.scan().plan_files())
        assert not any(t.delete_files for t in tasks)
        return there, [t.file.file_path for t in tasks]

    def read(self, catalog: str, namespace: str, table: str) -> pa.Table:
        """An Iceberg table's current rows: found by pyiceberg, read from S3 by DuckDB."""
        there, files = self.live(catalog, namespace, table)
        columns = ", ".join(f'"{f.name}"' for f in there.schema().fields)
        return (
            self.duckdb()
            .sql(
                f"SELECT {columns} FROM read_parquet({files}, hive_partitioning = false, "
                "union_by_name = true)"
            )
            .to_arrow_table()
        )

    def read_folder(self, prefix: str) -> pa.Table:
        """A table of Parquet in hive-style folders on S3, read by DuckDB."""
        return self.duckdb().sql(folder_sql(f"s3://{LAKE}/{prefix}")).to_arrow_table()

    def duckdb(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.register_filesystem(
            S3FileSystem(
                key=KEY,
                secret=SECRET,
                endpoint_url=self.stack.url,
                skip_instance_cache=True,
                use_listings_cache=False,
            )
        )
        return connection


def check_silence(text: str) -> None:
    """No secret and no row of the source in a text."""
    for planted in (KEY, SECRET, TOKEN, REST_TOKEN):
        assert planted not in text
    assert "0x" not in text, "a hash or an address of a row"


def folder_sql(where: str) -> str:
    return (
        f"SELECT * EXCLUDE (run_id) FROM read_parquet('{where}/**/*.parquet', hive_partitioning = "
        "true, "
        f"hive_types = {{'split': VARCHAR, 'partition': VARCHAR}}) {SORT}"
    )


def scores(folder: Path) -> pa.Table:
    """`scores` of local Parquet as DuckDB reads it, without the run's name, in order."""
    return relation(folder_sql(str(folder))).to_arrow_table()


def same(ours: pa.Table, wanted: pa.Table, *, later: bool = False) -> None:
    """The tables have the same rows, with scores to 1e-6.

    later: an event without a score may have had another reason, because its sequence was short.
    """
    assert set(ours.column_names) - {"run_id"} == set(wanted.column_names) - {"run_id"}
    names = [c for c in wanted.column_names if c not in ("run_id", *WHY)]
    a, b = (
        cast(
            duckdb.DuckDBPyRelation,
            duckdb.from_arrow(t).query(
                "t", f"SELECT {', '.join(chr(34) + c + chr(34) for c in names)} FROM t {SORT}"
            ),
        )
        .to_arrow_table()
        .to_pylist()
        for t in (ours, wanted)
    )
    assert len(a) == len(b) > 0
    for left, right in zip(a, b, strict=True):
        for name, value in right.items():
            if isinstance(value, float):
                assert left[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
            elif name == "reason" and later:
                assert {left[name], value} <= {"short_sequence", "warm_up"} or left[name] == value
            else:
                assert left[name] == value, name


def conf(source: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return tables.conf(
        source, **{"thresholds": {"min_count": 100}, "split": dict(SPLIT), **sections}
    )


def daily(source: dict[str, Any], day: str, of: str, **sections: Any) -> dict[str, Any]:
    """The conf of a run of one day with another run's scaler, model and thresholds."""
    made = conf(source, model={"name": "pca", "from": of}, **sections)
    made["run"] = {"name": "daily", "seed": 7}
    made["split"] = {"test": [day, tables.day(DAYS + 5)]}
    return made
