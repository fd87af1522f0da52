"""Conformal p-values and cuts.

p-values are uniform, and equal hand-worked values and SciPy's. False discoveries of simulated
sequences are counted in units.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from foreshock.statistics.arrays import AnyArray
from foreshock.thresholds.conformal import (
    LEAST_CALIBRATION,
    Cut,
    benjamini_hochberg,
    fdr_cut,
    p_values,
    risk_cut,
    unit_maxima,
)
from scipy import stats
from thresholds.conformal_simulation import ALL, ALTERNATE, ONE, Setting, simulate

INF = float("inf")
HUNDRED = np.arange(1.0, 100.0)  # 99 calibration units: p-values are hundredths


def cut(calibration: AnyArray, test: AnyArray, level: float) -> Cut:
    found = fdr_cut(calibration, test, level)
    assert isinstance(found, Cut), found
    return found


def among(*high: float) -> AnyArray:
    """Twenty test units: these and middling ones."""
    return np.array([*high, *[50.0] * (20 - len(high))])


@pytest.mark.parametrize("decimals", [0, 8], ids=["ties", "none"])
def test_p_values_are_uniform(decimals: int) -> None:
    """A thousand of them, each of its own 30 calibration units and one test unit."""
    x = np.round(np.random.default_rng(5).normal(size=(1000, 31)), decimals)
    p = [p_values(row[:30], row[30:], seed)[0] for seed, row in enumerate(x)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_many_p_values_of_one_calibration_share_no_draw() -> None:
    p = p_values(np.zeros(30), np.zeros(1000), 3)
    assert len(np.unique(p)) == 1000
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_values_lie_between_their_ranks() -> None:
    c = np.array([3.0, 1.0, 2.0, 2.0])
    p = p_values(c, [0.0, 1.0, 2.0, 2.5, 3.0, 9.0], 1) * 5
    assert (p > [4, 3, 1, 1, 0, 0]).all()
    assert (p <= [5, 5, 4, 2, 2, 1]).all()


def test_infinite_scores_are_the_highest_and_nan_is_refused() -> None:
    p = p_values([1.0, 2.0, INF, INF], [INF, 3.0, -INF], 1) * 5
    assert 0 < p[0] <= 3 and 2 < p[1] <= 3 and 4 < p[2] <= 5
    for wrong in (
        lambda: p_values([np.nan], [1.0], 1),
        lambda: p_values([1.0], [np.nan], 1),
        lambda: unit_maxima([1], [np.nan]),
        lambda: fdr_cut([np.nan] * 30, [1.0], 0.1),
        lambda: risk_cut([np.nan] * 30, 0.1),
    ):
        with pytest.raises(ValueError, match="NaN"):
            wrong()


def test_benjamini_and_hochbergs_own_example() -> None:
    """Section 3.2 of their paper: at 0.05 the first four of fifteen."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    assert benjamini_hochberg(p, 0.05).tolist() == [True] * 4 + [False] * 11
    assert benjamini_hochberg([0.04, 0.03], 0.05).all(), (
        "the higher within its bound brings the lower with it"
    )
    assert benjamini_hochberg([], 0.05).shape == (0,)
    assert benjamini_hochberg([0.02, 0.02, *[1.0] * 27], 0.29).sum() == 2, (
        "2/29 × 0.29 is 0.02, in floating point a little less"
    )


def test_benjamini_hochberg_is_scipys() -> None:
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(300):
        p = np.round(rng.beta(rng.uniform(0.1, 1), 1, rng.integers(1, 60)), rng.integers(2, 9))
        theirs = stats.false_discovery_control(p) <= 0.1 * (1 + 1e-9)
        assert (benjamini_hochberg(p, 0.1) == theirs).all()
        rejected += theirs.sum()
    assert rejected > 300


