"""The eight runs that no refactoring may change: their sources, their confs, and how they start.

They know the package by its command line alone, so that trees with other modules can be compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml

from acceptance.run_contents import PRINTED

CONF, RUN, PROGRESS = "conf.yaml", "run", "progress.txt"
REGIONS = ("north", "north", "north", "south", "south", "east")  # of each station
FEATURES = {"temperature": "temperature", "pressure": "pressure", "flow": "log10(1 + flow)"}
SPLITS = {
    "train": ["2024-01-01", "2024-01-11"],
    "calibration": ["2024-01-11", "2024-01-16"],
    "test": ["2024-01-16", "2024-01-21"],
}


@dataclass(frozen=True)
class Step:
    """One start of the pipeline: the folder for its run directory, its conf, its overrides."""

    folder: Path
    conf: Path
    overrides: tuple[str, ...] = ()

    @property
    def run_directory(self) -> Path:
        """Where the pipeline writes."""
        return self.folder / RUN


def start(step: Step, tree: Path) -> None:
    """Run the pipeline of a tree. Raises RuntimeError where it does not end with exit code 0."""
    library = tree / "lib"
    if not (library / "foreshock").is_dir():
        raise RuntimeError(f"{library} holds no package foreshock")
    command = [sys.executable, str(tree / "jobs" / "pipeline.py"), "--conf", str(step.conf)]
    command += ["--run-dir", str(step.run_directory)]
    for override in step.overrides:
        command += ["--set", override]
    environment = {**os.environ, "PYTHONPATH": str(library)}
    progress = step.folder / PROGRESS
    with (step.folder / PRINTED).open("w") as printed, progress.open("w") as said:
        ended = subprocess.run(command, env=environment, stdout=printed, stderr=said, check=False)
    if ended.returncode != 0:
        last = progress.read_text(encoding="utf-8").strip().rpartition("\n")[2]
        raise RuntimeError(f"{' '.join(command)} ended with exit code {ended.returncode}: {last}")


def station_events(seed: int, days: int, a_day: int) -> pa.Table:
    """Measurements of stations in three regions, `a_day` of each on every day from 2024-01-01.

    Two autoregressive features and one with a heavy tail and a few nulls; equal times; bursts of
    noise and shifts of level, labelled, in the later days.
    """
    random = np.random.default_rng(seed)
    stations, each = len(REGIONS), days * a_day
    count = stations * each
    state = np.zeros((stations, each, 2))
    noise = random.standard_normal(state.shape)
    for at in range(1, each):
        state[:, at] = 0.85 * state[:, at - 1] + noise[:, at]
    flow = np.exp(0.5 * state[..., 0] + 0.3 * random.standard_t(4, state.shape[:2]))
    kinds = _anomalies(random, stations, each, each * 11 // 20)
    state[kinds == "burst"] += 4 * random.standard_normal((int((kinds == "burst").sum()), 2))
    flow[kinds == "shift"] *= 6
    minutes = np.sort(random.integers(0, 1440, (stations, days, a_day)), axis=-1)
    minutes += np.arange(days)[:, np.newaxis] * 1440
    first = np.datetime64("2024-01-01", "us").astype(np.int64)
    times = first + minutes.ravel() * 60_000_000
    columns = {
        "station": np.repeat([f"station-{station}" for station in range(stations)], each),
        "region": np.repeat(REGIONS, each),
        "time": pa.array(times, pa.timestamp("us", tz="UTC")),
        "turn": random.integers(0, 3, count),
        "number": [f"{seed}-{at:06d}" for at in range(count)],
        "temperature": 15 + 4 * state[..., 0].ravel(),
        "pressure": 1013 + 9 * state[..., 1].ravel(),
        "flow": pa.array(flow.ravel(), mask=random.random(count) < 0.003),
        "label": (kinds != "").astype(np.int8).ravel(),
        "kind": kinds.ravel(),
    }
    return pa.table(columns)


def _anomalies(
    random: np.random.Generator, stations: int, each: int, first: int
) -> npt.NDArray[np.str_]:
    """The kind of every event by station, "" where it is ordinary; anomalies are five events."""
    kinds = np.full((stations, each), "", "<U5")
    for station in range(stations):
        for kind in ("burst", "shift"):
            for begin in random.integers(first, each - 5, 6):
                kinds[station, begin : begin + 5] = kind
    return kinds


def station_conf(name: str, path: Path, **sections: Any) -> dict[str, Any]:
    """A conf for the events of stations, with other or further sections."""
    made = {
        "run": {"name": name, "seed": 11},
        "source": {"kind": "files", "path": str(path)},
        "events": station_columns(),
        "split": SPLITS,
        "quality": {"nulls": {"default": "quarantine", "flow": "median"}},
        "windows": {"length": 8, "block": 256},
    }
    return made | sections


def station_columns(**others: Any) -> dict[str, Any]:
    """The section `events` for stations, with other or further keys."""
    made = {
        "entity": "station",
        "time": "time",
        "group": "region",
        "tiebreak": ["turn"],
        "id": "number",
        "label": "label",
        "kind": "nullif(kind, '')",
        "features": FEATURES,
    }
    return made | others


def write_conf(conf: dict[str, Any], folder: Path) -> Path:
    """Write a conf into a folder; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CONF
    path.write_text(yaml.safe_dump(conf, sort_keys=False), encoding="utf-8")
    return path


