"""Summaries of training values: exact quartiles from parts that are kept and added to.

A fit by partitions uses these summaries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.scaling.spark import MERGED, fit_summary
from foreshock.scaling.summary import DAMAGE, Summary
from foreshock.statistics.arrays import AnyArray
from hypothesis import given, settings
from hypothesis import strategies as st

TIME = int(np.datetime64("2024-01-01", "us").astype(np.int64))
LEVELS = (0.25, 0.5, 0.75)


def numpy_quartiles(values: AnyArray) -> tuple[float, ...]:
    return tuple(float(np.quantile(values, q, method="inverted_cdf")) for q in LEVELS)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40),
        min_size=1,
        max_size=5,
    )
)
def test_quartiles_of_parts_are_those_of_the_whole(parts: list[list[float]]) -> None:
    arrays = [np.array(p, np.float32) for p in parts]
    whole = np.concatenate(arrays)
    if not len(whole):
        assert Summary.total(Summary.of([("a", x)], {}) for x in arrays).quartiles() == {}
        return
    guide = Summary.of([("a", whole)], {}).guide()
    total = Summary.total(Summary.of([("a", x)], guide) for x in arrays)
    assert total.reaches(guide)
    assert total.quartiles()["a"] == numpy_quartiles(whole)
    again, note = Summary.from_bytes(total.to_bytes({"b": 1}))
    assert (again.quartiles(), note) == (total.quartiles(), {"b": 1})


def test_one_in_a_hundred_more_stays_within_the_guide() -> None:
    rng = np.random.default_rng(4)
    days = [rng.standard_t(2, 2000).astype(np.float32) for _ in range(100)]
    guide = Summary.of([("a", np.concatenate(days))], {}).guide()
    total = Summary.total(Summary.of([("a", d)], guide) for d in days)
    for strange in (
        np.full(2000, 1e9, np.float32),
        np.full(2000, -1e9, np.float32),
        np.zeros(2000, np.float32),
    ):
        more = Summary.total([total, Summary.of([("a", strange)], guide)])
        assert more.reaches(guide)
        assert more.quartiles()["a"] == numpy_quartiles(np.concatenate([*days, strange]))


def test_altered_bytes_are_not_read() -> None:
    raw = Summary.of([("a", np.arange(99, dtype=np.float32))], {}).to_bytes({})
    for altered in (raw[:200], b"", raw[:300] + bytes(50) + raw[350:]):
        with pytest.raises(DAMAGE):
            Summary.from_bytes(altered)


class Fits:
    """Partitions of events in files, and fits of them."""

    def __init__(self, folder: Path, spark: Any) -> None:
        self.folder, self.spark, self.count = folder, spark, 0
        self.files: dict[str, list[str]] = {}
        self.values: dict[str, AnyArray] = {}
        self.said: list[tuple[str, dict[str, Any]]] = []

    def add(self, partition: str, values: AnyArray) -> None:
        """A partition in two files whose names are new."""
        self.values[partition], self.files[partition] = values.astype(np.float32), []
        for part in np.array_split(values, 2):
            self.count += 1
            path = self.folder / f"{partition}-{self.count}.parquet"
            stamp = pa.array(np.full(len(part), TIME), pa.timestamp("us", tz="UTC"))
            pq.write_table(
                pa.table(
                    {
                        "event_time": stamp,
                        "train_ok": np.ones(len(part), bool),
                        "a": part.astype(np.float64),
                    }
                ),
                path,
            )
            self.files[partition].append(str(path))

    def fit(self) -> tuple[float, ...]:
        """Fit after the fit before, and the quartiles."""
        before, after = self.folder / f"fit-{self.count}", self.folder / f"fit-{self.count + 1}"
        self.count += 1
        self.said = []
        found = fit_summary(
            self.spark,
            self.files,
            ("a",),
            (TIME, TIME + 1),
            "none",
            before=before,
            after=after,
            say=lambda message, **fields: self.said.append((message, fields)),
        )
        return found.quartiles()["a"]

    @property
    def read(self) -> int:
        return int(self.said[0][1]["read"])

    def wanted(self) -> tuple[float, ...]:
        return numpy_quartiles(np.concatenate(list(self.values.values())))


@pytest.fixture
def fits(tmp_path: Path, spark: Any) -> Fits:
    own = Fits(tmp_path, spark)
    rng = np.random.default_rng(2)
    for day in range(4):
        own.add(f"d{day}", rng.standard_t(2, 3000))
    assert own.fit() == own.wanted()
    assert own.read == 4
    return own


def _move_fit(own: Fits) -> None:
    """Keep the last fit's folder where the next fit looks for it.

    Files written since the last fit count too.
    """
    last = max(own.folder.glob("fit-*"), key=lambda p: int(p.name.split("-")[1]))
    last.rename(own.folder / f"fit-{own.count}")


def test_a_new_partition_is_read_alone(fits: Fits) -> None:
    for files in fits.files.values():  # whoever opens an old file now fails
        for file in files:
            Path(file).write_bytes(b"x" * Path(file).stat().st_size)
    fits.add("d4", np.random.default_rng(5).standard_t(2, 50))
    _move_fit(fits)
    assert fits.fit() == fits.wanted()
    assert [m for m, _ in fits.said] == ["scaler"]
    assert fits.read == 1


def test_a_changed_and_a_gone_partition_leave_no_trace(fits: Fits) -> None:
    fits.add("d1", np.random.default_rng(6).standard_t(2, 2990))
    del fits.files["d3"], fits.values["d3"]
    _move_fit(fits)
    assert fits.fit() == fits.wanted()
    assert fits.read == 1
    assert not list((fits.folder / f"fit-{fits.count}").glob("*d3*"))


def test_quartiles_that_move_far_are_counted_again(fits: Fits) -> None:
    fits.add("d4", np.random.default_rng(5).standard_t(2, 9000) + 50)
    _move_fit(fits)
    assert fits.fit() == fits.wanted()
    assert [m for m, _ in fits.said] == ["scaler", "scaler, second pass"]


def test_a_damaged_summary_is_made_again(fits: Fits) -> None:
    folder = fits.folder / f"fit-{fits.count}"
    (folder / MERGED).write_bytes(b"")
    assert fits.fit() == fits.wanted()
    assert fits.read == 4
    folder = fits.folder / f"fit-{fits.count}"
    (folder / "partition=d2.npz").write_bytes(b"")
    del fits.files["d3"], fits.values["d3"]
    assert fits.fit() == fits.wanted()
    assert fits.read == 1
