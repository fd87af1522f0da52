"""The tables are as they are described, in Glue, Iceberg and docs/reference/tables.md.

A shared location holds what several runs publish.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from aws_stack import tables as made
from foreshock.errors import ServiceError
from foreshock.settings.load import load_settings
from foreshock.stages.context import Context
from foreshock.stages.publish import publisher_of
from foreshock.stages.scaler_file import read_scaler
from foreshock.tables.describe import describe_tables
from support.relations import relation

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "reference" / "tables.md").read_text()
PARTS = "hive_partitioning = true, hive_types = {'split': VARCHAR, 'partition': VARCHAR}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events") / "transactions"
    made.daily(folder, events=3_000, days=30)
    return folder


def conf(data: Path, location: Path, test: list[str], **sections: Any) -> dict[str, Any]:
    base = made.conf(
        {"kind": "files", "path": str(data)},
        thresholds={"min_count": 100},
        tables={"location": str(location)},
        **sections,
    )
    base["split"]["test"] = test
    return base


@pytest.fixture
def two_runs(data: Path, tmp_path: Path, run_job: Callable[..., int]) -> Path:
    """Two runs that publish other test days to one location. Returns the folder of both."""
    assert (
        run_job(
            "pipeline",
            conf(data, tmp_path / "shared", ["2023-01-22", "2023-01-27"]),
            tmp_path / "a",
        )
        == 0
    )
    assert (
        run_job(
            "pipeline",
            conf(data, tmp_path / "shared", ["2023-01-27", "2023-02-01"]),
            tmp_path / "b",
        )
        == 0
    )
    return tmp_path


@pytest.mark.slow
def test_what_runs_write_is_what_is_described_and_shared(
    two_runs: Path, data: Path, spark: Any
) -> None:
    shared, wanted = two_runs / "shared", describe_tables(("value", "gas", "gas_price"))
    # columns and types
    assert {p.name for p in shared.iterdir() if p.is_dir()} == set(wanted)
    for name, table in wanted.items():
        have = {
            f.name: f.dataType.simpleString()
            for f in spark.read.parquet(str(two_runs / "a" / "tables" / name)).schema
        }
        assert have == {c.name: c.sql_type for c in table.columns}, name
    # the queries of docs/reference/tables.md run on them
    for name, table in wanted.items():
        by_folder = f", {PARTS}" if table.partitioned_by else ""
        duckdb.sql(
            f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM "
            f"read_parquet('{shared}/{name}/**/*.parquet'{by_folder})"
        )
    queries = re.findall(r"```sql\n(.*?)```", DOCS, re.S)
    assert len(queries) == 6
    for query in queries:
        assert relation(query.replace("lstm_autoencoder", "pca")).fetchall(), query
    # both runs' days are there once, and each run's small tables
    a, b = two_runs / "a" / "tables", two_runs / "b" / "tables"
    by = "split, partition, count(*), count(DISTINCT event_id)"
    group = "GROUP BY ALL ORDER BY ALL"
    found = relation(f"SELECT {by} FROM scores {group}").fetchall()
    assert all(r[2] == r[3] for r in found)
    own = {
        (r[0], r[1]): r[2]
        for t in (a, b)
        for r in relation(
            f"SELECT {by} FROM read_parquet('{t}/scores/**/*.parquet', {PARTS}) {group}"
        ).fetchall()
    }
    assert {(r[0], r[1]): r[2] for r in found} == own
    assert {p for s, p in own if s == "test"} == {made.day(n) for n in range(22, 31)}
    assert len(relation("SELECT DISTINCT run_id FROM metrics").fetchall()) == 2
    # another run wrote the same day while this one was at work: its rows stay, and that is said
    written = yaml.safe_dump(conf(data, shared, ["2023-01-27", "2023-02-01"]))
    (two_runs / "b.yaml").write_text(written)
    context = Context(
        load_settings(str(two_runs / "b.yaml")),
        str(two_runs / "b"),
        force=True,
        spark=spark,
        quiet=True,
    )
    with context.open():
        publisher_of(context).look()
        theirs = next((shared / "scores" / "split=test").glob("partition=2023-01-28/*.parquet"))
        theirs.write_bytes(theirs.read_bytes() + b"")
        with pytest.raises(
            ServiceError, match=r"another run wrote scores/split=test/partition=2023-01-28"
        ):
            publisher_of(context).publish(read_scaler(context.run / "scaler.json"))
        assert theirs.exists()
    # a run that goes on publishes what it could not
    context = Context(
        load_settings(str(two_runs / "b.yaml")), str(two_runs / "b"), spark=spark, quiet=True
    )
    with context.open():
        publisher_of(context).publish(read_scaler(context.run / "scaler.json"))
    assert {
        (r[0], r[1]): r[2] for r in relation(f"SELECT {by} FROM scores {group}").fetchall()
    } == own


def test_the_page_lists_every_column() -> None:
    for name, table in describe_tables(("value",)).items():
        section = DOCS.split(f"### {name}\n")[1].split("###")[0].split("## Queries")[0]
        listed = re.findall(r"^\| (\w+) \| [^|]+ \| (.*) \|$", section, re.M)
        assert listed == [(c.name, c.comment) for c in table.columns]
        assert table.comment in section
