import dataclasses
import datetime as dt
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from foreshock.events import synthetic
from foreshock.events.synthetic import (
    ANOMALY_KINDS,
    SyntheticTable,
    generate_day,
    initial_state,
    write_table,
)
from foreshock.events.synthetic_anomalies import (
    INPUT_VARIANTS,
    PERIOD,
    ROUTINES,
    TEMPLATES,
    _order_only,
    routine_rows,
)
from foreshock.statistics.arrays import AnyArray

MONDAY = dt.date(2023, 1, 2)
TABLE = SyntheticTable(
    events=60_000,
    entities=100,
    start=MONDAY,
    days=8,
    seed=7,
    prevalence=0.05,
    anomalies_from=dt.date(2023, 1, 4),
)
AWS_COLUMNS = {
    "hash",
    "nonce",
    "transaction_index",
    "from_address",
    "to_address",
    "value",
    "gas",
    "gas_price",
    "input",
    "receipt_cumulative_gas_used",
    "receipt_gas_used",
    "receipt_contract_address",
    "receipt_status",
    "block_timestamp",
    "block_number",
    "block_hash",
    "max_fee_per_gas",
    "max_priority_fee_per_gas",
    "transaction_type",
    "receipt_effective_gas_price",
}


def days_of(table: SyntheticTable) -> list[pa.Table]:
    state = initial_state(table)
    return [generate_day(table, i, state) for i in range(table.days)]


@pytest.fixture(scope="module")
def days() -> list[pa.Table]:
    return days_of(TABLE)


