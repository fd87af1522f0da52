"""Windows: blocks hold exactly the windows that NumPy cuts, sequence by sequence.

The partitioning does not matter.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from foreshock.sequences.halos import FilePlace, place_files, summarize, tail_rows
from foreshock.sequences.order import sequence_starts
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.cut.blocks import EventFacts, NoWindow, cut_blocks, reasons
from foreshock.windows.cut.grid import WindowGrid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

FIT, VALIDATION, CALIBRATION, TEST = BlockRole

SECOND = 1_000_000
NONE, TRAIN, CAL, TST = 0, 1, 2, 3  # split codes of an event


@dataclass
class Events:
    """Events in total order, a row each.

    entity, time: the entity and the time of the row.
    split: the split of the row by its time.
    train_ok: whether train_where holds.
    """

    entity: AnyArray
    time: AnyArray
    split: AnyArray
    train_ok: AnyArray
    validation: int = 1 << 62

    def __len__(self) -> int:
        return len(self.entity)


def events_of(
    lengths: list[int],
    splits: list[int] | None = None,
    bad: tuple[int, ...] = (),
    step: int = SECOND,
    validation: int = 1 << 62,
) -> Events:
    """Entities of these lengths, an event a second.

    splits: the split of each row.
    bad: the rows in which train_where is false.
    """
    n = sum(lengths)
    entity = np.repeat(np.arange(len(lengths)), lengths)
    time = (
        np.concatenate([np.arange(k) * step for k in lengths]) if lengths else np.zeros(0, np.int64)
    )
    ok = np.ones(n, bool)
    ok[list(bad)] = False
    split = np.array(splits if splits is not None else [TRAIN] * n, np.int8)
    return Events(entity, time.astype(np.int64), split, ok, validation)


# --- what the code under test does, joined as windows/cut joins it --------------------------------


Window = tuple[int, tuple[int, ...], int]


@dataclass
class Found:
    windows: Counter[Window] = field(
        default_factory=Counter
    )  # (split code, rows of the window, padding) -> times
    blocks: list[tuple[int, int, int, int]] = field(
        default_factory=list
    )  # (start row, windows, split, padding)
    reasons: list[int] = field(default_factory=list)
    halos: list[int] = field(default_factory=list)


@dataclass
class SortedFile:
    """A contiguous part of the events: rows [begin − halo, end).

    It knows its place, and where sequences start.
    """

    begin: int
    end: int
    place: FilePlace
    entity_starts: AnyArray
    starts: AnyArray

    @property
    def rows(self) -> slice:
        return slice(self.begin - self.place.halo, self.end)


def sorted_files(events: Events, edges: list[int], grid: WindowGrid) -> list[SortedFile]:
    """The events as contiguous files between `edges`, each seeing only its rows and its halo."""
    bounds = list(pairwise([0, *sorted(edges), len(events)]))
    changed = np.ones(len(events), bool)
    changed[1:] = events.entity[1:] != events.entity[:-1]

    def entity_starts(rows: slice) -> AnyArray:
        starts = changed[rows].copy()
        starts[:1] = True
        return starts

    summaries = []
    for begin, end in bounds:
        rows = slice(begin, end)
        first, last = (
            (str(events.entity[row]) for row in (begin, end - 1)) if end > begin else ("", "")
        )
        starts = sequence_starts(entity_starts(rows), events.time[rows], grid.max_gap)
        summaries.append(summarize(first, last, starts, events.time[rows]))
    files = []
    places = place_files(summaries, grid.max_gap, grid.halo_before)
    for (begin, end), place in zip(bounds, places, strict=True):
        assert 0 <= place.halo <= begin
        rows = slice(begin - place.halo, end)
        starts = sequence_starts(entity_starts(rows), events.time[rows], grid.max_gap)
        starts[:1] = place.begins_sequence
        files.append(SortedFile(begin, end, place, entity_starts(rows), starts))
    return files


def cut_in_parts(events: Events, edges: list[int], grid: WindowGrid) -> Found:
    """Cut the events as contiguous files between `edges`."""
    found = Found()
    for file in sorted_files(events, edges, grid):
        found.halos.append(file.place.halo)
        rows = file.rows
        split = events.split[rows]
        admitted = (split == TRAIN) & events.train_ok[rows]
        facts = EventFacts(file.starts, split, admitted, events.time[rows] < events.validation)
        blocks = cut_blocks(facts, file.place, grid)
        sizes = blocks.events(grid)
        columns = (blocks.start, blocks.windows, blocks.role, blocks.padding, sizes)
        for start, windows, role, padding, size in zip(*(c.tolist() for c in columns), strict=True):
            assert start >= 0
            assert start + size <= file.end - rows.start, "a block reaches beyond its file"
            first = rows.start + start
            found.blocks.append((first, windows, role, padding))
            for number in range(windows):
                begin = first + number * grid.stride
                window = tuple(range(begin, begin + grid.length - padding))
                found.windows[role, window, padding] += 1
        found.reasons += reasons(facts, file.place, grid)[file.place.halo :].tolist()
    return found


# --- the reference: interface.md "The dataset", sequence by sequence ------------------------------


def sequences(events: Events, max_gap: int | None) -> list[AnyArray]:
    found: list[list[int]] = []
    for row in range(len(events)):
        fresh = row == 0 or events.entity[row] != events.entity[row - 1]
        if fresh or (max_gap is not None and events.time[row] - events.time[row - 1] > max_gap):
            found.append([])
        found[-1].append(row)
    return [np.array(rows) for rows in found]


def wanted_split(events: Events, rows: AnyArray) -> int:
    """The dataset that a window belongs to: the split of its last event.

    A training window holds training events only.
    """
    last = rows[-1]
    split = events.split[last]
    if split == TRAIN:
        if not all(events.split[r] == TRAIN and events.train_ok[r] for r in rows):
            return 0
        return FIT if events.time[last] < events.validation else VALIDATION
    return {NONE: 0, CAL: CALIBRATION, TST: TEST}[int(split)]


def brute_force(events: Events, cut: WindowGrid) -> tuple[Counter[Window], dict[int, int]]:
    """(windows as in Found, reason by row of the splits' events)."""
    windows: Counter[Window] = Counter()
    reasons: dict[int, int] = {}
    for rows in sequences(events, cut.max_gap):
        short = len(rows) < cut.length
        if not short:
            cuts, padding = list(sliding_window_view(rows, cut.length)[:: cut.stride]), 0
        else:
            cuts, padding = ([rows] if cut.pad else []), cut.length - len(rows)
        ends = {}
        for window in cuts:
            split = wanted_split(events, window)
            ends[int(window[-1])] = split
            if split:
                windows[split, tuple(window.tolist()), padding] += 1
        for index, row in enumerate(rows.tolist()):
            if row in ends:
                reasons[row] = 0 if ends[row] else NoWindow.NOT_A_TRAINING_WINDOW
            elif short and not cut.pad:
                reasons[row] = NoWindow.SHORT_SEQUENCE
            else:
                reasons[row] = NoWindow.WARM_UP if index < cut.length - 1 else NoWindow.STRIDE
    return windows, {row: reason for row, reason in reasons.items() if events.split[row]}


def check(events: Events, cut: WindowGrid, partitionings: list[list[int]]) -> Found:
    windows, reasons = brute_force(events, cut)
    whole = cut_in_parts(events, [], cut)
    for edges in [[], *partitionings]:
        found = cut_in_parts(events, edges, cut)
        assert found.windows == windows
        assert {r: found.reasons[r] for r in reasons} == reasons
        assert found.blocks == whole.blocks, "blocks depend on the partitioning"
        assert max(found.halos, default=0) <= cut.length + cut.stride + cut.cell_events, (
            "a part reads more than a cell of halo"
        )
    assert all(1 <= w <= max(1, cut.block // cut.stride) for _, w, _, _ in whole.blocks)
    assert all(p == 0 or w == 1 for _, w, _, p in whole.blocks)
    return whole


# --- the property ---------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> Events:
    """Entities with events at drawn times, with ties and gaps.

    Splits are by time. train_where is false in some rows.
    """
    lengths = draw(st.lists(st.integers(1, 40), min_size=0, max_size=6))
    if lengths and bool(draw(st.booleans())):  # one entity holds 95 % of the rows
        lengths[draw(st.integers(0, len(lengths) - 1))] = min(19 * sum(lengths), 300)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = draw(st.sampled_from([(0, 1), (1,), (0, 1, 1, 1, 2, 50), (1, 1, 1, 1, 1, 1, 1, 1, 30)]))
    times = [(rng.integers(0, 40) + np.cumsum(rng.choice(gaps, size=k))) * SECOND for k in lengths]
    time = np.concatenate(times).astype(np.int64) if times else np.zeros(0, np.int64)
    entity = np.repeat(np.arange(len(lengths)), lengths)
    end = int(time.max(initial=0)) + 1
    # half-open spans in order, with holes between them: [t0, t1) train, [t2, t3) calibration, [t4,
    # t5) test
    marks = np.sort([draw(st.integers(0, end)) for _ in range(6)])
    if draw(st.booleans()):
        marks[0], marks[5] = 0, end
    if draw(st.booleans()):
        marks[2], marks[4] = marks[1], marks[3]
    split = np.zeros(len(time), np.int8)
    for code, (a, b) in {TRAIN: marks[0:2], CAL: marks[2:4], TST: marks[4:6]}.items():
        split[(time >= a) & (time < b)] = code
    train_ok = rng.random(len(time)) >= draw(st.sampled_from([0.0, 0.0, 0.02, 0.3]))
    return Events(
        entity, time, split, train_ok, int(marks[0] + draw(st.floats(0, 1)) * (marks[1] - marks[0]))
    )


cuts = st.builds(
    WindowGrid,
    length=st.integers(1, 9),
    stride=st.integers(1, 12),
    block=st.integers(1, 24),
    max_gap=st.sampled_from([None, None, 0, SECOND, 10 * SECOND]),
    pad=st.booleans(),
)


@settings(
    max_examples=800, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(events=tables(), cut=cuts, data=st.data())
def test_blocks_hold_numpys_windows_however_events_are_partitioned(
    events: Events, cut: WindowGrid, data: st.DataObject
) -> None:
    parts = data.draw(st.integers(1, 17), label="parts")
    anywhere = st.lists(st.integers(0, len(events)), min_size=parts - 1, max_size=parts - 1)
    partitionings = [data.draw(anywhere, label="edges")]
    if len(events) <= 60:
        partitionings.append(list(range(len(events))))  # a part a row
    check(events, cut, partitionings)


def tails_in_parts(events: Events, edges: list[int], grid: WindowGrid, needed: int) -> AnyArray:
    """The rows kept for later windows, each at most once.

    Each file sees only its rows and its halo.
    """
    kept: list[int] = []
    for file in sorted_files(events, edges, grid):
        is_kept = tail_rows(file.starts, file.entity_starts, file.place, needed, grid.stride)
        kept += (file.rows.start + np.flatnonzero(is_kept)).tolist()
    assert len(kept) == len(set(kept))
    return np.array(sorted(kept), int)


@settings(
    max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(events=tables(), cut=cuts, data=st.data())
def test_the_tails_of_yesterday_and_todays_events_hold_todays_windows(
    events: Events, cut: WindowGrid, data: st.DataObject
) -> None:
    midnight = data.draw(st.integers(0, int(events.time.max(initial=0)) + 1), label="midnight")
    events.split = np.where(events.time >= midnight, TST, NONE).astype(np.int8)
    wanted, _ = brute_force(events, cut)
    before = np.flatnonzero(events.time < midnight)
    yesterday = Events(
        events.entity[before], events.time[before], events.split[before], events.train_ok[before]
    )
    edges = data.draw(st.lists(st.integers(0, len(before)), max_size=6), label="edges")
    at_least = data.draw(st.sampled_from([0, 1]), label="at least the last event")
    needed = max(cut.length - 1, at_least)
    tails = before[tails_in_parts(yesterday, edges, cut, needed)]
    if at_least:
        assert set(events.entity[tails]) == set(yesterday.entity)
    for entity in np.unique(
        events.entity[tails]
    ):  # a gap at the border of two parts hides from the first that its entity goes on
        most = needed + cut.stride - 1
        assert (events.entity[tails] == entity).sum() <= most * (len(edges) + 1)
    rows = np.sort(np.concatenate([tails, np.flatnonzero(events.time >= midnight)]))
    today = Events(
        events.entity[rows], events.time[rows], events.split[rows], events.train_ok[rows]
    )
    found = cut_in_parts(today, [], cut).windows
    assert {(c, tuple(rows[list(w)].tolist()), p): n for (c, w, p), n in found.items()} == wanted


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("stride", [1, 3, 7])
def test_every_single_cut_point(stride: int, pad: bool) -> None:
    """Two parts, cut at each row in turn.

    There are entities shorter than the window, equal to it and longer.
    """
    splits = ([NONE] * 2 + [TRAIN] * 15 + [CAL] * 8 + [NONE] * 3 + [TST] * 12)[:40]
    events = events_of([3, 5, 6, 40, 1, 13], ([TRAIN] * 14) + splits + [TST] * 14, bad=(20,))
    cut = WindowGrid(length=5, stride=stride, block=4, max_gap=None, pad=pad)
    check(events, cut, [[i] for i in range(len(events) + 1)])


@pytest.mark.parametrize("parts", [2, 5, 17])
def test_one_entity_of_95_percent_in_equal_parts(parts: int) -> None:
    rng = np.random.default_rng(parts)
    lengths = [20, 15, 1900, 5, 60]
    events = events_of(lengths, splits=None)
    within = events.time // SECOND
    events.split = np.select(
        [within < 900, within < 1300, within < 1310], [TRAIN, CAL, NONE], TST
    ).astype(np.int8)
    events.train_ok = rng.random(len(events)) > 0.002
    events.validation = 800 * SECOND
    edges = [len(events) * i // parts for i in range(1, parts)]
    found = check(
        events, WindowGrid(length=16, stride=1, block=64, max_gap=None, pad=False), [edges]
    )
    assert {code for _, _, code, _ in found.blocks} == {FIT, VALIDATION, CALIBRATION, TEST}


# --- examples by hand -----------------------------------------------------------------------------


def test_windows_of_one_sequence_by_hand() -> None:
    cut = WindowGrid(length=3, stride=1, block=4, max_gap=None, pad=False)
    found = cut_in_parts(events_of([8]), [5], cut)
    assert found.blocks == [(0, 4, FIT, 0), (4, 2, FIT, 0)]
    assert [NoWindow(r).text for r in found.reasons] == [
        "warm_up",
        "warm_up",
        "",
        "",
        "",
        "",
        "",
        "",
    ]


def test_calibration_windows_reach_back_and_training_windows_do_not() -> None:
    """Window of 3 over events: before, train ×3, calibration ×2, between, test."""
    events = events_of([8], [NONE, TRAIN, TRAIN, TRAIN, CAL, CAL, NONE, TST])
    found = cut_in_parts(
        events, [], WindowGrid(length=3, stride=1, block=100, max_gap=None, pad=False)
    )
    assert found.windows == Counter(
        {
            (FIT, (1, 2, 3), 0): 1,
            (CALIBRATION, (2, 3, 4), 0): 1,
            (CALIBRATION, (3, 4, 5), 0): 1,
            (TEST, (5, 6, 7), 0): 1,
        }
    )
    # row 2: the window that ends there holds row 0, which is of no split, so it is no training
    # window
    assert [NoWindow(found.reasons[r]).text for r in (1, 2, 3)] == [
        "warm_up",
        "not_a_training_window",
        "",
    ]


def test_train_where_is_for_training_windows_only() -> None:
    events = events_of([6], [TRAIN] * 4 + [CAL] * 2, bad=(2,))
    found = cut_in_parts(
        events, [3], WindowGrid(length=2, stride=1, block=100, max_gap=None, pad=False)
    )
    assert found.windows == Counter(
        {(FIT, (0, 1), 0): 1, (CALIBRATION, (3, 4), 0): 1, (CALIBRATION, (4, 5), 0): 1}
    )
    assert [NoWindow(r).text for r in found.reasons[1:]] == [
        "",
        "not_a_training_window",
        "not_a_training_window",
        "",
        "",
    ]


def test_validation_is_the_last_part_of_train_by_the_windows_last_event() -> None:
    events = events_of([6], validation=4 * SECOND)
    found = cut_in_parts(
        events, [], WindowGrid(length=3, stride=1, block=100, max_gap=None, pad=False)
    )
    assert found.blocks == [(0, 2, FIT, 0), (2, 2, VALIDATION, 0)]


def test_strides_count_from_the_sequences_first_event_and_start_anew_after_a_gap() -> None:
    events = events_of([9])
    events.time[4:] += 60 * SECOND
    cut = WindowGrid(length=2, stride=2, block=100, max_gap=30 * SECOND, pad=False)
    for edges in ([], [3], [4], [5], [1, 2, 3, 4, 5, 6, 7, 8]):
        found = cut_in_parts(events, edges, cut)
        assert sorted(rows for _, rows, _ in found.windows) == [(0, 1), (2, 3), (4, 5), (6, 7)]
        assert [NoWindow(r).text for r in found.reasons] == [
            "warm_up",
            "",
            "stride",
            "",
            "warm_up",
            "",
            "stride",
            "",
            "stride",
        ]


def test_a_gap_equal_to_max_gap_does_not_end_a_sequence() -> None:
    events = events_of([4], step=30 * SECOND)
    assert len(cut_in_parts(events, [2], WindowGrid(4, 1, 10, 30 * SECOND, False)).windows) == 1
    assert not cut_in_parts(events, [2], WindowGrid(4, 1, 10, 30 * SECOND - 1, False)).windows


def test_equal_times_are_one_sequence_when_no_gap_is_allowed() -> None:
    events = events_of([5], step=0)
    assert len(cut_in_parts(events, [2, 2], WindowGrid(5, 1, 10, 0, False)).windows) == 1


@pytest.mark.parametrize("edges", [[], [1], [1, 1, 2], [2, 3, 4]])
def test_short_sequences_are_dropped_or_padded_once(edges: list[int]) -> None:
    events = events_of([3, 2], [CAL] * 5)
    drop = cut_in_parts(
        events, edges, WindowGrid(length=4, stride=1, block=10, max_gap=None, pad=False)
    )
    assert not drop.windows
    assert {NoWindow(r).text for r in drop.reasons} == {"short_sequence"}
    pad = cut_in_parts(
        events, edges, WindowGrid(length=4, stride=1, block=10, max_gap=None, pad=True)
    )
    assert pad.blocks == [(0, 1, CALIBRATION, 1), (3, 1, CALIBRATION, 2)]
    assert [NoWindow(r).text for r in pad.reasons] == ["warm_up", "warm_up", "", "warm_up", ""]


def test_a_padded_window_does_not_look_at_the_sequence_before() -> None:
    events = events_of([3, 2], bad=(2,))
    for edges in ([], [3], [4]):
        found = cut_in_parts(
            events, edges, WindowGrid(length=4, stride=1, block=10, max_gap=None, pad=True)
        )
        assert found.windows == Counter({(FIT, (3, 4), 2): 1})
        assert [NoWindow(found.reasons[r]).text for r in (2, 4)] == ["not_a_training_window", ""]


def test_no_events_and_empty_parts() -> None:
    nothing = events_of([])
    cut = WindowGrid(length=3, stride=1, block=4, max_gap=None, pad=True)
    assert cut_in_parts(nothing, [0, 0], cut).blocks == []
    full = events_of([7, 4])
    assert (
        cut_in_parts(full, [0, 0, 5, 5, 5, 7, 11, 11], cut).blocks
        == cut_in_parts(full, [], cut).blocks
    )


def test_storage_is_near_the_matrix_itself_and_the_halo_is_small() -> None:
    """Blocks hold at most 1.10 × the events, in any number of parts.

    The length is 50, the block is 1024, and the sequences are long.
    """
    events = events_of([60_000, 40_000], [TST] * 100_000)
    grid = WindowGrid(length=50, stride=1, block=1024, max_gap=None, pad=False)
    edges = [len(events) * number // 9 for number in range(1, 9)]
    whole, parted = cut_in_parts(events, [], grid), cut_in_parts(events, edges, grid)
    windows = [count for _, count, _, _ in whole.blocks]
    assert sum(windows) == 60_000 - 49 + 40_000 - 49
    assert sum(count + grid.length - 1 for count in windows) <= 1.10 * len(events)
    assert max(parted.halos) <= grid.block + grid.length
    assert parted.blocks == whole.blocks
