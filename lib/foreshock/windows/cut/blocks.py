"""Which windows there are and which block holds each: pure NumPy over events in total order (architecture.md § 4).

A *part* is a contiguous run of events in total order, as one file holds it. A *sequence* is an entity's events, ended by a
gap longer than `max_gap`; its windows start at every `stride`-th event from its first. A *cell* is a fixed range of window
ordinals of a sequence, [k·W, (k+1)·W) with W = max(1, block // stride): it depends on the sequence alone, never on how events
are partitioned. The windows of a cell that belong to one split and follow each other form one *block*. A cell is cut by the
part that holds its last event, with a halo of the events before that part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foreshock.sequences.split import BlockRole

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """How windows are cut: length and stride in events, block in windows, max_gap in microseconds or None."""

    length: int
    stride: int
    block: int
    max_gap: int | None
    pad: bool

    @property
    def cell(self) -> int:
        """Windows a cell holds at most."""
        return max(1, self.block // self.stride)

    @property
    def cell_events(self) -> int:
        """Events from one cell's first to the next cell's first."""
        return self.cell * self.stride

    def first_cell(self, index: int) -> int:
        """The first cell that holds an event of a given index in its sequence."""
        ordinal = -(
            -max(0, index - self.length + 1) // self.stride
        )  # of the first window that holds it
        return ordinal // self.cell

    def last_event(self, cell: int) -> int:
        """Index of the last event of a full cell."""
        return (cell * self.cell + self.cell - 1) * self.stride + self.length - 1


@dataclass(frozen=True)
class PartSummary:
    """What its neighbours need to know of a part: its size, ends, and the runs of events that touch them."""

    rows: int
    first_key: str = ""
    first_time: int = 0
    last_key: str = ""
    last_time: int = 0
    leading: int = 0
    trailing: int = 0


@dataclass(frozen=True)
class PartPlan:
    """A part's place: index of its first event in its sequence, rows of halo before it, events of its last sequence after it."""

    first_index: int
    halo: int
    beyond: int = 0


def sequence_starts(keys: npt.NDArray[np.bool_], times: Ints, max_gap: int | None) -> Bools:
    """True where a sequence starts: `keys` says where the entity changes; also after a gap longer than max_gap."""
    starts = keys.copy()
    if len(starts):
        starts[0] = True
        if max_gap is not None:
            starts[1:] |= np.diff(times) > max_gap
    return starts


def summarize(key_of_first: str, key_of_last: str, starts: Bools, times: Ints) -> PartSummary:
    """The summary of a part from its sequence starts and times (microseconds)."""
    if not len(starts):
        return PartSummary(0)
    at = np.flatnonzero(starts)
    leading = int(at[1]) if len(at) > 1 else len(starts)
    trailing = len(starts) - int(at[-1])
    return PartSummary(
        len(starts), key_of_first, int(times[0]), key_of_last, int(times[-1]), leading, trailing
    )


def plan_parts(parts: list[PartSummary], cut: Cut) -> list[PartPlan]:
    """Each part's plan from all summaries, in total order."""
    plans: list[PartPlan] = []
    run, last = 0, None
    follows = [False] * len(parts)
    for i, part in enumerate(parts):
        if not part.rows:
            plans.append(PartPlan(0, 0))
            continue
        same = (
            last is not None
            and last.last_key == part.first_key
            and (cut.max_gap is None or part.first_time - last.last_time <= cut.max_gap)
        )
        index = run if same else 0
        follows[i] = same
        plans.append(
            PartPlan(
                index,
                max(
                    index - cut.first_cell(index) * cut.cell_events,
                    min(index, cut.length + cut.stride - 2),
                ),
            )
        )
        run = index + part.rows if part.leading == part.rows else part.trailing
        last = part
    beyond, goes_on = 0, False
    for i in range(len(parts) - 1, -1, -1):
        if parts[i].rows:
            plans[i] = replace(plans[i], beyond=beyond if goes_on else 0)
            beyond = parts[i].leading + (
                plans[i].beyond if parts[i].leading == parts[i].rows else 0
            )
            goes_on = follows[i]
    return plans


@dataclass(frozen=True)
class Blocks:
    """Blocks of a part, one entry each: `start` (row of its first event, halo included), `windows`, `split`, `padding`."""

    start: Ints
    windows: Ints
    split: npt.NDArray[np.int8]
    padding: Ints

    def __len__(self) -> int:
        return len(self.start)

    def events(self, cut: Cut) -> Ints:
        """Events each block holds, padding not counted."""
        return (self.windows - 1) * cut.stride + cut.length - self.padding


def cut_part(
    starts: Bools,
    plan: PartPlan,
    ends_in: npt.NDArray[np.int8],
    train_ok: Bools,
    fit: Bools,
    cut: Cut,
) -> Blocks:
    """The blocks that a part owns.

    All arrays cover halo + part rows in order. starts: bool, sequence starts (the halo belongs to the part's first sequence).
    ends_in: int8, the split a window ending here belongs to (0 none; BlockRole.FIT stands for train). train_ok: whether a training window
    may hold the event. fit: whether the event lies before the validation part of train.
    """
    n = len(starts)
    pieces: list[tuple[int, int, int, int]] = []
    if not n:
        return _as_blocks(pieces)
    bounds = np.append(np.flatnonzero(starts), n)
    if bounds[0] != 0:
        bounds = np.insert(bounds, 0, 0)
    bad = np.concatenate([[0], np.cumsum(~train_ok)])
    for which, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        first_index = plan.first_index - plan.halo if which == 0 else 0
        open_end = plan.beyond > 0 and b == n
        _cut_sequence(
            a,
            b,
            first_index,
            plan.halo if which == 0 else 0,
            open_end,
            ends_in,
            bad,
            fit,
            cut,
            pieces,
        )
    return _as_blocks(pieces)