@pytest.mark.parametrize("wrong", [[-0.1], [1.1], [np.nan]])
def test_what_is_no_p_value_or_level_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg(wrong, 0.1)
    for level in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            risk_cut(HUNDRED, level)


@pytest.mark.parametrize(("high", "threshold", "flagged", "risk"), [
    ((150, 151, 152, 98.5), 98.0, 4, 0.02),  # 0.02 is just within 4/20 × 0.1
    ((150, 151, 152, 99), 98.0, 4, 0.02),
    ((150, 151, 152, 98), 99.0, 3, 0.01),
    ((150, 151, 99), 99.0, 2, 0.01),  # as high as the threshold is not above
    ((150, 150, 150, 98.5, 98.5, 97.5), 97.0, 6, 0.03),
    ((INF, INF), 99.0, 2, 0.01),
])  # fmt: skip
def test_a_cut_worked_by_hand(
    high: tuple[float, ...], threshold: float, flagged: int, risk: float
) -> None:
    found = cut(HUNDRED, among(*high), 0.1)
    assert (found.threshold, found.flagged, found.units, found.n, found.reason) == (
        threshold,
        flagged,
        20,
        99,
        None,
    )
    assert found.risk == pytest.approx(risk)
    assert found.expected_false == pytest.approx(20 * risk)


def test_a_cut_that_rejects_nothing_flags_nothing_and_says_so() -> None:
    for high, highest in (((150,), 150.0), ((70,), 99.0), ((INF,), INF)):
        found = cut(HUNDRED, among(*high), 0.1)
        assert (found.threshold, found.flagged, found.expected_false) == (highest, 0, 0)
        assert found.reason is not None and "2 above all 99" in found.reason
    assert "; 1 above all 99" in str(cut(HUNDRED, np.full(29, 50.0), 0.29).reason)
    constant = cut(np.ones(99), np.ones(20), 0.1)
    assert (constant.threshold, constant.flagged) == (1.0, 0)


def test_above_the_cut_lie_the_rejected_and_no_others() -> None:
    rng = np.random.default_rng(4)
    flagged = 0
    for number in range(200):
        digits = number % 3
        c, s = (
            np.round(rng.normal(size=rng.integers(20, 200)), digits),
            np.round(rng.normal(rng.uniform(0, 3), 1, 25), digits),
        )
        p = [(1 + sum(c >= value)) / (len(c) + 1) for value in s]
        rejected = stats.false_discovery_control(p) <= 0.2 * (1 + 1e-9)
        found = cut(c, s, 0.2)
        assert ((s > found.threshold) == rejected).all()
        assert found.flagged == rejected.sum()
        assert found.expected_false <= 0.2 * found.flagged + 1e-9
        flagged += found.flagged
    assert flagged > 200


@pytest.mark.parametrize(
    ("n", "level", "rank"),
    [
        (99, 0.01, 99),
        (99, 0.05, 95),
        (100, 0.05, 96),
        (999, 0.001, 999),
        (29, 0.1, 27),
        (49, 0.7, 15),
        (99, 0.29, 71),
        (48, 1 / 49, 48),  # where rounding would take the next
        (19, 0.05, None),
        (98, 0.01, None),
    ],
)
def test_the_plain_cut_is_an_order_statistic(n: int, level: float, rank: int | None) -> None:
    """The ceil((n + 1) (1 − level))-th smallest of 1 … n is that number."""
    found = risk_cut(np.arange(n, 0.0, -1), level)
    if rank is None:
        assert isinstance(found, str) and f"{n} calibration units" in found
    else:
        assert isinstance(found, Cut)
        assert found.threshold == rank and found.reason is None
        assert found.risk == pytest.approx((n + 1 - rank) / (n + 1))


def test_an_infinite_order_statistic_is_said() -> None:
    found = risk_cut([*range(30), INF, INF, INF], 0.05)
    assert (
        isinstance(found, Cut)
        and found.threshold == INF
        and found.reason is not None
        and "inf" in found.reason
    )


