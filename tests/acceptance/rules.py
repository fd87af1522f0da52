"""Acceptance checks of the threshold rules, against laws whose quantiles are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from foreshock.statistics.arrays import AnyArray
from foreshock.thresholds.conformal import p_values
from foreshock.thresholds.pareto import LEAST_EXCESSES, excess_share, fit_tail, interval
from scipy import stats
from thresholds.conformal_simulation import ALL, Setting, simulate

RISK, EVENTS = 1e-4, 100_000
LAWS = {"Student t(3)": stats.t(3), "exponential": stats.expon(), "Beta(1, 4)": stats.beta(1, 4)}


def excesses(law: Any, seed: int) -> tuple[AnyArray, float]:
    """The excesses of a sample, and the value that they exceed."""
    x = law.rvs(EVENTS, random_state=seed)
    start = float(np.quantile(x, 1 - excess_share(EVENTS, RISK), method="inverted_cdf"))
    return x[x > start] - start, start


def pot(*, seeds: int, compared: int) -> dict[str, Any]:
    """The quantile of risk 1e-4 by peaks over threshold is near the true quantile.

    Its interval covers the true quantile. The fit is as likely as SciPy's.
    """
    figures: dict[str, Any] = {"seeds": seeds, "events": EVENTS, "fewest excesses": LEAST_EXCESSES}
    for name, law in LAWS.items():
        true = float(law.isf(RISK))
        errors, covered, good = [], 0, 0
        worst, apart = -np.inf, 0.0
        for seed in range(seeds):
            y, start = excesses(law, seed)
            found = fit_tail(y, start, EVENTS)
            low, high = interval(y, found, RISK)
            errors.append(abs(found.quantile(RISK) / true - 1))
            covered += low <= true <= high
            good += found.p >= 0.05
            if seed < compared:
                shape, _, scale = stats.genpareto.fit(y, floc=0)
                worst = max(
                    worst,
                    float(stats.genpareto.logpdf(y, shape, scale=scale).sum())
                    - found.log_likelihood,
                )
                theirs = start + float(
                    stats.genpareto.isf(RISK * EVENTS / len(y), shape, scale=scale)
                )
                apart = max(apart, abs(found.quantile(RISK) / theirs - 1))
        figures |= {
            f"{name}: median error of the quantile": float(np.median(errors)),
            f"{name}: interval covers": covered / seeds,
            f"{name}: fit not doubted (p >= 0.05)": good / seeds,
            f"{name}: SciPy's log-likelihood less ours, at most": worst,
            f"{name}: quantile apart from SciPy's, at most": apart,
        }
        assert np.median(errors) <= 0.15, (name, np.median(errors))
        assert (
            (0.88 if seeds >= 200 else 0.75) <= covered / seeds <= (0.99 if seeds >= 200 else 1.0)
        ), (name, covered / seeds)
        assert worst <= 1e-3 and apart <= 0.01, (name, worst, apart)
    return figures


def conformal(*, simulations: int, level: float = 0.1) -> dict[str, Any]:
    """The false discovery rate in units is at most the level + 3 standard errors.

    p-values of fresh calibration sets are uniform.
    """
    found = simulate(simulations, level, ALL, Setting(), 1).figures()
    rng = np.random.default_rng(2)
    p = []
    for seed in range(1000):
        x = np.round(rng.normal(size=51), 1)  # ties
        p.append(float(p_values(x[:50], x[50:], seed)[0]))
    figures: dict[str, Any] = {
        "level": level,
        "simulations": simulations,
        **found,
        "Kolmogorov-Smirnov p of 1,000 p-values": float(stats.kstest(p, "uniform").pvalue),
    }
    assert found["FDR"] <= level + 3 * found["its standard error"], figures
    assert figures["Kolmogorov-Smirnov p of 1,000 p-values"] > 0.01, figures
    return figures
