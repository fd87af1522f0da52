"""The rows of `sequences/` and `tails/` equal those of pandas, whatever the partitioning.

There are ties, tails of a donor, and a test table.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.scored.schema import KEYS
from foreshock.sequences.event_rows import SEQUENCE_EVENTS, sequence_events, tail_events
from foreshock.sequences.halos import place_files
from foreshock.sequences.order import CARRIED, SHAPE
from foreshock.sequences.sorted_files import SortedFiles, summarize_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECOND = 1_000_000
OUTSIDE, TRAIN, CALIBRATION, TEST = 0, 1, 2, 3
ORDER = ["table", "entity", "event_time", "event_id"]
MIDNIGHT = 100 * SECOND


def random_events(seed: int, *, first_time: int = 0, test_table: bool = True) -> pd.DataFrame:
    """Events in total order.

    There are ties in time, entities of one event, and splits by time with holes between them.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for table, entities in ((0, 8), (1, 3 if test_table else 0)):
        for entity in range(entities):
            count = int(rng.choice([1, 1, 2, 7, 30]))
            times = (
                first_time
                + (rng.integers(0, 40) + np.cumsum(rng.choice([0, 0, 1, 9], count))) * SECOND
            )
            times += rng.choice([0, 1, 333_333], count)
            names = {"table": table, "entity": f"e{entity}", "event_time": np.sort(times)}
            frames.append(pd.DataFrame(names))
    events = pd.concat(frames, ignore_index=True)
    count = len(events)
    events["event_id"] = [f"{first_time}-{number:04d}" for number in rng.permutation(count)]
    edges = np.quantile(events["event_time"], [0.1, 0.5, 0.55, 0.8, 0.8, 0.97])
    events["split"] = OUTSIDE
    for split, (begin, end) in enumerate(edges.reshape(3, 2), start=TRAIN):
        events.loc[events["event_time"].between(begin, end, inclusive="left"), "split"] = split
    events.loc[events["table"] == 1, "split"] = TEST
    events["train_ok"] = rng.random(count) > 0.2
    events["calibrate_ok"] = rng.random(count) > 0.2
    events["partition"] = [f"p{time // (20 * SECOND)}" for time in events["event_time"]]
    events["group"] = rng.choice(["all", "some"], count)
    labels: list[Any] = [0, 1, None]
    kinds: list[Any] = ["burst", None]
    events["label"] = pd.array(rng.choice(labels, count), dtype="Int8")
    events["kind"] = rng.choice(kinds, count)
    return events.sort_values(ORDER, ignore_index=True)


def as_table(events: pd.DataFrame) -> pa.Table:
    types = {
        "table": pa.int8(),
        "split": pa.int8(),
        "label": pa.int8(),
        "event_time": pa.int64(),
        "kind": pa.string(),
    }
    names = [*SHAPE, *CARRIED]
    fields = [
        pa.field(name, types.get(name, pa.bool_() if name.endswith("_ok") else pa.string()))
        for name in names
    ]
    return pa.Table.from_pandas(events[names], schema=pa.schema(fields), preserve_index=False)


def sorted_files(
    events: pd.DataFrame, edges: list[int], folder: Path, max_gap: int | None, halo: int
) -> SortedFiles:
    """The events as files between edges, with a halo of at most so many events."""
    table = as_table(events)
    paths = []
    for number, (begin, end) in enumerate(pairwise([0, *sorted(edges), len(table)])):
        paths.append(str(folder / f"part-{number:05d}.parquet"))
        pq.write_table(table.slice(begin, end - begin), paths[-1], row_group_size=7)
    first_time = first_of_run(events)
    summaries = [summarize_file(path, max_gap, first_time) for path in paths]
    places = place_files(summaries, max_gap, lambda index: min(index, halo))
    return SortedFiles(tuple(paths), tuple(places), max(s.longest for s in summaries))


def first_of_run(events: pd.DataFrame) -> int:
    """The first event of the run's table that is not of its donor's tails."""
    return int(
        events.loc[~events.get("is_tail", False) & (events["table"] == 0), "event_time"].min()
    )


def rows_of(files: SortedFiles, events: pd.DataFrame) -> pd.DataFrame:
    first_time = first_of_run(events)
    tables = [
        sequence_events(files.read(number, (*SHAPE, *CARRIED)), files.places[number], first_time)
        for number in range(len(files))
    ]
    assert all(table.schema == SEQUENCE_EVENTS for table in tables)
    return pa.concat_tables(tables).to_pandas()


def tails_of(files: SortedFiles, max_gap: int | None, needed: int, stride: int) -> pd.DataFrame:
    tables = [
        tail_events(
            files.read(number, (*SHAPE, *CARRIED)), files.places[number], max_gap, needed, stride
        )
        for number in range(len(files))
    ]
    return pa.concat_tables(tables).to_pandas()


