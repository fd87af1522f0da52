"""What the senders of the synthetic table do in a day: their routines, and the anomalies planted in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOTS = 7200  # of 12 s in a day

# What a state puts into a row: log10 of the value in ether (nan: no value is sent), log10 of the gas limit,
# share of it used, 32-byte words of input.
TEMPLATES = np.array(
    [
        (-1.0, 4.35, 0.94, 0),
        (1.0, 4.45, 0.80, 0),
        (np.nan, 4.75, 0.75, 2),
        (-0.2, 5.35, 0.65, 4),
        (0.6, 5.00, 0.50, 1),
        (np.nan, 5.20, 0.85, 3),
    ]
)
INPUT_VARIANTS = 16  # of each template
# The order of states, each held for two or three rows. All routines go through the same states about equally
# often, so that a row tells neither its routine nor its place in it.
ROUTINES = np.array(
    [
        (0, 0, 3, 3, 3, 2, 2, 4, 4, 1, 1, 5, 5),
        (3, 3, 0, 0, 5, 5, 2, 2, 2, 1, 1, 4, 4),
        (4, 4, 4, 2, 2, 0, 0, 1, 1, 5, 5, 3, 3),
        (1, 1, 2, 2, 3, 3, 5, 5, 5, 0, 0, 4, 4),
        (5, 5, 3, 3, 1, 1, 1, 2, 2, 0, 0, 4, 4),
        (2, 2, 5, 5, 0, 0, 0, 1, 1, 3, 3, 4, 4),
    ]
)
PERIOD = ROUTINES.shape[1]
STAY, JUMP = 0.02, 0.01  # chance that an entity does not move on, or moves anywhere
VALUE_NOISE, GAS_NOISE, USED_NOISE = 0.30, 0.06, 0.05  # decades, decades, share of the limit

KINDS = ("value_spike", "dust_burst", "gas_price_regime", "drained_account", "order_only")
# Rows of one segment, from and to (inclusive).
LENGTHS = {
    "value_spike": (1, 3),
    "dust_burst": (25, 35),
    "gas_price_regime": (32, 48),
    "drained_account": (10, 20),
    "order_only": (40, 80),
}
_TRIES = 256


@dataclass
class Senders:
    """The entities; every array is [entities]."""

    share: NDArray[np.float64]  # of all rows
    scale: NDArray[np.float64]  # decades by which their values differ
    routine: NDArray[np.int64]
    phase: NDArray[np.int64]  # the place in the routine after the last row
    nonce: NDArray[np.int64]  # the next one


@dataclass
class Rows:
    """A day's rows, ordered by (entity, slot); every array is [n]."""

    entity: NDArray[np.int64]
    slot: NDArray[np.int64]
    phase: NDArray[np.int64]
    value: NDArray[np.float64]  # wei
    gas: NDArray[np.int64]
    gas_used: NDArray[np.int64]
    input: NDArray[np.int64]  # template × INPUT_VARIANTS + variant; 0 is empty
    to: NDArray[np.int64]  # an entity, then contracts, then addresses never seen before
    price: NDArray[np.float64]  # factor on the going gas price
    kind: NDArray[np.int8]  # index into KINDS, −1: ordinary


def routine_rows(senders: Senders, contracts: int, rng: np.random.Generator, n: int) -> Rows:
    """A day of `n` ordinary rows; moves the senders' phases on."""
    entities = len(senders.share)
    # Entities in a new order each day: rows of a slot keep it, so no entity is always first in its block.
    order = rng.permutation(entities)
    counts = rng.multinomial(n, senders.share[order])
    order, counts = order[counts > 0], counts[counts > 0]
    place, entity = np.repeat(np.arange(len(order)), counts), np.repeat(order, counts)
    busy = np.cumsum(1 + 0.4 * np.sin(2 * np.pi * (np.arange(SLOTS) / SLOTS - 0.3)))
    slot = np.searchsorted(busy[:-1], rng.random(n) * busy[-1], side="right")
    slot = np.sort(place * SLOTS + slot) - place * SLOTS

    luck = rng.random(n)
    step = np.where(luck < STAY, 0, 1)
    jumps = np.flatnonzero(luck > 1 - JUMP)
    step[jumps] = rng.integers(0, PERIOD, len(jumps))
    walked = np.cumsum(step)
    last = np.cumsum(counts) - 1
    before = np.zeros(len(order), np.int64)
    before[1:] = walked[last[:-1]]
    phase = (senders.phase[entity] + walked - before[place]) % PERIOD
    senders.phase[order] = phase[last]

    template = ROUTINES[senders.routine[entity], phase]
    level, gas_level, used, words = TEMPLATES[template].T
    level = (
        level
        + senders.scale[entity]
        + VALUE_NOISE * rng.standard_normal(n)
        + rng.exponential(0.12, n)
    )
    value = settled(np.nan_to_num(10.0 ** (18 + level)))
    gas = np.maximum(21_000, 10.0 ** (gas_level + GAS_NOISE * rng.standard_normal(n))).astype(
        np.int64
    )
    used = np.clip(used + USED_NOISE * rng.standard_normal(n), 0.05, 1.0)
    payee = (entity + rng.integers(1, 20, n)) % entities
    called = entities + (entity * 7 + template) % contracts
    return Rows(
        entity=entity,
        slot=slot,
        phase=phase,
        value=value,
        gas=gas,
        gas_used=np.maximum(21_000, gas * used).astype(np.int64),
        input=template * INPUT_VARIANTS + rng.integers(0, INPUT_VARIANTS, n),
        to=np.where(words > 0, called, payee),
        price=np.ones(n),
        kind=np.full(n, -1, np.int8),
    )


