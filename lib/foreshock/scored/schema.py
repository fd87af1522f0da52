"""The columns of scored rows, by detector name. Nobody else spells a column of scored files.

A row is an event that a detector family judged. Scored files live only in the staging folder of a
scoring job; the tables of a run are made from them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from foreshock.sequences.split import BlockRole, Split
from foreshock.statistics.arrays import AnyArray, Float64Array, Int64Array

SPLIT, PARTITION, GROUP = "split", "partition", "group"
ENTITY, EVENT_ID, EVENT_TIME = "entity", "event_id", "event_time"
LABEL, KIND, CALIBRATE = "label", "kind", "calibrate"
BLOCK_ROLE, EVENT_RUN = "block_role", "event_run"
BLOCK_ID, BLOCK_ROW, CHUNK_FILE = "block_id", "block_row", "chunk_file"
IS_PARTIAL, N_WINDOWS = "is_partial", "n_windows"
ERRORS, WORST_STEP = "errors_by_feature", "worst_steps"
VALUES, EXPECTED, N_FORECASTS = "values_by_feature", "expected_values", "n_forecasts"
SCORE, WINDOW_SCORES = "score__", "window_scores__"

KEYS = pa.schema(
    [
        (SPLIT, pa.int8()),
        (PARTITION, pa.string()),
        (GROUP, pa.string()),
        (ENTITY, pa.string()),
        (EVENT_ID, pa.string()),
        (EVENT_TIME, pa.int64()),
        (LABEL, pa.int8()),
        (KIND, pa.string()),
        (CALIBRATE, pa.int8()),
    ]
)
PLACE = pa.schema(
    [
        (BLOCK_ROLE, pa.int8()),
        (EVENT_RUN, pa.int64()),
        (BLOCK_ID, pa.int64()),
        (BLOCK_ROW, pa.int32()),
        (CHUNK_FILE, pa.string()),
        (IS_PARTIAL, pa.bool_()),
        (N_WINDOWS, pa.int32()),
    ]
)
ATTRIBUTION = pa.schema(
    [
        (ERRORS, pa.list_(pa.float32())),
        (WORST_STEP, pa.list_(pa.int32())),
        (VALUES, pa.list_(pa.float32())),
        (EXPECTED, pa.list_(pa.float32())),
        (N_FORECASTS, pa.int32()),
    ]
)

# The block id of an event that no window holds: it stands before all blocks.
WITHOUT_BLOCK = -1
# Where the parts of an event run's id begin, in bits; its place in the block takes the lowest 20.
ROLE_SHIFT, FAMILY_SHIFT, BLOCK_SHIFT = 58, 54, 20


def score_column(detector: str) -> str:
    """The column of a detector's scores: double, null where it did not judge the event.

    >>> score_column("pca")
    'score__pca'
    """
    return f"{SCORE}{detector}"


def window_scores_column(detector: str) -> str:
    """The column of an event's scores window by window.

    It is kept where a median over windows is still to be taken, and null elsewhere.

    >>> window_scores_column("pca")
    'window_scores__pca'
    """
    return f"{WINDOW_SCORES}{detector}"


def scored_schema(detectors: tuple[str, ...]) -> pa.Schema:
    """The schema of scored rows: the event's keys, its place, its attribution, and its scores.

    Place: the role of its block; its run of events (`event_run_ids`); block, row in the block and
    chunk file, by which a window is found again; whether the row is partial, that is, waits to be
    merged with what other blocks know of the event; how many windows hold it.
    Attribution, lists with an element a feature: the errors, summed over those windows; how many
    steps before the event its window is most wrong (0 or less); value and expected value there,
    scaled; how many windows made a forecast of it.

    >>> scored_schema(("pca", "zscore")).names[-4:]
    ['score__pca', 'score__zscore', 'window_scores__pca', 'window_scores__zscore']
    """
    score_fields = [
        pa.field(score_column(detector_name), pa.float64()) for detector_name in detectors
    ]
    score_list = pa.list_(pa.float64())
    window_scores = [
        pa.field(window_scores_column(detector_name), score_list) for detector_name in detectors
    ]
    return pa.schema([*KEYS, *PLACE, *ATTRIBUTION, *score_fields, *window_scores])


def scores_of(rows: pa.Table, detector: str) -> Float64Array:
    """A detector's scores (n,), NaN where it did not judge the event.

    >>> scores_of(pa.table({"score__pca": [1.5, None]}), "pca").tolist()
    [1.5, nan]
    """
    score_fields: Float64Array = rows[score_column(detector)].to_numpy()
    return score_fields


def event_roles(rows: pa.Table) -> Int64Array:
    """The `BlockRole` (n,) of each event.

    It is that of its split, for a block of test may hold events of calibration. For an event of
    train it is that of its block, which alone tells the last part, of validation.
    """
    event_splits = rows[SPLIT].to_numpy().astype(np.int64)
    of_split = event_splits + (BlockRole.CALIBRATION - Split.CALIBRATION)
    return np.where(event_splits >= Split.CALIBRATION, of_split, rows[BLOCK_ROLE].to_numpy())


def event_run_ids(
    role: int, block_id: int, block_rows: Int64Array, length: int, *, family: int = 0
) -> Int64Array:
    """The run of `length` events that each event (n,) lies in, the unit of block bootstraps.

    Runs never cross a block. `family` tells runs of one detector family from those of another.

    >>> event_run_ids(BlockRole.FIT, 3, np.array([0, 9, 10]), 10).tolist() == [
    ...     (1 << 58) + (3 << 20) + run for run in (0, 0, 1)
    ... ]
    True
    """
    first_run = (role << ROLE_SHIFT) + (family << FAMILY_SHIFT) + (block_id << BLOCK_SHIFT)
    return first_run + block_rows // length


def list_column(values: AnyArray) -> pa.ListArray:
    """A list column of an array (n, F).

    >>> list_column(np.array([[1, 2], [3, 4]])).to_pylist()
    [[1, 2], [3, 4]]
    """
    row_ends = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(row_ends, np.ascontiguousarray(values).ravel())


def matrix_of(rows: pa.Table, name: str) -> Float64Array:
    """The array (n, F) of a list column without nulls, all of its lists of one length.

    >>> rows = pa.table({"errors_by_feature": [[1.0, 2.0], [3.0, 4.0]]})
    >>> matrix_of(rows, "errors_by_feature").tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    # One flat array and a shape: `to_pylist` would make a Python object of each number.
    list_array = rows[name].combine_chunks()
    n_features = len(list_array[0]) if len(list_array) else 0
    return np.asarray(list_array.flatten().to_numpy(), np.float64).reshape(
        len(list_array), n_features
    )
