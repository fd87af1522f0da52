"""Figures of windowing and scaling in Spark."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from foreshock.scaling.histogram import Histogram
from foreshock.scaling.robust import Scaler
from foreshock.scaling.spark import exact_quartiles, partition_histograms
from foreshock.stages.prepare import read_scaler
from foreshock.windowing import spark as windowing
from foreshock.windowing.blocks import Cut

from benchmarks.loading import FEATURES, F, L, prepared
from benchmarks.measure import Figure, alternate, timed

PARTS = 8


def _events(spark: Any, run_dir: Path) -> Any:
    from pyspark.sql import functions as fn

    folders = [str(f) for f in sorted((run_dir / "events").glob("partition=*"))]
    frame = spark.read.option("basePath", str(run_dir / "events")).parquet(*folders)
    return frame.withColumn("table", fn.lit(0).cast("tinyint")).withColumn("split", fn.lit(1).cast("tinyint"))


def _windowing(spark: Any, run_dir: Path, work: Path, scaler: Scaler, rows: int) -> float:
    """Events a second of sort, plan, count and writing blocks."""
    cut = Cut(L, 1, 1024, None, False)

    def run() -> None:
        files = windowing.sort_events(_events(spark, run_dir), tuple(FEATURES), 0, PARTS, work / "sorted")
        order = windowing.plan(spark, files, cut)
        counts = windowing.count_blocks(spark, order, cut, 0)
        windowing.write_pieces(spark, order, cut, 0, scaler, counts, work)

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    return rows / timed(run)


def _sort(spark: Any, run_dir: Path, work: Path, rows: int) -> float:
    """Events a second of Spark's own range shuffle, sort and write of the same columns."""
    shutil.rmtree(work, ignore_errors=True)
    keys = ["entity", "event_time", "event_id"]
    frame = _events(spark, run_dir)
    return rows / timed(lambda: frame.repartitionByRange(PARTS, *keys).sortWithinPartitions(*keys).write.parquet(str(work)))


def _pandas(spark: Any, run_dir: Path, work: Path, rows: int) -> float:
    """Events a second of groupBy(entity).applyInPandas that sorts, and gives blocks of 1,024 windows."""
    shutil.rmtree(work, ignore_errors=True)

    def blocks(group: Any) -> Any:
        import pandas as pd

        group = group.sort_values(["event_time", "event_id"])
        x = group[FEATURES].to_numpy(np.float32)
        found = [{"entity": group["entity"].iloc[0], "x": x[a : a + 1024 + L - 1].tobytes(),
                  "event_id": "\n".join(group["event_id"].iloc[a : a + 1024 + L - 1]),
                  "event_time": group["event_time"].iloc[a : a + 1024 + L - 1].astype("int64").to_numpy().tobytes()}
                 for a in range(0, len(x) - L + 1, 1024)]
        return pd.DataFrame(found, columns=["entity", "x", "event_id", "event_time"])

    frame = _events(spark, run_dir).groupBy("entity").applyInPandas(blocks, "entity string, x binary, event_id string, event_time binary")
    return rows / timed(lambda: frame.write.parquet(str(work)))


def _values(work: Path, rows: int, files: int = 8) -> list[tuple[str, str]]:
    """Event files of heavy-tailed values, a partition each."""
    items = []
    rng = np.random.default_rng(0)
    stamp = np.datetime64("2024-01-01", "us").astype(np.int64)
    work.mkdir(parents=True)
    for i in range(files):
        n = rows // files
        columns: dict[str, Any] = {f: rng.standard_t(2, n).astype(np.float32).astype(np.float64) for f in FEATURES}
        table = pa.table({"event_time": pa.array(np.full(n, stamp), pa.timestamp("us", tz="UTC")), "train_ok": np.ones(n, bool), **columns})
        pq.write_table(table, work / f"{i:03d}.parquet")
        items.append((f"p{i}", str(work / f"{i:03d}.parquet")))
    return items


def _scaler(spark: Any, items: list[tuple[str, str]], values: int) -> float:
    """Values a second of the exact fit: both passes."""
    stamp = int(np.datetime64("2024-01-01", "us").astype(np.int64))

    def fit() -> None:
        found = partition_histograms(spark, items, tuple(FEATURES), (stamp, stamp + 1), "none")
        merged = {n: sum((own[n] for own in found.values()), Histogram()) for n in FEATURES}
        exact_quartiles(spark, items, merged, (stamp, stamp + 1), "none")

    return values / timed(fit)


def _mllib(spark: Any, items: list[tuple[str, str]], values: int) -> float:
    from pyspark.ml.feature import RobustScaler, VectorAssembler

    frame = spark.read.parquet(*[f for _, f in items])
    vectors = VectorAssembler(inputCols=FEATURES, outputCol="v").transform(frame).select("v")
    return values / timed(lambda: RobustScaler(inputCol="v", outputCol="s").fit(vectors))


def figures(work: Path, spark: Any, names: set[str], *, quick: bool) -> Iterator[Figure]:
    rows, times = (10_000, 1) if quick else (2_000_000, 5)
    if {"windowing_vs_pandas", "windowing_vs_sort"} & names:
        run_dir = prepared(work / "windowing", spark, rows)
        scaler = read_scaler(run_dir / "scaler.json")

        def ours() -> float:
            return _windowing(spark, run_dir, work / "cut", scaler, rows)

        size = f"{rows} events, F {F}, L {L}, 20 entities, {PARTS} parts"
        if "windowing_vs_pandas" in names:
            yield alternate("windowing_vs_pandas", ours, lambda: _pandas(spark, run_dir, work / "pandas", rows), unit="events/s", wanted=3,
                            repetitions=times, peer_name="groupBy(entity).applyInPandas making the same blocks", sizes=size)
        if "windowing_vs_sort" in names:
            yield alternate("windowing_vs_sort", ours, lambda: _sort(spark, run_dir, work / "sort", rows), unit="events/s", wanted=0.5,
                            repetitions=times, peer_name="Spark's repartitionByRange, sortWithinPartitions, write", sizes=size)
    if "scaler_vs_mllib" in names:
        count = (40_000 if quick else 4_000_000) * F
        items = _values(work / "values", count // F)
        yield alternate("scaler_vs_mllib", lambda: _scaler(spark, items, count), lambda: _mllib(spark, items, count), unit="values/s",
                        wanted=3, repetitions=times, peer_name="pyspark.ml.feature.RobustScaler (approximate)", sizes=f"{count} values")


def growth(work: Path, spark: Any, *, quick: bool) -> dict[str, Any]:
    """Seconds and a worker's peak memory of prepare by number of events, and the exponent between the ends."""
    import psutil
    from acceptance.processes import Peak

    sizes = (5_000, 20_000) if quick else (1_000_000, 4_000_000, 16_000_000, 32_000_000)
    seconds, peaks = [], []
    for rows in sizes:
        peak = Peak(psutil.Process().pid)
        started = time.perf_counter()
        prepared(work / f"growth-{rows}", spark, rows, 20 if quick else 200)
        seconds.append(time.perf_counter() - started)
        peaks.append(peak.stop()["python worker"])
        shutil.rmtree(work / f"growth-{rows}")
    exponent = float(np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0]))
    return {"events": sizes, "seconds": seconds, "peak of a worker, GiB": peaks, "exponent": exponent}