def _cut_sequence(
    a: int,
    b: int,
    first_index: int,
    halo: int,
    open_end: bool,
    ends_in: npt.NDArray[np.int8],
    bad: Ints,
    fit: Bools,
    cut: Cut,
    pieces: list[tuple[int, int, int, int]],
) -> None:
    end = first_index + (b - a)  # index after the last event at hand
    if end < cut.length:
        if cut.pad and not open_end and first_index == 0:
            _pad(a, b, ends_in, bad, fit, cut, pieces)
        return
    first_cell = cut.first_cell(first_index + halo)
    last_ordinal = (end - cut.length) // cut.stride
    for cell in range(first_cell, last_ordinal // cut.cell + 1):
        if open_end and cut.last_event(cell) >= end:
            break
        low, high = cell * cut.cell, min((cell + 1) * cut.cell - 1, last_ordinal)
        ordinals = np.arange(low, high + 1)
        start = a + ordinals * cut.stride - first_index
        last = start + cut.length - 1
        split = ends_in[last].astype(np.int64)
        train = split == BlockRole.FIT
        if train.any():
            clean = bad[last + 1] == bad[start]
            split = np.where(
                train,
                np.where(~clean, 0, np.where(fit[last], BlockRole.FIT, BlockRole.VALIDATION)),
                CODES[split],
            )
        else:
            split = CODES[split]
        edges = np.flatnonzero(np.diff(split)) + 1
        for i, j in zip(
            np.append(0, edges).tolist(), np.append(edges, len(split)).tolist(), strict=True
        ):
            if split[i]:
                pieces.append((int(start[i]), j - i, int(split[i]), 0))


def _pad(
    a: int,
    b: int,
    ends_in: npt.NDArray[np.int8],
    bad: Ints,
    fit: Bools,
    cut: Cut,
    pieces: list[tuple[int, int, int, int]],
) -> None:
    split = int(ends_in[b - 1])
    if split == BlockRole.FIT:
        split = 0 if bad[b] != bad[a] else (BlockRole.FIT if fit[b - 1] else BlockRole.VALIDATION)
    else:
        split = int(CODES[split])
    if split:
        pieces.append((a, 1, split, cut.length - (b - a)))


CODES = np.array(
    [0, BlockRole.FIT, BlockRole.CALIBRATION, BlockRole.TEST]
)  # from columns.SPLIT_CODES to a block's split


def _as_blocks(pieces: list[tuple[int, int, int, int]]) -> Blocks:
    table = np.array(pieces, np.int64).reshape(-1, 4)
    return Blocks(table[:, 0], table[:, 1], table[:, 2].astype(np.int8), table[:, 3])


def endings(
    starts: Bools, plan: PartPlan, train: Bools, train_ok: Bools, cut: Cut
) -> npt.NDArray[np.int8]:
    """Per row (halo included) why no window of the row's split ends at it, as an index into `REASONS`; 0 where one does."""
    n = len(starts)
    at = np.flatnonzero(starts)
    if not len(at) or at[0] != 0:
        at = np.insert(at, 0, 0)
    lengths = np.diff(np.append(at, n))
    origin = at.copy()
    origin[0] -= plan.first_index - plan.halo
    index = np.arange(n) - np.repeat(origin, lengths)
    total = lengths.copy()
    total[0] += plan.first_index - plan.halo
    total[-1] += plan.beyond
    whole = np.repeat(total, lengths)
    reason = np.where(
        index < cut.length - 1,
        WARM_UP,
        np.where((index - cut.length + 1) % cut.stride != 0, STRIDE, 0),
    )
    short = whole < cut.length
    if cut.pad:
        reason = np.where(short & (index == whole - 1), 0, reason)
    else:
        reason = np.where(short, SHORT, reason)
    bad = np.concatenate([[0], np.cumsum(~train_ok)])
    reach = np.minimum(index + 1, cut.length)
    rows = np.arange(n)
    clean = bad[rows + 1] == bad[np.maximum(rows + 1 - reach, 0)]
    return np.where((reason == 0) & train & ~clean, MIXED, reason).astype(np.int8)


def tail_rows(starts: Bools, keys: Bools, plan: PartPlan, cut: Cut) -> Bools:
    """Rows (halo included) that windows of later events need: of each entity's last sequence the last L − 1, and up to stride − 1 before
    them, so that the tail begins where a window does. A sequence that goes on in the next part is left to that part.

    keys: True where the entity changes.
    """
    n = len(starts)
    chosen = np.zeros(n, bool)
    if not n:
        return chosen
    at = np.flatnonzero(starts)
    if not len(at) or at[0] != 0:
        at = np.insert(at, 0, 0)
    for which, (a, b) in enumerate(zip(at.tolist(), [*at[1:].tolist(), n], strict=True)):
        if plan.beyond if b == n else not keys[b]:
            continue
        first_index = plan.first_index - plan.halo if which == 0 else 0
        begin = max(0, first_index + (b - a) - (cut.length - 1)) // cut.stride * cut.stride
        chosen[a + max(0, begin - first_index) : b] = True
    return chosen


WARM_UP, STRIDE, SHORT, MIXED = 1, 2, 3, 4
REASONS = ("", "warm_up", "stride", "short_sequence", "not_a_training_window")
