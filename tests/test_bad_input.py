"""Bad input over the real entry points.

Each case checks the exit code and one clear paragraph. Nothing is half-written, and every row
is accounted for.

`CASES` is one table: what is put in place, which job meets it, and what must be said and left.
The ground is a small good table of 240 events (4 entities, 6 days). Every case changes it in
one respect.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import gzip
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from acceptance.tools import ROOT

Row = dict[str, Any]
DAYS = [f"2024-01-0{d}" for d in range(1, 7)]
N = 240
BASE: dict[str, Any] = {
    "run": {"name": "bad"},
    "source": {"path": "data"},
    "events": {"entity": "who", "time": "at", "features": {"value": "value", "gas": "gas"}},
    "split": {
        "train": ["2024-01-01", "2024-01-04"],
        "calibration": ["2024-01-04", "2024-01-05"],
        "test": ["2024-01-05", "2024-01-07"],
    },
    "windows": {"length": 5},
    "model": {"name": "pca"},
    "detectors": [],
    "thresholds": {"min_count": 20},
}
FINISHED = {**BASE, "source": {"path": "data", "format": "csv"}}
PROGRESS = re.compile(r"^\[ *\d+\.\d+s\] ")
UNSET = object()
VARIANTS = (
    "JSONL|beyond|by hand|later|a few cells|a row too|"
    "duplicate|ragged|nanoseconds|two schemas|test table|as text|gz"
)  # left out by --fast


def good_rows() -> list[Row]:
    """The good table, in order of entity and time."""
    chance = random.Random(0)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        {
            "id": f"e{e}{d}{i}",
            "who": "abcd"[e],
            "at": start + timedelta(days=d, hours=2 * i, minutes=e),
            "day": DAYS[d],
            "value": chance.gauss(0, 1),
            "gas": chance.randrange(20_000, 90_000),
        }
        for e in range(4)
        for d in range(6)
        for i in range(10)
    ]


@dataclass
class Place:
    """Where a case happens: the conf, the source and the run directory."""

    root: Path
    finished: Callable[[], Path]
    job: Callable[..., int]
    stack: contextlib.ExitStack
    conf: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(BASE))

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def set(self, key: str, value: Any) -> None:
        *sections, last = key.split(".")
        node = self.conf
        for section in sections:
            node = node.setdefault(section, {})
        if value is UNSET:
            del node[last]
        else:
            node[last] = value

    def take_finished_run(self, name: str = "run") -> Path:
        """A copy of a run that is done, with the settings and the source that it was made with."""
        done = self.finished()
        self.conf = copy.deepcopy(FINISHED)
        self.set("source.path", str(done / "data"))
        shutil.copytree(done / "run", self.root / name)
        return self.root / name


Step = Callable[[Place], object]


def edited(edits: dict[str, dict[int, Any]], rows: list[Row] | None = None) -> list[Row]:
    """The good rows with some cells replaced: column -> {row number: value}.

    Row −1 is every row.
    """
    rows = good_rows() if rows is None else rows
    for name, cells in edits.items():
        for at, value in cells.items():
            for row in rows if at == -1 else [rows[at]]:
                row[name] = value
    return rows


def table_of(rows: list[Row], types: dict[str, pa.DataType] | None = None) -> pa.Table:
    found = pa.Table.from_pylist(rows)
    for name, kind in (types or {}).items():
        column = pa.array([row[name] for row in rows], kind)
        at = found.column_names.index(name)
        found = found.set_column(at, name, column)
    return found


def parquet(
    edits: dict[str, dict[int, Any]] | None = None, types: dict[str, pa.DataType] | None = None
) -> Step:
    """The table as one Parquet file."""

    def step(place: Place) -> None:
        place.data.mkdir()
        pq.write_table(table_of(edited(edits or {}), types), place.data / "t.parquet")

    return step


def one_file(make: Callable[[], pa.Table]) -> Step:
    """A table of other rows as one Parquet file."""

    def step(place: Place) -> None:
        place.data.mkdir()
        pq.write_table(make(), place.data / "t.parquet")

    return step


def hive(
    edits: dict[str, dict[int, Any]] | None = None,
    *,
    empty: tuple[str, ...] = (),
    format_: str = "parquet",
    key: str = "day",
    folders: dict[str, str] | None = None,
) -> Step:
    """The table in folders `day=…`. That column is the events' partition.

    empty: partitions with no row.
    """

    def step(place: Place) -> None:
        place.set("events.partition", key)
        place.set("source.format", format_)
        rows = edited(edits or {})
        for day in [*DAYS, *empty]:
            folder = place.data / f"{key}={(folders or {}).get(day, day)}"
            folder.mkdir(parents=True)
            own = [{k: v for k, v in row.items() if k != key} for row in rows if row["day"] == day]
            if format_ == "parquet":
                kinds = table_of(
                    [{k: v for k, v in r.items() if k != key} for r in good_rows()]
                ).schema
                pq.write_table(pa.Table.from_pylist(own, kinds), folder / "part.parquet")
            else:
                write_csv(folder / "part.csv", own, [k for k in rows[0] if k != key])

    return step


def text_cells(rows: list[Row]) -> list[Row]:
    return [
        {
            k: v.strftime("%Y-%m-%d %H:%M:%S") if isinstance(v, datetime) else v
            for k, v in row.items()
        }
        for row in rows
    ]


def write_csv(file: Path, rows: list[Row], header: list[str]) -> None:
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, header)
        writer.writeheader()
        writer.writerows(text_cells(rows))


def as_csv(
    edits: dict[str, dict[int, Any]] | None = None,
    lines: dict[int, str] | None = None,
    schema: str | None = None,
) -> Step:
    """The table as CSV. `lines` replaces whole lines (0: the header)."""

    def step(place: Place) -> None:
        place.set("source.format", "csv")
        if schema:
            place.set("source.schema", schema)
        place.data.mkdir()
        file = place.data / "t.csv"
        write_csv(file, edited(edits or {}), list(good_rows()[0]))
        if lines:
            text = file.read_text().splitlines()
            for at, line in lines.items():
                text[at] = line
            file.write_text("\n".join(text) + "\n")

    return step


def as_jsonl(
    edits: dict[str, dict[int, Any]] | None = None,
    lines: dict[int, str] | None = None,
    schema: str | None = None,
) -> Step:
    """The table as JSON lines. `lines` replaces whole lines."""

    def step(place: Place) -> None:
        place.set("source.format", "jsonl")
        if schema:
            place.set("source.schema", schema)
        place.data.mkdir()
        text = [json.dumps(row, default=str) for row in text_cells(edited(edits or {}))]
        for at, line in (lines or {}).items():
            text[at] = line
        (place.data / "t.jsonl").write_text("\n".join(text) + "\n")

    return step


def files(**contents: bytes | str) -> Step:
    """Files of these names (`__` for a dot) and bytes."""

    def step(place: Place) -> None:
        place.data.mkdir(exist_ok=True)
        for name, content in contents.items():
            (place.data / name.replace("__", ".")).write_bytes(
                content.encode() if isinstance(content, str) else content
            )

    return step


def then(*steps: Step) -> Step:
    def step(place: Place) -> None:
        for one in steps:
            one(place)

    return step


def feature(text: str, name: str = "made") -> dict[str, Any]:
    return {"events.features": {"value": "value", name: text}}


@dataclass
class Case:
    """A case, and what must come of it.

    code, says: the exit code, and what the one paragraph names.
    quarantined: the rows in quarantine, exactly, by reason and column.
    leaves: what a failure may leave in the run directory (the outputs of the stages before it).
    log: what progress lines say.
    """

    before: Step = field(default_factory=parquet)
    changes: dict[str, Any] = field(default_factory=dict)
    job: str = "extract"
    code: int = 0
    says: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    quarantined: dict[str, int] | None = None
    read: int = N
    filtered: int = 0
    log: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    after: Callable[[Place], None] | None = None
    slow: bool = False
    command: bool = False


def refused(changes: dict[str, Any], *says: str, **more: Any) -> Case:
    """A setting that is wrong: exit 2, before anything is read."""
    return Case(changes=changes, code=2, says=says, **more)


def data_error(before: Step, *says: str, **more: Any) -> Case:
    """Data that break the contract: exit 3."""
    return Case(before=before, code=3, says=says, **more)


def kept(before: Step, quarantined: dict[str, int], **more: Any) -> Case:
    """Rows that go to quarantine: exit 0."""
    return Case(before=before, quarantined=quarantined, **more)


# What some cases put in place ---------------------------------------------------------------------


def truncated(place: Place) -> None:
    parquet()(place)
    file = place.data / "t.parquet"
    file.write_bytes(file.read_bytes()[:-200])


def damaged(place: Place) -> None:
    """A Parquet file whose footer is whole and whose pages are not."""
    parquet()(place)
    file = place.data / "t.parquet"
    body = bytearray(file.read_bytes())
    column = pq.read_metadata(file).row_group(0).column(4)
    start = column.dictionary_page_offset or column.data_page_offset
    body[start : start + column.total_compressed_size] = b"\x7f" * column.total_compressed_size
    file.write_bytes(bytes(body))


def two_schemas(place: Place) -> None:
    parquet()(place)
    pq.write_table(table_of(edited({"value": {-1: "much"}})), place.data / "u.parquet")


def nanoseconds(place: Place) -> None:
    parquet(types={"at": pa.timestamp("ns")})(place)


def int96(place: Place) -> None:
    """Times as Spark writes them unless told otherwise."""
    place.data.mkdir()
    pq.write_table(
        table_of(good_rows()), place.data / "t.parquet", use_deprecated_int96_timestamps=True
    )


def somebody_elses(place: Place) -> None:
    """A folder with a table called as a run's is."""
    parquet()(place)
    (place.run / "events").mkdir(parents=True)
    (place.run / "events" / "mine.txt").write_text("not a run's")


