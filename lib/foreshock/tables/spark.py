"""Builds and writes the tables of a scoring job as Parquet with hive-style folders (docs: interface, Tables)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.platform.parquet import dataset, write_table
from foreshock.tables.attribution import COLUMNS, Units, explain
from foreshock.thresholds.distribution import QUANTILES, Distributions, Key
from foreshock.thresholds.rules import Judging

HISTOGRAM = pa.struct([("bin", pa.list_(pa.int32())), ("count", pa.list_(pa.int64()))])
TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int64()
DISTRIBUTION = pa.schema(
    [
        *[(n, TEXT) for n in ("run_id", "detector", "split", "partition", "group")],
        ("n", WHOLE),
        ("n_unjudged", WHOLE),
        *[(n, REAL) for n in ("mean", "std", "min", *QUANTILES, "max")],
        ("histogram", HISTOGRAM),
    ]
)
THRESHOLDS = pa.schema(
    [
        *[(n, TEXT) for n in ("run_id", "detector", "group", "partition", "rule")],
        ("level", REAL),
        ("threshold", REAL),
        ("n", WHOLE),
        ("ci_low", REAL),
        ("ci_high", REAL),
        ("fallback", TEXT),
        ("fitted_on", TEXT),
        ("goodness", REAL),
    ]
)
METRICS = pa.schema(
    [
        *[(n, TEXT) for n in ("run_id", "detector", "split", "group", "kind", "metric")],
        *[(n, REAL) for n in ("value", "ci_low", "ci_high")],
        ("n", WHOLE),
        ("seed", WHOLE),
    ]
)

DRIFT = pa.schema(
    [
        *[(n, TEXT) for n in ("run_id", "from_split", "to_split", "group", "feature")],
        *[(n, REAL) for n in ("wasserstein", "psi", "quantile_ratio")],
        ("verdict", TEXT),
        ("trimmed", REAL),
        ("band", REAL),
        ("n_from", WHOLE),
        ("n_to", WHOLE),
    ]
)


def _split_name() -> Column:
    return F.when(F.col("split") == 2, C.CALIBRATION).when(F.col("split") == 3, C.TEST)


def _lookup(judging: Judging, detector: str) -> Column:
    """The threshold column for rows with group and partition."""
    pooled = judging.get((detector, None, None))
    result = F.lit(pooled).cast("double")
    groups = {
        g: t for (d, g, p), t in judging.items() if d == detector and g is not None and p is None
    }
    cells = {(g, p): t for (d, g, p), t in judging.items() if d == detector and p is not None}
    if set(groups.values()) - {pooled}:
        result = F.coalesce(_map(groups)[F.col(C.GROUP)], result)
    if cells:
        result = F.coalesce(
            _map({f"{g}\x00{p}": t for (g, p), t in cells.items()})[
                F.concat(C.GROUP, F.lit("\x00"), C.PARTITION)
            ],
            result,
        )
    return result


def _map(values: dict[str, float]) -> Column:
    return F.map_from_arrays(
        F.array(*[F.lit(k) for k in values]), F.array(*[F.lit(v) for v in values.values()])
    )


def write_scores(
    spark: SparkSession,
    files: list[str],
    rest: str | None,
    judging: Judging,
    detectors: tuple[str, ...],
    *,
    run_id: str,
    covers: bool,
    partitions: list[str] | None,
    target: Path,
    units: Units,
) -> None:
    """Write `scores` and `detector_scores` under `target`: every event of calibration and test, judged or with the reason why not.

    rest: the events that end no window; where `covers`, those of them that a window holds were judged.
    """
    judged = spark.read.parquet(*files).filter(F.col("split") >= 2)
    keys = ["split", C.PARTITION, C.GROUP, C.ENTITY, C.EVENT_ID, C.EVENT_TIME, C.LABEL, C.KIND]
    scores = [f"s{i}" for i in range(len(detectors))]
    whole = judged.select(
        *keys, *scores, F.lit(None).cast("string").alias(C.REASON), *explain(units)
    )
    if rest is not None:
        others = spark.read.schema(_rest_ddl()).parquet(rest).filter(F.col("split") >= 2)
        if partitions is not None:
            others = others.filter(F.col(C.PARTITION).isin(*partitions))
        if covers:
            same = [C.EVENT_ID, C.ENTITY, C.EVENT_TIME, C.PARTITION, "split"]
            others = others.join(judged.select(*same), same, "left_anti")
        empty = [F.lit(None).cast("double").alias(s) for s in scores]
        whole = whole.unionByName(others.select(*keys, *empty, C.REASON), allowMissingColumns=True)
    label = F.when(F.col(C.LABEL) >= 0, F.col(C.LABEL).cast("int"))
    plain = {
        "run_id": F.lit(run_id),
        "split": _split_name(),
        C.EVENT_TIME: F.timestamp_micros(C.EVENT_TIME),
        C.LABEL: label,
        C.KIND: F.when(F.col(C.KIND) != "", F.col(C.KIND)),
    }
    score = F.col("s0")
    limit = _lookup(judging, detectors[0])
    judged_reason = F.when(score.isNotNull() & limit.isNull(), F.lit("no_threshold")).otherwise(
        F.col(C.REASON)
    )
    out = whole.select(
        plain["run_id"].alias("run_id"),
        plain["split"].alias("split"),
        C.PARTITION,
        C.GROUP,
        C.ENTITY,
        C.EVENT_ID,
        plain[C.EVENT_TIME].alias(C.EVENT_TIME),
        plain[C.LABEL].alias(C.LABEL),
        plain[C.KIND].alias(C.KIND),
        score.alias("score"),
        limit.alias("threshold"),
        (score > limit).alias("is_anomaly"),
        judged_reason.alias(C.REASON),
        *COLUMNS,
    )
    _write(out, target / C.SCORES, ["split", C.PARTITION])
    if len(detectors) > 1:
        pairs = F.explode(
            F.array(
                *[
                    F.struct(F.lit(d).alias("detector"), F.col(f"s{i}").alias("score"))
                    for i, d in enumerate(detectors)
                    if i
                ]
            )
        )
        beside = whole.select(
            *[c for c in keys if c not in (C.GROUP, C.LABEL, C.KIND)], pairs.alias("pair")
        )
        beside = beside.select(
            F.lit(run_id).alias("run_id"),
            plain["split"].alias("split"),
            C.PARTITION,
            "pair.detector",
            C.ENTITY,
            C.EVENT_ID,
            plain[C.EVENT_TIME].alias(C.EVENT_TIME),
            "pair.score",
        )
        _write(beside, target / C.DETECTOR_SCORES, ["split", C.PARTITION])


def _rest_ddl() -> str:
    return (
        "split tinyint, partition string, `group` string, entity string, event_id string, event_time bigint, label tinyint, "
        "kind string, calibrate_ok boolean, reason string"
    )


def _write(frame: DataFrame, target: Path, by: list[str]) -> None:
    hint = ", ".join(f"`{c}`" for c in by)
    balanced = frame.sparkSession.sql(
        f"SELECT /*+ REBALANCE({hint}) */ * FROM {{frame}}", frame=frame
    )
    balanced.sortWithinPartitions(*by, C.ENTITY, C.EVENT_TIME, C.EVENT_ID).write.partitionBy(
        *by
    ).parquet(str(target))


def open_scores(folder: Path) -> ds.Dataset:
    """The `scores` table as an Arrow dataset, split and partition as text."""
    hive = ds.partitioning(pa.schema([("split", TEXT), (C.PARTITION, TEXT)]), flavor="hive")
    return dataset(folder, partitioning=hive)


def distribution_rows(
    distributions: Distributions,
    exact: dict[tuple[Key, float], float],
    unjudged: dict[tuple[str, str, str], int],
    run_id: str,
) -> list[dict[str, Any]]:
    """Rows of `error_distribution`; unjudged: (split, partition, group) -> events without a score."""
    rows = []
    keys = [k for k in sorted(distributions.parts) if k.split in C.SCORED]
    seen = {(k.split, k.partition, k.group) for k in keys}
    detectors = sorted({k.detector for k in keys})
    for key in keys:
        h = distributions.parts[key]
        rows.append(
            {
                "run_id": run_id,
                "detector": key.detector,
                "split": key.split,
                "partition": key.partition,
                "group": key.group,
                "n": h.n,
                "n_unjudged": unjudged.get((key.split, key.partition or "", key.group), 0),
                "mean": h.mean,
                "std": h.std,
                "min": h.minimum,
                **{name: exact.get((key, level)) for name, level in QUANTILES.items()},
                "max": h.maximum,
                "histogram": {"bin": h.bins.tolist(), "count": h.counts.tolist()},
            }
        )
    rows += [
        {
            "run_id": run_id,
            "detector": d,
            "split": s,
            "partition": p,
            "group": g,
            "n": 0,
            "n_unjudged": n,
        }
        for (s, p, g), n in sorted(unjudged.items())
        if (s, p, g) not in seen
        for d in detectors
    ]
    return rows


def write_rows(rows: list[dict[str, Any]], schema: pa.Schema, folder: Path) -> None:
    """Write a small table as one Parquet file."""
    folder.mkdir(parents=True)
    columns = [pa.array([r.get(f.name) for r in rows], f.type) for f in schema]
    write_table(pa.table(columns, schema=schema), folder / "part-00000.parquet")
