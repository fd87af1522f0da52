"""Threshold rules: exact order statistics, tails and fixed values.

A fallback says so. The tests also say which threshold judges.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from foreshock.errors import DataError, SettingsError
from foreshock.statistics.arrays import AnyArray, Int64Array
from foreshock.statistics.histogram import Histogram, refine
from foreshock.thresholds.distribution import Distributions, Exact, Key, TailEvents, locate, resolve
from foreshock.thresholds.rules import (
    Estimate,
    Threshold,
    check_borrowed,
    fixed_row,
    judging,
    pot_estimate,
    quantile_estimate,
    threshold_of,
    threshold_rows,
    wanted_keys,
)

VALUES = {
    (p, g): np.random.default_rng(i).exponential(1 + i, n).astype(np.float32)
    for i, (p, g, n) in enumerate(
        [("2024-01-01", "a", 900), ("2024-01-01", "b", 40), ("2024-01-02", "a", 700)]
    )
}


def made() -> tuple[Distributions, Exact]:
    parts = {Key("pca", "calibration", p, g): Histogram.of(v) for (p, g), v in VALUES.items()}
    parts |= {Key("pca", "test", "2024-01-03", "a"): Histogram.of(VALUES["2024-01-01", "a"] * 2)}
    found = Distributions(parts)
    keys = wanted_keys(found, ("pca",), "calibration")
    seconds: dict[tuple[Key, int], Int64Array] = {}
    for w in locate(found, keys, [0.99]):
        total = np.zeros(1 << 16, np.int64)
        for (p, g), v in VALUES.items():
            if (
                w.key.split == "calibration"
                and w.key.partition in (None, p)
                and w.key.group in ("all", g)
            ):
                lows, counts = refine(v, w.bin)
                np.add.at(total, lows, counts)
        if w.key.split == "test":
            lows, counts = refine(VALUES["2024-01-01", "a"] * 2, w.bin)
            np.add.at(total, lows, counts)
        seconds[w.key, w.bin] = total
    return found, resolve(locate(found, keys, [0.99]), seconds)


def rows(min_count: int = 500, margin: float = 1.0) -> list[Threshold]:
    found, exact = made()
    return threshold_rows(
        found,
        wanted_keys(found, ("pca",), "calibration"),
        lambda key: Estimate(exact[key, 0.99]),
        rule="quantile",
        level=0.99,
        margin=margin,
        min_count=min_count,
        fitted="calibration",
    )


def test_pooled_threshold_is_the_exact_order_statistic() -> None:
    everything = np.concatenate(list(VALUES.values()))
    pooled = next(r for r in rows() if r.partition is None and r.group == "all")
    assert pooled.threshold == float(np.quantile(everything, 0.99, method="inverted_cdf"))
    assert pooled.n == len(everything) and pooled.fallback is None
    assert abs((everything > pooled.threshold).mean() - 0.01) <= 1 / len(everything)


def test_a_small_group_falls_back_and_says_so() -> None:
    found = {(r.group, r.partition): r for r in rows()}
    pooled = found["all", None]
    assert found["b", None].threshold == pooled.threshold
    fallback = found["b", None].fallback
    assert fallback is not None
    assert "40" in fallback and fallback.startswith("all")
    assert found["b", "2024-01-01"].threshold == pooled.threshold
    assert found["a", None].fallback is None
    own = found["a", "2024-01-03"]
    assert own.fitted_on == "self" and own.fallback is None


def test_margin_multiplies_and_too_few_is_refused() -> None:
    assert rows(margin=2.0)[0].threshold == 2 * cast(float, rows()[0].threshold)
    with pytest.raises(DataError, match="min_count"):
        rows(min_count=10_000)


def test_which_threshold_judges() -> None:
    found = rows()
    a = next(r.threshold for r in found if r.group == "a" and r.partition is None)
    day = next(r.threshold for r in found if r.group == "a" and r.partition == "2024-01-02")
    pooled = next(r.threshold for r in found if r.group == "all")

    def limit(per: str, time: bool, group: str, partition: str) -> float | None:
        by = judging(found, rule="quantile", level=0.99, per=per, partition_is_time=time)
        return threshold_of(by, "pca", group, partition)

    assert limit("group", True, "a", "2024-01-02") == a
    assert limit("partition", False, "a", "2024-01-02") == day
    assert limit("partition", True, "a", "2024-01-02") == a
    assert limit("all", True, "a", "2024-01-02") == pooled
    assert limit("group", True, "new", "2024-01-09") == pooled
    assert threshold_of({}, "pca", "a", "x") is None


def test_a_threshold_of_zero_is_a_threshold() -> None:
    zeros = Distributions(
        {Key("pca", "calibration", "p", "all"): Histogram.of(np.zeros(100, np.float32))}
    )
    keys = wanted_keys(zeros, ("pca",), "calibration")
    found = threshold_rows(
        zeros,
        keys,
        lambda key: Estimate(0.0),
        rule="quantile",
        level=0.99,
        margin=1.0,
        min_count=10,
        fitted="calibration",
    )
    by = judging(found, rule="quantile", level=0.99, per="group", partition_is_time=False)
    assert threshold_of(by, "pca", "all", "p") == 0.0


def tail_of(values: AnyArray, start: float) -> TailEvents:
    unit = np.arange(len(values)) // 10
    up = np.sort(values[values >= start])
    order = np.argsort(values, kind="stable")
    return TailEvents(np.unique(unit), np.bincount(unit), up, unit[order][values[order] >= start])


def test_peaks_over_threshold_reach_beyond_the_sample() -> None:
    values = np.random.default_rng(1).exponential(2.0, 20_000)
    start = float(np.quantile(values, 0.98))
    found = pot_estimate(tail_of(values, start), start, len(values), 1e-5)
    assert not isinstance(found, str)
    assert abs(found.threshold / (-2.0 * np.log(1e-5)) - 1) < 0.15
    assert (
        found.ci_low is not None
        and found.ci_high is not None
        and found.ci_low < found.threshold < found.ci_high
    )
    assert found.goodness is not None and found.goodness > 0.05
    few = pot_estimate(tail_of(values[:100], start), start, 100, 1e-5)
    assert isinstance(few, str) and "fewer than 50" in few


def test_a_rule_that_cannot_judge_a_group_says_why_and_falls_back() -> None:
    found, _ = made()
    keys = wanted_keys(found, ("pca",), "calibration")
    rows = threshold_rows(
        found,
        keys,
        lambda k: (
            "pot: 31 excesses, fewer than 50" if k.group == "a" else Estimate(5.0, 4.0, 6.0, 0.3)
        ),
        rule="pot",
        level=0.9999,
        margin=2.0,
        min_count=10,
        fitted="calibration",
    )
    a = next(r for r in rows if r.group == "a" and r.partition is None)
    assert (a.threshold, a.ci_low, a.ci_high, a.goodness) == (10.0, 8.0, 12.0, 0.3)
    assert a.fallback == "all: pot: 31 excesses, fewer than 50"
    own = next(r for r in rows if r.fitted_on == "self")
    assert own.threshold is None and own.fallback == "none: pot: 31 excesses, fewer than 50"


@pytest.mark.parametrize(
    ("n", "level", "least"),
    [(1000, 0.9999, 10_000), (99, 0.99, 100), (9_999, 0.9999, 10_000), (3, 0.7, 4)],
)
def test_a_level_that_leaves_no_score_above_it_has_no_quantile(
    n: int, level: float, least: int
) -> None:
    pooled, group = Key("pca", "calibration", None, "all"), Key("pca", "calibration", None, "a")
    why = f"n = {n} < {least}, too few for level {level}"
    assert quantile_estimate(group, 9.0, n, level, (1.0, 9.0)) == f"quantile: {why}"
    assert quantile_estimate(group._replace(partition="p"), 9.0, n, level) == f"quantile: {why}"
    assert quantile_estimate(pooled, 9.0, n, level, (1.0, 9.0)) == Estimate(
        9.0, instead=f"highest score: {why}"
    )
    assert quantile_estimate(pooled, 9.0, least, level, (1.0, 9.0)) == Estimate(9.0, 1.0, 9.0)
    assert quantile_estimate(group, 9.0, least, level) == Estimate(9.0)
    short = quantile_estimate(pooled, 9.0, n, level, instead="31 excesses, fewer than 50")
    assert short == Estimate(
        9.0, instead=f"highest score: {why}; quantile: 31 excesses, fewer than 50"
    )


def test_too_few_for_the_level_fall_back_by_the_chain_and_say_so() -> None:
    found, _ = made()  # 1640 events pooled, 1600 of group a, 40 of b
    keys = wanted_keys(found, ("pca",), "calibration")
    highest = {k: float(found.of(k).maximum or 0) for k in keys}

    def by(level: float) -> dict[tuple[str, str | None], Any]:
        rows = threshold_rows(
            found,
            keys,
            lambda k: quantile_estimate(k, highest[k], found.of(k).n, level),
            rule="quantile",
            level=level,
            margin=1.0,
            min_count=10,
            fitted="calibration",
        )
        return {(r.group, r.partition): r for r in rows}

    some = by(0.999)  # wants 1000 events
    assert some["all", None].fallback is None and some["a", None].fallback is None
    assert (
        some["a", "2024-01-02"].fallback
        == "group a: quantile: n = 700 < 1000, too few for level 0.999"
    )
    assert some["b", None].threshold == some["all", None].threshold and some[
        "b", None
    ].fallback.startswith("all: quantile: n = 40 < 1000")
    none = by(0.9999)
    assert none["all", None].threshold == max(v.max() for v in VALUES.values())
    assert none["all", None].fallback == "highest score: n = 1640 < 10000, too few for level 0.9999"
    assert none["a", None].threshold == none["all", None].threshold
    assert (
        none["a", None].fallback == "all: quantile: n = 1600 < 10000, too few for level 0.9999; "
        f"{none['all', None].fallback}"
    )
    assert none["a", "2024-01-03"].threshold is None and none[
        "a", "2024-01-03"
    ].fallback.startswith("none: quantile: n = 900")


def test_a_fixed_threshold_judges_every_group_of_its_detector_and_the_first_of_two_rules_decides(
    # of two rules for `pca`, 0.0 comes first
) -> None:
    rows = [fixed_row("pca", 0.0), fixed_row("pca", 7.0)]
    by = judging(rows, rule="fixed", level=None, per="group", partition_is_time=True)
    assert threshold_of(by, "pca", "any", "2024-01-01") == 0.0
    assert threshold_of(by, "kmeans", "any", "2024-01-01") is None
    assert (rows[0].n, rows[0].fitted_on) == (0, "fixed")


@pytest.mark.parametrize(("positive", "risk"), [(450, 0.05), (500, 0.05), (80, 0.01)])
def test_ties_that_leave_no_tail_beyond_the_risk_are_refused_in_words(
    positive: int, risk: float
) -> None:
    values = np.zeros(10_000)
    values[:positive] = np.random.default_rng(0).exponential(1.0, positive)
    found = pot_estimate(tail_of(values, 0.0), 0.0, len(values), risk)
    assert isinstance(found, str) and f"{positive} of 10000" in found


def test_borrowed_thresholds_must_hold_the_rule_that_judges() -> None:
    check_borrowed(rows(), "quantile", 0.99, "runs/a")
    with pytest.raises(SettingsError, match=r"pot 0.9999 is to judge.*runs/a are quantile 0.99"):
        check_borrowed(rows(), "pot", 0.9999, "runs/a")
    check_borrowed([fixed_row("pca", 1.0)], "fixed", None, "runs/a")