def plant(rows: Rows, rng: np.random.Generator, owed: dict[str, float], known: int) -> None:
    """Overwrites segments of rows until no kind is owed more than half a segment; takes them off `owed`.

    A segment lies within one entity's day and meets no other; where there is no room for it, it stays owed.
    `known` is the number of addresses there are.
    """
    n = len(rows.entity)
    if not n:
        return
    _, ends = runs(rows.entity)
    end = np.repeat(ends, np.diff(ends, prepend=0))
    # Long segments first, while there is room.
    for kind in sorted(owed, key=lambda kind: -LENGTHS[kind][1]):
        shortest, longest = LENGTHS[kind]
        while owed[kind] > (shortest + longest) / 4:
            length = int(rng.integers(shortest, longest + 1))
            starts = rng.integers(0, n, _TRIES)
            starts = starts[starts + length <= end[starts]]
            start = next((int(s) for s in starts if (rows.kind[s : s + length] < 0).all()), None)
            if start is None:
                break
            segment = slice(start, start + length)
            if kind == "drained_account":
                rows.to[segment], known = known, known + 1
            _FILL[kind](rows, segment, rng)
            rows.kind[segment] = KINDS.index(kind)
            owed[kind] -= length


def runs(keys: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First index and end of every run of equal, non-negative keys."""
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return starts, np.append(starts, len(keys))[1:]


def settled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers at float32's precision: the last bits of powers and exponentials differ between machines."""
    return numbers.astype(np.float32).astype(np.float64)


def _value_spike(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    value = np.maximum(rows.value[segment], 1e16)
    rows.value[segment] = settled(value * 10.0 ** rng.uniform(3, 5, len(value)))


def _dust_burst(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    length = segment.stop - segment.start
    hurried = rows.slot[segment.start] + np.cumsum(rng.integers(0, 3, length))
    rows.slot[segment] = np.minimum(rows.slot[segment], hurried)
    rows.value[segment] = rng.integers(1, 1_000_000, length)
    rows.gas[segment] = rows.gas_used[segment] = 21_000
    rows.input[segment] = 0


def _gas_price_regime(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    rows.price[segment] = rng.uniform(5, 10)


def _drained_account(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    sent = rng.uniform(0.3, 0.6, segment.stop - segment.start)
    balance = 10.0 ** rng.uniform(21.5, 23) * np.cumprod(np.append(1, 1 - sent[:-1]))
    rows.value[segment] = settled(balance * sent)
    rows.gas[segment] = rows.gas_used[segment] = 21_000
    rows.input[segment] = 0


def _order_only(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    """Shuffles what the routine decided; of several shuffles, the one that keeps the fewest successions."""
    phase = rows.phase[segment]
    shuffles = [rng.permutation(len(phase)) for _ in range(16)]
    best = min(shuffles, key=lambda shuffle: int((np.diff(phase[shuffle]) % PERIOD <= 1).sum()))
    for column in (rows.value, rows.gas, rows.gas_used, rows.input, rows.to):
        column[segment] = column[segment][best]


_FILL = {
    "value_spike": _value_spike,
    "dust_burst": _dust_burst,
    "gas_price_regime": _gas_price_regime,
    "drained_account": _drained_account,
    "order_only": _order_only,
}
