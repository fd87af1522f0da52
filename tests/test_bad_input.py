"""Bad input over the real entry points: exit code, one clear paragraph, nothing half-written, every row accounted for.

One table, `CASES`: what is put in place, which job meets it, and what must be said and left. A small good table of 240 events
(4 entities, 6 days) is the ground that every case changes in one respect.
"""

from __future__ import annotations

import contextlib
import copy
import csv
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

from conftest import ROOT

Row = dict[str, Any]
DAYS = [f"2024-01-0{d}" for d in range(1, 7)]
N = 240
BASE: dict[str, Any] = {
    "run": {"name": "bad"},
    "source": {"path": "data"},
    "events": {"entity": "who", "time": "at", "features": {"value": "value", "gas": "gas"}},
    "split": {"train": ["2024-01-01", "2024-01-04"], "calibration": ["2024-01-04", "2024-01-05"], "test": ["2024-01-05", "2024-01-07"]},
    "windows": {"length": 5},
    "model": {"name": "pca"},
    "detectors": [],
    "thresholds": {"min_count": 20},
}
PROGRESS = re.compile(r"^\[ *\d+\.\d+s\] ")
UNSET = object()


def good_rows() -> list[Row]:
    """The good table, in order of entity and time."""
    chance = random.Random(0)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        {"id": f"e{e}{d}{i}", "who": "abcd"[e], "at": start + timedelta(days=d, hours=2 * i, minutes=e), "day": DAYS[d],
         "value": chance.gauss(0, 1), "gas": chance.randrange(20_000, 90_000)}
        for e in range(4) for d in range(6) for i in range(10)
    ]  # fmt: skip


@dataclass
class Place:
    """Where a case happens: the conf, the source and the run directory."""

    root: Path
    finished: Callable[[], Path]
    conf: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(BASE))
    written: dict[str, int] = field(default_factory=dict)

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
        """A copy of a run that is done, with its source, in the place of this case's own."""
        done = self.finished()
        shutil.copytree(done / "data", self.data, dirs_exist_ok=True, copy_function=shutil.copy2)
        shutil.copytree(done / "run", self.root / name)
        return self.root / name


Step = Callable[[Place], None]


def edited(edits: dict[str, dict[int, Any]], rows: list[Row] | None = None) -> list[Row]:
    """The good rows with some cells replaced: column -> {row number: value}; row −1: every row."""
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


def parquet(edits: dict[str, dict[int, Any]] | None = None, types: dict[str, pa.DataType] | None = None) -> Step:
    """The table as one Parquet file."""

    def step(place: Place) -> None:
        place.data.mkdir()
        pq.write_table(table_of(edited(edits or {}), types), place.data / "t.parquet")

    return step


def hive(edits: dict[str, dict[int, Any]] | None = None, *, empty: tuple[str, ...] = (), format_: str = "parquet",
         key: str = "day", folders: dict[str, str] | None = None) -> Step:
    """The table in folders `day=…`; the events' partition is that column. `empty`: partitions with no row."""

    def step(place: Place) -> None:
        place.set("events.partition", key)
        place.set("source.format", format_)
        rows = edited(edits or {})
        for day in [*DAYS, *empty]:
            folder = place.data / f"{key}={(folders or {}).get(day, day)}"
            folder.mkdir(parents=True)
            own = [{k: v for k, v in row.items() if k != key} for row in rows if row["day"] == day]
            if format_ == "parquet":
                kinds = table_of([{k: v for k, v in r.items() if k != key} for r in good_rows()]).schema
                pq.write_table(pa.Table.from_pylist(own, kinds), folder / "part.parquet")
            else:
                write_csv(folder / "part.csv", own, [k for k in rows[0] if k != key])

    return step


def text_cells(rows: list[Row]) -> list[Row]:
    return [{k: v.strftime("%Y-%m-%d %H:%M:%S") if isinstance(v, datetime) else v for k, v in row.items()} for row in rows]


def write_csv(file: Path, rows: list[Row], header: list[str]) -> None:
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, header)
        writer.writeheader()
        writer.writerows(text_cells(rows))


def as_csv(edits: dict[str, dict[int, Any]] | None = None, lines: dict[int, str] | None = None, schema: str | None = None) -> Step:
    """The table as CSV; `lines` replaces whole lines (0: the header)."""

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


def as_jsonl(edits: dict[str, dict[int, Any]] | None = None, lines: dict[int, str] | None = None, schema: str | None = None) -> Step:
    """The table as JSON lines; `lines` replaces whole lines."""

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
            (place.data / name.replace("__", ".")).write_bytes(content.encode() if isinstance(content, str) else content)

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
    """`code` and `says`: the exit code, and what the one paragraph names. `quarantined`: exactly, by reason and column.

    `leaves`: what a failure may leave in the run directory (the stages before it). `log`: what progress lines say.
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


# What some cases put in place --------------------------------------------------------------------------------------------


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


def null_folder(place: Place) -> None:
    """Rows of no day, as Spark and Hive file them."""
    hive(folders={"2024-01-06": "__HIVE_DEFAULT_PARTITION__"})(place)


def later_partition(format_: str, text: str | None) -> Step:
    """A run of five days is extracted; then a sixth partition arrives."""

    def step(place: Place) -> None:
        hive(format_=format_)(place)
        place.set("split.test", ["2024-01-05", "2024-01-08"])
        assert place.extract() == 0  # type: ignore[attr-defined]
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


def below_a_file(place: Place) -> None:
    parquet()(place)
    place.root.joinpath("run").write_text("a file, not a folder")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small tmpfs; skips, saying so, where this machine lets no test mount one."""
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