@pytest.fixture(scope="module")
def made(days: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(days).combine_chunks()


def numbers(table: pa.Table, name: str) -> AnyArray:
    values: AnyArray = table[name].to_numpy()
    return values


def by_entity(table: pa.Table) -> pa.Table:
    keys = ("from_address", "block_number", "transaction_index")
    return table.sort_by([(key, "ascending") for key in keys])


def segments(table: pa.Table, kind: str) -> list[pa.Table]:
    """Runs of rows of a kind, in the order of their entity."""
    table = by_entity(table)
    marked = np.array(pc.fill_null(pc.equal(table["kind"], kind), False).to_pylist())
    entity = table["from_address"].combine_chunks().dictionary_encode().indices.to_numpy()
    change = (np.diff(marked.astype(int), prepend=0) != 0) | (np.diff(entity, prepend=-1) != 0)
    starts = np.flatnonzero(change)
    ends = np.append(starts, len(marked))[1:]
    return [table.slice(s, e - s) for s, e in zip(starts, ends, strict=True) if marked[s]]


def test_same_seed_same_table(days: list[pa.Table], made: pa.Table) -> None:
    assert all(a.equals(b) for a, b in zip(days, days_of(TABLE), strict=True))
    other = days_of(dataclasses.replace(TABLE, seed=8))
    assert not set(other[0]["hash"].to_pylist()) & set(made["hash"].to_pylist())
    assert not other[0]["value"].equals(days[0]["value"])


def test_columns(made: pa.Table) -> None:
    assert set(made.column_names) == AWS_COLUMNS | {"label", "kind"}
    assert made.schema == synthetic.SCHEMA
    nullable = {"receipt_contract_address", "max_fee_per_gas", "max_priority_fee_per_gas", "kind"}
    assert {name for name in made.column_names if made[name].null_count} == nullable
    assert set(pc.utf8_length(made["hash"]).to_pylist()) == {66}
    assert set(pc.utf8_length(made["to_address"]).to_pylist()) == {42}
    assert pc.all(pc.match_substring_regex(made["from_address"], "^0x[0-9a-f]{40}$")).as_py()
    assert (numbers(made, "value") >= 0).all()
    assert (numbers(made, "receipt_gas_used") <= numbers(made, "gas")).all()


def test_hashes_are_unique_over_all_days(made: pa.Table) -> None:
    assert pc.count_distinct(made["hash"]).as_py() == made.num_rows == TABLE.events


def test_legacy_rows_have_no_fee_fields(made: pa.Table) -> None:
    legacy = numbers(made, "transaction_type") == 0
    assert 0.03 < legacy.mean() < 0.07
    for name in ("max_fee_per_gas", "max_priority_fee_per_gas"):
        assert (made[name].is_null().to_numpy() == legacy).all()


def test_order_of_the_chain(days: list[pa.Table]) -> None:
    for i, day in enumerate(days):
        block, index = numbers(day, "block_number"), numbers(day, "transaction_index")
        seconds = day["block_timestamp"].cast(pa.int64()).to_numpy() // 1_000_000
        assert (seconds == 12 * block).all()
        assert (seconds // 86_400 == (TABLE.day(i) - dt.date(1970, 1, 1)).days).all()
        same = np.diff(block) == 0
        assert same.any() and (np.diff(block) >= 0).all()
        assert (index[1:] == np.where(same, index[:-1] + 1, 0)).all()
        gas, total = numbers(day, "receipt_gas_used"), numbers(day, "receipt_cumulative_gas_used")
        assert (total[1:] == gas[1:] + np.where(same, total[:-1], 0)).all()


def test_nonce_counts_an_entitys_rows_across_days(made: pa.Table) -> None:
    table = by_entity(made)
    entity = table["from_address"].combine_chunks().dictionary_encode().indices.to_numpy()
    same = np.diff(entity) == 0
    assert (np.diff(numbers(table, "nonce"))[same] == 1).all()


def test_activity_is_skewed_and_has_its_hours_and_weekdays(
    days: list[pa.Table], made: pa.Table
) -> None:
    counts = np.sort(made["from_address"].value_counts().field("counts").to_numpy())[::-1]
    ranks = np.arange(1, 31)
    slope = np.polyfit(np.log(ranks), np.log(counts[:30]), 1)[0]
    assert -1.15 < slope < -0.85
    hour = np.bincount((numbers(made, "block_number") % 7200) // 300, minlength=24)
    assert hour.max() > 1.7 * hour.min()
    assert days[5].num_rows < 0.85 * days[3].num_rows  # Saturday, Thursday


def test_values_are_heavy_tailed(made: pa.Table) -> None:
    value = numbers(made, "value")[numbers(made, "label") == 0]
    value = value[value > 0]
    assert value.mean() > 3 * np.median(value)
    assert value.max() > 100 * np.median(value)


def test_prevalence_and_shares_of_kinds(days: list[pa.Table], made: pa.Table) -> None:
    assert sum(pc.sum(day["label"]).as_py() for day in days[:2]) == 0
    planted = pa.concat_tables(days[2:])
    label = numbers(planted, "label")
    assert abs(label.mean() - TABLE.prevalence) < 0.005
    counts = {
        c["values"].as_py(): c["counts"].as_py() for c in planted["kind"].drop_null().value_counts()
    }
    assert set(counts) == set(ANOMALY_KINDS)
    assert min(counts.values()) > 0.85 * max(counts.values())
    assert (made["kind"].is_valid().to_numpy() == (numbers(made, "label") == 1)).all()


def test_only_the_wanted_kinds() -> None:
    table = dataclasses.replace(
        TABLE, anomaly_kinds=("value_spike",), events=5000, anomalies_from=None
    )
    made = pa.concat_tables(days_of(table))
    assert set(made["kind"].drop_null().to_pylist()) == {"value_spike"}
    none = pa.concat_tables(days_of(dataclasses.replace(table, anomaly_kinds=(), prevalence=0.5)))
    assert pc.sum(none["label"]).as_py() == 0


def test_each_kind_looks_like_itself(made: pa.Table) -> None:
    normal = made.filter(pc.equal(made["label"], 0))
    typical_value = np.median(numbers(normal, "value")[numbers(normal, "value") > 0])
    spikes = made.filter(pc.equal(made["kind"], "value_spike"))
    assert np.median(numbers(spikes, "value")) > 300 * typical_value
    for segment in segments(made, "dust_burst"):
        assert 25 <= segment.num_rows <= 35
        assert numbers(segment, "value").max() <= 1e6
        assert set(segment["gas"].to_pylist()) == {21_000} and set(
            segment["input"].to_pylist()
        ) == {"0x"}
        assert np.ptp(numbers(segment, "block_number")) < 3 * 35
    for segment in segments(made, "gas_price_regime"):
        assert np.median(numbers(segment, "gas_price")) > 3.5 * np.median(
            numbers(normal, "gas_price")
        )
    known = set(made["from_address"].to_pylist()) | set(normal["to_address"].to_pylist())
    targets = []
    for segment in segments(made, "drained_account"):
        assert 10 <= segment.num_rows <= 20
        assert len(set(segment["to_address"].to_pylist())) == 1
        targets.append(segment["to_address"][0].as_py())
        value = numbers(segment, "value")
        assert value.sum() > 1e21 and value[0] > 3 * value[-1]
    assert len(set(targets)) == len(targets) and not known & set(targets)


def ks_distance(a: AnyArray, b: AnyArray) -> float:
    at = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def test_order_only_rows_are_ordinary_one_by_one() -> None:
    made = pa.concat_tables(
        days_of(dataclasses.replace(TABLE, anomaly_kinds=("order_only",), prevalence=0.1))
    )
    odd, normal = (made.filter(pc.equal(made["label"], label)) for label in (1, 0))
    assert odd.num_rows > 3000
    for name in ("value", "gas", "receipt_gas_used", "gas_price"):
        assert ks_distance(numbers(odd, name), numbers(normal, name)) < 0.06, name
    lengths = [pc.utf8_length(t["input"]).to_numpy() for t in (odd, normal)]
    assert ks_distance(*lengths) < 0.06


def successions(seen: AnyArray, routine: AnyArray) -> float:
    """Share of rows followed by one that the routine allows."""
    allowed = set(pairwise([*routine.tolist(), int(routine[0])]))
    return float(np.mean([pair in allowed for pair in pairwise(seen.tolist())]))


def test_order_only_keeps_the_rows_and_destroys_their_order() -> None:
    state = initial_state(TABLE)
    rng = np.random.default_rng(0)
    rows = routine_rows(state.senders, 16, rng, 20_000)
    entity = np.bincount(rows.entity).argmax()
    first = int(np.flatnonzero(rows.entity == entity)[0])
    segment = slice(first, first + 60)
    routine = ROUTINES[state.senders.routine[entity]]
    contents = ("value", "gas", "gas_used", "input", "to")
    fixed = ("entity", "slot", "phase", "price", "anomaly_kind")
    before = {name: getattr(rows, name).copy() for name in contents + fixed}
    assert successions(rows.input[segment] // INPUT_VARIANTS, routine) > 0.9
    _order_only(rows, segment, rng)
    assert successions(rows.input[segment] // INPUT_VARIANTS, routine) < 0.45
    after = vars(rows)
    old, new = (
        sorted(zip(*(of[name][segment] for name in contents), strict=True))
        for of in (before, after)
    )
    assert old == new
    for name in contents:
        untouched = (
            np.delete(getattr(rows, name), np.r_[segment]),
            np.delete(before[name], np.r_[segment]),
        )
        assert (untouched[0] == untouched[1]).all()
    assert all((getattr(rows, name) == before[name]).all() for name in fixed)


def test_routines_go_on_across_days() -> None:
    """The words of input tell the state: a day begins where the one before ended."""
    table = dataclasses.replace(TABLE, prevalence=0.0)
    state = initial_state(table)
    routines = dict(zip(state.addresses.to_pylist(), state.senders.routine, strict=False))
    days = [by_entity(generate_day(table, i, state)) for i in range(table.days)]
    words = [pc.utf8_length(day["input"]).to_numpy() // 64 for day in days]
    kept = []
    for address in days[0]["from_address"].unique().to_pylist():
        mine = [
            w[pc.equal(d["from_address"], address).to_numpy()]
            for d, w in zip(days, words, strict=True)
        ]
        routine = TEMPLATES[ROUTINES[routines[address]], 3].astype(int)
        nights = [np.array([a[-1], b[0]]) for a, b in pairwise(mine) if len(a) and len(b)]
        kept += [successions(night, routine) for night in nights]
    assert len(kept) > 500 and np.mean(kept) > 0.95


def test_routines_share_their_states() -> None:
    for routine in ROUTINES:
        assert set(np.bincount(routine)) <= {2, 3} and len(routine) == PERIOD


def test_days_lie_in_their_folders(tmp_path: Path, days: list[pa.Table]) -> None:
    seen = []
    rows = write_table(TABLE, tmp_path, lambda day, n: seen.append((day, n)))
    assert rows == TABLE.events
    assert seen == [(i, day.num_rows) for i, day in enumerate(days)]
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet"))
    assert files == [f"date={TABLE.day(i)}/part-00000.parquet" for i in range(TABLE.days)]
    for i, day in enumerate(days):
        assert pq.ParquetFile(tmp_path / files[i]).read().equals(day)
    whole = ds.dataset(tmp_path, partitioning="hive")
    assert whole.count_rows() == TABLE.events and "date" in whole.schema.names


def test_large_days_have_several_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "ROW_GROUP", 1000)
    write_table(dataclasses.replace(TABLE, events=2500, days=1), tmp_path)
    assert pq.ParquetFile(next(tmp_path.rglob("*.parquet"))).num_row_groups == 3


def test_memory_does_not_grow_with_the_days(tmp_path: Path) -> None:
    def peak(days: int) -> int:
        tracemalloc.start()
        write_table(dataclasses.replace(TABLE, events=5000 * days, days=days), tmp_path / str(days))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(14) < 1.5 * peak(2)


def test_days_without_rows(tmp_path: Path) -> None:
    seen = []
    table = dataclasses.replace(TABLE, events=3, prevalence=0.5, anomalies_from=None)
    assert write_table(table, tmp_path, lambda day, n: seen.append(n)) == 3
    assert len(seen) == TABLE.days and 0 in seen
    assert len(list(tmp_path.iterdir())) == sum(n > 0 for n in seen)


def test_one_entity() -> None:
    made = pa.concat_tables(days_of(dataclasses.replace(TABLE, entities=1, events=2000)))
    assert made.num_rows == 2000 and pc.count_distinct(made["from_address"]).as_py() == 1


def test_days_must_come_in_order() -> None:
    with pytest.raises(ValueError, match="before day 0; received 1"):
        generate_day(TABLE, 1, initial_state(TABLE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": 0}, "events: at least 1"),
        ({"entities": 0}, "entities: at least 1"),
        ({"days": 0}, "days: at least 1"),
        ({"seed": -1}, "seed: at least 0"),
        ({"prevalence": 0.6}, r"prevalence: 0 to 0\.5"),
        ({"anomaly_kinds": ("value_spike", "alien")}, "received alien"),
        ({"events": 100_000_000, "days": 5}, "a day are allowed"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TABLE, **change)
