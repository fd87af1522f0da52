"""Athena's client against a server that executes: quoting, budget, time limit, failures.

No query is left running.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aws_stack import tables
from aws_stack.server import REGION, THROTTLED, Request, Stack, every
from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.events import athena, athena_catalog, athena_sql
from foreshock.events.athena_query import Query
from foreshock.platform import aws_boto, parquet, paths, transfers


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack()
    before = dict(os.environ)
    os.environ.update({k: v for k, v in made.environment().items() if k.startswith("AWS_")})
    made.client("s3").create_bucket(
        Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    days = tables.daily(tmp_path_factory.mktemp("daily"), events=400, days=4)
    tables.upload(made.client("s3"), days, "lake", "tx")
    tables.register(made.client("glue"), days, 'it\'s a "chain"', "transactions", "s3://lake/tx")
    yield made
    os.environ.clear()
    os.environ.update(before)
    made.stop()


@pytest.fixture(autouse=True)
def calm(stack: Stack) -> Iterator[None]:
    yield
    stack.faults.clear()
    stack.athena.behaviours.clear()
    transfers.remove(paths.at("s3://lake/out"))


DATABASE = 'it\'s a "chain"'


def found(
    asked: tuple[str, str] | None = None,
    partition: str | None = "date",
    table: str = "transactions",
) -> athena_sql.AthenaTable:
    return athena_catalog.find_table(aws_boto.client("glue"), DATABASE, table, partition, asked)


def unloading(
    budget: int | None = None, timeout: float = 60, workgroup: str | None = None, at_once: int = 3
) -> athena.Unloading:
    return athena.Unloading(
        aws_boto.client("athena"),
        database=DATABASE,
        workgroup=workgroup,
        results="s3://lake/out/results/",
        at_once=at_once,
        budget=budget,
        timeout=timeout,
        say=lambda *_, **__: None,
    )


def queries(table: athena_sql.AthenaTable) -> list[Query]:
    targets = [f"s3://lake/out/{i}" for i in range(len(table.values))]
    return [
        Query(u, athena_sql.unload_statement(table, u, f"{t}/"), t)
        for u, t in zip(table.values, targets, strict=True)
    ]


def test_each_partition_is_unloaded_once_with_its_own_rows(stack: Stack) -> None:
    table = found(("2023-01-02", "2023-01-03"))
    with unloading() as work:
        work.run(queries(table))
    for i, value in enumerate(["2023-01-02", "2023-01-03"]):
        rows = parquet.read_table(f"s3://lake/out/{i}")
        source = parquet.read_table(f"s3://lake/tx/date={value}")
        assert set(rows["date"].to_pylist()) == {value}
        assert sorted(rows["hash"].to_pylist()) == sorted(source["hash"].to_pylist())
    assert [q.state for q in work.done.queries] == ["SUCCEEDED"] * 2
    sizes = {
        u: sum(size for _, size, _ in paths.stamps(paths.at(f"s3://lake/tx/date={u}")))
        for u in table.values
    }
    assert {q.partition: q.bytes for q in work.done.queries} == sizes
    assert work.done.bytes_scanned == sum(sizes.values())


def test_a_query_is_a_table_of_days(stack: Stack) -> None:
    query = "SELECT hash, date, 'a;b' AS odd FROM transactions -- all of it"
    table = athena_catalog.find_query(query, "date", ("2023-01-01", "2023-01-02"))
    with unloading() as work:
        work.run(queries(table))
    assert set(parquet.read_table("s3://lake/out/1")["date"].to_pylist()) == {"2023-01-02"}
    assert parquet.read_table("s3://lake/out/1")["odd"].to_pylist()[0] == "a;b"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT 1; SELECT 2", "semicolon"),
        ("SELECT 1;", "semicolon"),
        ("DELETE FROM t", "begins with"),
        ("", "empty"),
        ("SELECT 1) TO 's3://mine/' WITH (format='CSV') --", "parentheses"),
        ("SELECT (1", "parentheses"),
        ("SELECT 'open", "split"),
        ("INSERT INTO t SELECT 1", "begins with"),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "no SELECT"),
        ("SELECT 1) UNION (SELECT 2", "parentheses"),
    ],
)
def test_what_is_not_one_select_is_refused(query: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        athena_catalog.find_query(query, None, None)


def test_values_are_quoted() -> None:
    table = athena_sql.AthenaTable(
        'SELECT * FROM "a""b"."c"', 'k"ey', "string", {}, ("x' OR '1'='1",)
    )
    sql = athena_sql.unload_statement(table, "x' OR '1'='1", "s3://b/o'dd/")
    assert """WHERE "k""ey" = 'x'' OR ''1''=''1'""" in sql
    assert "TO 's3://b/o''dd/'" in sql
    with pytest.raises(SettingsError, match="no whole number"):
        athena_sql.unload_statement(
            athena_sql.AthenaTable("SELECT 1", "n", "bigint", {}, ("1 OR 1=1",)),
            "1 OR 1=1",
            "s3://b/",
        )


def test_partitions_that_are_not_there_and_tables_without_the_column(stack: Stack) -> None:
    with pytest.raises(DataError, match="no partition from 2024-01-01"):
        found(("2024-01-01", "2024-02-01"))
    glue = stack.client("glue")
    glue.create_table(
        DatabaseName=DATABASE,
        TableInput={
            "Name": "plain",
            "StorageDescriptor": {"Location": "s3://lake/tx", "Columns": []},
        },
    )
    with pytest.raises(DataError, match="no partition columns"):
        found(("2023-01-01", "2023-01-02"), table="plain")
    with pytest.raises(SettingsError, match=r"wants events\.partition"):
        athena_catalog.find_query("SELECT 1", None, ("2023-01-01", "2023-01-02"))
    with pytest.raises(SettingsError, match="days such as"):
        athena_catalog.find_query("SELECT 1", "chain", ("a", "b"))


def test_throttling_is_waited_out_and_starts_no_query_twice(stack: Stack) -> None:
    before = len(stack.athena.executions)
    table = found()
    with (
        stack.fault(every(3, THROTTLED, lambda r: r.target.startswith("AmazonAthena"))),
        unloading() as work,
    ):
        work.run(queries(table))
    assert len(stack.athena.executions) - before == len(table.values) == len(work.done.queries)


def test_a_start_whose_answer_is_lost_is_not_a_second_query(stack: Stack) -> None:
    lost: list[str] = []

    def lose(request: Request, environ: dict[str, Any]) -> Any:
        if request.target.endswith("StartQueryExecution") and not lost:
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            stack.athena.handle("StartQueryExecution", json.loads(body))
            lost.append("once")
            return "reset"
        return None

    before = len(stack.athena.executions)
    with stack.fault(lose), unloading() as work:
        work.run(queries(found(("2023-01-01", "2023-01-01"))))
    assert lost
    assert len(stack.athena.executions) - before == 1


def test_a_start_that_a_signal_cuts_off_is_stopped_too(stack: Stack) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stack.athena.behaviours.append(lambda sql: "hang")
    begun: list[str] = []

    def cut(request: Request, environ: dict[str, Any]) -> Any:
        if request.target.endswith("StartQueryExecution") and not begun:
            stack.athena.handle(
                "StartQueryExecution",
                json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))),
            )
            begun.append(stack.athena.running[-1].id)
            _thread.interrupt_main()
            threading.Event().wait(1)
            return "reset"
        return None

    with stack.fault(cut), pytest.raises(KeyboardInterrupt), unloading() as work:
        work.run(queries(found(("2023-01-01", "2023-01-01"))))
    assert begun
    assert stack.athena.running == []
    assert [q.id for q in work.done.queries] == begun, "what was stopped is noted"


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("fail: GENERIC_INTERNAL_ERROR: no disk", "ended FAILED: GENERIC_INTERNAL_ERROR: no disk"),
        ("cancel", "ended CANCELLED: Query cancelled by an administrator"),
        ("hang", r"did not end within source\.query_timeout \(1 s"),
    ],
)
def test_what_ends_a_query_ends_the_others_with_its_own_words(
    stack: Stack, behaviour: str, words: str
) -> None:
    stack.athena.behaviours.append(lambda sql: behaviour if "'2023-01-02'" in sql else "sleep: 30")
    with (
        pytest.raises(ServiceError, match=words) as caught,
        unloading(timeout=1 if behaviour == "hang" else 60) as work,
    ):
        work.run(queries(found()))
    assert stack.athena.running == []
    assert work.done.failure is not None
    assert str(work.done.failure.id) in str(caught.value)


def test_bytes_over_the_budget_stop_what_runs(stack: Stack) -> None:
    stack.athena.behaviours.append(lambda sql: "sleep: 30" if "'2023-01-04'" in sql else None)
    with (
        pytest.raises(ServiceError, match=r"over source\.max_bytes_scanned \(1000\)") as caught,
        unloading(budget=1000, at_once=4) as work,
    ):
        work.run(queries(found()))
    assert str(work.done.bytes_scanned) in str(caught.value)
    assert stack.athena.running == []


def test_ctrl_c_stops_what_runs(stack: Stack) -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell has its background jobs ignore it
    stack.athena.behaviours.append(lambda sql: "hang")
    threading.Timer(1.5, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt), unloading() as work:
        work.run(queries(found()))
    assert stack.athena.running == []


def test_a_wrong_workgroup_is_a_wrong_setting(stack: Stack) -> None:
    with (
        pytest.raises(SettingsError, match=r"source\.workgroup.*WorkGroup nowhere is not found"),
        unloading(workgroup="nowhere") as work,
    ):
        work.run(queries(found()))


def test_a_refusal_that_names_the_workgroup_is_the_services(stack: Stack) -> None:
    denied = (
        "400 Bad Request",
        [("Content-Type", "application/x-amz-json-1.1")],
        json.dumps(
            {
                "__type": "AccessDeniedException",
                "Message": "not authorized to perform: athena:StartQueryExecution on resource: "
                "arn:aws:athena:us-west-2:123456789012:workgroup/primary",
            }
        ).encode(),
    )
    with (
        stack.fault(every(1, denied, lambda r: r.target.endswith("StartQueryExecution"))),
        pytest.raises(ServiceError, match=r"StartQueryExecution.*not authorized"),
        unloading() as work,
    ):
        work.run(queries(found()))


def partitioned(stack: Stack, table: str, sql_type: str, values: list[str], **more: Any) -> None:
    glue = stack.client("glue")
    storage = {"Location": f"s3://lake/{table}", "Columns": []}
    glue.create_table(
        DatabaseName=DATABASE,
        TableInput={
            "Name": table,
            "StorageDescriptor": storage,
            **more,
            "PartitionKeys": [{"Name": "hour", "Type": sql_type}],
        },
    )
    for value in values:
        own = {**storage, "Location": f"s3://lake/{table}/hour={value}"}
        glue.create_partition(
            DatabaseName=DATABASE,
            TableName=table,
            PartitionInput={"Values": [value], "StorageDescriptor": own},
        )


def test_whole_number_partitions_are_in_order_as_numbers(stack: Stack) -> None:
    partitioned(stack, "hours", "int", ["1", "2", "09", "10", "11", "12", "20"])
    assert found(("2", "11"), "hour", "hours").values == ("2", "9", "10", "11")
    assert found(None, "hour", "hours").values[0] == "1"
    sql = athena_sql.unload_statement(found(None, "hour", "hours"), "9", "s3://lake/out/")
    assert 'WHERE "hour" = 9\n' in sql
    with pytest.raises(SettingsError, match="no whole number"):
        found(("a", "b"), "hour", "hours")


def test_a_table_taken_whole_knows_where_its_files_are(stack: Stack) -> None:
    partitioned(stack, "days", "string", ["2023-01-01", "2023-01-02"])
    assert found(None, None, "days").locations == {
        "*": ["s3://lake/days/hour=2023-01-01", "s3://lake/days/hour=2023-01-02"]
    }
    stack.client("glue").create_table(
        DatabaseName=DATABASE,
        TableInput={
            "Name": "one",
            "StorageDescriptor": {"Location": "s3://lake/one", "Columns": []},
        },
    )
    assert found(None, None, "one").locations == {"*": ["s3://lake/one"]}


def test_projected_partitions_lie_where_the_template_says(stack: Stack) -> None:
    partitioned(
        stack,
        "projected",
        "string",
        [],
        Parameters={
            "projection.enabled": "true",
            "storage.location.template": "s3://lake/elsewhere/${hour}/",
        },
    )
    asked = found(("2023-01-31", "2023-02-01"), "hour", "projected")
    assert asked.locations == {
        "2023-01-31": ["s3://lake/elsewhere/2023-01-31/"],
        "2023-02-01": ["s3://lake/elsewhere/2023-02-01/"],
    }
    whole = found(None, "hour", "projected")
    assert (whole.partition_key, whole.locations) == (None, {"*": ["s3://lake/projected"]})


def test_no_region_is_said_before_anything_is_asked(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match="no AWS region is set"):
        aws_boto.client("athena")


def test_the_empty_partition_gives_no_file(stack: Stack) -> None:
    table = athena_catalog.find_query(
        "SELECT * FROM transactions", "date", ("2022-12-30", "2022-12-30")
    )
    with unloading() as work:
        work.run(queries(table))
    assert paths.stamps(paths.at("s3://lake/out/0")) == []
