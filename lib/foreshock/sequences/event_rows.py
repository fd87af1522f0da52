"""The rows of `sequences/` and of `tails/`: events in total order for detectors that look at no
windows.

A row of `sequences/` is an event of train, calibration or test, with the time since its entity's
event before it, whatever split that is of, and its position in the total order. No Spark.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.sequences.halos import FilePlace, tail_rows
from foreshock.sequences.order import (
    MAIN_TABLE,
    SPLIT,
    TABLE,
    entity_starts,
    is_on_or_after,
    sequence_starts,
)
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

CALIBRATE, GAP, POSITION = "calibrate", "gap", "position"
SEQUENCES, TAILS = "sequences", "tails"  # folders of a run directory

SEQUENCE_EVENTS = pa.schema(
    [
        (SPLIT, pa.int8()),
        (C.PARTITION, pa.string()),
        (C.GROUP, pa.string()),
        (C.ENTITY, pa.string()),
        (C.EVENT_ID, pa.string()),
        (C.EVENT_TIME, pa.int64()),  # microseconds
        (C.LABEL, pa.int8()),
        (C.KIND, pa.string()),
        (CALIBRATE, pa.int8()),
        (C.TRAIN_OK, pa.bool_()),
        (GAP, pa.float64()),  # seconds since the entity's event before; null at its first
        (POSITION, pa.int64()),
    ]
)


def seconds_since_previous(
    starts: BoolArray, times: Int64Array, previous_time: int | None = None
) -> Float64Array:
    """Seconds since the entity's event before, (n,); NaN where the entity has none.

    starts: where the entity differs from that of the row before. times: microseconds.
    previous_time: of the first row's entity, where its events began before the first row.

    >>> starts, times = np.array([True, False, True]), np.array([5_000_000, 5_500_000, 1_000_000])
    >>> seconds_since_previous(starts, times, previous_time=3_000_000).tolist()
    [2.0, 0.5, nan]
    """
    gap_seconds = np.full(len(times), np.nan)
    gap_seconds[1:] = np.where(starts[1:], np.nan, np.diff(times) / 1e6)
    if previous_time is not None:
        # The entity's last event in earlier files is known without reading it.
        gap_seconds[:1] = (times[:1] - previous_time) / 1e6
    return gap_seconds


def sequence_events(events: pa.Table, place: FilePlace, first_time: int) -> pa.Table:
    """The rows of `sequences/` from a file's events behind their halo.

    first_time: of the run's first event, microseconds; events before it are of the donor's tails.
    They have no position, and like events outside every split no row, but count as previous events.
    """
    # Each event has its row from the file that holds it.
    events = events.slice(place.halo)
    event_times = events[C.EVENT_TIME].to_numpy()
    gap_seconds = seconds_since_previous(entity_starts(events), event_times, place.previous_time)
    numbered_so_far = np.cumsum(is_on_or_after(events, first_time))
    positions = place.first_position + numbered_so_far - 1
    row_columns = {
        **{name: events[name] for name in SEQUENCE_EVENTS.names if name in events.column_names},
        C.LABEL: pc.fill_null(events[C.LABEL], C.UNKNOWN_LABEL),
        C.KIND: pc.fill_null(events[C.KIND].cast(pa.string()), ""),
        CALIBRATE: events[C.CALIBRATE_OK].cast(pa.int8()),
        GAP: pa.array(gap_seconds, from_pandas=True),
        POSITION: pa.array(positions.astype(np.int64)),
    }
    in_split = events[SPLIT].to_numpy() != Split.OUTSIDE
    all_rows = pa.table({name: row_columns[name] for name in SEQUENCE_EVENTS.names})
    return all_rows.filter(pa.array(in_split)).cast(SEQUENCE_EVENTS)


def tail_events(
    events: pa.Table, place: FilePlace, max_gap: int | None, needed: int, stride: int
) -> pa.Table:
    """The rows of `tails/` from a file's events behind their halo: the end of each entity's last
    sequence.

    The test table has none: no later run goes on from it.
    """
    starts_of_entities = entity_starts(events)
    starts = sequence_starts(starts_of_entities, events[C.EVENT_TIME].to_numpy(), max_gap)
    # The halo begins within a sequence unless it reaches back to its start.
    starts[:1] = place.begins_sequence
    is_needed = tail_rows(starts, starts_of_entities, place, needed, stride)
    # A test table is another source: no later run goes on from it.
    is_needed &= events[TABLE].to_numpy() == MAIN_TABLE
    return events.filter(pa.array(is_needed)).drop([TABLE, SPLIT])
