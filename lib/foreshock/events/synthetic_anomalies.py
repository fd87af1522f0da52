"""What senders do in a day: their routines, and the anomalies planted in them."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import numpy as np

from foreshock.statistics.arrays import Float64Array, Int8Array, Int64Array

# Slots of 12 s in a day, as on Ethereum.
SLOTS = 7200

# What a state puts into a row: log10 of the value in ether (nan: no value is sent), log10 of the
# gas limit, share of it used, 32-byte words of input.
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
# The order of states, each for two or three rows. All routines go through the same states about
# equally often, so that a row tells neither its routine nor its place in it.
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
# Chance that an entity does not move on, or moves anywhere.
STAY, JUMP = 0.02, 0.01
VALUE_NOISE, VALUE_TAIL, GAS_NOISE = 0.30, 0.12, 0.06  # decades
USED_NOISE = 0.05  # share of the limit

ANOMALY_KINDS = ("value_spike", "dust_burst", "gas_price_regime", "drained_account", "order_only")
# Rows of one segment, from and to (inclusive).
LENGTHS = {
    "value_spike": (1, 3),
    "dust_burst": (25, 35),
    "gas_price_regime": (32, 48),
    "drained_account": (10, 20),
    "order_only": (40, 80),
}
# The kind of a row that is no anomaly.
ORDINARY = -1
# What a payment without input costs.
PLAIN_GAS = 21_000
WEI_DECADES = 18  # an ether is 10^18 wei
_TRIES, _SHUFFLES = 256, 16


@dataclass
class Senders:
    """The entities; every array is [entities]."""

    share: Float64Array  # of all rows
    scale: Float64Array  # decades by which their values differ
    routine: Int64Array
    phase: Int64Array  # the place in the routine after the last row
    nonce: Int64Array  # the next one


@dataclass
class Rows:
    """A day's rows, ordered by (entity, slot); every array is [n]."""

    entity: Int64Array
    slot: Int64Array
    phase: Int64Array
    value: Float64Array  # wei
    gas: Int64Array
    gas_used: Int64Array
    input: Int64Array  # template × INPUT_VARIANTS + variant; 0 is empty
    to: Int64Array  # an entity, then contracts, then addresses never seen before
    price: Float64Array  # factor on the going gas price
    anomaly_kind: Int8Array  # index into ANOMALY_KINDS, −1: ordinary


def routine_rows(
    senders: Senders, contracts: int, rng: np.random.Generator, row_count: int
) -> Rows:
    """A day of ordinary rows; moves the senders' phases on.

    contracts: how many addresses, after those of the senders, are contracts.
    """
    # Entities in a new order each day: rows of a slot keep it, so no entity is always first in
    # its block.
    order = rng.permutation(len(senders.share))
    counts = rng.multinomial(row_count, senders.share[order])
    order, counts = order[counts > 0], counts[counts > 0]
    slot = _slots(np.repeat(np.arange(len(order)), counts), rng)
    phase = _walk_phases(senders, order, counts, rng)
    return _routine_contents(senders, contracts, np.repeat(order, counts), slot, phase, rng)


def _slots(sender_rank: Int64Array, rng: np.random.Generator) -> Int64Array:
    """A slot for each row, ascending within a sender; the afternoon is the busiest time."""
    hours = np.arange(SLOTS) / SLOTS
    activity = np.cumsum(1 + 0.4 * np.sin(2 * np.pi * (hours - 0.3)))
    draws = rng.random(len(sender_rank)) * activity[-1]
    slot = np.searchsorted(activity[:-1], draws, side="right")
    sorted_slots: Int64Array = np.sort(sender_rank * SLOTS + slot) - sender_rank * SLOTS
    return sorted_slots


def _walk_phases(
    senders: Senders, order: Int64Array, counts: Int64Array, rng: np.random.Generator
) -> Int64Array:
    """The place of each row in its sender's routine: mostly the next, now and then the same or any.

    order: the senders of the day, int64 [senders]. counts: their rows, int64 [senders].
    """
    luck = rng.random(int(counts.sum()))
    step = np.where(luck < STAY, 0, 1)
    jumps = np.flatnonzero(luck > 1 - JUMP)
    step[jumps] = rng.integers(0, PERIOD, len(jumps))
    walked = np.cumsum(step)
    last_rows = np.cumsum(counts) - 1
    walked_before = np.zeros(len(order), np.int64)
    walked_before[1:] = walked[last_rows[:-1]]
    start = np.repeat(senders.phase[order] - walked_before, counts)
    phase: Int64Array = (start + walked) % PERIOD
    senders.phase[order] = phase[last_rows]
    return phase


