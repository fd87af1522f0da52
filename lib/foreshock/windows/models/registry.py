"""The models by name. Each is fitted on training windows and gives errors per window, event and feature.

Protocol: `errors(x)` of windows (N, L, F) float32 gives (N, L, F) or, where a model sees no features apart, (N, L, 1);
higher is more anomalous. `reconstruct(x)` gives what the model expected, (N, L, F), or None. `arrays()` and `spec()` hold all
that `load` needs; nothing is pickled. `blind`, where a model has it, is how many first steps of a window it expects nothing of: what
`reconstruct` gives there is no expectation. The errors of such a model are over their ordinary size, so that 1 is ordinary.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.windows.models.isolation_forest import IsolationForest
from foreshock.windows.models.kmeans import KMeans
from foreshock.windows.models.last_value import LastValue
from foreshock.windows.models.moments import WindowMoments
from foreshock.windows.models.pca import PCA
from foreshock.windows.models.ridge_forecast import RidgeForecast
from foreshock.windows.models.zscore import ZScore

Floats = npt.NDArray[np.float32]


class Model(Protocol):
    """What scoring asks of a model."""

    def errors(self, x: Floats) -> Floats:
        """Errors (N, L, F) or (N, L, 1) of windows (N, L, F)."""

    def reconstruct(self, x: Floats) -> Floats | None:
        """What the model expected, (N, L, F), or None."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted parameters."""

    def spec(self) -> dict[str, Any]:
        """Plain data that, with the arrays, rebuilds the model."""


LINEAR: dict[str, Any] = {"pca": PCA, "ridge_forecast": RidgeForecast}
SIMPLE: dict[str, Any] = LINEAR | {
    "isolation_forest": IsolationForest,
    "kmeans": KMeans,
    "last_value": LastValue,
    "zscore": ZScore,
}
SEEDED = ("isolation_forest", "kmeans")


def errors_and_expected(model: Any, x: Floats) -> tuple[Floats, Floats | None]:
    """Errors of windows, and what the model expected, from one forward pass; None where it expects no window."""
    expected = model.reconstruct(x)
    return (model.errors(x), None) if expected is None else (model.errors_of(x, expected), expected)


def fit(name: str, x: Floats, weight: Floats, seed: int) -> Model:
    """A detector beside the network, fitted on windows (N, L, F) with weights (N, L)."""
    if name in SIMPLE:
        found: Model = (
            SIMPLE[name].fit(x, weight, seed) if name in SEEDED else SIMPLE[name].fit(x, weight)
        )
        return found
    raise ValueError(f"no such detector: {name}")


def fit_moments(name: str, moments: WindowMoments) -> Model:
    """A linear detector (LINEAR), fitted exactly on all windows from their moments."""
    found: Model = LINEAR[name].of_moments(moments)
    return found


def fitted_on(model: Model) -> int | None:
    """The training windows (of the forest: their last events) that a detector was fitted on; None of the network, which learns from all."""
    spec = model.spec()
    found: int | None = spec.get("windows", spec.get("rows"))
    return found


def load(name: str, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Model:
    """A model from its spec and arrays. Raises DataError where they do not fit."""
    try:
        if name in SIMPLE:
            found: Model = SIMPLE[name].load(spec, arrays)
            return found
        if name == "lstm_autoencoder":
            from foreshock.windows.models.lstm_autoencoder import (
                LSTMAutoencoder,  # TensorFlow only where it is used
            )

            return LSTMAutoencoder.load(spec, arrays)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"model bundle: {name} does not load ({error}); the bundle is damaged or of another version."
        ) from None
    raise DataError(f"model bundle: no such model {name!r} in this version.")
