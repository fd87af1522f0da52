"""The small tables of a run: their schemas, the rows of `error_distribution`, and reading back (docs: interface, Tables)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from foreshock import columns as C
from foreshock.platform.parquet import dataset, write_table
from foreshock.statistics.histogram import Histogram
from foreshock.thresholds.distribution import QUANTILES, Distributions, Exact, Key

Row = dict[str, Any]
HISTOGRAM = pa.struct([("bin", pa.list_(pa.int32())), ("count", pa.list_(pa.int64()))])
TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int64()


def _fields(names: tuple[str, ...], kind: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


DISTRIBUTION = pa.schema(
    [
        *_fields(("run_id", "detector", "split", "partition", "group"), TEXT),
        *_fields(("n", "n_unjudged"), WHOLE),
        *_fields(("mean", "std", "min", *QUANTILES, "max"), REAL),
        ("histogram", HISTOGRAM),
    ]
)
THRESHOLDS = pa.schema(
    [
        *_fields(("run_id", "detector", "group", "partition", "rule"), TEXT),
        *_fields(("level", "threshold"), REAL),
        ("n", WHOLE),
        *_fields(("ci_low", "ci_high"), REAL),
        *_fields(("fallback", "fitted_on"), TEXT),
        ("goodness", REAL),
    ]
)
METRICS = pa.schema(
    [
        *_fields(("run_id", "detector", "split", "group", "kind", "metric"), TEXT),
        *_fields(("value", "ci_low", "ci_high"), REAL),
        *_fields(("n", "seed"), WHOLE),
    ]
)
DRIFT = pa.schema(
    [
        *_fields(("run_id", "from_split", "to_split", "group", "feature"), TEXT),
        *_fields(("wasserstein", "psi", "quantile_ratio"), REAL),
        ("verdict", TEXT),
        *_fields(("trimmed", "band"), REAL),
        *_fields(("n_from", "n_to"), WHOLE),
    ]
)
Outside = Mapping[tuple[str, str, str], int]  # events by (split, partition, group)


def distribution_rows(
    distributions: Distributions,
    exact: Exact,
    outside: Outside,
    detectors: tuple[str, ...],
    run_id: str,
) -> list[Row]:
    """Rows of `error_distribution`, one a detector, split, partition and group.

    outside: how many events are not among the scored ones, by (split, partition, group). They are
    unjudged by every detector; scored events without a score of a detector are unjudged by it.
    """
    keys = [key for key in sorted(distributions.parts) if key.split in C.SCORED]
    rows = []
    for key in keys:
        n_outside = outside.get((key.split, key.partition or "", key.group), 0)
        n_unjudged = n_outside + distributions.unjudged.get(key, 0)
        rows.append(_distribution_row(run_id, key, distributions.parts[key], n_unjudged, exact))
    known = set(keys)
    places = {(key.split, key.partition or "", key.group) for key in distributions.unjudged}
    places = {place for place in places if place[0] in C.SCORED} | set(outside)
    for split, partition, group in sorted(places):
        for detector in sorted(detectors):
            key = Key(detector, split, partition, group)
            n_unjudged = outside.get((split, partition, group), 0)
            n_unjudged += distributions.unjudged.get(key, 0)
            if key not in known and n_unjudged:
                row = {"run_id": run_id, **key._asdict()}
                rows.append({**row, "n": 0, "n_unjudged": n_unjudged})
    return rows


def _distribution_row(
    run_id: str, key: Key, histogram: Histogram, n_unjudged: int, exact: Exact
) -> Row:
    bins = {"bin": histogram.bins.tolist(), "count": histogram.counts.tolist()}
    return {
        "run_id": run_id,
        **key._asdict(),
        "n": histogram.n,
        "n_unjudged": n_unjudged,
        "mean": histogram.mean,
        "std": histogram.std,
        "min": histogram.minimum,
        **{name: exact.get((key, level)) for name, level in QUANTILES.items()},
        "max": histogram.maximum,
        "histogram": bins,
    }


def write_rows(rows: list[Row], schema: pa.Schema, folder: Path) -> None:
    """Write a small table as one Parquet file into a new folder."""
    folder.mkdir(parents=True)
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    write_table(pa.table(columns, schema=schema), folder / "part-00000.parquet")


def open_scores(folder: Path) -> ds.Dataset:
    """The `scores` table as an Arrow dataset, split and partition as text."""
    folders = pa.schema([("split", TEXT), (C.PARTITION, TEXT)])
    return dataset(folder, partitioning=ds.partitioning(folders, flavor="hive"))
