"""Ridge regression: every event is expected to follow linearly from the few just before it.

An event is forecast from the `order` = min(L − 1, 8) events before it in its window. The
coefficients minimise squared residuals + penalty · squared coefficients (Hoerl & Kennard, "Ridge
Regression: Biased Estimation for Nonorthogonal Problems", Technometrics 1970). They are fitted on
the last rows of all training windows at once, from their moments.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from foreshock.detectors import Spec
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array
from foreshock.windows.models.moments import WindowMoments

# Events that a forecast sees at most.
ORDER = 8
# The penalty is relative to each input's scatter, so that a feature's unit does not matter.
PENALTY = 1e-3
# A share of the mean square: less scatter than this is rounding.
TINY = 1e-12
# Events forecast at once: they stay in the cache.
CHUNK = 2**12


def ridge_from_moments(
    moments: WindowMoments, order: int, penalty: npt.ArrayLike
) -> tuple[Float64Array, Float64Array]:
    """Coefficients (order·F, F), oldest event first, and intercept (F,) of a window's last event.

    They are those of sklearn.linear_model.Ridge(alpha=penalty); the penalty is one number or one
    per input. The normal equations, scaled to correlations, are solved by their eigenvectors. Those
    of values under 1e-12 of the greatest are left out, so that copies of an input share its
    coefficient. A constant input gets 0.
    Raises DataError if a window holds no more than `order` events, or for fewer than two windows.

    >>> halving = np.array([[[8.0], [4.0]], [[2.0], [1.0]], [[6.0], [3.0]]], np.float32)
    >>> coefficients, intercept = ridge_from_moments(WindowMoments.of_windows(halving), 1, 0.0)
    >>> coefficients.round(6).tolist(), abs(intercept).round(6).tolist()
    ([[0.5]], [0.0])
    """
    scatter, mean = _last_rows(moments, order)
    n_inputs = order * moments.features
    penalties = np.broadcast_to(np.asarray(penalty, np.float64), (n_inputs,))
    normal_matrix = scatter[:n_inputs, :n_inputs] + np.diag(penalties)
    input_varies = np.diag(scatter)[:n_inputs] > 0
    inverse_scale = np.where(
        input_varies, 1 / np.sqrt(np.where(input_varies, np.diag(normal_matrix), 1.0)), 0.0
    )
    eigenvalues, eigenvectors = np.linalg.eigh(
        normal_matrix * np.outer(inverse_scale, inverse_scale)
    )
    is_kept = eigenvalues > TINY * max(eigenvalues[-1], 0.0)
    inverse_values = np.where(is_kept, 1 / np.where(eigenvalues > 0, eigenvalues, 1.0), 0.0)
    right_side = inverse_scale[:, None] * scatter[:n_inputs, n_inputs:]
    scaled_solution = eigenvectors @ (inverse_values[:, None] * (eigenvectors.T @ right_side))
    coefficients = inverse_scale[:, None] * scaled_solution
    return coefficients, mean[n_inputs:] - mean[:n_inputs] @ coefficients


def _last_rows(moments: WindowMoments, order: int) -> tuple[Float64Array, Float64Array]:
    """Scatter and mean of a window's last order + 1 events, flattened.

    Values that vary by rounding alone have scatter 0.
    """
    if not 1 <= order < moments.length:
        raise DataError(
            f"detector ridge_forecast: {order} rows before the last in windows of "
            f"{moments.length}; window.length of 2 or more is wanted. "
            "Leave ridge_forecast out of detectors."
        )
    if moments.n < 2:
        raise DataError(
            f"detector ridge_forecast: {moments.n} whole training windows; at least 2 are wanted. "
            "Leave ridge_forecast out of detectors."
        )
    n_values = (order + 1) * moments.features
    products, total = moments.products[-n_values:, -n_values:], moments.total[-n_values:]
    scatter = products - np.outer(total, total / moments.n)
    value_varies = np.diag(scatter) > TINY * np.diag(products)
    return np.where(np.outer(value_varies, value_varies), scatter, 0.0), moments.mean[-n_values:]


class RidgeForecast:
    """Forecasts of an event from the `order` before it.

    Errors are divided by the training residuals' mean square, a feature each: 1 is an ordinary
    forecast. It is 1 too for a feature of which every training forecast was right.

    >>> rng = np.random.default_rng(0)
    >>> windows = rng.normal(size=(500, 3, 1)).astype(np.float32)
    >>> detector = RidgeForecast.fit(windows, np.ones((500, 3), np.float32))
    >>> detector.blind_events, float(detector.errors(windows).mean().round(1))
    (2, 1.0)
    """

    def __init__(
        self,
        coefficients: Float64Array,
        intercept: Float64Array,
        mean_square: Float64Array,
        mean: Float64Array,
        windows: int,
    ) -> None:
        """Take coefficients (order·F, F), intercept, residuals' mean square and mean, all (F,)."""
        self.coefficients = coefficients
        self.intercept = intercept
        self.mean_square = mean_square
        self.mean = mean
        self.windows = windows
        self.order = len(coefficients) // len(intercept)

    @property
    def blind_events(self) -> int:
        """How many first events of a window it makes no forecast for: `order`."""
        return self.order

    @property
    def fitted_on(self) -> int:
        """How many training windows it was fitted on."""
        return self.windows

    @classmethod
    def fit(cls, windows: Float32Array, weights: Float32Array, seed: int = 0) -> RidgeForecast:
        """Fit on the windows (N, L, F) without padding, where weights (N, L) are nowhere 0.

        Raises DataError for fewer than two, or L below 2.
        """
        return cls.from_moments(WindowMoments.of_whole(windows[:, -ORDER - 1 :], weights))

    @classmethod
    def from_moments(cls, moments: WindowMoments) -> RidgeForecast:
        """Fit on moments of whole windows: as `fit` on the windows, to rounding.

        Raises DataError for fewer than two, or L below 2.
        """
        n_features = moments.features
        order = min(moments.length - 1, ORDER)
        scatter, _ = _last_rows(moments, order)
        penalty = PENALTY * np.diag(scatter)[: order * n_features]
        coefficients, intercept = ridge_from_moments(moments, order, penalty)
        # The squares of residuals come from the scatter, without a second pass over windows.
        residual_map = np.concatenate([-coefficients, np.eye(n_features)])
        summed_squares = np.einsum(
            "if,ij,jf->f", residual_map, scatter, residual_map, optimize=True
        )
        mean_square = summed_squares / moments.n
        # A forecast that is always right leaves rounding, which must not become a divisor.
        is_inexact = mean_square > TINY * np.diag(moments.products)[-n_features:] / moments.n
        return cls(
            coefficients,
            intercept,
            np.where(is_inexact, mean_square, 1.0),
            moments.mean[-n_features:],
            moments.n,
        )

    def _forecasts(self, windows: Float32Array) -> Float64Array:
        """Forecasts (N, L − order, F) of the events from `order` on."""
        n_windows, length, n_features = windows.shape
        n_forecasts = length - self.order
        forecasts = np.tile(self.intercept, (n_windows, n_forecasts, 1))
        event_rows = windows.reshape(-1, n_features).astype(np.float64)
        # A product a lag over all events at once, so that no window is copied.
        by_lag = self.coefficients.reshape(self.order, n_features, n_features)
        for lag, lag_coefficients in enumerate(by_lag):
            products = (event_rows @ lag_coefficients).reshape(windows.shape)
            forecasts += products[:, lag : lag + n_forecasts]
        return forecasts

    def reconstruct(self, windows: Float32Array) -> Float32Array:
        """The forecasts (N, L, F) of the events of windows (N, L, F).

        The first `order` events of a window have none: train's mean stands for them.
        """
        expected = np.empty(windows.shape, np.float32)
        expected[:, : self.order] = self.mean
        chunk_windows = max(1, CHUNK // windows.shape[1])
        for first_window in range(0, len(windows), chunk_windows):
            chunk = slice(first_window, first_window + chunk_windows)
            expected[chunk, self.order :] = self._forecasts(windows[chunk])
        return expected

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """Squared errors (N, L, F) over the ordinary one, given what `reconstruct` gave.

        The first `order` events take the mean of their window's other errors, a feature each, so
        that they do not move the mean error of the window.
        """
        squared_errors = np.square(windows.astype(np.float64) - expected)
        relative_errors: Float32Array = (squared_errors / self.mean_square).astype(np.float32)
        relative_errors[:, : self.order] = relative_errors[:, self.order :].mean(
            axis=1, keepdims=True
        )
        return relative_errors

    def errors(self, windows: Float32Array) -> Float32Array:
        """Squared errors (N, L, F) over the ordinary one, of windows (N, L, F).

        Use `errors_of` if the expected values are at hand: they cost the most.
        """
        return self.errors_of(windows, self.reconstruct(windows))

    def arrays(self) -> Mapping[str, AnyArray]:
        """Coefficients, intercept, the residuals' mean square and the mean event.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return {
            "coefficients": self.coefficients,
            "intercept": self.intercept,
            "square": self.mean_square,
            "mean": self.mean,
        }

    def spec(self) -> Spec:
        """The number of training windows.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {"windows": self.windows}

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> RidgeForecast:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        return cls(
            arrays["coefficients"],
            arrays["intercept"],
            arrays["square"],
            arrays["mean"],
            spec["windows"],
        )