def own_conf(place: Place) -> None:
    """A project's folder, with a conf and data of its own, as run directory."""
    somebody_elses(place)
    (place.run / "conf.yaml").write_text("run: {name: mine}\n")


def null_folder(place: Place) -> None:
    """Rows of no day, as Spark and Hive file them."""
    hive(folders={"2024-01-06": "__HIVE_DEFAULT_PARTITION__"})(place)


def later_partition(format_: str, text: str | None) -> Step:
    """A run of five days is extracted. Then a sixth partition arrives."""

    def step(place: Place) -> None:
        hive(format_=format_)(place)
        place.set("split.test", ["2024-01-05", "2024-01-08"])
        assert place.job("extract", place.conf, place.run) == 0
        folder = place.data / "day=2024-01-07"
        folder.mkdir()
        (folder / f"part.{format_}").write_text(text or "id,who,at,value,gas\n")

    return step


def altered(name: str, change: Callable[[bytes], bytes]) -> Step:
    """A finished run of which one file is changed."""

    def step(place: Place) -> None:
        run = place.take_finished_run()
        file = next(iter(sorted(run.glob(name))))
        file.write_bytes(change(file.read_bytes()))

    return step


def other_bundle(place: Place) -> None:
    """The bundle of a run with one feature in the place of the run's own, records and all."""
    run = place.take_finished_run()
    bundle = json.loads((run / "model" / "bundle.json").read_text())
    bundle["features"] = ["value", "fee"]
    (run / "model" / "bundle.json").write_text(json.dumps(bundle))


