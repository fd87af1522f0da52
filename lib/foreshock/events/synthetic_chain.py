"""A day of the synthetic table on its chain: blocks, prices, nonces, addresses and hashes."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foreshock.events.synthetic_anomalies import (
    ANOMALY_KINDS,
    ORDINARY,
    SLOTS,
    Rows,
    Senders,
    runs,
    settled,
)
from foreshock.statistics.arrays import Float64Array, Int64Array, UInt8Array

SLOT_SECONDS = 86_400 // SLOTS
LEGACY_SHARE, FAILED_SHARE = 0.05, 0.01
ADDRESS_BYTES, DIGEST_BYTES = 20, 32


class Purpose(enum.IntEnum):
    """What a digest is for, so that equal keys of two purposes differ."""

    ADDRESS = 1
    METHOD = 2
    NEW_ADDRESS = 3
    ROW = 4
    BLOCK = 5


# Both digits of a byte as one number, so that text is made by a lookup.
_HEX = np.frombuffer(bytes(range(256)).hex().encode(), "<u2")
_TYPES = {
    "hash": pa.string(),
    "nonce": pa.int64(),
    "transaction_index": pa.int64(),
    "from_address": pa.string(),
    "to_address": pa.string(),
    "value": pa.float64(),
    "gas": pa.int64(),
    "gas_price": pa.int64(),
    "input": pa.string(),
    "receipt_cumulative_gas_used": pa.int64(),
    "receipt_gas_used": pa.int64(),
    "receipt_contract_address": pa.string(),
    "receipt_status": pa.int64(),
    "block_timestamp": pa.timestamp("us", tz="UTC"),
    "block_number": pa.int64(),
    "block_hash": pa.string(),
    "max_fee_per_gas": pa.int64(),
    "max_priority_fee_per_gas": pa.int64(),
    "transaction_type": pa.int64(),
    "receipt_effective_gas_price": pa.int64(),
    "label": pa.int8(),
    "kind": pa.string(),
}
SCHEMA = pa.schema(list(_TYPES.items()))
# Columns whose values come often enough for a dictionary.
REPEATING = [
    "from_address",
    "to_address",
    "input",
    "receipt_status",
    "block_timestamp",
    "block_number",
    "block_hash",
    "transaction_type",
    "label",
    "kind",
]
# Digests look like chance, which does not compress.
COMPRESSION = {column: "none" if column == "hash" else "snappy" for column in _TYPES}


@dataclass(frozen=True)
class Blocks:
    """The blocks of a day's rows, in the order of the chain: rows of a slot are one block."""

    first: Int64Array  # row of each block, [blocks]
    number: Int64Array  # of each row's block on the chain, [n]
    of_row: Int64Array  # each row's block, counted from 0, [n]

    def running_total(self, amounts: Int64Array) -> Int64Array:
        """The sum of amounts within the block, up to and with each row, [n].

        >>> blocks = Blocks(np.array([0, 2]), np.array([7, 7, 8]), np.array([0, 0, 1]))
        >>> blocks.running_total(np.array([5, 6, 1])).tolist()
        [5, 11, 1]
        """
        total = np.cumsum(amounts)
        return total - (total - amounts)[self.first][self.of_row]


def _blocks(date: dt.date, slot: Int64Array) -> Blocks:
    first, end = runs(slot)
    # Numbers go on from day to day without a look at the days before.
    days_since_1970 = (date - dt.date(1970, 1, 1)).days
    return Blocks(
        first, days_since_1970 * SLOTS + slot, np.repeat(np.arange(len(first)), end - first)
    )


@dataclass(frozen=True)
class Prices:
    """What a day's rows pay for gas, in wei; every array is [n]."""

    base: Float64Array
    tip: Float64Array
    factor: Float64Array

    @property
    def price(self) -> Int64Array:
        """What a row pays for a unit of gas, int64 [n], in wei.

        >>> Prices(np.array([10.0]), np.array([2.0]), np.array([1.5])).price.tolist()
        [18]
        """
        return ((self.base + self.tip) * self.factor).astype(np.int64)

    @property
    def most(self) -> Int64Array:
        """The most that a row would have paid for a unit of gas, int64 [n], in wei.

        >>> Prices(np.array([10.0]), np.array([2.0]), np.array([1.5])).most.tolist()
        [32]
        """
        return (2 * self.base * self.factor + self.tip).astype(np.int64)


def _prices(
    day_index: int, slot: Int64Array, factor: Float64Array, rng: np.random.Generator
) -> Prices:
    """The base fee has its tide within a day and over weeks; a row adds a tip and a factor."""
    row_count = len(slot)
    time = day_index + np.arange(SLOTS) / SLOTS
    tide = 0.08 * np.sin(2 * np.pi * time) + 0.03 * np.sin(time / 2)
    base = 2e10 * settled(np.exp(tide + 0.05 * rng.standard_normal(SLOTS)))
    tip = 1.5e9 * settled(np.exp(0.3 * rng.standard_normal(row_count)))
    noise = settled(np.exp(0.04 * rng.standard_normal(row_count)))
    return Prices(base[slot], tip, factor * noise)


def _next_nonces(senders: Senders, entity: Int64Array) -> Int64Array:
    """The nonces of a day's rows, ordered by entity; the senders count on."""
    starts, ends = runs(entity)
    nonce = senders.nonce[entity]
    nonce += np.arange(len(entity)) - np.repeat(starts, ends - starts)
    senders.nonce[entity[starts]] += ends - starts
    return nonce


