"""What the acceptance checks share: confs, runs, tables, brute force."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from foreshock.statistics.arrays import AnyArray

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"

EVENTS_CONF: dict[str, Any] = {
    "run": {"name": "test", "seed": 3},
    "source": {"kind": "files", "path": "", "format": "parquet"},
    "events": {
        "entity": "entity",
        "time": "time",
        "tiebreak": ["tie"],
        "id": "id",
        "label": "label",
        "kind": "kind",
        "features": {"a": "a", "b": "b"},
    },
    "split": {
        "train": ["2024-01-01", "2024-01-11"],
        "calibration": ["2024-01-11", "2024-01-16"],
        "test": ["2024-01-16", "2024-01-21"],
    },
    "windows": {"length": 5, "block": 64},
    "model": {"name": "pca"},
    "detectors": [],
    "thresholds": {"min_count": 50},
}


def conf(**changes: Any) -> dict[str, Any]:
    """EVENTS_CONF with `section__key=value` changes."""
    made = copy.deepcopy(EVENTS_CONF)
    for name, value in changes.items():
        section, key = name.split("__")
        made.setdefault(section, {})[key] = value
    return made


def event_rows(n: int, entities: int, seed: int, *, skew: float = 0.0, days: int = 20) -> pa.Table:
    """Events over `days` days from 2024-01-01, with autoregressive features and equal times.

    One entity has a share `skew` of the rows.
    """
    rng = np.random.default_rng(seed)
    who = np.where(rng.random(n) < skew, 0, rng.integers(0, entities, n))
    start = np.datetime64("2024-01-01T00:00:00", "us").astype(np.int64)
    seconds = np.sort(rng.integers(0, days * 86400 // 20, n)) * 20  # many equal times
    a = np.zeros(n)
    noise = rng.normal(size=n)
    for i in range(1, n):
        a[i] = 0.8 * a[i - 1] + noise[i]
    return pa.table(
        {
            "entity": [f"e{w}" for w in who],
            "time": pa.array(start + seconds * 1_000_000, pa.timestamp("us", tz="UTC")),
            "tie": rng.integers(0, 3, n),
            "id": [f"id{i:07d}" for i in range(n)],
            "a": a,
            "b": rng.standard_t(3, n),
            "label": (rng.random(n) < 0.03).astype(np.int8),
            "kind": pa.nulls(n, pa.string()),
        }
    )


def write(table: pa.Table, folder: Path, files: int = 1, shuffle: int | None = None) -> Path:
    """Write a table as some files, optionally with its rows shuffled."""
    folder.mkdir(parents=True, exist_ok=True)
    if shuffle is not None:
        table = table.take(np.random.default_rng(shuffle).permutation(len(table)))
    step = -(-len(table) // files)
    for i in range(files):
        pq.write_table(table.slice(i * step, step), folder / f"part-{i}.parquet")
    return folder


def write_conf(made: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(made, sort_keys=False))
    return path


def query(sql: str) -> list[tuple[Any, ...]]:
    """Rows of a DuckDB query: the tables in another engine."""
    return duckdb.connect().execute(sql).fetchall()


def scores(run_dir: Path, table: str = "scores") -> dict[str, tuple[Any, ...]]:
    """event_id -> (split, partition, score, threshold, is_anomaly, reason) of a run.

    DuckDB reads the table.
    """
    rows = query(
        "SELECT event_id, split, CAST(partition AS VARCHAR), score, threshold, is_anomaly, reason "
        "FROM "
        f"read_parquet('{run_dir}/tables/{table}/**/*.parquet', hive_partitioning=true)"
    )
    found = {r[0]: r[1:] for r in rows}
    assert len(found) == len(rows), "an event has two rows in scores"
    return found


def largest_difference(a: Path, b: Path) -> float:
    """The largest difference of score between two runs, relative above 1.

    The events, splits, partitions and reasons of `scores` must be equal.
    """
    x, y = scores(a), scores(b)
    assert x.keys() == y.keys()
    worst = 0.0
    for event, row in x.items():
        other = y[event]
        assert (row[0], row[1], row[5], row[2] is None) == (
            other[0],
            other[1],
            other[5],
            other[2] is None,
        ), event
        if row[2] is not None:
            worst = max(worst, abs(row[2] - other[2]) / max(1.0, abs(row[2])))
    return worst


def summary(run_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return content


def reconciles(counts: dict[str, Any]) -> bool:
    parts = [
        counts["filtered"],
        *counts["quarantined"].values(),
        counts["outside_splits"],
        counts["train"],
        counts["judged"],
        *counts["unjudged"].values(),
    ]
    return bool(counts["rows_read"] == sum(parts))


def brute_force(
    table: pa.Table, made: dict[str, Any]
) -> dict[str, dict[str, list[tuple[str, ...]]]]:
    """split -> entity -> windows, as tuples of event ids.

    sliding_window_view cuts each sequence, by the rules of the dataset.
    """
    w = {"length": 50, "stride": 1, "max_gap": None, "short": "drop", **made["windows"]}
    bounds = {
        s: [np.datetime64(d, "us").astype(np.int64) for d in span]
        for s, span in made["split"].items()
    }
    frame = table.select(["entity", "time", "tie", "id"]).to_pylist()
    by_entity: dict[str, list[tuple[int, int, str]]] = {}
    for row in frame:
        by_entity.setdefault(row["entity"], []).append(
            (int(row["time"].timestamp() * 1e6 + 0.5), row["tie"], row["id"])
        )
    found: dict[str, dict[str, list[tuple[str, ...]]]] = {s: {} for s in bounds}
    for entity, rows in by_entity.items():
        rows.sort()
        times = np.array([r[0] for r in rows])
        cuts: AnyArray | list[int] = (
            np.flatnonzero(np.diff(times) > w["max_gap"] * 1e6) + 1 if w["max_gap"] else []
        )
        for part in np.split(np.arange(len(rows)), cuts):
            if len(part) < w["length"]:
                views = [part] if w["short"] == "pad" else []
            else:
                views = list(
                    np.lib.stride_tricks.sliding_window_view(part, w["length"])[:: w["stride"]]
                )
            for view in views:
                for split, (a, b) in bounds.items():
                    inside = (times[view] >= a) & (times[view] < b)
                    if inside[-1] and (split != "train" or inside.all()):
                        found[split].setdefault(entity, []).append(tuple(rows[i][2] for i in view))
    return found
