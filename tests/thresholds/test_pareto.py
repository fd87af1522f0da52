"""The Pareto tail: its invariances and refusals.

The acceptance check `pot` tests it against known laws and SciPy's fit.
"""

from __future__ import annotations

import numpy as np
import pytest
from acceptance.rules import EVENTS, LAWS, RISK, excesses
from foreshock.thresholds.pareto import LEAST_EXCESSES, dispersion, fit_tail, interval
from scipy import stats


def test_a_tail_that_is_none_is_told_by_its_fit() -> None:
    rng = np.random.default_rng(2)
    good = [fit_tail(rng.pareto(4, 500), 0.0, 10_000).p for _ in range(40)]
    two_humps = np.concatenate([rng.exponential(1, 400), rng.normal(30, 0.5, 100)])
    assert np.mean(np.array(good) < 0.05) < 0.2
    assert fit_tail(two_humps, 0.0, 10_000).p < 0.01


@pytest.mark.parametrize(
    ("power", "n"), [(0.3, 20_000), (0.4, 100_000), (0.5, 200_000), (1.0, 20_000), (8.0, 20_000)]
)
def test_tails_without_a_mean_are_fitted_too(power: float, n: int) -> None:
    y = np.random.default_rng(1).pareto(power, n)  # a tail of shape and scale 1 / power
    found = fit_tail(y, 0.0, n)
    deviation = (1 + 1 / power) / np.sqrt(n)  # of the maximum-likelihood shape (Smith, 1987)
    assert found.shape == pytest.approx(1 / power, abs=4 * deviation)
    assert found.log_likelihood >= stats.genpareto.logpdf(y, 1 / power, scale=1 / power).sum()
    assert found.quantile(0.01) == pytest.approx(0.01 ** (-1 / power) - 1, rel=0.25)


def test_scale_and_start_only_scale_and_shift() -> None:
    y, start = excesses(LAWS["exponential"], 7)
    one, other = fit_tail(y, start, EVENTS), fit_tail(y * 1e6, start * 1e6 + 5.0, EVENTS)
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
    y, start = excesses(LAWS["exponential"], 8)
    found = fit_tail(y, start, EVENTS)
    narrow, wide = interval(y, found, RISK), interval(y, found, RISK, bursts)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert dispersion(units[:5], sizes[:5], units[:5]) == 1.0
