"""The small tables of a run: their schemas, the rows of `error_distribution`, and reading back.

The tables' columns are described in `tables.describe`.
"""

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
    return [pa.field(quantile_name, kind) for quantile_name in names]


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
    scored_keys = [
        distribution_key
        for distribution_key in sorted(distributions.parts)
        if distribution_key.split in C.SCORED
    ]
    table_rows = []
    for distribution_key in scored_keys:
        n_outside = outside.get(
            (distribution_key.split, distribution_key.partition or "", distribution_key.group), 0
        )
        n_unjudged = n_outside + distributions.unjudged.get(distribution_key, 0)
        table_rows.append(
            _distribution_row(
                run_id, distribution_key, distributions.parts[distribution_key], n_unjudged, exact
            )
        )
    # A place without any score has no histogram, but its events must be counted all the same.
    known_keys = set(scored_keys)
    unjudged_places = {
        (distribution_key.split, distribution_key.partition or "", distribution_key.group)
        for distribution_key in distributions.unjudged
    }
    unjudged_places = {
        unjudged_place for unjudged_place in unjudged_places if unjudged_place[0] in C.SCORED
    } | set(outside)
    for split_name, partition_name, group_name in sorted(unjudged_places):
        for detector_name in sorted(detectors):
            distribution_key = Key(detector_name, split_name, partition_name, group_name)
            n_unjudged = outside.get((split_name, partition_name, group_name), 0)
            n_unjudged += distributions.unjudged.get(distribution_key, 0)
            if distribution_key not in known_keys and n_unjudged:
                unjudged_row = {"run_id": run_id, **distribution_key._asdict()}
                table_rows.append({**unjudged_row, "n": 0, "n_unjudged": n_unjudged})
    return table_rows


def _distribution_row(
    run_id: str, key: Key, histogram: Histogram, n_unjudged: int, exact: Exact
) -> Row:
    histogram_bins = {"bin": histogram.bins.tolist(), "count": histogram.counts.tolist()}
    return {
        "run_id": run_id,
        **key._asdict(),
        "n": histogram.n,
        "n_unjudged": n_unjudged,
        "mean": histogram.mean,
        "std": histogram.std,
        "min": histogram.minimum,
        **{
            quantile_name: exact.get((key, quantile_level))
            for quantile_name, quantile_level in QUANTILES.items()
        },
        "max": histogram.maximum,
        "histogram": histogram_bins,
    }


def write_rows(rows: list[Row], schema: pa.Schema, folder: Path) -> None:
    """Write a small table as one Parquet file into a new folder.

    A row that lacks a column has null there. The folder must not exist yet.
    """
    folder.mkdir(parents=True)
    column_arrays = [
        pa.array([unjudged_row.get(schema_field.name) for unjudged_row in rows], schema_field.type)
        for schema_field in schema
    ]
    write_table(pa.table(column_arrays, schema=schema), folder / "part-00000.parquet")


def open_scores(folder: Path) -> ds.Dataset:
    """The `scores` table as an Arrow dataset, split and partition as text.

    Nothing is read yet: filter by split or partition to read only their files.
    """
    # Types are said, for Arrow would take a partition such as 2024 for a number.
    folder_schema = pa.schema([("split", TEXT), (C.PARTITION, TEXT)])
    return dataset(folder, partitioning=ds.partitioning(folder_schema, flavor="hive"))
