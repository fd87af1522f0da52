"""The mergeable histogram gives exact order statistics.

The order, grouping and partitioning of the values do not matter.
"""

import json
import statistics
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from foreshock.statistics.arrays import AnyArray
from foreshock.statistics.histogram import Histogram, exact_value, key_values, order_keys, refine
from hypothesis import given, settings
from hypothesis import strategies as st

LEVELS = (0.0, 1e-6, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
TINY = float(np.finfo(np.float32).smallest_subnormal)
NORMAL = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
arrays = st.lists(finite, max_size=40).map(lambda v: np.array(v, np.float32))


def exact(parts: list[AnyArray], level: float) -> float:
    """The quantile by two passes over parts, as Spark runs them.

    The first pass merges histograms. The second merges the lower bits of the wanted bin.
    """
    merged = Histogram()
    for part in parts:
        merged = merged + Histogram.of(part)
    bin_, rank = merged.locate(level)
    passes = [refine(part, bin_) for part in parts]
    return exact_value(
        bin_, rank, np.concatenate([p[0] for p in passes]), np.concatenate([p[1] for p in passes])
    )


def wanted(values: AnyArray, level: float) -> float:
    return float(np.quantile(values, level, method="inverted_cdf"))


def heavy_tailed(n: int, seed: int) -> AnyArray:
    """Both signs, forty orders of magnitude, ties, zeros of both signs and subnormals."""
    rng = np.random.default_rng(seed)
    pieces = [
        rng.standard_cauchy(n // 2),
        -rng.lognormal(0, 20, n // 4),
        rng.integers(-3, 4, n // 8).astype(float),
        rng.choice(
            [0.0, -0.0, TINY, -TINY, 700 * TINY, NORMAL, -NORMAL, LARGEST, -LARGEST],
            n - n // 2 - n // 4 - n // 8,
        ),
    ]
    values = np.clip(np.concatenate(pieces), -LARGEST, LARGEST).astype(np.float32)
    return rng.permutation(values)


# --- exact order statistics -----------------------------------------------------------------------


def test_40_parts_of_heavy_tailed_values_in_any_order_and_grouping() -> None:
    values = heavy_tailed(200_000, seed=1)
    truth = {level: wanted(values, level) for level in LEVELS}
    rng = np.random.default_rng(2)
    for attempt in range(4):
        shuffled = rng.permutation(values) if attempt else values
        edges = np.sort(rng.integers(0, len(values), 39))
        parts = [
            shuffled[i]
            for i in rng.permutation(np.array(np.split(np.arange(len(values)), edges), object))
        ]
        assert len(parts) == 40
        for level in LEVELS if not attempt else (0.25, 0.5, 0.75):
            assert exact(parts, level) == truth[level]


def test_merging_in_a_tree_is_merging_in_a_line() -> None:
    parts = np.array_split(heavy_tailed(20_000, seed=3), 40)
    line = Histogram()
    for part in parts:
        line = line + Histogram.of(part)
    level = [Histogram.of(part) for part in parts]
    while len(level) > 1:
        level = (
            [a + b for a, b in zip(level[::2], level[1::2], strict=True)]
            if len(level) % 2 == 0
            else [*[a + b for a, b in zip(level[:-1:2], level[1::2], strict=True)], level[-1]]
        )
    assert (
        level[0].to_mapping()
        == line.to_mapping()
        == Histogram.of(np.concatenate(parts)).to_mapping()
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 99, 100, 101, 1000])
def test_ranks_of_small_samples(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).astype(np.float32)
    for level in (*LEVELS, 1 / 3, 0.1, 0.3, 0.7, 0.95):
        assert exact([values], level) == wanted(values, level)


def test_ties_zeros_and_subnormals_by_hand() -> None:
    assert exact([np.array([3, 3, 3, 1], np.float32)], 0.5) == 3
    assert exact([np.array([-0.0, 0.0, -0.0, 0.0], np.float32)], 0.5) == 0
    values = np.array([-TINY, 0.0, TINY, 2 * TINY], np.float32)
    assert [exact([values], level) for level in (0.25, 0.5, 0.75, 1.0)] == [
        -TINY,
        0,
        TINY,
        2 * TINY,
    ]
    assert exact([np.array([-LARGEST, LARGEST], np.float32)], 0.5) == -LARGEST


def test_zeros_of_both_signs_are_one_value() -> None:
    minus, plus = np.full(3, -0.0, np.float32), np.zeros(2, np.float32)
    merged = Histogram.of(minus) + Histogram.of(plus)
    assert merged.counts.tolist() == [5]
    for histogram in (merged, Histogram.of(plus) + Histogram.of(minus), Histogram.of(minus)):
        assert "-0.0" not in json.dumps(histogram.to_mapping()), (
            "what is written depends on the order of the values"
        )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(arrays, min_size=1, max_size=6), st.sampled_from([*LEVELS, 0.1, 1 / 3]))
def test_any_values_in_any_parts(parts: list[AnyArray], level: float) -> None:
    values = np.concatenate(parts)
    if len(values):
        assert exact(parts, level) == wanted(values, level)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(finite, finite)
def test_keys_order_as_numbers_and_come_back(a: float, b: float) -> None:
    keys = order_keys([a, b])
    assert (keys[0] < keys[1]) == (a < b)
    assert (keys[0] == keys[1]) == (a == b)
    assert key_values(keys).tolist() == [a, b]


# --- merging --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(arrays, arrays, arrays)
def test_merging_is_commutative_associative_and_the_same_as_counting_all(
    a: AnyArray, b: AnyArray, c: AnyArray
) -> None:
    x, y, z = Histogram.of(a), Histogram.of(b), Histogram.of(c)
    whole = Histogram.of(np.concatenate([a, b, c])).to_mapping()
    assert ((x + y) + z).to_mapping() == whole
    assert (x + (y + z)).to_mapping() == whole
    assert ((z + x) + y).to_mapping() == whole
    assert (x + Histogram()).to_mapping() == x.to_mapping() == (Histogram() + x).to_mapping()


def test_merging_leaves_its_parts_as_they_were() -> None:
    a, b = Histogram.of([1.0, 2.0]), Histogram.of([2.0, 3.0])
    before = a.to_mapping(), b.to_mapping()
    assert (a + b).n == 4
    assert (a.to_mapping(), b.to_mapping()) == before


@settings(max_examples=100, deadline=None, derandomize=True)
@given(arrays)
def test_a_histogram_is_stored_as_json_and_read_back(values: AnyArray) -> None:
    histogram = Histogram.of(values)
    again = Histogram.from_mapping(json.loads(json.dumps(histogram.to_mapping())))
    assert again.to_mapping() == histogram.to_mapping()
    assert (again + histogram).n == 2 * len(values)
    assert (again.mean, again.std) == (histogram.mean, histogram.std)


def test_what_is_stored_is_small() -> None:
    values = np.random.default_rng(5).lognormal(0, 3, 300_000).astype(np.float32)
    assert len(Histogram.of(values).bins) < 6000


# --- the bound, the moments -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_quantile_from_counts_alone_is_within_a_128th_of_its_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.lognormal(0, 15, 5000) * rng.choice([-1, 1], 5000)).astype(np.float32)
    values = values[np.abs(values) >= NORMAL]
    histogram = Histogram.of(values)
    for level in np.linspace(0, 1, 101):
        truth = wanted(values, float(level))
        estimate = histogram.quantile(float(level))
        assert estimate is not None
        assert truth <= estimate <= truth + abs(truth) / 128
        assert histogram.minimum is not None and histogram.maximum is not None
        assert histogram.minimum <= estimate <= histogram.maximum


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(finite, min_size=1, max_size=20), st.sampled_from(LEVELS))
def test_quantiles_of_any_values_keep_the_bound(values: list[float], level: float) -> None:
    truth = wanted(np.array(values, np.float32), level)
    estimate = Histogram.of(values).quantile(level)
    assert estimate is not None
    assert (
        truth <= estimate <= truth + max(abs(truth), NORMAL) / 128
    )  # subnormals: the smallest normal's bin
    assert min(values) <= estimate <= max(values)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(finite, min_size=1, max_size=30), st.randoms())