def test_too_few_units_give_no_cut() -> None:
    for n, level, least in (
        (LEAST_CALIBRATION - 1, 0.2, 20),
        (98, 0.01, 99),
        (0, 0.1, 20),
        (999_998, 1e-6, 999_999),
    ):
        for found in (fdr_cut(np.arange(n), np.full(5, 1e9), level), risk_cut(np.arange(n), level)):
            assert (
                isinstance(found, str) and f"{n} calibration units" in found and str(least) in found
            )
    assert fdr_cut(HUNDRED, [], 0.1) == "no test units"


def test_the_order_of_units_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    c, s = np.round(rng.normal(size=300), 1), np.round(rng.normal(0.7, 1, 200), 1)
    again, mixed = rng.permutation(c), rng.permutation(s)
    assert (np.sort(p_values(c, s, 9)) == np.sort(p_values(again, mixed, 9))).all()
    distinct = rng.normal(size=50)
    order = rng.permutation(50)
    assert (p_values(c, distinct, 9)[order] == p_values(again, distinct[order], 9)).all()
    assert (p_values(c, s, 9) != p_values(c, s, 10)).all()
    assert fdr_cut(c, s, 0.2) == fdr_cut(again, mixed, 0.2)
    assert risk_cut(c, 0.2) == risk_cut(again, 0.2)


@pytest.mark.parametrize("scheme", [ALL, ALTERNATE, ONE])
def test_false_discoveries_among_alike_sequences(scheme: str) -> None:
    """A false discovery rate of 0.1 holds in units, and most shifted units are found.

    The plain level gives several times as many false discoveries.
    """
    found = simulate(200, 0.1, scheme, Setting(), 1).figures()
    assert found["FDR"] <= 0.1 + 3 * found["its standard error"]
    assert found["power"] > 0.8
    assert found["plain level: FDR"] > 0.4, (
        "the trivial baseline: a cut without Benjamini and Hochberg"
    )
    assert found["plain level: null units flagged"] == pytest.approx(0.1, abs=0.01), (
        "yet it is what it says, a tenth of the null units"
    )


def test_unlike_new_sequences_want_one_unit_of_each() -> None:
    """The limit that the module states, for sequences of unlike scales.

    20 sequences of 40 units calibrate. The same 20 are tested, or 20 new ones.
    """
    unlike = Setting(calibration=20, test=20, units=40, shifted=0.0, spread=1.0)
    every, same, one = (
        simulate(200, 0.1, scheme, setting, 1).figures()
        for scheme, setting in ((ALL, unlike), (ALL, replace(unlike, same=True)), (ONE, unlike))
    )
    assert every["FDR"] > 0.1 + 3 * every["its standard error"]
    for held in (same, one):
        assert held["FDR"] <= 0.1 + 3 * held["its standard error"]


def test_unit_maxima() -> None:
    rng = np.random.default_rng(7)
    ids, scores = rng.integers(0, 40, 500) << 20, np.round(rng.normal(size=500), 1)
    scores[3] = INF
    expected: dict[int, float] = {}
    for unit, score in zip(ids.tolist(), scores.tolist(), strict=True):
        expected[unit] = max(score, expected.get(unit, -INF))
    units, maxima = unit_maxima(ids, scores)
    assert dict(zip(units.tolist(), maxima.tolist(), strict=True)) == expected
    assert (np.diff(units) > 0).all()
    parts = [unit_maxima(ids[a : a + 100], scores[a : a + 100]) for a in range(0, 500, 100)]
    joined = unit_maxima(
        np.concatenate([u for u, _ in parts]), np.concatenate([m for _, m in parts])
    )
    assert (joined[0] == units).all() and (joined[1] == maxima).all()
    assert [len(part) for part in unit_maxima([], [])] == [0, 0]
    with pytest.raises(ValueError, match="unit ids"):
        unit_maxima([1, 2], [1.0])
