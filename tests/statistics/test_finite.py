"""No value is beyond what a float32 can square."""

from __future__ import annotations

import numpy as np
from foreshock.statistics.finite import finite


def test_finite_by_hand() -> None:
    found = finite(np.array([np.nan, np.inf, -np.inf, 2e30, -5.0, 0.0], np.float32))
    assert (
        found.tolist() == [*np.array([1e30, 1e30, -1e30, 1e30], np.float32).tolist(), -5.0, 0.0]
        and found.dtype == np.float32
    )