@dataclass(frozen=True)
class ChainDay:
    """A day and what was there before it.

    rows_before: the rows of earlier days. addresses: of entities, then of contracts. inputs:
    [templates × variants].
    """

    date: dt.date
    index: int
    seed: int
    rows_before: int
    senders: Senders
    addresses: pa.Array
    inputs: pa.Array

    def addresses_paid(self, rows: Rows) -> pa.Array:
        """The addresses known, and those that only this day's rows pay to.

        The new ones come last, in the order in which `rows.to` numbers them.
        """
        new = int(rows.to.max(initial=0)) + 1 - len(self.addresses)
        if new <= 0:
            return self.addresses
        keys = self.rows_before + np.arange(new)
        digests = hexadecimal_digests(keys, self.seed, Purpose.NEW_ADDRESS, ADDRESS_BYTES)
        return pa.concat_arrays([self.addresses, digests])


def put_on_chain(day: ChainDay, rows: Rows, rng: np.random.Generator) -> pa.Table:
    """A day's rows in blocks, priced and with their keys, as `SCHEMA` says.

    It moves the senders' nonces on.

    The order of draws is part of the table.
    """
    row_count = len(rows.entity)
    nonce = _next_nonces(day.senders, rows.entity)
    order = np.argsort(rows.slot.astype(np.uint16), kind="stable")  # 16 bits: a radix sort
    slot, gas_used = rows.slot[order], rows.gas_used[order]
    blocks = _blocks(day.date, slot)
    prices = _prices(day.index, slot, rows.price[order], rng)
    is_legacy = rng.random(row_count) < LEGACY_SHARE
    has_failed = rng.random(row_count) < FAILED_SHARE
    anomaly_kind = rows.anomaly_kind[order]
    is_ordinary = anomaly_kind == ORDINARY
    row_keys = day.rows_before + np.arange(row_count)
    block_hashes = hexadecimal_digests(
        blocks.number[blocks.first], day.seed, Purpose.BLOCK, DIGEST_BYTES
    )
    seconds = blocks.number * SLOT_SECONDS
    price = prices.price
    columns = {
        "hash": hexadecimal_digests(row_keys, day.seed, Purpose.ROW, DIGEST_BYTES),
        "nonce": nonce[order],
        "transaction_index": np.arange(row_count) - blocks.first[blocks.of_row],
        "from_address": day.addresses.take(pa.array(rows.entity[order])),
        "to_address": day.addresses_paid(rows).take(pa.array(rows.to[order])),
        "value": rows.value[order],
        "gas": rows.gas[order],
        "gas_price": price,
        "input": day.inputs.take(pa.array(rows.input[order])),
        "receipt_cumulative_gas_used": blocks.running_total(gas_used),
        "receipt_gas_used": gas_used,
        "receipt_contract_address": pa.nulls(row_count, pa.string()),
        "receipt_status": (~has_failed).astype(np.int64),
        "block_timestamp": pa.array(seconds * 1_000_000).cast(_TYPES["block_timestamp"]),
        "block_number": blocks.number,
        "block_hash": block_hashes.take(pa.array(blocks.of_row)),
        "max_fee_per_gas": pa.array(prices.most, mask=is_legacy),
        "max_priority_fee_per_gas": pa.array(prices.tip.astype(np.int64), mask=is_legacy),
        "transaction_type": np.where(is_legacy, 0, 2),
        "receipt_effective_gas_price": price,
        "label": (~is_ordinary).astype(np.int8),
        "kind": pa.array(ANOMALY_KINDS).take(pa.array(anomaly_kind, mask=is_ordinary)),
    }
    return pa.table(columns, schema=SCHEMA)


def hexadecimal_digests(
    keys: Int64Array, seed: int, purpose: Purpose, width: int
) -> pa.StringArray:
    """Strings 0x… of the first bytes of each key's digest.

    >>> hexadecimal_digests(np.array([0, 1]), 7, Purpose.METHOD, 4).to_pylist()
    ['0xf641519f', '0x641ecf9a']
    """
    return hexadecimal(_digest(keys, seed, purpose)[:, :width])


def _digest(keys: Int64Array, seed: int, purpose: Purpose) -> UInt8Array:
    """32 bytes for each key, uint8 [n, 32].

    The first 8 differ between keys, as every step can be undone.

    The multipliers are those of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators").
    """
    words = np.empty((len(keys), 4), ">u8")
    word = keys.astype(np.uint64) + np.uint64((seed * 8 + purpose) << 28 & 0xFFFF_FFFF_FFFF_FFFF)
    for position in range(4):
        word = (word + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        word ^= word >> np.uint64(29)
        word *= np.uint64(0x94D049BB133111EB)
        word ^= word >> np.uint64(32)
        words[:, position] = word
    return words.view(np.uint8).reshape(len(keys), 32)


def hexadecimal(raw: UInt8Array) -> pa.StringArray:
    """Bytes [n, width] as strings 0x…

    >>> hexadecimal(np.array([[0, 171]], np.uint8)).to_pylist()
    ['0x00ab']
    """
    row_count, width = raw.shape
    text_length = 2 + 2 * width
    text = np.empty((row_count, text_length), np.uint8)
    text[:, 0], text[:, 1] = ord("0"), ord("x")
    text[:, 2:] = _HEX[raw].view(np.uint8)
    # All texts are of one length, so Arrow's buffers are written as they are.
    offsets = np.arange(row_count + 1, dtype=np.int32) * np.int32(text_length)
    return pa.StringArray.from_buffers(row_count, pa.py_buffer(offsets), pa.py_buffer(text))