def from_run(change: Callable[[Path], None] | None = None) -> Step:
    """A run with `model.from` another, finished one."""

    def step(place: Place) -> None:
        other = place.take_finished_run("other")
        if change:
            change(other)
        place.set("model.from", "other")

    return step


def rescaled(other: Path) -> None:
    scaler = json.loads((other / "scaler.json").read_text())
    scaler["clip"] = 3.0
    (other / "scaler.json").write_text(json.dumps(scaler))


def ragged_rows(place: Place) -> None:
    """Four rows of 240 that have three cells: more than quality.max_quarantined lets pass."""
    as_csv(lines={n: "1,2,3" for n in range(5, 9)})(place)


def compressed(place: Place) -> None:
    """CSV with a byte order mark, in gzip."""
    as_csv()(place)
    file = place.data / "t.csv"
    (place.data / "t.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + file.read_bytes()))
    file.unlink()


def below_a_file(place: Place) -> None:
    parquet()(place)
    place.root.joinpath("run").write_text("a file, not a folder")


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    """A small tmpfs. Skips, and says so, if this machine lets no test mount one."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(place: Place) -> None:
    parquet()(place)
    place.stack.enter_context(tmpfs(place.root / "disk", "ro"))
    place.set("run.name", "bad")


def small_disk(place: Place) -> None:
    """A run directory of 256 KiB, and more events than go into it."""
    place.data.mkdir()
    rows = [
        r | {"id": f"{r['id']}-{i}", "value": random.Random(i).random()}
        for i in range(200)
        for r in good_rows()
    ]
    pq.write_table(table_of(rows), place.data / "t.parquet")
    place.stack.enter_context(tmpfs(place.run, "size=256k"))


EMPTY_LOG = ("a partition of the source is empty", "2024-01-09")
TYPES = "id string, who string, at timestamp, day string, value double, gas bigint"
BIG = 2**63 + 12345
HUGE = "9" * 45

CASES: dict[str, Case] = {
    # Nothing there, nothing in it
    "no conf file": Case(
        changes={"__conf": "nowhere.yaml"}, code=2, says=("--conf", "nowhere.yaml")
    ),
    "a folder as conf": Case(files(), {"__conf": "data"}, code=2, says=("--conf", "data")),
    "conf that is no YAML": Case(
        files(conf="run: {"), {"__conf": "data/conf"}, code=2, says=("--conf", "YAML")
    ),
    "conf with a key twice": Case(
        files(conf="run: {seed: 1, seed: 2}"),
        {"__conf": "data/conf"},
        code=2,
        says=("--conf", "'seed'", "twice"),
    ),
    "conf of nothing": Case(
        files(conf=""), {"__conf": "data/conf"}, code=2, says=("--conf", "sections")
    ),
    "missing file": refused({"source.path": "nowhere.parquet"}, "source.path", "nowhere.parquet"),
    "missing folder": refused({"source.path": "nowhere/at/all"}, "source.path", "nowhere/at/all"),
    "glob without a match": refused({"source.path": "data/*.csv"}, "source.path", "data/*.csv"),
    "missing test table": refused(
        {"split.test": {"path": "elsewhere"}}, "split.test.path", "elsewhere"
    ),
    "model.from without a run": refused(
        {"model.from": "elsewhere"}, "model.from", "elsewhere", job="pipeline"
    ),
    "empty folder": data_error(files(), "source.path", "data", "empty"),
    "folder of hidden files": data_error(files(_x__parquet="", __y=""), "source.path", "empty"),
    "Parquet without rows": data_error(
        one_file(lambda: table_of(good_rows()).slice(0, 0)),
        "data",
        "empty",
    ),
    "CSV of a header": data_error(
        then(files(t__csv="id,who,at,day,value,gas\n"), lambda p: p.set("source.format", "csv")),
        "empty",
    ),
    "CSV without bytes": data_error(
        then(files(t__csv=""), lambda p: p.set("source.format", "csv")), "data", "empty"
    ),
    "JSONL without bytes": data_error(
        then(files(t__jsonl=""), lambda p: p.set("source.format", "jsonl")), "data", "empty"
    ),
    "JSONL that is not": data_error(
        then(files(t__jsonl="a\nb\n"), lambda p: p.set("source.format", "jsonl")), "data", "JSON"
    ),
    "empty partition": kept(hive(empty=("2024-01-09",)), {}, log=EMPTY_LOG),
    "empty CSV partition": kept(hive(empty=("2024-01-09",), format_="csv"), {}, log=EMPTY_LOG),
    "empty partition, later": kept(
        later_partition("csv", None), {}, log=("a partition of the source is empty", "2024-01-07")
    ),
    "wider cells in a later partition": kept(
        later_partition("csv", "id,who,at,value,gas\n" + f"z1,a,2024-01-07 01:00:00,1.5,{BIG}\n"),
        {},
        read=N + 1,
        log=("new rows change the types of columns", "decimal(38,0)"),
    ),
    "another header in a later partition": data_error(
        later_partition("csv", "id,who,at,value\nz1,a,2024-01-07 01:00:00,1.5\n"),
        "day=2024-01-07",
        "header",
        "gas",
        leaves=("tables",),
    ),
    "empty test table": data_error(
        then(parquet(), lambda p: (p.root / "more").mkdir()),
        "split.test.path",
        "more",
        changes={"split.test": {"path": "more"}},
    ),
    # Files that are not what they should be
    "not Parquet": data_error(files(t__parquet="id,who\n1,2\n" * 9), "t.parquet", "corrupt"),
    "Parquet without bytes": data_error(files(t__parquet=""), "t.parquet", "corrupt"),
    "Parquet cut off": data_error(truncated, "t.parquet", "corrupt"),
    "Parquet with damaged pages": data_error(damaged, "t.parquet", "corrupt"),
    "Parquet of two schemas": data_error(two_schemas, "u.parquet", "`value`", "string", "double"),
    "Parquet of INT96 times": kept(int96, {}, after=lambda p: times_kept(p)),
    "a folder of somebody else's": Case(
        somebody_elses, code=2, says=("--run-dir", "events", "no run of ours")
    ),
    "a project's own folder": Case(
        own_conf, code=2, says=("--run-dir", "conf.yaml", "no run of ours"), job="pipeline"
    ),
    "a folder of somebody else's, forced": Case(
        somebody_elses, code=2, says=("--run-dir", "events"), flags=("--force",), job="pipeline"
    ),
    "Parquet of nanoseconds": kept(nanoseconds, {}, after=lambda p: times_kept(p)),
    "corrupt partition, later": data_error(
        later_partition("parquet", "PAR1 no"), "day=2024-01-07", leaves=("events", "tables")
    ),
    "CSV read as Parquet": data_error(
        as_csv(), "t.csv", "corrupt", changes={"source.format": "parquet"}
    ),
    "CSV with a ragged row": kept(as_csv(lines={7: "1,2,3"}), {"malformed_row": 1}),
    "CSV with a row too long": kept(
        as_csv(lines={7: "e,a,2024-01-01 00:00:00,2024-01-01,1,2,3,4"}), {"malformed_row": 1}
    ),
    "JSONL with a broken line": kept(
        as_jsonl(lines={7: '{"id": "e", "who": '}), {"malformed_row": 1}
    ),
    "CSV with two headers": data_error(
        then(
            as_csv(),
            lambda p: write_csv(p.data / "u.csv", [{"who": "a", "cost": 1}], ["who", "cost"]),
        ),
        "u.csv",
    ),
    "CSV with a column twice": data_error(
        as_csv(lines={0: "id,who,at,day,value,value"}), "value", "twice"
    ),
    "CSV in gzip with a byte order mark": kept(compressed, {}),
    "CSV with an unnamed column": kept(as_csv(lines={0: ",who,at,day,value,gas"}), {}),
    "ragged rows above the gate": Case(
        lambda p: p.take_finished_run() and None,
        job="pipeline",
        code=5,
        quarantined={"malformed_row": 4},
        says=("quality.max_quarantined", "0.01", "4 of 240", "report.html"),
        log=("nothing to do",),
    ),
    "ragged rows below the gate": Case(
        ragged_rows,
        job="pipeline",
        quarantined={"malformed_row": 4},
        slow=True,
        changes={"quality.max_quarantined": 0.02},
    ),
    # Expressions
    "column that is not there": Case(
        changes=feature("valeu * 2"),
        code=3,
        says=("events.features.made", "valeu", "there", "value, gas"),
    ),
    "entity that is not there": Case(
        changes={"events.entity": "whom"}, code=3, says=("events.entity", "whom")
    ),
    "where that is not there": Case(
        changes={"events.where": "status = 1"}, code=3, says=("events.where", "status")
    ),
    "tiebreak that is not there": Case(
        changes={"events.tiebreak": ["day", "nonce"]}, code=3, says=("events.tiebreak[1]", "nonce")
    ),
    "feature of text": Case(
        changes=feature("who"), code=3, says=("events.features.made", "who", "string", "number")
    ),
    "feature of a time": Case(
        changes=feature("at"), code=3, says=("events.features.made", "timestamp")
    ),
    "where of a number": Case(
        changes={"events.where": "gas"}, code=3, says=("events.where", "bigint", "true or false")
    ),
    "types that do not fit": Case(
        changes=feature("value + array(1)"),
        code=3,
        says=("events.features.made", "does not fit", "ARRAY"),
    ),
    "field of a number": Case(
        changes=feature("gas.price"),
        code=3,
        says=("events.features.made", "gas.price", "does not fit"),
    ),
    "function that is not there": Case(
        changes=feature("nosuch(gas)"), code=2, says=("events.features.made", "nosuch", "function")
    ),
    "semicolon": refused(feature("gas; value"), "events.features.made", "gas; value"),
    "semicolon at the end": refused({"events.where": "gas > 1;"}, "events.where", "gas > 1;"),
    "syntax error": refused({"events.entity": "concat(who, "}, "events.entity", "concat(who,"),
    "two expressions": refused(feature("gas, value"), "events.features.made"),
    "rand()": refused(feature("rand()"), "events.features.made", "rand()"),
    "sum()": refused(feature("sum(gas)"), "events.features.made", "sum(gas)"),
    "window function": refused(
        feature("row_number() over (order by at)"), "events.features.made", "window"
    ),
    "lag over": refused(
        feature("gas - lag(gas) over (partition by who order by at)"),
        "events.features.made",
        "window",
    ),
    "explode()": refused(feature("explode(array(1, 2))"), "events.features.made", "explode"),
    "subquery": refused(feature("(select 1)"), "events.features.made", "select 1"),
    "now()": refused(
        feature("unix_timestamp(now()) - unix_timestamp(at)"), "events.features.made", "now()"
    ),
    "today in where": refused(
        {"events.where": "day < current_date()"}, "events.where", "current_date()"
    ),
    "expression that fails on a row": Case(
        parquet({"gas": {-1: -1}}),
        changes=feature("element_at(array(1, 2), int(gas + 1))"),
        code=3,
        says=("events.features.made", "index 0"),
    ),
    "schema that is no DDL": refused(
        {"source.schema": "a b c d"}, "source.schema", before=as_csv()
    ),
    "schema of a type": refused(
        {"source.schema": "bigint"}, "source.schema", "bigint", before=as_csv()
    ),
    "schema with another column": data_error(
        as_csv(schema=TYPES + ", fee double"), "source.schema", "fee"
    ),
    # Values
    "feature all null": data_error(
        parquet({"value": {-1: None}}, {"value": pa.float64()}), "null", "value", "240"
    ),
    "feature all null, zero": data_error(
        parquet({"value": {-1: None}}, {"value": pa.float64()}),
        "`value`",
        "null",
        "120",
        job="pipeline",
        changes={"quality.nulls": "zero"},
    ),
    "feature all blank in CSV": data_error(as_csv({"value": {-1: ""}}), "value", "null"),
    "every row quarantined": data_error(parquet({"who": {-1: ""}}), "240", "null:entity: 240"),
    "every row filtered": data_error(
        parquet(), "240 filtered", "events.where", changes={"events.where": "gas < 0"}
    ),
    "null times": kept(parquet({"at": {3: None, 9: None}}), {"null:event_time": 2}),
    "unparsable times": kept(
        as_csv({"at": {3: "yesterday", 9: "2024-02-30", 11: ""}}),
        {"unparsable:event_time": 2, "null:event_time": 1},
    ),
    "unparsable times, parsed by hand": kept(
        as_csv({"at": {3: "yesterday", 9: ""}}),
        {"null:event_time": 2},
        changes={"events.time": "to_timestamp(at, 'yyyy-MM-dd HH:mm:ss')"},
    ),
    "times out of range": kept(
        parquet({"at": {-1: 1704067200, 3: 10**18, 9: 4 * 10**11, 11: -(10**18)}}),
        {"out_of_range:event_time": 3},
        changes={"split.train": ["2023-01-01", "2024-01-04"]},
    ),
    "times infinite": kept(
        parquet({"at": {-1: 1704067200.5, 3: math.inf, 9: math.nan, 11: 1e18}}),
        {"out_of_range:event_time": 3},
    ),
    "times of text": Case(
        changes={"events.time": "array(at)"}, code=3, says=("events.time", "array")
    ),
    "times of truth": Case(
        changes={"events.time": "gas > 1"}, code=3, says=("events.time", "boolean")
    ),
    "times out of order": kept(
        one_file(lambda: table_of(random.Random(1).sample(good_rows(), N))),
        {},
    ),
    "times equal": kept(parquet({"at": {-1: datetime(2024, 1, 2, tzinfo=UTC)}}), {}),
    "times in the wrong partition": kept(
        hive({"at": {3: datetime(2024, 1, 6, tzinfo=UTC)}}),
        {"time_outside_partition:event_time": 1},
    ),
    "rows of a null partition": kept(null_folder, {"null:partition": 40}),
    "duplicate ids": kept(
        parquet({"id": {5: "e000", 9: "e000", 71: "e110"}}),
        {"duplicate_id:event_id": 2 + 1},
        changes={"events.id": "id"},
    ),
    "null ids": kept(parquet({"id": {5: None}}), {"null:event_id": 1}, changes={"events.id": "id"}),
    "equal rows": kept(
        one_file(lambda: table_of(good_rows() + good_rows()[:3] * 2)),
        {},
        read=N + 6,
        after=lambda p: ids_differ(p),
    ),
    "NaN and infinities": kept(
        parquet({"value": {3: math.nan, 9: math.inf, 11: -math.inf}}),
        {"nan:value": 1, "infinite:value": 2},
    ),
    "NaN and infinities in CSV": kept(
        as_csv({"value": {3: "NaN", 9: "Infinity", 11: "-inf"}}),
        {"nan:value": 1, "infinite:value": 2},
    ),
    "null features": kept(
        parquet({"value": {3: None}, "gas": {9: None}}),
        {"null:value": 1},
        changes={"quality.nulls": {"default": "quarantine", "gas": "median"}},
    ),
    "beyond float": kept(parquet({"value": {3: 1e39, 9: -1e300}}), {"out_of_range:value": 2}),
    "beyond double": kept(as_csv({"value": {3: "1e400"}}), {"infinite:value": 1}),
    "decimals beyond float": kept(as_csv({"gas": {3: HUGE}}), {"out_of_range:gas": 1}),
    "decimals beyond the schema": kept(
        as_csv({"gas": {3: HUGE}}, schema=TYPES.replace("bigint", "decimal(38,0)")),
        {"unparsable:gas": 1},
    ),
    "decimals beyond int64 in CSV": kept(
        as_csv({"gas": {3: BIG}}), {}, after=lambda p: exact(p, BIG)
    ),
    "decimals beyond int64 in JSONL": kept(
        as_jsonl({"gas": {3: BIG}}), {}, after=lambda p: exact(p, BIG)
    ),
    "decimals beyond int64 in Parquet": kept(
        parquet({"gas": {-1: Decimal(1), 3: Decimal(BIG)}}), {}, after=lambda p: exact(p, BIG)
    ),
    "a few cells of text": kept(as_csv({"value": {3: "n/a", 9: "-"}}), {"unparsable:value": 2}),
    "a few cells of text in JSONL": kept(
        as_jsonl({"value": {3: "n/a", 9: {"a": 1}}}), {"unparsable:value": 2}
    ),
    "many cells of text": data_error(
        as_csv({"value": {3: "n/a", 9: "-", 11: "x"}}), "events.features.value", "string"
    ),
    "cells that are not the schema's": kept(
        as_csv({"value": {3: "n/a", 9: "-", 11: "x"}, "gas": {13: "1.5"}}, schema=TYPES),
        {"unparsable:value": 3, "unparsable:gas": 1},
    ),
    "text cast by hand": kept(
        as_csv({"value": {3: "n/a", 9: "-", 11: "x", 13: ""}}),
        {"unparsable:value": 3, "null:value": 1},
        changes={"events.features": {"value": "cast(value as double)", "gas": "gas"}},
    ),
    "glob and where": kept(
        hive(),
        {},
        changes={"source.path": "data/day=2024-01-0[1-6]", "events.where": "gas > 30000"},
        filtered=-1,
    ),
    # Labels
    "label of 2": data_error(
        parquet({"label": {-1: 0, 3: 2, 9: -1}}),
        "events.label",
        "2 rows",
        changes={"events.label": "label"},
    ),
    "label of text": data_error(
        parquet({"label": {-1: "no"}}), "events.label", "string", changes={"events.label": "label"}
    ),
    "label of 0.5": data_error(
        parquet({"label": {-1: 0.0, 3: 0.5}}),
        "events.label",
        "1 row",
        changes={"events.label": "label"},
    ),
    "label that is not there": Case(
        changes={"events.label": "is_fraud"}, code=3, says=("events.label", "is_fraud")
    ),
    "no label": Case(
        lambda p: p.take_finished_run() and None,
        job="report",
        code=5,
        after=lambda p: no_metrics(p),
    ),
    # Splits and windows
    "split without rows": data_error(
        parquet(),
        "split.test",
        "2024-02-01",
        "2024-01-06",
        job="pipeline",
        changes={"split.test": ["2024-02-01", "2024-03-01"]},
    ),
    "calibration without rows": data_error(
        parquet(),
        "split.calibration",
        "240",
        job="pipeline",
        changes={
            "split.calibration": ["2024-01-07", "2024-01-08"],
            "split.test": ["2024-01-08", "2024-01-09"],
        },
    ),
    "splits that overlap": refused(
        {"split.calibration": ["2024-01-03", "2024-01-05"]},
        "split",
        "train",
        "calibration",
        "overlap",
    ),
    "splits out of order": refused(
        {"split.test": ["2023-01-03", "2023-01-05"]}, "split", "test", "order"
    ),
    "split that ends before it begins": refused(
        {"split.train": ["2024-01-03", "2024-01-01"]}, "split.train", "before"
    ),
    "split that is no time": refused(
        {"split.train": ["soon", "2024-01-01"]}, "split.train", "soon"
    ),
    "no split": refused({"split.calibration": UNSET}, "split.calibration"),
    "calibration too small": data_error(
        parquet(),
        "split.calibration",
        "40",
        "thresholds.min_count",
        "1000",
        job="pipeline",
        changes={"thresholds.min_count": 1000},
    ),
    "windows longer than every sequence": data_error(
        parquet(),
        "windows.length",
        "100",
        "60",
        job="pipeline",
        leaves=("events", "tables"),
        changes={"windows.length": 100},
    ),
    "train_where of nothing": data_error(
        parquet(),
        "events.train_where",
        job="pipeline",
        leaves=("events", "tables"),
        changes={"events.train_where": "gas < 0"},
    ),
    # Settings
    "unknown key": refused({"windows.lenght": 5}, "windows.lenght", "unknown"),
    "unknown section": refused({"window": {"length": 5}}, "window"),
    "unknown feature in nulls": refused({"quality.nulls": {"fee": "zero"}}, "quality.nulls", "fee"),
    "wrong type": refused({"windows.length": "many"}, "windows.length", "many", "integer"),
    "wrong type, truth": refused({"windows.length": True}, "windows.length", "True"),
    "wrong type, list": refused({"events.features": ["value"]}, "events.features", "value"),
    "wrong type, section": refused({"source": "data"}, "source"),
    "wrong type, union": refused({"training.replicas": "many"}, "training.replicas", "many"),
    "out of range": refused(
        {"thresholds.rules": [{"name": "quantile", "level": 1.5}]},
        "thresholds.rules",
        "level",
        "1.5",
    ),
    "not a number": refused({"training.learning_rate": math.nan}, "training.learning_rate", "nan"),
    "not built yet": refused(
        {"source.format": "npy"}, "source.format", "npy", "not available in this version"
    ),
    "length above block": refused({"windows.length": 2000}, "windows", "2000", "1024"),
    "--set without a value": refused(
        {}, "--set", "windows.length", flags=("--set", "windows.length")
    ),
    "--set of an unknown key": refused({}, "windows.lenght", flags=("--set", "windows.lenght=5")),
    "partition that is not there": refused(
        {},
        "--partitions",
        "2024-02-02",
        "2024-01-01",
        before=hive(),
        flags=("--partitions", "2024-02-02"),
    ),
    # What lies in the run directory
    "a run of other settings": refused(
        {"windows.length": 6, "run.seed": 8},
        "windows.length",
        "run.seed",
        "--force",
        job="pipeline",
        before=lambda p: p.take_finished_run() and None,
        leaves=("*",),
    ),
    "a manifest altered": data_error(
        altered(
            "dataset/train/_manifest.json", lambda b: b.replace(b'"windows": ', b'"windows": 1')
        ),
        "dataset/train/_manifest.json",
        "altered",
        job="train",
        leaves=("*",),
    ),
    "a manifest that is no JSON": data_error(
        altered("dataset/test/_manifest.json", lambda b: b[:50]),
        "dataset/test/_manifest.json",
        job="score",
        leaves=("*",),
    ),
    "a dataset file altered": data_error(
        altered("dataset/test/*.parquet", lambda b: b[:-40] + b"x" * 8 + b[-32:]),
        "dataset/test/",
        "altered",
        job="score",
        flags=("--force",),
        leaves=("*",),
    ),
    "metadata altered": data_error(
        altered("dataset/train/_common_metadata", lambda b: b + b" "),
        "_common_metadata",
        job="train",
        leaves=("*",),
    ),
    "a dataset file too many": data_error(
        lambda p: (p.take_finished_run() / "dataset/train/more.parquet").write_bytes(b"x") and None,
        "more.parquet",
        "manifest",
        job="train",
        flags=("--force",),
        leaves=("*",),
    ),
    "a bundle altered": data_error(other_bundle, "model/bundle.json", job="score", leaves=("*",)),
    "a ledger altered": data_error(
        altered("events/ledger.json", lambda b: b.replace(b'"filtered": 0', b'"filtered": 1')),
        "events/ledger.json",
        job="prepare",
        flags=("--force",),
        leaves=("*",),
    ),
    "a bundle of other features": data_error(
        from_run(),
        "model.from",
        "value, gas",
        "value, made",
        job="pipeline",
        leaves=("events", "tables"),
        changes=feature("gas + 1"),
    ),
    "a bundle of another scaler": data_error(
        from_run(rescaled), "other", "scaler", job="pipeline", leaves=("*",)
    ),
    "nothing extracted": refused({}, "jobs/extract.py", job="prepare", before=parquet()),
    "nothing trained": refused({}, "jobs/prepare.py", job="score", before=parquet()),
    # The machine
    "below a file": refused(
        {}, "--run-dir", "Not a directory", before=below_a_file, flags=("--run-dir", "run/below")
    ),
    "in place of a file": refused({}, "--run-dir", "run", before=below_a_file),
    "read-only": refused(
        {}, "--run-dir", "Read-only", before=read_only, flags=("--run-dir", "disk/run")
    ),
    "tables where none can be written": refused(
        {"tables.location": "run.yaml/tables"}, "run.yaml", "Not a directory"
    ),
    # What a service or the machine failed at stays in `runs`; nothing else does.
    "disk full": Case(
        small_disk, code=4, says=("No space left", "disk is full"), leaves=("tables",)
    ),
    # As commands
    "missing file, as a command": refused(
        {"source.path": "nowhere.parquet"}, "source.path", "nowhere.parquet", command=True
    ),
    "not Parquet, as a command": data_error(
        files(t__parquet="PAR1 no PAR1"), "t.parquet", command=True
    ),
    "disk full, as a command": Case(
        small_disk, code=4, says=("No space left",), leaves=("tables",), command=True
    ),
    "ragged rows above the gate, as a command": Case(
        lambda p: p.take_finished_run() and None,
        job="pipeline",
        code=5,
        says=("4 of 240",),
        quarantined={"malformed_row": 4},
        command=True,
    ),
    "training turned NaN, as a command": data_error(
        parquet(),
        "NaN",
        "learning rate 1e+30",
        "epoch 1",
        "training.learning_rate",
        job="pipeline",
        command=True,
        leaves=(
            "events",
            "tables",
            "dataset",
            "rest",
            "tails",
            "scaler",
            "scaler.json",
            "checkpoints",
            "tensorboard",
        ),
        changes={
            "model": {"units": [4], "dense": 2},
            "training": {"epochs": 1, "batch": 16, "learning_rate": 1e30},
        },
    ),
}


# What is looked at afterwards ---------------------------------------------------------------------


def events(run: Path) -> pa.Table:
    return ds.dataset(
        run / "events", partitioning="hive", format="parquet", exclude_invalid_files=True
    ).to_table()


def exact(place: Place, wanted: int) -> None:
    """The raw column beside the feature holds the integer exactly."""
    found = events(place.run).column("raw_gas").to_pylist()
    assert wanted in [int(v) for v in found]
    assert all(isinstance(v, Decimal) for v in found)


def ids_differ(place: Place) -> None:
    ids = events(place.run).column("event_id").to_pylist()
    assert len(set(ids)) == len(ids) == N + 6
    assert Counter(i[32:] for i in ids) == {"": N, "-2": 3, "-3": 3}


def times_kept(place: Place) -> None:
    found = events(place.run).column("event_time").cast(pa.timestamp("us", "UTC")).to_pylist()
    assert sorted(found) == sorted(row["at"] for row in good_rows())


def no_metrics(place: Place) -> None:
    assert pq.read_table(place.run / "tables" / "metrics").num_rows == 0
    assert set(
        ds.dataset(place.run / "tables" / "scores")
        .to_table(columns=["label"])
        .column(0)
        .to_pylist()
    ) == {None}


def accounted(run: Path, case: Case) -> None:
    """Every row read is filtered, quarantined or kept, in the ledger and on disk, by reason."""
    ledger = json.loads((run / "events" / "ledger.json").read_text())
    quarantined: Counter[str] = Counter()
    seen: dict[str, int] = {"read": 0, "filtered": 0, "kept": 0}
    for unit in ledger["main"].values():
        for own in unit["partitions"].values():
            assert own["rows_read"] == own["filtered"] + sum(own["quarantined"].values()) + sum(
                own["kept"].values()
            )
            seen = {
                "read": seen["read"] + own["rows_read"],
                "filtered": seen["filtered"] + own["filtered"],
                "kept": seen["kept"] + sum(own["kept"].values()),
            }
            quarantined.update(own["quarantined"])
    assert dict(quarantined) == case.quarantined
    assert seen["read"] == case.read
    if case.filtered >= 0:
        assert seen["filtered"] == case.filtered
    else:
        assert seen["filtered"] > 0
    assert seen["kept"] == case.read - seen["filtered"] - sum(quarantined.values())
    assert (
        sum(pq.read_metadata(f).num_rows for f in (run / "events").rglob("*.parquet"))
        == seen["kept"]
    )
    refused_rows: Counter[str] = Counter()
    for file in (run / "quarantine").rglob("*.parquet") if quarantined else ():
        for row in pq.read_table(file, partitioning=None).to_pylist():
            refused_rows[row["reason"] + (f":{row['column']}" if row["column"] else "")] += 1
            assert isinstance(json.loads(row["row"]), dict)
    assert refused_rows == quarantined
    if (summary := run / "summary.json").exists():
        counts = json.loads(summary.read_text())["counts"]
        parts = [counts[k] for k in ("filtered", "outside_splits", "train", "judged")]
        parts += [*counts["quarantined"].values(), *counts["unjudged"].values()]
        assert counts["rows_read"] == sum(parts) == case.read


def snapshot(run: Path) -> dict[str, tuple[int, int]]:
    """Every file that holds a result, with size and time."""
    if not run.is_dir():
        return {}
    found = [
        f
        for f in run.rglob("*")
        if f.is_file() and f.relative_to(run).parts[0] not in (".lock", "events.log")
    ]
    return {
        unquote(str(f.relative_to(run))): (f.stat().st_size, f.stat().st_mtime_ns) for f in found
    }


def nothing_half_written(run: Path, case: Case, before: dict[str, tuple[int, int]]) -> None:
    after = snapshot(run)
    unfinished = [
        f for f in after if re.search(r"(^|/)\.(?!stages/)", f) and not f.endswith(".crc")
    ]
    assert not unfinished, f"left unfinished: {unfinished[:5]}"
    if case.code in (0, 5):
        return
    if before:
        lost = [
            f
            for f, was in before.items()
            if after.get(f) != was and not f.startswith((".stages/", "tables/runs/"))
        ]
        assert not lost, f"a failure changed what an earlier run wrote: {lost[:5]}"
    if "*" in case.leaves:
        return
    allowed = {"conf.yaml", ".stages", "quarantine", *case.leaves} if case.leaves else set()
    left = {f.split("/")[0] for f in after if f not in before} - allowed
    assert not left, f"left by a failure: {sorted(left)}"
    if "tables" in case.leaves:
        assert {f.split("/")[1] for f in after if f.startswith("tables/")} == {"runs"}


@pytest.fixture(scope="module")
def finished(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a run without labels whose gate is not met: `data`, `run` and the conf in one folder.

    The run is made once, when it is first asked for.
    """
    made: list[Path] = []

    def make() -> Path:
        if not made:
            from foreshock.stages.context import Context

            root = tmp_path_factory.mktemp("finished")
            place = Place(root, lambda: root, lambda *_: 0, contextlib.ExitStack())
            ragged_rows(place)
            (root / "run.yaml").write_text(yaml.safe_dump(FINISHED, sort_keys=False))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Context, "close", lambda self: None)
                import pipeline

                assert (
                    pipeline.main(
                        ["--conf", str(root / "run.yaml"), "--run-dir", str(root / "run")]
                    )
                    == 5
                )
            made.append(root)
        return made[0]

    return make