def of_the_tree(conf: str, *overrides: str) -> Callable[[Path, Path], tuple[Step, ...]]:
    """The plan of a conf that the tree itself has."""
    return lambda folder, tree: (Step(folder, tree / "conf" / conf, overrides),)


def ensemble(folder: Path, tree: Path) -> tuple[Step, ...]:
    """Out-of-fold thresholds of an ensemble by every rule, groups, and four detectors beside."""
    conf = {
        "run": {"name": "ensemble", "seed": 5},
        "source": {
            "kind": "synthetic",
            "events": 24000,
            "entities": 40,
            "start": "2023-01-02",
            "days": 16,
            "prevalence": 0.04,
            "anomalies_from": "2023-01-13",
        },
        "events": {
            "entity": "from_address",
            "time": "block_timestamp",
            "partition": "date",
            "group": "case when gas < 100000 then 'small' when gas < 200000 then 'middle' "
            "else 'large' end",
            "tiebreak": ["block_number", "transaction_index"],
            "id": "hash",
            "label": "label",
            "kind": "kind",
            "features": {
                "value": "log10(1 + value / 1e15)",
                "gas_price": "log10(gas_price)",
                "gas_used_share": "receipt_gas_used / gas",
            },
        },
        "split": {"train": ["2023-01-02", "2023-01-12"], "test": ["2023-01-12", "2023-01-18"]},
        "scaling": {"method": "standard", "clip": 6},
        "windows": {"length": 10},
        "model": {"name": "ensemble"},
        "detectors": ["kmeans", "last_value", "zscore", "isolation_forest"],
        "ensemble": {"of": ["pca", "ridge_forecast"], "combine": "mean_log1p"},
        "calibration": {"method": "out_of_fold", "folds": 3},
        "scoring": {"score": "cover"},
        "thresholds": {
            "rules": [
                {"name": "quantile", "level": 0.98, "margin": 1.1},
                {"name": "pot", "risk": 0.002},
                {"name": "conformal", "level": 0.2},
                {"name": "fixed", "value": 1.5},
            ],
            "min_count": 500,
        },
    }
    return (Step(folder, write_conf(conf, folder)),)


def mahalanobis(folder: Path, tree: Path) -> tuple[Step, ...]:
    """Mahalanobis errors, smoothed, of short and parted sequences; partitions that are no times."""
    source = folder / "source"
    source.mkdir(parents=True)
    pq.write_table(station_events(1, 20, 100), source / "events.parquet")
    conf = station_conf(
        "mahalanobis",
        source,
        events=station_columns(partition="region", train_where="label = 0"),
        scaling={"transform": "asinh", "clip": 8},
        windows={"length": 8, "block": 256, "max_gap": 5400, "short": "pad"},
        model={"name": "pca"},
        detectors=["zscore", "kmeans"],
        scoring={"score": "last", "errors": "mahalanobis", "smooth": {"exponential": 4}},
        thresholds={
            "rules": [{"name": "pot", "risk": 0.005}, {"name": "quantile", "level": 0.98}],
            "use": "quantile",
            "per": "partition",
            "min_count": 600,
        },
    )
    return (Step(folder, write_conf(conf, folder)),)


