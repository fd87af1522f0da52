"""Expects every event to be like the one before: the forecast that any other forecast has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError

Floats = npt.NDArray[np.float32]


class LastValue:
    """The mean square (F,) of a training step, by which errors are divided: 1 is an ordinary step; 1 too where there is no step."""

    blind = 1

    def __init__(self, step: npt.NDArray[np.float64], windows: int) -> None:
        self.step, self.windows = step, windows

    @classmethod
    def fit(cls, x: Floats, weight: Floats) -> LastValue:
        """Fit on steps between events of windows (N, L, F), both of weight (N, L) 1. Raises DataError for none."""
        steps = np.diff(x.astype(np.float64), axis=1)[weight[:, :-1] > 0]  # (n, F)
        if not len(steps):
            raise DataError(
                "detector last_value: no training window holds two events. Leave last_value out of detectors."
            )
        square = np.square(steps).mean(axis=0)
        return cls(np.where(square > 0, square, 1.0), len(x))

    def reconstruct(self, x: Floats) -> Floats:
        """Each event's predecessor; a window's first event is its own."""
        return np.concatenate([x[:, :1], x[:, :-1]], axis=1)

    def errors_of(self, x: Floats, expected: Floats) -> Floats:
        """Squared steps over the ordinary one, given what `reconstruct` gave."""
        return (np.square(x - expected) / self.step).astype(np.float32)

    def errors(self, x: Floats) -> Floats:
        return self.errors_of(x, self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"step": self.step}

    def spec(self) -> dict[str, Any]:
        return {"windows": self.windows}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> LastValue:
        return cls(arrays["step"], spec["windows"])
