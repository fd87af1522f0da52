"""A synthetic `transactions` table of any size, with planted anomalies and labels.

Columns are those of the AWS public blockchain table for Ethereum, plus `label` and `kind`. Every entity
(`from_address`) follows a routine, a cycle of states that decides what a row holds: each row alone is
ordinary, their order is not free. Days are made one after the other, in O(entities + one day) of memory.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from foreshock.events.synthetic_anomalies import (
    INPUT_VARIANTS,
    KINDS,
    PERIOD,
    ROUTINES,
    SLOTS,
    TEMPLATES,
    Rows,
    Senders,
    plant,
    routine_rows,
    runs,
    settled,
)
from foreshock.platform.parquet import write_table as write_parquet
from foreshock.platform.paths import at

__all__ = [
    "KINDS",
    "SCHEMA",
    "State",
    "SyntheticTable",
    "generate_day",
    "initial_state",
    "write_table",
]

SLOT_SECONDS = 86_400 // SLOTS
MAX_EVENTS_PER_DAY = 8_000_000  # string columns have 32-bit offsets
ROW_GROUP = 500_000
ZIPF = 1.0

_HEX = np.frombuffer(bytes(range(256)).hex().encode(), "<u2")
_TYPES = {
    "hash": pa.string(), "nonce": pa.int64(), "transaction_index": pa.int64(), "from_address": pa.string(),
    "to_address": pa.string(), "value": pa.float64(), "gas": pa.int64(), "gas_price": pa.int64(),
    "input": pa.string(), "receipt_cumulative_gas_used": pa.int64(), "receipt_gas_used": pa.int64(),
    "receipt_contract_address": pa.string(), "receipt_status": pa.int64(),
    "block_timestamp": pa.timestamp("us", tz="UTC"), "block_number": pa.int64(), "block_hash": pa.string(),
    "max_fee_per_gas": pa.int64(), "max_priority_fee_per_gas": pa.int64(), "transaction_type": pa.int64(),
    "receipt_effective_gas_price": pa.int64(), "label": pa.int8(), "kind": pa.string(),
}  # fmt: skip
SCHEMA = pa.schema(list(_TYPES.items()))
_REPEATING = [
    "from_address", "to_address", "input", "receipt_status", "block_timestamp", "block_number", "block_hash",
    "transaction_type", "label", "kind",
]  # fmt: skip


@dataclass(frozen=True)
class SyntheticTable:
    """What to make. Same settings, same table, on any machine.

    `events` rows in all, by `entities` senders, over `days` days from `start`; about a share `prevalence` of
    the rows from day `anomalies_from` on (None: all days) is anomalous, in equal parts of each of `kinds`.
    """

    events: int
    entities: int
    start: dt.date
    days: int
    seed: int
    prevalence: float = 0.02
    kinds: tuple[str, ...] = KINDS
    anomalies_from: dt.date | None = None

    def __post_init__(self) -> None:
        for name, least in {"events": 1, "entities": 1, "days": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: at least {least} is allowed; received {getattr(self, name)}"
                )
        if not 0 <= self.prevalence <= 0.5:
            raise ValueError(f"prevalence: 0 to 0.5 is allowed; received {self.prevalence}")
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(
                f"kinds: allowed are {', '.join(KINDS)}; received {', '.join(unknown)}"
            )
        if (most := int(self.day_sizes().max())) > MAX_EVENTS_PER_DAY:
            raise ValueError(
                f"events: at most {MAX_EVENTS_PER_DAY:,} a day are allowed; received {most:,}"
            )

    def day(self, day_index: int) -> dt.date:
        """The date of a day, counted from 0."""
        return self.start + dt.timedelta(days=day_index)

    def day_sizes(self) -> NDArray[np.int64]:
        """Rows of each day, int64 [days]; their sum is `events`. Weekends are quieter."""
        weekday = (self.start.weekday() + np.arange(self.days)) % 7
        busy = np.cumsum(np.array([20, 21, 21, 21, 20, 16, 15])[weekday])
        return np.diff(busy * self.events // busy[-1], prepend=0)


@dataclass
class State:
    """What one day hands to the next; `generate_day` changes it in place."""

    next_day: int
    rows_made: int
    senders: Senders
    owed: dict[str, float]  # anomalous rows still to plant, by kind
    addresses: pa.Array  # of entities, then of contracts
    inputs: pa.Array  # [templates × variants]


def initial_state(table: SyntheticTable) -> State:
    """The state before day 0."""
    # Not [seed]: to a SeedSequence that is [seed, 0], day 0's.
    rng = np.random.default_rng(np.random.SeedSequence([table.seed, 0, 1]))
    n = table.entities
    weight = rng.permutation(np.floor(1e9 / np.arange(1, n + 1) ** ZIPF) + 1)
    addresses = _hex(_digest(np.arange(n + max(16, n // 8)), table.seed, 1)[:, :20])
    words = TEMPLATES[:, 3].astype(int).repeat(INPUT_VARIANTS)
    methods = _hex(_digest(np.arange(len(words)) // 4, table.seed, 2)[:, :4]).to_pylist()
    inputs = [
        m + f"{i:064x}" * w if w else "0x"
        for i, (m, w) in enumerate(zip(methods, words, strict=True))
    ]
    senders = Senders(
        share=weight / weight.sum(),
        scale=rng.normal(0, 0.15, n),
        routine=rng.integers(0, len(ROUTINES), n),
        phase=rng.integers(0, PERIOD, n),
        nonce=rng.integers(0, 1000, n),
    )
    return State(0, 0, senders, dict.fromkeys(table.kinds, 0.0), addresses, pa.array(inputs))


def generate_day(table: SyntheticTable, day_index: int, state: State) -> pa.Table:
    """The rows of one day, in the order of the chain, as `SCHEMA` says. Days must be asked for in order."""
    if day_index != state.next_day:
        raise ValueError(
            f"day_index: the state is before day {state.next_day}; received {day_index}"
        )
    rng = np.random.default_rng(np.random.SeedSequence([table.seed, day_index]))
    contracts = len(state.addresses) - table.entities
    rows = routine_rows(state.senders, contracts, rng, int(table.day_sizes()[day_index]))
    if table.day(day_index) >= (table.anomalies_from or table.start):
        for kind in state.owed:
            state.owed[kind] += len(rows.entity) * table.prevalence / len(table.kinds)
        plant(rows, rng, state.owed, len(state.addresses))
    made = _chain(table, day_index, state, rows, rng)
    state.next_day += 1
    state.rows_made += len(rows.entity)
    return made


def write_table(
    table: SyntheticTable, directory: Path, on_day: Callable[[int, int], None] | None = None
) -> int:
    """Writes `directory/date=YYYY-MM-DD/part-00000.parquet`, a day at a time; returns the number of rows.

    `on_day(day_index, rows)` is called after each day. A day without rows has no folder.
    """
    state = initial_state(table)
    for day_index in range(table.days):
        made = generate_day(table, day_index, state)
        if made.num_rows:
            folder = at(directory) / f"date={table.day(day_index).isoformat()}"
            folder.mkdir(parents=True, exist_ok=True)
            # Dictionaries and compression only where values repeat: half the time.
            write_parquet(
                made,
                folder / "part-00000.parquet",
                row_group_size=ROW_GROUP,
                use_dictionary=_REPEATING,
                compression={name: "none" if name == "hash" else "snappy" for name in _TYPES},
            )
        if on_day is not None:
            on_day(day_index, made.num_rows)
    return state.rows_made


def _chain(
    table: SyntheticTable, day_index: int, state: State, rows: Rows, rng: np.random.Generator
) -> pa.Table:
    """Puts a day's rows into blocks, prices them and gives them their keys."""
    n = len(rows.entity)
    starts, ends = runs(rows.entity)
    nonce = state.senders.nonce[rows.entity]
    nonce += np.arange(n) - np.repeat(starts, ends - starts)
    state.senders.nonce[rows.entity[starts]] += ends - starts

    order = np.argsort(rows.slot.astype(np.uint16), kind="stable")  # 16 bits: a radix sort
    slot, entity, gas, gas_used = (
        rows.slot[order],
        rows.entity[order],
        rows.gas[order],
        rows.gas_used[order],
    )
    first, end = runs(slot)
    in_block = np.repeat(
        np.arange(len(first)), end - first
    )  # the block of each row, counted from 0
    total = np.cumsum(gas_used)
    block = (table.day(day_index) - dt.date(1970, 1, 1)).days * SLOTS + slot

    time = day_index + np.arange(SLOTS) / SLOTS
    tide = 0.08 * np.sin(2 * np.pi * time) + 0.03 * np.sin(time / 2)
    base = 2e10 * settled(np.exp(tide + 0.05 * rng.standard_normal(SLOTS)))
    tip = 1.5e9 * settled(np.exp(0.3 * rng.standard_normal(n)))
    factor = rows.price[order] * settled(np.exp(0.04 * rng.standard_normal(n)))
    price = ((base[slot] + tip) * factor).astype(np.int64)
    legacy = rng.random(n) < 0.05

    kind = rows.kind[order]
    fresh = max(0, int(rows.to.max(initial=0)) + 1 - len(state.addresses))
    spare = _hex(_digest(state.rows_made + np.arange(fresh), table.seed, 3)[:, :20])
    pool = pa.concat_arrays([state.addresses, spare]) if fresh else state.addresses
    block_hash = _hex(_digest(block[first], table.seed, 5))
    columns = {
        "hash": _hex(_digest(state.rows_made + np.arange(n), table.seed, 4)),
        "nonce": nonce[order],
        "transaction_index": np.arange(n) - first[in_block],
        "from_address": state.addresses.take(pa.array(entity)),
        "to_address": pool.take(pa.array(rows.to[order])),
        "value": rows.value[order],
        "gas": gas,
        "gas_price": price,
        "input": state.inputs.take(pa.array(rows.input[order])),
        "receipt_cumulative_gas_used": total - (total - gas_used)[first][in_block],
        "receipt_gas_used": gas_used,
        "receipt_contract_address": pa.nulls(n, pa.string()),
        "receipt_status": (rng.random(n) >= 0.01).astype(np.int64),
        "block_timestamp": pa.array(block * SLOT_SECONDS * 1_000_000).cast(
            _TYPES["block_timestamp"]
        ),
        "block_number": block,
        "block_hash": block_hash.take(pa.array(in_block)),
        "max_fee_per_gas": pa.array((2 * base[slot] * factor + tip).astype(np.int64), mask=legacy),
        "max_priority_fee_per_gas": pa.array(tip.astype(np.int64), mask=legacy),
        "transaction_type": np.where(legacy, 0, 2),
        "receipt_effective_gas_price": price,
        "label": (kind >= 0).astype(np.int8),
        "kind": pa.array(KINDS).take(pa.array(kind, mask=kind < 0)),
    }
    return pa.table(columns, schema=SCHEMA)


def _digest(keys: NDArray[np.integer], seed: int, purpose: int) -> NDArray[np.uint8]:
    """32 bytes for each key, uint8 [n, 32]; the first 8 differ between keys, as every step can be undone."""
    words = np.empty((len(keys), 4), ">u8")
    word = keys.astype(np.uint64) + np.uint64((seed * 8 + purpose) << 28 & 0xFFFF_FFFF_FFFF_FFFF)
    for k in range(4):
        word = (word + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        word ^= word >> np.uint64(29)
        word *= np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(32)
        words[:, k] = word
    return words.view(np.uint8).reshape(len(keys), 32)


def _hex(raw: NDArray[np.uint8]) -> pa.StringArray:
    """Bytes [n, k] as strings 0x…"""
    n, k = raw.shape
    text = np.empty((n, 2 + 2 * k), np.uint8)
    text[:, 0], text[:, 1] = ord("0"), ord("x")
    text[:, 2:] = _HEX[raw].view(np.uint8)
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(2 + 2 * k)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text))
