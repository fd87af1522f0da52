"""Expects every event to follow linearly from those just before it: ridge regression of a row on the rows ahead of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.windows.models.moments import WindowMoments

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
ORDER = 8  # rows that a forecast sees at most
PENALTY = 1e-3  # of each input's own scatter, so that a feature's unit does not matter
TINY = 1e-12  # of the mean square: less scatter than this is rounding
CHUNK = 2**12  # rows forecast at once: they stay in the cache


def ridge_from_moments(
    moments: WindowMoments, order: int, penalty: npt.ArrayLike
) -> tuple[Doubles, Doubles]:
    """Coefficients (order·F, F), oldest row first, and intercept (F,) of a window's last row on the `order` rows before it.

    They minimise squared residuals + penalty · squared coefficients, as sklearn.linear_model.Ridge(alpha=penalty) does; the penalty
    is one number or one per input. The normal equations, scaled to correlations, are solved by their eigenvectors; those of values
    under 1e-12 of the greatest are left out, so that copies of an input share its coefficient. A constant input gets 0.
    Raises DataError where a window holds no more than `order` events or there are fewer than two windows.
    """
    scatter, mean = _last_rows(moments, order)
    inputs = order * moments.features
    system = scatter[:inputs, :inputs] + np.diag(
        np.broadcast_to(np.asarray(penalty, np.float64), (inputs,))
    )
    diagonal = np.diag(scatter)[:inputs]
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, np.diag(system), 1.0)), 0.0)
    values, vectors = np.linalg.eigh(system * np.outer(scale, scale))
    inverse = np.where(
        values > TINY * max(values[-1], 0.0), 1 / np.where(values > 0, values, 1.0), 0.0
    )
    right = scale[:, None] * scatter[:inputs, inputs:]
    coefficients = scale[:, None] * (vectors @ (inverse[:, None] * (vectors.T @ right)))
    return coefficients, mean[inputs:] - mean[:inputs] @ coefficients


def _last_rows(moments: WindowMoments, order: int) -> tuple[Doubles, Doubles]:
    """Scatter and mean of a window's last order + 1 rows; values that vary by rounding alone have scatter 0."""
    if not 1 <= order < moments.length:
        raise DataError(
            f"detector ridge_forecast: {order} rows before the last in windows of {moments.length}; "
            "window.length of 2 or more is wanted. Leave ridge_forecast out of detectors."
        )
    if moments.n < 2:
        raise DataError(
            f"detector ridge_forecast: {moments.n} whole training windows; at least 2 are wanted. "
            "Leave ridge_forecast out of detectors."
        )
    size = (order + 1) * moments.features
    products, total = moments.products[-size:, -size:], moments.total[-size:]
    scatter = products - np.outer(total, total / moments.n)
    varies = np.diag(scatter) > TINY * np.diag(products)
    return np.where(np.outer(varies, varies), scatter, 0.0), moments.mean[-size:]


class RidgeForecast:
    """Forecasts of a row from the `order` = min(L - 1, 8) before it.

    Coefficients (order·F, F), intercept (F,) and the training residuals' mean square (F,), by which errors are divided: 1 is an
    ordinary forecast; it is 1 too where every training forecast was right.
    """

    def __init__(
        self,
        coefficients: Doubles,
        intercept: Doubles,
        square: Doubles,
        mean: Doubles,
        windows: int,
    ) -> None:
        self.coefficients, self.intercept, self.square, self.mean, self.windows = (
            coefficients,
            intercept,
            square,
            mean,
            windows,
        )
        self.order = self.blind = len(coefficients) // len(intercept)

    @classmethod
    def fit(cls, x: Floats, weight: Floats) -> RidgeForecast:
        """Fit on windows (N, L, F) without padding. Raises DataError for fewer than two, or L below 2."""
        return cls.of_moments(WindowMoments.of_whole(x[:, -ORDER - 1 :], weight))

    @classmethod
    def of_moments(cls, moments: WindowMoments) -> RidgeForecast:
        """Fit on the moments of whole windows. Raises DataError for fewer than two, or L below 2."""
        order = min(moments.length - 1, ORDER)
        scatter, _ = _last_rows(moments, order)
        inputs = order * moments.features
        coefficients, intercept = ridge_from_moments(
            moments, order, PENALTY * np.diag(scatter)[:inputs]
        )
        residual = np.concatenate([-coefficients, np.eye(moments.features)])
        square = np.einsum("if,ij,jf->f", residual, scatter, residual, optimize=True) / moments.n
        right = square > TINY * np.diag(moments.products)[-moments.features :] / moments.n
        return cls(
            coefficients,
            intercept,
            np.where(right, square, 1.0),
            moments.mean[-moments.features :],
            moments.n,
        )

    def _forecasts(self, x: Floats) -> Doubles:
        """Forecasts (N, L - order, F) of the steps from `order` on."""
        features, steps = x.shape[2], x.shape[1] - self.order
        out = np.tile(self.intercept, (len(x), steps, 1))
        rows = x.reshape(-1, features).astype(np.float64)
        for lag, part in enumerate(self.coefficients.reshape(self.order, features, features)):
            out += (rows @ part).reshape(x.shape)[:, lag : lag + steps]
        return out

    def reconstruct(self, x: Floats) -> Floats:
        """The forecasts; for the first `order` events of a window, for which it has none, the training mean."""
        out = np.empty(x.shape, np.float32)
        out[:, : self.order] = self.mean
        step = max(1, CHUNK // x.shape[1])
        for at in range(0, len(x), step):
            out[at : at + step, self.order :] = self._forecasts(x[at : at + step])
        return out

    def errors_of(self, x: Floats, expected: Floats) -> Floats:
        """Squared errors over `square`; the first `order` events take their feature's mean over the others, the window's mean."""
        out = (np.square(x.astype(np.float64) - expected) / self.square).astype(np.float32)
        out[:, : self.order] = out[:, self.order :].mean(axis=1, keepdims=True)
        return out

    def errors(self, x: Floats) -> Floats:
        return self.errors_of(x, self.reconstruct(x))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "coefficients": self.coefficients,
            "intercept": self.intercept,
            "square": self.square,
            "mean": self.mean,
        }

    def spec(self) -> dict[str, Any]:
        return {"windows": self.windows}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> RidgeForecast:
        return cls(
            arrays["coefficients"],
            arrays["intercept"],
            arrays["square"],
            arrays["mean"],
            spec["windows"],
        )
