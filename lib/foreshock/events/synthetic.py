"""A synthetic `transactions` table of any size, with planted anomalies and labels.

Columns are those of the AWS public blockchain table for Ethereum, plus `label` and `kind`. Every
entity (`from_address`) follows a routine, a cycle of states that decides what a row holds: each row
alone is ordinary, their order is not free. Days are made one after the other, in O(entities + one
day) of memory.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from foreshock.events.synthetic_anomalies import (
    ANOMALY_KINDS,
    INPUT_VARIANTS,
    PERIOD,
    ROUTINES,
    TEMPLATES,
    Senders,
    plant,
    routine_rows,
)
from foreshock.events.synthetic_chain import (
    ADDRESS_BYTES,
    COMPRESSION,
    REPEATING,
    SCHEMA,
    ChainDay,
    Purpose,
    hexadecimal_digests,
    put_on_chain,
)
from foreshock.platform.parquet import write_table as write_parquet
from foreshock.platform.paths import at
from foreshock.statistics.arrays import Int64Array

__all__ = [
    "ANOMALY_KINDS",
    "SCHEMA",
    "State",
    "SyntheticTable",
    "generate_day",
    "initial_state",
    "write_table",
]

MAX_EVENTS_PER_DAY = 8_000_000  # string columns have 32-bit offsets
ROW_GROUP = 500_000
# The exponent of the senders' activity by rank.
ZIPF = 1.0
WEEKDAY_ACTIVITY = np.array([20, 21, 21, 21, 20, 16, 15])
METHOD_BYTES = 4


@dataclass(frozen=True)
class SyntheticTable:
    """What to make. Same settings, same table, on any machine.

    events: rows in all. entities: their senders. days: over how many days from `start` on.
    prevalence: about this share of the rows from day `anomalies_from` on (None: all days) is
    anomalous.
    anomaly_kinds: the kinds of anomalies, in equal parts.
    Raises ValueError for a table that cannot be.
    """

    events: int
    entities: int
    start: dt.date
    days: int
    seed: int
    prevalence: float = 0.02
    anomaly_kinds: tuple[str, ...] = ANOMALY_KINDS
    anomalies_from: dt.date | None = None

    def __post_init__(self) -> None:
        for argument, least in {"events": 1, "entities": 1, "days": 1, "seed": 0}.items():
            if getattr(self, argument) < least:
                raise ValueError(
                    f"{argument}: at least {least} is allowed; received {getattr(self, argument)}"
                )
        if not 0 <= self.prevalence <= 0.5:
            raise ValueError(f"prevalence: 0 to 0.5 is allowed; received {self.prevalence}")
        if unknown := [kind for kind in self.anomaly_kinds if kind not in ANOMALY_KINDS]:
            raise ValueError(
                f"anomaly_kinds: allowed are {', '.join(ANOMALY_KINDS)}; "
                f"received {', '.join(unknown)}"
            )
        if (most := int(self.day_sizes().max())) > MAX_EVENTS_PER_DAY:
            raise ValueError(
                f"events: at most {MAX_EVENTS_PER_DAY:,} a day are allowed; received {most:,}"
            )

    def day(self, day_index: int) -> dt.date:
        """The date of a day, counted from 0."""
        return self.start + dt.timedelta(days=day_index)

    def day_sizes(self) -> Int64Array:
        """Rows of each day, int64 [days]; their sum is `events`. Weekends are quieter.

        >>> monday = dt.date(2023, 1, 2)
        >>> table = SyntheticTable(events=134, entities=1, start=monday, days=7, seed=0)
        >>> table.day_sizes().tolist()
        [20, 21, 21, 21, 20, 16, 15]
        """
        weekday = (self.start.weekday() + np.arange(self.days)) % 7
        activity = np.cumsum(WEEKDAY_ACTIVITY[weekday])
        return np.diff(activity * self.events // activity[-1], prepend=0)

    def plants_on(self, day_index: int) -> bool:
        """Whether a day may hold anomalies."""
        return self.day(day_index) >= (self.anomalies_from or self.start)


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
    """The state before day 0, for `generate_day`.

    It is drawn from the table's seed: the same table begins with the same state on any machine.
    """
    # Not [seed]: to a SeedSequence that is [seed, 0], day 0's.
    rng = np.random.default_rng(np.random.SeedSequence([table.seed, 0, 1]))
    entities = table.entities
    ranks = np.arange(1, entities + 1)
    weight = rng.permutation(np.floor(1e9 / ranks**ZIPF) + 1)
    contracts = max(16, entities // 8)
    keys = np.arange(entities + contracts)
    senders = Senders(
        share=weight / weight.sum(),
        scale=rng.normal(0, 0.15, entities),
        routine=rng.integers(0, len(ROUTINES), entities),
        phase=rng.integers(0, PERIOD, entities),
        nonce=rng.integers(0, 1000, entities),
    )
    return State(
        next_day=0,
        rows_made=0,
        senders=senders,
        owed=dict.fromkeys(table.anomaly_kinds, 0.0),
        addresses=hexadecimal_digests(keys, table.seed, Purpose.ADDRESS, ADDRESS_BYTES),
        inputs=pa.array(_input_texts(table.seed)),
    )


def _input_texts(seed: int) -> list[str]:
    """The inputs of all templates and variants: a method and words, or `0x` without words."""
    words = TEMPLATES[:, 3].astype(int).repeat(INPUT_VARIANTS)
    keys = np.arange(len(words)) // 4
    methods = hexadecimal_digests(keys, seed, Purpose.METHOD, METHOD_BYTES).to_pylist()
    return [
        method + f"{number:064x}" * word_count if word_count else "0x"
        for number, (method, word_count) in enumerate(zip(methods, words, strict=True))
    ]


def generate_day(table: SyntheticTable, day_index: int, state: State) -> pa.Table:
    """The rows of one day, in the order of the chain, as `SCHEMA` says.

    Days must be asked for in order.

    >>> table = SyntheticTable(events=50, entities=3, start=dt.date(2023, 1, 2), days=1, seed=7)
    >>> generate_day(table, 0, initial_state(table)).num_rows
    50
    """
    if day_index != state.next_day:
        raise ValueError(
            f"day_index: the state is before day {state.next_day}; received {day_index}"
        )
    # A generator for each day, whatever the days before it drew.
    rng = np.random.default_rng(np.random.SeedSequence([table.seed, day_index]))
    contracts = len(state.addresses) - table.entities
    rows = routine_rows(state.senders, contracts, rng, int(table.day_sizes()[day_index]))
    if table.plants_on(day_index):
        for anomaly_kind in state.owed:
            anomalous = len(rows.entity) * table.prevalence
            # What is less than a segment goes over to the next day.
            state.owed[anomaly_kind] += anomalous / len(table.anomaly_kinds)
        plant(rows, rng, state.owed, len(state.addresses))
    chain_day = ChainDay(
        table.day(day_index),
        day_index,
        table.seed,
        state.rows_made,
        state.senders,
        state.addresses,
        state.inputs,
    )
    day_table = put_on_chain(chain_day, rows, rng)
    state.next_day += 1
    state.rows_made += len(rows.entity)
    return day_table


def write_table(
    table: SyntheticTable, directory: Path, on_day: Callable[[int, int], None] | None = None
) -> int:
    """Write `directory/date=YYYY-MM-DD/part-00000.parquet` a day at a time.

    Returns the number of rows.

    `on_day(day_index, rows)` is called after each day. A day without rows has no folder.
    """
    state = initial_state(table)
    for day_index in range(table.days):
        day_table = generate_day(table, day_index, state)
        if day_table.num_rows:
            folder = at(directory) / f"date={table.day(day_index).isoformat()}"
            folder.mkdir(parents=True, exist_ok=True)
            # Dictionaries and compression only where values repeat: half the time.
            write_parquet(
                day_table,
                folder / "part-00000.parquet",
                row_group_size=ROW_GROUP,
                use_dictionary=REPEATING,
                compression=COMPRESSION,
            )
        if on_day is not None:
            on_day(day_index, day_table.num_rows)
    return state.rows_made
