"""What a model explains of its windows, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.models.explained import explained

X = np.array(
    [[[0.0, 5.0], [2.0, 5.0]], [[4.0, 5.0], [-2.0, 5.0]]], np.float32
)  # (2, 2, 2); the second feature never varies
ONES = np.ones((2, 2), np.float32)


class Says:
    def __init__(self, expected: AnyArray | None) -> None:
        self.expected = expected

    def reconstruct(self, x: AnyArray) -> AnyArray | None:
        return self.expected


def test_shares_by_hand() -> None:
    found = explained(Says(X / 2), X, ONES, ("a", "b"), "sigmoid")
    assert found is not None and found.windows == 2
    # The median of 0, 2, 4, -2 is 1: squared distances 1 + 1 + 9 + 9; errors 0 + 1 + 4 + 1.
    assert found.share == {"a": pytest.approx(1 - 6 / 20), "b": None}
    assert found.spread == {"a": pytest.approx(0.5), "b": None}
    assert found.outside == {"a": 0.75, "b": 1.0}  # 2, 4 and -2 are no sigmoid's; neither is 5
    assert found.reachable == {
        "a": pytest.approx(1 - (1 + 9 + 4) / 20),
        "b": None,
    }  # at best 0 for 0, 1 for 2 and 4, 0 for -2


def test_padding_does_not_count_and_a_model_without_reconstruction_has_none() -> None:
    weight = np.array([[0, 1], [1, 1]], np.float32)
    found = explained(Says(X), X, weight, ("a", "b"), "relu")
    assert (
        found is not None and found.outside["a"] == pytest.approx(1 / 3) and found.share["a"] == 1.0
    )
    assert explained(Says(None), X, ONES, ("a", "b")) is None
    assert explained(Says(X[:0]), X[:0], ONES[:0], ("a", "b")) is None
