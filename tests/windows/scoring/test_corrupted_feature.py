"""A planted anomaly corrupts one feature of four.

That feature is on top of the events that the anomaly touches.
"""

from __future__ import annotations

import numpy as np
import pytest
from foreshock.scored.adjust import Residuals, contributions, over_scale
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.models.fitting import errors_and_expected, fit_sample
from foreshock.windows.scoring.aggregate import Layout
from foreshock.windows.scoring.attribution import Attribution, attribute

L, F, BURST, SEEDS = 10, 4, 3, 20


def series(seed: int, n: int) -> AnyArray:
    """Features (n, F) of variance 1, with autocorrelation 0.8.

    They share half of the variance of their shocks.
    """
    rng = np.random.default_rng(seed)
    new = 0.6 * (np.sqrt(0.5) * rng.normal(size=(n, 1)) + np.sqrt(0.5) * rng.normal(size=(n, F)))
    x = np.zeros((n, F))
    for t in range(1, n):
        x[t] = 0.8 * x[t - 1] + new[t]
    return x.astype(np.float32)


def explained(name: str, score: str, train: AnyArray, x: AnyArray) -> Attribution:
    def cut(rows: AnyArray) -> AnyArray:
        return np.ascontiguousarray(
            np.lib.stride_tricks.sliding_window_view(rows, L, axis=0).transpose(0, 2, 1)
        )

    model = fit_sample(name, cut(train), np.ones((len(train) - L + 1, L), np.float32), 1)
    found, expected = errors_and_expected(model, cut(x))
    assert expected is not None
    return attribute(
        score,
        found,
        cut(x),
        expected,
        Layout(len(x), np.arange(len(found)), L, 1, 0),
        model.blind_events,
    )


@pytest.mark.parametrize(
    ("name", "score", "errors"),
    [
        ("pca", "window", "plain"),
        ("pca", "window", "standardised"),
        ("ridge_forecast", "window", "plain"),
        ("ridge_forecast", "last", "plain"),
        ("ridge_forecast", "last", "mahalanobis"),
        ("ridge_forecast", "cover", "mahalanobis"),
        ("pca", "cover", "mahalanobis"),
    ],
)
def test_it_is_on_top(name: str, score: str, errors: str) -> None:
    right = judged = 0
    for seed in range(SEEDS):
        train, ordinary, x = (
            series(3 * seed, 1500),
            series(3 * seed + 1, 600),
            series(3 * seed + 2, 60),
        )
        at, feature = 30, seed % F
        x[at : at + BURST, feature] += [5.0, -5.0, 5.0]
        found = explained(name, score, train, x)
        own = explained(name, score, train, ordinary)
        shares = found.errors.astype(np.float64)
        if errors == "standardised":
            shares = over_scale(shares, own.errors.mean(axis=0))
        elif errors == "mahalanobis":
            r = (own.value - own.expected)[own.forecasts > 0].astype(np.float64)
            fourth = float(np.square(np.square(r - r.mean(axis=0)).sum(axis=1)).sum())
            fitted = Residuals(len(r), r.sum(axis=0), r.T @ r, fourth)
            shares = np.maximum(
                contributions(found.value - found.expected, fitted.mean, fitted.precision()), 0
            )
        # pca rebuilds the anomaly in every window that holds it; ridge forecasts a window's last
        # two events, not those that it sees.
        events = np.arange(at, at + (L if (name, score) == ("pca", "window") else BURST))
        ends = events if score == "cover" else events - L + 1  # windows
        top = shares[ends].argmax(axis=1)
        right, judged = right + int((top == feature).sum()), judged + len(ends)
        if (name, score) == ("pca", "window"):
            assert (
                np.isin(events + found.step[ends, feature], np.arange(at, at + BURST)).mean() >= 0.9
            )
    assert judged == SEEDS * len(events)
    assert right >= 0.9 * judged
