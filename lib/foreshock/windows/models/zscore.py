"""How far each value lies from the training mean, in training standard deviations: the detector that sees no time at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError

Floats = npt.NDArray[np.float32]


class ZScore:
    """The mean and standard deviation (F,) of the training windows' events; a feature that does not vary has deviation 1."""

    def __init__(
        self, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64], windows: int
    ) -> None:
        self.mean, self.std, self.windows = mean, std, windows

    @classmethod
    def fit(cls, x: Floats, weight: Floats) -> ZScore:
        """Fit on the events of windows (N, L, F) whose weight (N, L) is not 0. Raises DataError for none."""
        rows = x[weight > 0].astype(np.float64)  # (n, F)
        if not len(rows):
            raise DataError(
                "detector zscore: there is no training event. Leave zscore out of detectors."
            )
        std = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(std > 0, std, 1.0), len(x))

    def reconstruct(self, x: Floats) -> Floats:
        return np.broadcast_to(self.mean.astype(np.float32), x.shape)

    def errors_of(self, x: Floats, expected: Floats) -> Floats:
        """The squared z-scores, given what `reconstruct` gave."""
        return np.square((x - expected) / self.std).astype(np.float32)

    def errors(self, x: Floats) -> Floats:
        return self.errors_of(x, self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"mean": self.mean, "std": self.std}

    def spec(self) -> dict[str, Any]:
        return {"windows": self.windows}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> ZScore:
        return cls(arrays["mean"], arrays["std"], spec["windows"])