def run_command(job: str, conf: Path, run: Path, flags: tuple[str, ...]) -> tuple[int, str, str]:
    command = [
        sys.executable,
        str(ROOT / "jobs" / f"{job}.py"),
        "--conf",
        str(conf),
        "--run-dir",
        str(run),
        *flags,
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    return done.returncode, done.stdout, done.stderr


def parameters() -> Iterator[Any]:
    for name, case in CASES.items():
        yield pytest.param(
            case,
            id=name,
            marks=[pytest.mark.slow]
            if case.slow or case.command or re.search(VARIANTS, name)
            else [],
        )


@pytest.mark.parametrize("case", parameters())
def test_bad_input(
    case: Case,
    tmp_path: Path,
    finished: Callable[[], Path],
    run_job: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    with contextlib.ExitStack() as stack:
        place = Place(tmp_path, finished, run_job, stack)
        case.before(place)
        for key, value in case.changes.items():
            if not key.startswith("__"):
                place.set(key, value)
        run = place.run
        flags = list(case.flags)
        if "--run-dir" in flags:
            at = flags.index("--run-dir")
            run = tmp_path / flags[at + 1]
            del flags[at : at + 2]
        conf = tmp_path / "run.yaml"
        conf.write_text(yaml.safe_dump(place.conf, sort_keys=False))
        conf = tmp_path / case.changes.get("__conf", "run.yaml")
        there = snapshot(run)
        capfd.readouterr()
        if case.command:
            code, out, err = run_command(case.job, conf, run, tuple(flags))
        else:
            code = run_job(case.job, conf, run, *flags)
            out, err = capfd.readouterr()
        assert code == case.code, err
        said = [line for line in err.splitlines() if not PROGRESS.match(line)]
        assert "Traceback" not in err
        if case.code:
            assert len(said) == 1, f"one paragraph is wanted: {said}"
            assert len(said[0]) < 1200
            assert "\tat " not in said[0]
            assert "defect" not in said[0]
            for part in case.says:
                assert part in said[0], said[0]
            assert out == "", "a failure names no result"
        else:
            assert not said
            assert Path(out.splitlines()[-1]).exists()
        for part in case.log:
            assert any(part in line for line in err.splitlines() if PROGRESS.match(line)), err
        nothing_half_written(run, case, there)
        if case.quarantined is not None:
            accounted(run, case)
        if case.after is not None:
            case.after(place)
