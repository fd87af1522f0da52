"""Histograms of values by group, partition and slice of time: what drift is read from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array, Int64Array, TextArray
from foreshock.statistics.histogram import Histogram

# Of the time that a split reaches over.
SLICES = 12


class SlicedKey(NamedTuple):
    """What a histogram is of: a split's group, partition and slice of time (0 to SLICES − 1).

    feature None: a detector's scores.
    """

    split: str
    group: str
    partition: str
    slice: int
    feature: str | None


SlicedHistograms = dict[SlicedKey, Histogram]

SLICED = pa.schema(
    [
        ("split", pa.string()),
        ("group", pa.string()),
        ("partition", pa.string()),
        ("slice", pa.int32()),
        ("feature", pa.string()),
        ("histogram", pa.string()),
    ]
)


def time_slices(times: Int64Array, span: tuple[int, int]) -> Int64Array:
    """The slice (n,) of each time, microseconds, in the span [first, last] cut into SLICES.

    >>> time_slices(np.array([0, 119, 60]), (0, 119)).tolist()
    [0, 11, 6]
    """
    first_time, last_time = span
    return np.clip((times - first_time) * SLICES // (last_time - first_time + 1), 0, SLICES - 1)


def sliced_histograms(
    split: str,
    groups: TextArray,
    partitions: TextArray,
    slices: Int64Array,
    values: Mapping[str | None, Float32Array | Float64Array],
) -> SlicedHistograms:
    """Histograms of values (n,) by feature, from the group, partition and slice (n,) of each.

    >>> histograms = sliced_histograms(
    ...     "test", np.array(["a", "a"]), np.array(["p", "p"]), np.array([3, 3]), {None: np.ones(2)}
    ... )
    >>> [(key.slice, histogram.n) for key, histogram in histograms.items()]
    [(3, 2)]
    """
    if not len(groups):
        return {}
    event_keys: tuple[AnyArray, ...] = (groups, partitions, slices)
    key_codes = [np.unique(sliced_key, return_inverse=True) for sliced_key in event_keys]
    key_sizes = tuple(len(unique_keys) for unique_keys, _ in key_codes)
    cell_codes = np.ravel_multi_index(
        tuple(inverse_codes for _, inverse_codes in key_codes), key_sizes
    )
    # Sorted once and cut: a mask for each cell would cost a pass over all events each.
    cell_order = np.argsort(cell_codes, kind="stable")
    cell_starts = np.flatnonzero(np.diff(cell_codes[cell_order], prepend=-1))
    histograms = {}
    for positions in np.split(cell_order, cell_starts[1:]):
        group_name, partition_name, slice_number = (
            sliced_key[positions[0]] for sliced_key in event_keys
        )
        for feature, of_feature in values.items():
            sliced_key = SlicedKey(
                split, str(group_name), str(partition_name), int(slice_number), feature
            )
            histograms[sliced_key] = Histogram.of(of_feature[positions])
    return histograms


def sliced_table(histograms: SlicedHistograms) -> pa.Table:
    """Histograms as a table (SLICED), a row each; `add_sliced` reads it back.

    A row holds its histogram as text, the JSON of `Histogram.to_mapping`.

    >>> sliced_table({SlicedKey("test", "a", "p", 0, None): Histogram.of([1.0])}).num_rows
    1
    """
    histogram_rows = [
        {**sliced_key._asdict(), "histogram": json.dumps(histogram.to_mapping())}
        for sliced_key, histogram in histograms.items()
    ]
    return pa.Table.from_pylist(histogram_rows, schema=SLICED)


def add_sliced(total: SlicedHistograms, rows: Iterable[Mapping[str, object]]) -> SlicedHistograms:
    """Histograms with those of more rows (SLICED); the values of a key count together.

    `total` itself is added to and returned.

    >>> rows = sliced_table({SlicedKey("test", "a", "p", 0, None): Histogram.of([1.0])}).to_pylist()
    >>> [histogram.n for histogram in add_sliced({}, rows + rows).values()]
    [2]
    """
    for histogram_row in rows:
        sliced_key = SlicedKey(*(histogram_row[field_name] for field_name in SlicedKey._fields))  # type: ignore[arg-type]
        histogram = Histogram.from_mapping(json.loads(str(histogram_row["histogram"])))
        total[sliced_key] = total[sliced_key] + histogram if sliced_key in total else histogram
    return total
