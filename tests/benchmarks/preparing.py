"""Figures of windowing and scaling in Spark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from foreshock.scaling.robust import Scaler
from foreshock.scaling.spark import fit_summary
from foreshock.sequences.order import CARRIED, SHAPE
from foreshock.sequences.sort_spark import place_sorted, sort_events
from foreshock.sequences.split import BlockRole
from foreshock.stages.scaler_file import read_scaler
from foreshock.windows.cut.cutting import Cutting
from foreshock.windows.cut.grid import WindowGrid
from foreshock.windows.cut.spark import Writing, count_blocks, write_pieces
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.dataset.schema import encode
from foreshock.windows.models.fitting import fit_moments
from foreshock.windows.models.moments_spark import MomentJob, window_moments

from benchmarks.loading import FEATURES, F, L, prepared
from benchmarks.measure import Figure, alternate, cost, timed

PARTS, ENTITIES = 8, 2_000
STAMP = int(np.datetime64("2024-01-01", "us").astype(np.int64))


def _events(spark: Any, run_dir: Path) -> Any:
    from pyspark.sql import functions as fn

    folders = [str(f) for f in sorted((run_dir / "events").glob("partition=*"))]
    frame = spark.read.option("basePath", str(run_dir / "events")).parquet(*folders)
    frame = frame.withColumn("table", fn.lit(0).cast("tinyint")).withColumn(
        "split", fn.lit(1).cast("tinyint")
    )
    return frame.select(*dict.fromkeys(["event_id", *SHAPE, *CARRIED, *FEATURES]))


def _windowing(spark: Any, run_dir: Path, work: Path, scaler: Scaler, rows: int) -> float:
    """Events a second of sort, plan, count and writing blocks."""
    grid = WindowGrid(L, 1, 1024, None, False)

    def run() -> None:
        paths = sort_events(_events(spark, run_dir), FEATURES, 0, PARTS, work / "sorted")
        cutting = Cutting(place_sorted(spark, paths, None, grid.halo_before), grid, 0)
        counts = count_blocks(spark, cutting)
        write_pieces(spark, cutting, counts, Writing(scaler, 0, work))

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    return rows / timed(run)


def _sort(spark: Any, run_dir: Path, work: Path, rows: int) -> float:
    """Events a second of Spark's own range shuffle, sort and write of the same columns."""
    shutil.rmtree(work, ignore_errors=True)
    keys = ["entity", "event_time", "event_id"]
    frame = _events(spark, run_dir)
    return rows / timed(
        lambda: (
            frame.repartitionByRange(PARTS, *keys)
            .sortWithinPartitions(*keys)
            .write.parquet(str(work))
        )
    )


def _pandas(spark: Any, run_dir: Path, work: Path, scaler: Scaler, rows: int) -> float:
    """Events a second of groupBy(entity).applyInPandas.

    It sorts, scales and gives blocks of 1,024 windows, with the same fields as ours.
    """
    shutil.rmtree(work, ignore_errors=True)
    arrays = (
        "x",
        "event_id",
        "event_time",
        "label",
        "split",
        "calibrate",
        "event_partition",
        "event_group",
        "kind",
    )

    def blocks(group: Any) -> Any:
        import pandas as pd

        group = group.sort_values(["event_time", "event_id"])
        texts = {
            name: group[name].fillna("").astype(str).to_numpy(dtype=np.str_)
            for name in ("event_id", "partition", "group", "kind")
        }
        columns = {
            "x": scaler.apply(group[FEATURES].to_numpy(np.float64)),
            "event_id": texts["event_id"],
            "event_time": group["event_time"].astype("int64").to_numpy(),
            "label": group["label"].fillna(-1).to_numpy(np.int8),
            "split": group["split"].to_numpy(np.int8),
            "calibrate": group["calibrate_ok"].to_numpy(np.int8),
            "event_partition": texts["partition"],
            "event_group": texts["group"],
            "kind": texts["kind"],
        }
        found = []
        for a in range(0, len(group) - L + 1, 1024):
            own = slice(a, a + 1024 + L - 1)
            found.append(
                {
                    "block_id": a,
                    "entity": group["entity"].iloc[0],
                    "n_windows": min(1024, len(group) - L + 1 - a),
                    "group": texts["group"][a + L - 1],
                    "partition": texts["partition"][a + L - 1],
                    **{name: encode(columns[name][own]) for name in arrays},
                }
            )
        return pd.DataFrame(
            found, columns=["block_id", "entity", "n_windows", "group", "partition", *arrays]
        )

    schema = (
        "block_id bigint, entity string, n_windows int, `group` string, `partition` string, "
        + ", ".join(f"{name} binary" for name in arrays)
    )
    frame = _events(spark, run_dir).groupBy("entity").applyInPandas(blocks, schema)
    return rows / timed(lambda: frame.write.parquet(str(work)))


def _values(work: Path, rows: int, files: int = 8, *, distinct: int = 8) -> dict[str, list[str]]:
    """Partitions of heavy-tailed events, a file each.

    The same events come again after `distinct` partitions.
    """
    items = {}
    work.mkdir(parents=True)
    for i in range(files):
        path = work / f"{i:03d}.parquet"
        if i < distinct:
            rng, n = np.random.default_rng(i), rows // files
            columns: dict[str, Any] = {
                f: rng.standard_t(2, n).astype(np.float32).astype(np.float64) for f in FEATURES
            }
            table = pa.table(
                {
                    "event_time": pa.array(np.full(n, STAMP), pa.timestamp("us", tz="UTC")),
                    "train_ok": np.ones(n, bool),
                    **columns,
                }
            )
            pq.write_table(table, path, compression="zstd")
        else:
            path.hardlink_to(work / f"{i % distinct:03d}.parquet")
        items[f"p{i:03d}"] = [str(path)]
    return items


