"""The total order of events, and where entities and sequences begin in it. No Spark.

Events are ordered by table (the run's, then its test table), entity, time, tiebreaks and event id,
so that no two are equal. A *sequence* is an entity's events in this order; a gap longer than
`max_gap` ends it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.statistics.arrays import BoolArray, Int64Array

TABLE, SPLIT = "table", "split"
MAIN_TABLE, TEST_TABLE = 0, 1  # the values of TABLE

# What tells where windows lie, and what an event carries besides.
SHAPE = (TABLE, C.ENTITY, C.EVENT_TIME, SPLIT, C.TRAIN_OK)
CARRIED = (C.EVENT_ID, C.PARTITION, C.GROUP, C.LABEL, C.KIND, C.CALIBRATE_OK)


def tiebreak_columns(count: int) -> list[str]:
    """The names of the columns that order events of equal time.

    >>> tiebreak_columns(2)
    ['tiebreak_0', 'tiebreak_1']
    """
    return [f"{C.TIEBREAK_PREFIX}{number}" for number in range(count)]


def order_columns(tiebreaks: int) -> list[str]:
    """The columns by which events are sorted, first to last.

    >>> order_columns(1)
    ['table', 'entity', 'event_time', 'tiebreak_0', 'event_id']
    """
    return [TABLE, C.ENTITY, C.EVENT_TIME, *tiebreak_columns(tiebreaks), C.EVENT_ID]


def entity_starts(events: pa.Table) -> BoolArray:
    """Where the entity differs from that of the row before; True at the first row.

    An entity of the test table is another one than that of the same name in the run's table.

    >>> entity_starts(pa.table({"table": [0, 0, 1, 1], "entity": ["a", "a", "a", "b"]})).tolist()
    [True, False, True, True]
    """
    # Comparing codes is faster than comparing texts row by row.
    encoded_entities = pc.dictionary_encode(events[C.ENTITY].combine_chunks())
    if isinstance(encoded_entities, pa.ChunkedArray):
        encoded_entities = encoded_entities.combine_chunks()
    entity_codes, table_numbers = encoded_entities.indices.to_numpy(), events[TABLE].to_numpy()
    starts = np.ones(len(entity_codes), np.bool_)
    starts[1:] = (entity_codes[1:] != entity_codes[:-1]) | (table_numbers[1:] != table_numbers[:-1])
    return starts


def sequence_starts(entity_starts: BoolArray, times: Int64Array, max_gap: int | None) -> BoolArray:
    """Where a sequence begins: with its entity, or after a gap longer than `max_gap`
    (microseconds).

    >>> entity, times = np.array([True, False, False, True]), np.array([0, 10, 31, 5])
    >>> sequence_starts(entity, times, max_gap=20).tolist()
    [True, False, True, True]
    """
    starts = entity_starts.copy()
    # The first row begins a sequence here, whatever came before in another file.
    starts[:1] = True
    if max_gap is not None:
        starts[1:] |= np.diff(times) > max_gap
    return starts


def is_on_or_after(events: pa.Table, first_time: int) -> BoolArray:
    """Which events are of the run itself, and not of the tails that its donor run left it.

    A tail's events are of the run's table (not of its test table) and before the run's first event,
    `first_time` in microseconds.

    >>> table = pa.table({"table": [0, 0, 1], "event_time": [3, 5, 3]})
    >>> is_on_or_after(table, 5).tolist()
    [False, True, True]
    """
    event_times, table_numbers = events[C.EVENT_TIME].to_numpy(), events[TABLE].to_numpy()
    is_of_run: BoolArray = (event_times >= first_time) | (table_numbers == TEST_TABLE)
    return is_of_run
