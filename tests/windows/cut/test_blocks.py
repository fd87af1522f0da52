"""Windows: whatever the partitioning, blocks hold exactly the windows that NumPy cuts sequence by sequence."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from foreshock.sequences.split import BlockRole
from foreshock.windows.cut.blocks import (
    MIXED,
    REASONS,
    SHORT,
    STRIDE,
    WARM_UP,
    Cut,
    cut_part,
    endings,
    plan_parts,
    sequence_starts,
    summarize,
    tail_rows,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

FIT, VALIDATION, CALIBRATION, TEST = BlockRole

SECOND = 1_000_000
NONE, TRAIN, CAL, TST = 0, 1, 2, 3  # split codes of an event


@dataclass
class Events:
    """Events in total order: entity and time per row, the split of the row by its time, train_where."""

    entity: np.ndarray
    time: np.ndarray
    split: np.ndarray
    train_ok: np.ndarray
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
    """Entities of given lengths, an event a second; `splits` and `bad` (train_where is false) are by row."""
    n = sum(lengths)
    entity = np.repeat(np.arange(len(lengths)), lengths)
    time = (
        np.concatenate([np.arange(k) * step for k in lengths]) if lengths else np.zeros(0, np.int64)
    )
    ok = np.ones(n, bool)
    ok[list(bad)] = False
    split = np.array(splits if splits is not None else [TRAIN] * n, np.int8)
    return Events(entity, time.astype(np.int64), split, ok, validation)


# --- what the code under test does, joined as windowing/spark.py joins it -----------------------------------------------------


@dataclass
class Found:
    windows: Counter = field(
        default_factory=Counter
    )  # (split code, rows of the window, padding) -> times
    blocks: list[tuple[int, int, int, int]] = field(
        default_factory=list
    )  # (start row, windows, split, padding)
    reasons: list[int] = field(default_factory=list)
    halos: list[int] = field(default_factory=list)


def cut_in_parts(events: Events, edges: list[int], cut: Cut) -> Found:
    """Cut the events as contiguous parts between `edges`, each part seeing only its own rows and its halo."""
    bounds = [0, *sorted(edges), len(events)]
    parts = list(pairwise(bounds))
    changed = np.ones(len(events), bool)
    changed[1:] = events.entity[1:] != events.entity[:-1]
    summaries = []
    for a, b in parts:
        keys = changed[a:b].copy()
        keys[:1] = True
        ends = [str(events.entity[i]) for i in (a, b - 1)] if b > a else ["", ""]
        times = events.time[a:b]
        summaries.append(summarize(*ends, sequence_starts(keys, times, cut.max_gap), times))
    found = Found()
    for (a, b), plan in zip(parts, plan_parts(summaries, cut), strict=True):
        found.halos.append(plan.halo)
        assert 0 <= plan.halo <= a
        rows = slice(a - plan.halo, b)
        keys = changed[rows].copy()
        keys[:1] = True
        starts = sequence_starts(keys, events.time[rows], cut.max_gap)
        starts[:1] = plan.first_index == plan.halo
        split = events.split[rows]
        train = split == TRAIN
        train_ok = train & events.train_ok[rows]
        blocks = cut_part(starts, plan, split, train_ok, events.time[rows] < events.validation, cut)
        sizes = blocks.events(cut)
        columns = (blocks.start, blocks.windows, blocks.split, blocks.padding, sizes)
        for start, windows, code, padding, size in zip(*(c.tolist() for c in columns), strict=True):
            assert start >= 0
            assert start + size <= b - rows.start, "a block reaches beyond its part"
            first = rows.start + start
            found.blocks.append((first, windows, code, padding))
            for w in range(windows):
                begin = first + w * cut.stride
                found.windows[code, tuple(range(begin, begin + cut.length - padding)), padding] += 1
        found.reasons += endings(starts, plan, train, train_ok, cut)[plan.halo :].tolist()
    return found


# --- the reference: interface.md "The dataset", sequence by sequence ----------------------------------------------------------


def sequences(events: Events, max_gap: int | None) -> list[np.ndarray]:
    found: list[list[int]] = []
    for row in range(len(events)):
        fresh = row == 0 or events.entity[row] != events.entity[row - 1]
        if fresh or (max_gap is not None and events.time[row] - events.time[row - 1] > max_gap):
            found.append([])
        found[-1].append(row)
    return [np.array(rows) for rows in found]


def wanted_split(events: Events, rows: np.ndarray) -> int:
    """The dataset a window belongs to: the split of its last event; a training window holds training events only."""
    last = rows[-1]
    split = events.split[last]
    if split == TRAIN:
        if not all(events.split[r] == TRAIN and events.train_ok[r] for r in rows):
            return 0
        return FIT if events.time[last] < events.validation else VALIDATION
    return {NONE: 0, CAL: CALIBRATION, TST: TEST}[int(split)]


def brute_force(events: Events, cut: Cut) -> tuple[Counter, dict[int, int]]:
    """(windows as in Found, reason by row of the splits' events)."""
    windows: Counter = Counter()
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
                reasons[row] = 0 if ends[row] else MIXED
            elif short and not cut.pad:
                reasons[row] = SHORT
            else:
                reasons[row] = WARM_UP if index < cut.length - 1 else STRIDE
    return windows, {row: reason for row, reason in reasons.items() if events.split[row]}


def check(events: Events, cut: Cut, partitionings: list[list[int]]) -> Found:
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


# --- the property ------------------------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn) -> Events:
    """Entities with events at drawn times (ties and gaps included), splits by time, some rows without train_where."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=0, max_size=6))
    if lengths and draw(st.booleans()):  # one entity holds 95 % of the rows
        lengths[draw(st.integers(0, len(lengths) - 1))] = min(19 * sum(lengths), 300)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = draw(st.sampled_from([(0, 1), (1,), (0, 1, 1, 1, 2, 50), (1, 1, 1, 1, 1, 1, 1, 1, 30)]))
    times = [(rng.integers(0, 40) + np.cumsum(rng.choice(gaps, size=k))) * SECOND for k in lengths]
    time = np.concatenate(times).astype(np.int64) if times else np.zeros(0, np.int64)
    entity = np.repeat(np.arange(len(lengths)), lengths)
    end = int(time.max(initial=0)) + 1
    # half-open spans in order, with holes between them: [t0, t1) train, [t2, t3) calibration, [t4, t5) test
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
    Cut,
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
    events: Events, cut: Cut, data: st.DataObject
) -> None:
    parts = data.draw(st.integers(1, 17), label="parts")
    anywhere = st.lists(st.integers(0, len(events)), min_size=parts - 1, max_size=parts - 1)
    partitionings = [data.draw(anywhere, label="edges")]
    if len(events) <= 60:
        partitionings.append(list(range(len(events))))  # a part a row
    check(events, cut, partitionings)


def tails_in_parts(events: Events, edges: list[int], cut: Cut) -> np.ndarray:
    """The rows kept for later windows, each part seeing only its own rows and its halo; each row at most once."""
    bounds = [0, *sorted(edges), len(events)]
    changed = np.ones(len(events), bool)
    changed[1:] = events.entity[1:] != events.entity[:-1]
    summaries = []
    for a, b in pairwise(bounds):
        keys = changed[a:b].copy()
        keys[:1] = True
        ends = [str(events.entity[i]) for i in (a, b - 1)] if b > a else ["", ""]
        summaries.append(
            summarize(*ends, sequence_starts(keys, events.time[a:b], cut.max_gap), events.time[a:b])
        )
    kept: list[int] = []
    for (a, b), plan in zip(pairwise(bounds), plan_parts(summaries, cut), strict=True):
        rows = slice(a - plan.halo, b)
        keys = changed[rows].copy()
        keys[:1] = True
        starts = sequence_starts(keys, events.time[rows], cut.max_gap)
        starts[:1] = plan.first_index == plan.halo
        kept += (rows.start + np.flatnonzero(tail_rows(starts, keys, plan, cut))).tolist()
    assert len(kept) == len(set(kept))
    return np.array(sorted(kept), int)


@settings(
    max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(events=tables(), cut=cuts, data=st.data())
def test_the_tails_of_yesterday_and_todays_events_hold_todays_windows(
    events: Events, cut: Cut, data: st.DataObject
) -> None:
    midnight = data.draw(st.integers(0, int(events.time.max(initial=0)) + 1), label="midnight")
    events.split = np.where(events.time >= midnight, TST, NONE).astype(np.int8)
    wanted, _ = brute_force(events, cut)
    before = np.flatnonzero(events.time < midnight)
    yesterday = Events(
        events.entity[before], events.time[before], events.split[before], events.train_ok[before]
    )
    edges = data.draw(st.lists(st.integers(0, len(before)), max_size=6), label="edges")
    tails = before[tails_in_parts(yesterday, edges, cut)]
    for entity in np.unique(
        events.entity[tails]
    ):  # a gap at the border of two parts hides from the first that its entity goes on
        assert (events.entity[tails] == entity).sum() <= (cut.length + cut.stride - 2) * (
            len(edges) + 1
        )
    rows = np.sort(np.concatenate([tails, np.flatnonzero(events.time >= midnight)]))
    today = Events(
        events.entity[rows], events.time[rows], events.split[rows], events.train_ok[rows]
    )
    found = cut_in_parts(today, [], cut).windows
    assert {(c, tuple(rows[list(w)].tolist()), p): n for (c, w, p), n in found.items()} == wanted


@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("stride", [1, 3, 7])
def test_every_single_cut_point(stride: int, pad: bool) -> None:
    """Two parts, cut at each row in turn, around entities shorter than, equal to and longer than the window."""
    splits = ([NONE] * 2 + [TRAIN] * 15 + [CAL] * 8 + [NONE] * 3 + [TST] * 12)[:40]
    events = events_of([3, 5, 6, 40, 1, 13], ([TRAIN] * 14) + splits + [TST] * 14, bad=(20,))
    cut = Cut(length=5, stride=stride, block=4, max_gap=None, pad=pad)
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
    found = check(events, Cut(length=16, stride=1, block=64, max_gap=None, pad=False), [edges])
    assert {code for _, _, code, _ in found.blocks} == {FIT, VALIDATION, CALIBRATION, TEST}


# --- examples by hand --------------------------------------------------------------------------------------------------------


def test_windows_of_one_sequence_by_hand() -> None:
    cut = Cut(length=3, stride=1, block=4, max_gap=None, pad=False)
    found = cut_in_parts(events_of([8]), [5], cut)
    assert found.blocks == [(0, 4, FIT, 0), (4, 2, FIT, 0)]
    assert [REASONS[r] for r in found.reasons] == ["warm_up", "warm_up", "", "", "", "", "", ""]


def test_calibration_windows_reach_back_and_training_windows_do_not() -> None:
    """Window of 3 over events: before, train ×3, calibration ×2, between, test."""
    events = events_of([8], [NONE, TRAIN, TRAIN, TRAIN, CAL, CAL, NONE, TST])
    found = cut_in_parts(events, [], Cut(length=3, stride=1, block=100, max_gap=None, pad=False))
    assert found.windows == Counter({
        (FIT, (1, 2, 3), 0): 1, (CALIBRATION, (2, 3, 4), 0): 1, (CALIBRATION, (3, 4, 5), 0): 1, (TEST, (5, 6, 7), 0): 1,
    })  # fmt: skip
    # row 2: the window that ends there holds row 0, which is of no split, so it is no training window
    assert [REASONS[found.reasons[r]] for r in (1, 2, 3)] == [
        "warm_up",
        "not_a_training_window",
        "",
    ]


def test_train_where_is_for_training_windows_only() -> None:
    events = events_of([6], [TRAIN] * 4 + [CAL] * 2, bad=(2,))
    found = cut_in_parts(events, [3], Cut(length=2, stride=1, block=100, max_gap=None, pad=False))
    assert found.windows == Counter(
        {(FIT, (0, 1), 0): 1, (CALIBRATION, (3, 4), 0): 1, (CALIBRATION, (4, 5), 0): 1}
    )
    assert [REASONS[r] for r in found.reasons[1:]] == [
        "",
        "not_a_training_window",
        "not_a_training_window",
        "",
        "",
    ]


def test_validation_is_the_last_part_of_train_by_the_windows_last_event() -> None:
    events = events_of([6], validation=4 * SECOND)
    found = cut_in_parts(events, [], Cut(length=3, stride=1, block=100, max_gap=None, pad=False))
    assert found.blocks == [(0, 2, FIT, 0), (2, 2, VALIDATION, 0)]


def test_strides_count_from_the_sequences_first_event_and_start_anew_after_a_gap() -> None:
    events = events_of([9])
    events.time[4:] += 60 * SECOND
    cut = Cut(length=2, stride=2, block=100, max_gap=30 * SECOND, pad=False)
    for edges in ([], [3], [4], [5], [1, 2, 3, 4, 5, 6, 7, 8]):
        found = cut_in_parts(events, edges, cut)
        assert sorted(rows for _, rows, _ in found.windows) == [(0, 1), (2, 3), (4, 5), (6, 7)]
        assert [REASONS[r] for r in found.reasons] == [
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
    assert len(cut_in_parts(events, [2], Cut(4, 1, 10, 30 * SECOND, False)).windows) == 1
    assert not cut_in_parts(events, [2], Cut(4, 1, 10, 30 * SECOND - 1, False)).windows


def test_equal_times_are_one_sequence_when_no_gap_is_allowed() -> None:
    events = events_of([5], step=0)
    assert len(cut_in_parts(events, [2, 2], Cut(5, 1, 10, 0, False)).windows) == 1


@pytest.mark.parametrize("edges", [[], [1], [1, 1, 2], [2, 3, 4]])
def test_short_sequences_are_dropped_or_padded_once(edges: list[int]) -> None:
    events = events_of([3, 2], [CAL] * 5)
    drop = cut_in_parts(events, edges, Cut(length=4, stride=1, block=10, max_gap=None, pad=False))
    assert not drop.windows
    assert {REASONS[r] for r in drop.reasons} == {"short_sequence"}
    pad = cut_in_parts(events, edges, Cut(length=4, stride=1, block=10, max_gap=None, pad=True))
    assert pad.blocks == [(0, 1, CALIBRATION, 1), (3, 1, CALIBRATION, 2)]
    assert [REASONS[r] for r in pad.reasons] == ["warm_up", "warm_up", "", "warm_up", ""]


def test_a_padded_window_does_not_look_at_the_sequence_before() -> None:
    events = events_of([3, 2], bad=(2,))
    for edges in ([], [3], [4]):
        found = cut_in_parts(
            events, edges, Cut(length=4, stride=1, block=10, max_gap=None, pad=True)
        )
        assert found.windows == Counter({(FIT, (3, 4), 2): 1})
        assert [REASONS[found.reasons[r]] for r in (2, 4)] == ["not_a_training_window", ""]


def test_no_events_and_empty_parts() -> None:
    nothing = events_of([])
    cut = Cut(length=3, stride=1, block=4, max_gap=None, pad=True)
    assert cut_in_parts(nothing, [0, 0], cut).blocks == []
    full = events_of([7, 4])
    assert (
        cut_in_parts(full, [0, 0, 5, 5, 5, 7, 11, 11], cut).blocks
        == cut_in_parts(full, [], cut).blocks
    )


def test_storage_is_near_the_matrix_itself_and_the_halo_is_small() -> None:
    """Length 50, block 1024, long sequences: blocks hold at most 1.10 × the events, in any number of parts."""
    events = events_of([60_000, 40_000])
    cut = Cut(length=50, stride=1, block=1024, max_gap=None, pad=False)
    found = None
    for parts in (1, 9):
        bounds = [len(events) * i // parts for i in range(1, parts)]
        blocks, halos = [], []
        edges = [0, *bounds, len(events)]
        changed = np.zeros(len(events), bool)
        changed[[0, 60_000]] = True
        summaries = []
        for a, b in pairwise(edges):
            keys = changed[a:b].copy()
            keys[0] = True
            summaries.append(
                summarize(str(events.entity[a]), str(events.entity[b - 1]), keys, events.time[a:b])
            )
        for (a, b), plan in zip(pairwise(edges), plan_parts(summaries, cut), strict=True):
            rows = slice(a - plan.halo, b)
            n = b - rows.start
            piece = cut_part(
                changed[rows], plan, np.ones(n, np.int8), np.ones(n, bool), np.ones(n, bool), cut
            )
            blocks += [
                (rows.start + s, w)
                for s, w in zip(piece.start.tolist(), piece.windows.tolist(), strict=True)
            ]
            halos.append(plan.halo)
        assert sum(w for _, w in blocks) == 60_000 - 49 + 40_000 - 49
        assert sum(w + cut.length - 1 for _, w in blocks) <= 1.10 * len(events)
        assert max(halos) <= cut.block + cut.length
        found = found or blocks
        assert blocks == found