def _routine_contents(
    senders: Senders,
    contracts: int,
    entity: Int64Array,
    slot: Int64Array,
    phase: Int64Array,
    rng: np.random.Generator,
) -> Rows:
    """Rows as their senders' states say, with noise. The order of draws is part of the table."""
    row_count, entities = len(entity), len(senders.share)
    template = ROUTINES[senders.routine[entity], phase]
    value_level, gas_level, used_share, words = TEMPLATES[template].T
    value_level = value_level + senders.scale[entity]
    value_level = value_level + VALUE_NOISE * rng.standard_normal(row_count)
    value_level = value_level + rng.exponential(VALUE_TAIL, row_count)
    gas_level = gas_level + GAS_NOISE * rng.standard_normal(row_count)
    gas = np.maximum(PLAIN_GAS, 10.0**gas_level).astype(np.int64)
    used_share = np.clip(used_share + USED_NOISE * rng.standard_normal(row_count), 0.05, 1.0)
    payee = (entity + rng.integers(1, 20, row_count)) % entities
    contract = entities + (entity * 7 + template) % contracts
    return Rows(
        entity=entity,
        slot=slot,
        phase=phase,
        value=settled(np.nan_to_num(10.0 ** (WEI_DECADES + value_level))),
        gas=gas,
        gas_used=np.maximum(PLAIN_GAS, gas * used_share).astype(np.int64),
        input=template * INPUT_VARIANTS + rng.integers(0, INPUT_VARIANTS, row_count),
        to=np.where(words > 0, contract, payee),
        price=np.ones(row_count),
        anomaly_kind=np.full(row_count, ORDINARY, np.int8),
    )


def plant(
    rows: Rows, rng: np.random.Generator, owed: MutableMapping[str, float], addresses: int
) -> None:
    """Overwrite segments of rows until no kind is owed more than half a segment.

    What is planted is taken off `owed`.

    A segment lies within one entity's day and meets no other. If there is no room for it, it stays
    owed.

    owed: anomalous rows still to plant, by kind. addresses: how many there are.
    """
    if not len(rows.entity):
        return
    _, ends = runs(rows.entity)
    day_end = np.repeat(ends, np.diff(ends, prepend=0))
    # Long segments first, while there is room.
    for anomaly_kind in sorted(owed, key=lambda name: -LENGTHS[name][1]):
        shortest, longest = LENGTHS[anomaly_kind]
        while owed[anomaly_kind] > (shortest + longest) / 4:
            length = int(rng.integers(shortest, longest + 1))
            segment = _free_segment(rows, day_end, length, rng)
            if segment is None:
                break
            if anomaly_kind == "drained_account":
                rows.to[segment], addresses = addresses, addresses + 1
            _FILL[anomaly_kind](rows, segment, rng)
            rows.anomaly_kind[segment] = ANOMALY_KINDS.index(anomaly_kind)
            owed[anomaly_kind] -= length


def _free_segment(
    rows: Rows, day_end: Int64Array, length: int, rng: np.random.Generator
) -> slice | None:
    """Ordinary rows of one entity, or None if none of the drawn places is free.

    day_end: the end of each row's entity, int64 [n].
    """
    starts = rng.integers(0, len(rows.entity), _TRIES)
    for start in starts[starts + length <= day_end[starts]].tolist():
        segment = slice(start, start + length)
        if (rows.anomaly_kind[segment] == ORDINARY).all():
            return segment
    return None


def runs(keys: Int64Array) -> tuple[Int64Array, Int64Array]:
    """First index and end of every run of equal, non-negative keys.

    >>> starts, ends = runs(np.array([4, 4, 7]))
    >>> starts.tolist(), ends.tolist()
    ([0, 2], [2, 3])
    """
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return starts, np.append(starts, len(keys))[1:]


def settled(numbers: Float64Array) -> Float64Array:
    """Numbers at float32's precision.

    The last bits of powers and exponentials differ between machines.

    >>> settled(np.array([0.1])).tolist()
    [0.10000000149011612]
    """
    return numbers.astype(np.float32).astype(np.float64)


def _value_spike(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    value = np.maximum(rows.value[segment], 1e16)
    rows.value[segment] = settled(value * 10.0 ** rng.uniform(3, 5, len(value)))


def _dust_burst(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    length = segment.stop - segment.start
    hurried = rows.slot[segment.start] + np.cumsum(rng.integers(0, 3, length))
    rows.slot[segment] = np.minimum(rows.slot[segment], hurried)
    rows.value[segment] = rng.integers(1, 1_000_000, length)
    _make_plain(rows, segment)


def _gas_price_regime(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    rows.price[segment] = rng.uniform(5, 10)


def _drained_account(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    sent_share = rng.uniform(0.3, 0.6, segment.stop - segment.start)
    kept_share = np.cumprod(np.append(1, 1 - sent_share[:-1]))
    balance = 10.0 ** rng.uniform(21.5, 23) * kept_share
    rows.value[segment] = settled(balance * sent_share)
    _make_plain(rows, segment)


def _make_plain(rows: Rows, segment: slice) -> None:
    """Payments without input, at the least gas."""
    rows.gas[segment] = rows.gas_used[segment] = PLAIN_GAS
    rows.input[segment] = 0


def _order_only(rows: Rows, segment: slice, rng: np.random.Generator) -> None:
    """Shuffle what the routine decided, so that the fewest successions stay."""
    phase = rows.phase[segment]

    def kept_successions(shuffle: Int64Array) -> int:
        """How many rows still follow their neighbour as the routine has it."""
        return int((np.diff(phase[shuffle]) % PERIOD <= 1).sum())

    shuffles = [rng.permutation(len(phase)) for _ in range(_SHUFFLES)]
    best = min(shuffles, key=kept_successions)
    for column in (rows.value, rows.gas, rows.gas_used, rows.input, rows.to):
        column[segment] = column[segment][best]


_FILL: dict[str, Callable[[Rows, slice, np.random.Generator], None]] = {
    "value_spike": _value_spike,
    "dust_burst": _dust_burst,
    "gas_price_regime": _gas_price_regime,
    "drained_account": _drained_account,
    "order_only": _order_only,
}