def brute_force(events: pd.DataFrame) -> pd.DataFrame:
    """What `sequences/` holds, by pandas on the whole table."""
    wanted = events.copy()
    wanted["gap"] = wanted.groupby(["table", "entity"])["event_time"].diff() / 1e6
    is_tail = wanted.get("is_tail", pd.Series(False, index=wanted.index))
    wanted["position"] = (~is_tail).cumsum() - 1
    wanted["calibrate"] = wanted["calibrate_ok"].astype(np.int8)
    wanted["label"] = wanted["label"].fillna(-1).astype(np.int8)
    wanted["kind"] = wanted["kind"].fillna("")
    wanted["split"] = wanted["split"].astype(np.int8)
    return wanted.loc[wanted["split"] != OUTSIDE, SEQUENCE_EVENTS.names].reset_index(drop=True)


examples = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@examples
@given(
    seed=st.integers(0, 10_000),
    halo=st.integers(0, 9),
    max_gap=st.sampled_from([None, 0, 5 * SECOND]),
    data=st.data(),
)
def test_rows_equal_pandas_however_events_are_partitioned(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    halo: int,
    max_gap: int | None,
    data: st.DataObject,
) -> None:
    events = random_events(seed)
    edges = data.draw(st.lists(st.integers(0, len(events)), max_size=9))
    folder = tmp_path_factory.mktemp("sorted")
    files = sorted_files(events, edges, folder, max_gap, halo)
    pd.testing.assert_frame_equal(rows_of(files, events), brute_force(events))


@examples
@given(
    seed=st.integers(0, 10_000),
    needed=st.integers(1, 4),
    stride=st.integers(1, 3),
    max_gap=st.sampled_from([None, 0, 5 * SECOND]),
    data=st.data(),
)
@pytest.mark.slow
def test_two_days_by_tails_equal_one_run_of_both(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    needed: int,
    stride: int,
    max_gap: int | None,
    data: st.DataObject,
) -> None:
    yesterday = random_events(seed, test_table=False)
    yesterday = yesterday[yesterday["event_time"] < MIDNIGHT].reset_index(drop=True)
    today = random_events(seed + 1, first_time=MIDNIGHT)
    edges = data.draw(st.lists(st.integers(0, len(yesterday)), max_size=5))
    folder = tmp_path_factory.mktemp("yesterday")
    halo = needed + stride - 1
    tails = tails_of(sorted_files(yesterday, edges, folder, max_gap, halo), max_gap, needed, stride)
    last_events = yesterday.groupby("entity")["event_id"].last()
    assert set(last_events) <= set(tails["event_id"])

    tails = yesterday[yesterday["event_id"].isin(tails["event_id"])].assign(split=OUTSIDE)
    both = [
        pd.concat([part.assign(is_tail=True), today.assign(is_tail=False)])
        .sort_values(ORDER, ignore_index=True)
        .astype({"is_tail": bool})
        for part in (tails, yesterday.assign(split=OUTSIDE))
    ]
    edges = data.draw(st.lists(st.integers(0, len(both[0])), max_size=5))
    folder = tmp_path_factory.mktemp("today")
    rows = rows_of(sorted_files(both[0], edges, folder, max_gap, halo), both[0])
    pd.testing.assert_frame_equal(rows, brute_force(both[1]))


def test_a_gap_longer_than_max_gap_is_a_gap_all_the_same(tmp_path: Path) -> None:
    events = random_events(1, test_table=False).iloc[:3].assign(entity="e", split=TRAIN)
    events["event_time"] = [0, 2 * SECOND, 1_000 * SECOND]
    rows = rows_of(sorted_files(events, [1, 2], tmp_path, max_gap=SECOND, halo=3), events)
    assert np.isnan(rows["gap"][0])
    assert rows["gap"][1:].tolist() == [2.0, 998.0]
    assert rows["position"].tolist() == [0, 1, 2]


def test_events_outside_the_splits_have_no_row_but_count_as_previous_events(tmp_path: Path) -> None:
    events = random_events(1, test_table=False).iloc[:3].assign(entity="e")
    events["event_time"], events["split"] = [0, 5 * SECOND, 6 * SECOND], [TRAIN, OUTSIDE, TEST]
    rows = rows_of(sorted_files(events, [2], tmp_path, max_gap=None, halo=0), events)
    assert rows["position"].tolist() == [0, 2]
    assert rows["gap"][1] == 1.0


def test_rows_begin_with_the_keys_of_scored_rows() -> None:
    assert SEQUENCE_EVENTS.names[: len(KEYS)] == KEYS.names
    assert SEQUENCE_EVENTS.types[: len(KEYS)] == KEYS.types