def test_mean_and_deviation_are_exact_and_independent_of_order(
    values: list[float], random: Random
) -> None:
    histogram = Histogram.of(values)
    mean = sum(map(Fraction, values)) / len(values)
    assert histogram.mean == float(mean)
    assert histogram.std == pytest.approx(statistics.pstdev(values), rel=1e-14)
    assert (histogram.minimum, histogram.maximum) == (min(values), max(values))
    shuffled = random.sample(values, len(values))
    half = len(values) // 2
    other = Histogram.of(shuffled[half:]) + Histogram.of(shuffled[:half])
    assert (other.mean, other.std, other.n) == (histogram.mean, histogram.std, len(values))


def test_moments_where_floating_point_sums_fail() -> None:
    assert Histogram.of([LARGEST, 1.0, -LARGEST]).mean == pytest.approx(1 / 3, rel=1e-15)
    offset = Histogram.of(np.array([16_777_215, 16_777_214, 16_777_215, 16_777_214], np.float32))
    assert offset.std == 0.5
    assert Histogram.of(np.full(1000, 0.1, np.float32)).std == 0
    assert Histogram.of([TINY, 3 * TINY]).mean == 2 * TINY


def test_many_values_are_summed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = heavy_tailed(5000, seed=4)
    whole = Histogram.of(values).to_mapping()
    monkeypatch.setattr("foreshock.statistics.histogram.CHUNK", 64)
    assert Histogram.of(values).to_mapping() == whole


# --- edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Histogram.of([1.0, bad])


def test_an_empty_histogram_has_no_statistics() -> None:
    empty = Histogram.of([])
    assert empty.n == 0
    assert (empty.mean, empty.std, empty.quantile(0.5), empty.minimum, empty.maximum) == (None,) * 5
    with pytest.raises(ValueError, match="empty"):
        empty.locate(0.5)


def test_any_shape_and_kind_of_number_is_counted_as_float32() -> None:
    assert (
        Histogram.of(np.arange(6).reshape(2, 3)).to_mapping()
        == Histogram.of([0.0, 1, 2, 3, 4, 5]).to_mapping()
    )
    assert Histogram.of(np.array([0.1])).maximum == np.float32(0.1)
