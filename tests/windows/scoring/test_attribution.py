"""Errors by feature equal a plain loop over events and windows."""

from __future__ import annotations

import numpy as np
import pytest
from foreshock.windows.scoring.aggregate import Layout
from foreshock.windows.scoring.attribution import attribute

LENGTH, WINDOWS, F = 4, 9, 3
RNG = np.random.default_rng(2)
BLOCK = RNG.normal(size=(WINDOWS + LENGTH - 1, F)).astype(np.float32)
X = np.lib.stride_tricks.sliding_window_view(BLOCK, LENGTH, axis=0).transpose(0, 2, 1)
EXPECTED = RNG.normal(size=X.shape).astype(np.float32)
ERRORS = np.square(X - EXPECTED)
LAYOUT = Layout(len(BLOCK), np.arange(WINDOWS), LENGTH, 1, 0)


def test_window_takes_its_own_mean_and_the_most_wrong_step_of_each_feature() -> None:
    found = attribute("window", ERRORS, X, EXPECTED, LAYOUT)
    for w in range(WINDOWS):
        means = [sum(float(ERRORS[w, t, f]) for t in range(LENGTH)) / LENGTH for f in range(F)]
        assert found.errors[w] == pytest.approx(means, rel=1e-5)
        for f in range(F):
            step = max(range(LENGTH), key=lambda t: float(ERRORS[w, t, f]))
            assert found.step[w, f] == step - LENGTH + 1
            assert (
                found.value[w, f] == BLOCK[w + step, f]
                and found.expected[w, f] == EXPECTED[w, step, f]
            )


@pytest.mark.parametrize("kind", ["cover", "mean", "median", "max", "min"])
def test_other_kinds_take_the_events_own_over_all_windows(kind: str) -> None:
    found = attribute(kind, ERRORS, X, EXPECTED, LAYOUT)
    for event in range(len(BLOCK)):
        own = [(w, event - w) for w in range(WINDOWS) if w <= event < w + LENGTH]
        errors = [ERRORS[w].mean(axis=0) if kind == "cover" else ERRORS[w, t] for w, t in own]
        assert found.errors[event] == pytest.approx(np.sum(errors, axis=0), rel=1e-5)
        assert found.expected[event] == pytest.approx(
            np.mean([EXPECTED[w, t] for w, t in own], axis=0), rel=1e-4
        )
        assert found.value[event].tolist() == BLOCK[event].tolist() and not found.step[event].any()


@pytest.mark.parametrize("kind", ["cover", "mean", "median", "max", "min"])
@pytest.mark.parametrize("blind", [1, 2, LENGTH - 1])
def test_steps_without_a_forecast_are_no_expectation(kind: str, blind: int) -> None:
    found = attribute(kind, ERRORS, X, EXPECTED, LAYOUT, blind)
    for event in range(len(BLOCK)):
        own = [(w, event - w) for w in range(WINDOWS) if w <= event < w + LENGTH]
        seen = [EXPECTED[w, t] for w, t in own if t >= blind]
        assert found.forecasts[event] == len(seen)
        if seen:
            assert found.expected[event] == pytest.approx(np.mean(seen, axis=0), rel=1e-4, abs=1e-6)
        else:
            assert found.expected[event].tolist() in [EXPECTED[w, t].tolist() for w, t in own]
        assert found.errors[event] == pytest.approx(
            attribute(kind, ERRORS, X, EXPECTED, LAYOUT).errors[event]
        )


def test_last_is_the_events_own_step() -> None:
    found = attribute("last", ERRORS, X, EXPECTED, LAYOUT)
    assert (
        found.errors.tolist() == ERRORS[:, -1].tolist()
        and found.value.tolist() == X[:, -1].tolist()
        and not found.step.any()
    )


def test_padding_is_no_error() -> None:
    layout = Layout(LENGTH, np.arange(1), LENGTH, 1, 2)
    found = attribute("window", ERRORS[:1], X[:1], EXPECTED[:1], layout)
    assert (
        found.errors[0] == pytest.approx(ERRORS[0, 2:].mean(axis=0)) and (found.step[0] >= -1).all()
    )
