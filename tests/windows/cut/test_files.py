"""Windows cut by Spark and in this process: the same files, and what lies in them by pandas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.scaling.robust import FeatureScale, Scaler
from foreshock.sequences.sort_spark import place_sorted, sort_events
from foreshock.sequences.split import BlockRole
from foreshock.windows.cut.cutting import BlockCount, Cutting, numbering
from foreshock.windows.cut.grid import WindowGrid
from foreshock.windows.cut.pieces import Piece
from foreshock.windows.cut.spark import Writing, count_blocks, write_pieces
from foreshock.windows.dataset.schema import decode

SECOND = 1_000_000
ENTITIES, EVENTS = 9, 700
NO_SPARK: Any = None  # work in this process asks no session
GRID = WindowGrid(length=4, stride=1, block=8, max_gap=40 * SECOND, pad=False)


@dataclass(frozen=True)
class Written:
    """What was written, and from where."""

    pieces: list[Piece]
    folder: Path

    def table(self, name: str) -> pd.DataFrame:
        return pq.read_table(self.folder / name).to_pandas()

    def windows(self) -> dict[tuple[int, ...], int]:
        """The role of each window, by the ids of its events."""
        windows = {}
        for piece in self.pieces:
            for block in pq.read_table(piece.path).to_pylist():
                ids = decode(block["event_id"])
                for number in range(block["n_windows"]):
                    first = number * GRID.stride
                    window = tuple(int(text) for text in ids[first : first + GRID.length])
                    assert window not in windows
                    windows[window] = int(piece.role)
        return windows


def unsorted_events() -> pd.DataFrame:
    """Events in no order, with ties in time that a tiebreak and the id decide."""
    rng = np.random.default_rng(5)
    seconds = np.cumsum(rng.choice([0, 1, 2, 50], EVENTS, p=[0.3, 0.4, 0.28, 0.02]))
    day = np.repeat(["2024-01-01", "2024-01-02"], [EVENTS // 2, EVENTS - EVENTS // 2])
    events = pd.DataFrame(
        {
            "table": np.zeros(EVENTS, np.int8),
            "entity": [f"e{number}" for number in rng.integers(0, ENTITIES, EVENTS)],
            "event_time": pd.to_datetime(seconds, unit="s", utc=True).astype("datetime64[us, UTC]"),
            "tiebreak_0": rng.integers(0, 2, EVENTS),
            "event_id": [str(number) for number in rng.permutation(EVENTS)],
            "split": np.repeat([1, 2, 3, 0], [300, 150, 200, 50]).astype(np.int8),
            "train_ok": rng.random(EVENTS) > 0.02,
            "partition": day,
            "group": rng.choice(["all", "some"], EVENTS),
            "label": rng.integers(0, 2, EVENTS).astype(np.int8),
            "kind": rng.choice(["burst", ""], EVENTS),
            "calibrate_ok": rng.random(EVENTS) > 0.1,
            "fee": rng.standard_t(3, EVENTS),
        }
    )
    return events.sample(frac=1, random_state=6)


def scaler() -> Scaler:
    numbers = dict.fromkeys(("median", "q1", "q3", "minimum", "maximum", "mean", "std"), 0.0)
    fee = FeatureScale("fee", EVENTS, 0, 0.0, 0.5, 2.0, "scaled", "", **numbers)
    return Scaler("robust", "none", None, (fee,))


def write(spark: Any, paths: list[str], folder: Path, *, here: bool) -> Written:
    placed = place_sorted(spark, paths, GRID.max_gap, GRID.halo_before, here=here)
    cutting = Cutting(placed, GRID, validation_time=250 * SECOND)
    counts = count_blocks(spark, cutting, here=here)
    writing = Writing(scaler(), tiebreaks=1, folder=folder, write_sequences=True)
    return Written(write_pieces(spark, cutting, counts, writing, here=here), folder)


def in_order(events: pd.DataFrame) -> pd.DataFrame:
    return events.sort_values(["entity", "event_time", "tiebreak_0", "event_id"], ignore_index=True)


def test_spark_and_this_process_write_the_same_from_one_file_or_five(
    spark: Any, tmp_path: Path
) -> None:
    events = unsorted_events()
    source = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pandas(events, preserve_index=False), source)
    frame = spark.read.parquet(str(source))
    written = {}
    for files, here in ((5, False), (1, True)):
        folder = tmp_path / f"{files}"
        paths = sort_events(frame, ["fee"], 1, files, folder / "sorted")
        assert len(paths) == files
        written[files] = write(spark, paths, folder, here=here)
    five, one = written[5], written[1]
    assert five.windows() == one.windows()
    assert {BlockRole(role) for role in one.windows().values()} == set(BlockRole)
    for name in ("rest", "sequences"):
        pd.testing.assert_frame_equal(five.table(name), one.table(name))

    ordered = in_order(events)
    rows = one.table("sequences")
    judged = ordered[ordered["split"] != 0]
    assert rows["event_id"].tolist() == judged["event_id"].tolist()
    assert rows["position"].tolist() == judged.index.tolist()
    gaps = ordered.groupby("entity")["event_time"].diff().dt.total_seconds()[judged.index]
    np.testing.assert_array_equal(rows["gap"], gaps)
    last_events = set(ordered.groupby("entity")["event_id"].last())
    for tails in (one.table("tails"), five.table("tails")):
        assert last_events <= set(tails["event_id"])


@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("write_sequences", [False, True])
def test_tails_hold_each_entitys_last_event_where_sequences_are_wanted(
    tmp_path: Path, length: int, write_sequences: bool
) -> None:
    ordered = in_order(unsorted_events())
    ordered["event_time"] = ordered["event_time"].astype("int64")
    path = tmp_path / "sorted.parquet"
    pq.write_table(pa.Table.from_pandas(ordered, preserve_index=False), path)
    grid = WindowGrid(length=length, stride=1, block=8, max_gap=None, pad=False)
    placed = place_sorted(NO_SPARK, [str(path)], None, grid.halo_before, here=True)
    cutting = Cutting(placed, grid, 0)
    writing = Writing(scaler(), 1, tmp_path / "written", write_sequences)
    write_pieces(NO_SPARK, cutting, count_blocks(NO_SPARK, cutting, here=True), writing, here=True)
    tails = pq.read_table(tmp_path / "written" / "tails").to_pandas()
    kept = max(length - 1, int(write_sequences))
    expected = ordered.groupby("entity").tail(kept)["event_id"] if kept else []
    assert tails["event_id"].tolist() == list(expected)
    assert (tmp_path / "written" / "sequences").exists() is write_sequences


def test_no_events_at_all_write_empty_folders(tmp_path: Path) -> None:
    placed = place_sorted(NO_SPARK, [], None, GRID.halo_before, here=True)
    cutting = Cutting(placed, GRID, 0)
    assert count_blocks(NO_SPARK, cutting, here=True) == []
    assert placed.longest == 0
    writing = Writing(scaler(), 1, tmp_path, write_sequences=True)
    assert write_pieces(NO_SPARK, cutting, [], writing, here=True) == []


def test_blocks_of_validation_are_numbered_after_those_of_fit() -> None:
    first, second = ({role: BlockCount(role + n, 10 * n) for role in BlockRole} for n in (1, 2))
    before_first, before_second = numbering([first, second])
    assert before_first[BlockRole.FIT] == BlockCount(0, 0)
    assert before_first[BlockRole.VALIDATION] == BlockCount(5, 0)
    assert before_second[BlockRole.FIT] == BlockCount(2, 10)
    assert before_second[BlockRole.VALIDATION] == BlockCount(8, 10)
    assert before_second[BlockRole.TEST] == BlockCount(5, 10)
