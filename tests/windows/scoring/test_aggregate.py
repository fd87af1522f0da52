"""Scores of events from errors of windows equal a plain loop over events and windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.scoring.aggregate import Layout, aggregate, final_scores


def brute(
    kind: str, errors: AnyArray, n: int, length: int, stride: int, padding: int
) -> dict[int, float]:
    windows = [(k * stride, errors[k]) for k in range(len(errors))]
    found: dict[int, float] = {}
    for event in range(padding, n):
        own = [(e[event - a], e[padding:].mean()) for a, e in windows if a <= event < a + length]
        ends = [(e[-1], e[padding:].mean()) for a, e in windows if a + length - 1 == event]
        if kind in ("window", "last"):
            if ends:
                found[event] = ends[0][1] if kind == "window" else ends[0][0]
        elif own:
            values = [m for _, m in own] if kind == "cover" else [v for v, _ in own]
            hows: dict[str, Callable[..., Any]] = {
                "cover": np.mean,
                "mean": np.mean,
                "median": np.median,
                "max": np.max,
                "min": np.min,
            }
            found[event] = hows[kind](values)
    return found


@pytest.mark.parametrize("kind", ["window", "last", "cover", "mean", "median", "max", "min"])
@pytest.mark.parametrize(
    ("windows", "length", "stride", "padding"),
    [(1, 1, 1, 0), (9, 4, 1, 0), (5, 3, 2, 0), (4, 2, 5, 0), (1, 6, 1, 4)],
)
def test_every_kind_equals_brute_force(
    kind: str, windows: int, length: int, stride: int, padding: int
) -> None:
    errors = np.random.default_rng(windows * length).random((windows, length))
    n = (windows - 1) * stride + length
    layout = Layout(n, np.arange(windows), length, stride, padding)
    got = dict(
        zip(
            layout.scored_positions(kind).tolist(),
            final_scores(kind, aggregate(kind, errors, layout)).tolist(),
            strict=True,
        )
    )
    wanted = brute(kind, errors, n, length, stride, padding)
    assert got.keys() == wanted.keys()
    assert all(abs(got[e] - wanted[e]) < 1e-6 for e in wanted)


def test_only_the_ends_of_a_block_are_partial() -> None:
    layout = Layout(10, np.arange(7), 4, 1, 0)
    assert layout.is_partial(np.arange(10)).tolist() == [True] * 3 + [False] * 4 + [True] * 3


def test_scores_are_float32_values() -> None:
    layout = Layout(3, np.arange(1), 3, 1, 0)
    score = final_scores("window", aggregate("window", np.array([[0.1, 0.2, 0.4]]), layout))
    assert score[0] == float(np.float32(score[0]))