def day(folder: Path, tree: Path) -> tuple[Step, ...]:
    """A run of twenty days, then one of the next day by the first one's model and thresholds."""
    events = station_events(2, 21, 100)
    midnight = pa.scalar(datetime(2024, 1, 21, tzinfo=UTC), pa.timestamp("us", tz="UTC"))
    is_new = pa.compute.greater_equal(events["time"], midnight)
    earlier = Step(folder / "earlier", folder / "earlier" / CONF)
    conf = station_conf(
        "earlier",
        folder / "earlier" / "source",
        events=station_columns(partition="date_format(time, 'yyyy-MM-dd')"),
        model={"name": "lstm_autoencoder", "units": [8], "dense": 4},
        detectors=["pca", "ridge_forecast", "zscore"],
        training={"epochs": 3, "batch": 128, "learning_rate": 0.003},
        scoring={"score": "window", "errors": "standardised"},
        thresholds={
            "rules": [
                {"name": "quantile", "level": 0.98},
                {"name": "conformal", "control": "risk"},
            ],
            "min_count": 600,
        },
    )
    later = conf | {
        "run": {"name": "day", "seed": 11},
        "source": {"kind": "files", "path": str(folder / "source")},
        "split": {"test": ["2024-01-21", "2024-01-22"]},
        "model": {"name": "lstm_autoencoder", "from": str(earlier.run_directory)},
    }
    for place, made, own in ((folder / "earlier", conf, False), (folder, later, True)):
        (place / "source").mkdir(parents=True)
        mask = pa.compute.equal(is_new, own)
        pq.write_table(events.filter(mask), place / "source" / "events.parquet")
        write_conf(made, place)
    return earlier, Step(folder, folder / CONF)


def own_test_table(folder: Path, tree: Path) -> tuple[Step, ...]:
    """Text with cells that do not parse, a test table of its own, networks of two folds."""
    for name, events in (
        ("source", station_events(3, 15, 100)),
        ("test", station_events(4, 6, 90)),
    ):
        (folder / name).mkdir(parents=True)
        pyarrow.csv.write_csv(as_text(events), folder / name / "events.csv")
    conf = station_conf(
        "test-table",
        folder / "source",
        source={"kind": "files", "path": str(folder / "source"), "format": "csv"},
        events=station_columns(
            time="timestamp_seconds(second)", where="turn < 2", calibrate_where="label = 0"
        ),
        split={"train": ["2024-01-01", "2024-01-15"], "test": {"path": str(folder / "test")}},
        scaling={"method": "minmax", "transform": "log1p"},
        windows={"length": 8, "block": 256, "stride": 2},
        model={"name": "lstm_autoencoder", "units": [8], "dense": 4, "dropout": 0.1},
        detectors=["isolation_forest", "last_value"],
        calibration={"method": "out_of_fold", "folds": 2},
        training={"epochs": 5, "batch": 64, "learning_rate": 0.01, "schedule": "cosine"},
        scoring={"score": "median", "smooth": {"mean": 3}},
        thresholds={"rules": [{"name": "quantile", "level": 0.9}], "min_count": 500},
    )
    return (Step(folder, write_conf(conf, folder)),)


def as_text(events: pa.Table) -> pa.Table:
    """The events with times in seconds, and every 400th temperature a text that is no number."""
    seconds = pa.compute.divide(events["time"].cast(pa.int64()), 1_000_000)
    temperature = events["temperature"].cast(pa.string()).to_pylist()
    temperature[::400] = ["broken"] * len(temperature[::400])
    made = events.drop(["time", "temperature"])
    return made.append_column("second", seconds).append_column("temperature", [temperature])


PLANS: dict[str, Callable[[Path, Path], tuple[Step, ...]]] = {
    "demo": of_the_tree("demo.yaml", "source.events=60000"),
    "ethereum": of_the_tree(
        "ethereum.yaml", "training.epochs=2", "training.windows_per_epoch=6000"
    ),
    "question": of_the_tree(
        "question.yaml",
        "source.events=24000",
        "training.epochs=2",
        "training.windows_per_epoch=3000",
    ),
    "question_mended": of_the_tree(
        "question_mended.yaml", "source.events=24000", "training.epochs=3"
    ),
    "ensemble": ensemble,
    "mahalanobis": mahalanobis,
    "day": day,
    "test_table": own_test_table,
}