def _fit(spark: Any, items: dict[str, list[str]], before: Path, after: Path) -> Any:
    shutil.rmtree(after, ignore_errors=True)
    return fit_summary(
        spark, items, tuple(FEATURES), (STAMP, STAMP + 1), "none", before=before, after=after
    ).quartiles()


def _scaler(spark: Any, items: dict[str, list[str]], values: int, work: Path) -> float:
    """Values a second of the exact fit, from nothing."""
    return values / timed(lambda: _fit(spark, items, work / "none", work / "fitted"))


def scaler_increment(work: Path, spark: Any, *, quick: bool) -> Iterator[Figure]:
    """The cost of one day more: a fit of a hundred days, over adding one day to it.

    The costs are CPU seconds, and bytes read by Python. Both fits are exact.
    """
    rows, days, times = (2_000, 5, 1) if quick else (1_000_000, 100, 5)
    items = _values(work / "days", rows * (days + 1), days + 1)
    last = list(items)[-1]
    most = {p: f for p, f in items.items() if p != last}
    spent: dict[str, list[tuple[float, float]]] = {"fit": [], "add": []}

    def fit() -> float:
        spent["fit"].append(cost(lambda: _fit(spark, most, work / "none", work / "hundred")))
        return 1 / spent["fit"][-1][0]

    def add() -> float:
        spent["add"].append(cost(lambda: _fit(spark, items, work / "hundred", work / "more")))
        return 1 / spent["add"][-1][0]

    fit()
    sizes = f"{days} days of {rows} events, F {F}"
    cpu = alternate(
        "scaler_increment",
        add,
        fit,
        unit="1/s of CPU",
        wanted=50,
        repetitions=times,
        sizes=sizes,
        peer_name="the fit of the days before (driver, JVM and Python workers)",
    )
    yield cpu
    read = [f[1] / a[1] for f, a in zip(spent["fit"][-times:], spent["add"][-times:], strict=True)]
    yield Figure(
        "scaler_increment, bytes",
        1 / spent["add"][-1][1],
        1 / spent["fit"][-1][1],
        cpu.peer_name,
        "1/bytes read",
        {"min": min(read), "median": float(np.median(read)), "max": max(read)},
        times,
        50,
        sizes,
    )


def _pca(spark: Any, run_dir: Path) -> float:
    """Windows, and so events, a second of PCA fitted exactly on all training windows."""
    folder = run_dir / "dataset" / "train"
    manifest = read_manifest(folder)
    files = [str(folder / c.file) for c in manifest.chunks if c.role == BlockRole.FIT]
    return manifest.total("windows", (BlockRole.FIT,)) / timed(
        lambda: fit_moments("pca", window_moments(spark, MomentJob(tuple(files), L, 1, F)))
    )


def _mllib(spark: Any, items: dict[str, list[str]], values: int) -> float:
    from pyspark.ml.feature import RobustScaler, VectorAssembler

    frame = spark.read.parquet(*[f for own in items.values() for f in own])
    vectors = VectorAssembler(inputCols=FEATURES, outputCol="v").transform(frame).select("v")
    return values / timed(lambda: RobustScaler(inputCol="v", outputCol="s").fit(vectors))


def figures(work: Path, spark: Any, names: set[str], *, quick: bool) -> Iterator[Figure]:
    rows, times = (10_000, 1) if quick else (2_000_000, 5)
    if {"windowing_vs_pandas", "windowing_vs_sort"} & names:
        run_dir = prepared(work / "windowing", spark, rows, ENTITIES)
        scaler = read_scaler(run_dir / "scaler.json")

        def ours() -> float:
            return _windowing(spark, run_dir, work / "cut", scaler, rows)

        size = f"{rows} events, F {F}, L {L}, {ENTITIES} entities (Zipf), {PARTS} parts"
        if "windowing_vs_pandas" in names:
            yield alternate(
                "windowing_vs_pandas",
                ours,
                lambda: _pandas(spark, run_dir, work / "pandas", scaler, rows),
                unit="events/s",
                wanted=3,
                repetitions=times,
                sizes=size,
                peer_name="groupBy(entity).applyInPandas that sorts, scales and makes the same "
                "blocks",
            )
        if "windowing_vs_sort" in names:
            yield alternate(
                "windowing_vs_sort",
                ours,
                lambda: _sort(spark, run_dir, work / "sort", rows),
                unit="events/s",
                wanted=0.5,
                repetitions=times,
                peer_name="Spark's repartitionByRange, sortWithinPartitions, write",
                sizes=size,
            )
    if "pca_vs_windowing" in names:
        count = 10_000 if quick else 4_000_000
        run_dir = prepared(work / "pca", spark, count, ENTITIES)
        scaler = read_scaler(run_dir / "scaler.json")
        yield alternate(
            "pca_vs_windowing",
            lambda: _pca(spark, run_dir),
            lambda: _windowing(spark, run_dir, work / "cut", scaler, count),
            unit="events/s",
            wanted=1,
            repetitions=min(times, 3),
            peer_name="preparing the windows: sort, plan, count, write",
            sizes=f"{count} events, F {F}, L {L}, {ENTITIES} entities (Zipf)",
        )
    if "scaler_vs_mllib" in names:
        count = (40_000 if quick else 4_000_000) * F
        items = _values(work / "values", count // F)
        yield alternate(
            "scaler_vs_mllib",
            lambda: _scaler(spark, items, count, work),
            lambda: _mllib(spark, items, count),
            unit="values/s",
            wanted=3,
            repetitions=times,
            peer_name="pyspark.ml.feature.RobustScaler (approximate)",
            sizes=f"{count} values",
        )
    if "scaler_increment" in names:
        yield from scaler_increment(work / "increment", spark, quick=quick)
