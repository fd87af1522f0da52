"""The Pareto tail against SciPy's fit and known laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from foreshock.thresholds.pareto import LEAST_EXCESSES, dispersion, excess_share, fit_tail, interval
from scipy import stats

RISK = 1e-4
LAWS = {"student": stats.t(3), "exponential": stats.expon(), "beta": stats.beta(1, 4)}


def excesses(law: Any, seed: int, n: int = 100_000) -> tuple[np.ndarray, float, int]:
    x = law.rvs(n, random_state=seed)
    start = float(np.quantile(x, 1 - excess_share(n, RISK), method="inverted_cdf"))
    return x[x > start] - start, start, n


@pytest.mark.parametrize("name", LAWS)
def test_the_fit_is_as_good_as_scipys(name: str) -> None:
    for seed in range(3):
        y, start, n = excesses(LAWS[name], seed)
        found = fit_tail(y, start, n)
        shape, _, scale = stats.genpareto.fit(y, floc=0)
        assert found.log_likelihood >= stats.genpareto.logpdf(y, shape, scale=scale).sum() - 1e-3
        theirs = start + stats.genpareto.isf(RISK / (len(y) / n), shape, scale=scale)
        assert abs(found.quantile(RISK) / theirs - 1) < 0.01
        assert found.log_likelihood == pytest.approx(stats.genpareto.logpdf(y, found.shape, scale=found.scale).sum(), abs=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_the_quantile_is_near_the_true_one_and_its_interval_covers_it(name: str) -> None:
    true = float(LAWS[name].isf(RISK))
    errors, covered = [], 0
    for seed in range(20):
        y, start, n = excesses(LAWS[name], 100 + seed)
        found = fit_tail(y, start, n)
        low, high = interval(y, found, RISK)
        errors.append(abs(found.quantile(RISK) / true - 1))
        covered += low <= true <= high
    assert np.median(errors) < 0.15
    assert covered >= 16


def test_a_tail_that_is_none_is_told_by_its_fit() -> None:
    rng = np.random.default_rng(2)
    good = [fit_tail(rng.pareto(4, 500), 0.0, 10_000).p for _ in range(40)]
    two_humps = np.concatenate([rng.exponential(1, 400), rng.normal(30, 0.5, 100)])
    assert np.mean(np.array(good) < 0.05) < 0.2
    assert fit_tail(two_humps, 0.0, 10_000).p < 0.01


def test_scale_and_start_only_scale_and_shift() -> None:
    y, start, n = excesses(LAWS["exponential"], 7)
    one, other = fit_tail(y, start, n), fit_tail(y * 1e6, start * 1e6 + 5.0, n)
    assert other.quantile(RISK) == pytest.approx(one.quantile(RISK) * 1e6 + 5.0, rel=1e-6)
    assert other.shape == pytest.approx(one.shape, abs=1e-6)


def test_too_few_excesses_are_refused() -> None:
    with pytest.raises(ValueError, match=str(LEAST_EXCESSES)):
        fit_tail(np.arange(1, LEAST_EXCESSES), 0.0, 1000)
    with pytest.raises(ValueError, match="only 2 values"):
        fit_tail(np.tile([1.0, 2.0], 100), 0.0, 1000)


def test_clustered_excesses_widen_the_interval() -> None:
    units = np.arange(1000)
    sizes = np.full(1000, 50)
    rng = np.random.default_rng(3)
    alone = dispersion(units, sizes, np.sort(rng.integers(0, 1000, 400)))
    bursts = dispersion(units, sizes, np.repeat(rng.integers(0, 1000, 20), 20))
    assert 1.0 <= alone < 2.0 < bursts
    y, start, n = excesses(LAWS["exponential"], 8)
    found = fit_tail(y, start, n)
    narrow, wide = interval(y, found, RISK), interval(y, found, RISK, bursts)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert dispersion(units[:5], sizes[:5], units[:5]) == 1.0
