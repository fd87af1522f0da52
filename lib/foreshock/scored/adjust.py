"""From the errors of features to one score: over their calibration scale, or as a Mahalanobis distance; and ensembles. NumPy alone.

The covariance is shrunk toward a multiple of the identity as far as its own noise asks for: Ledoit and Wolf, "A Well-Conditioned Estimator
for Large-Dimensional Covariance Matrices", J. Multivar. Anal. 88 (2004), section 3.2, from sums that merge over partitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
TINY = 1e-10  # of the greatest variance: less is none


@dataclass(frozen=True)
class Residuals:
    """Sums over n residuals r (F,): `total` of r (F,), `products` of r rᵀ (F, F); and of centred ones' fourth powers of length `fourth`."""

    n: int
    total: Doubles
    products: Doubles
    fourth: float = 0.0

    @property
    def mean(self) -> Doubles:
        return self.total / max(self.n, 1)

    @property
    def covariance(self) -> Doubles:
        """By n."""
        return self.products / max(self.n, 1) - np.outer(self.mean, self.mean)

    def precision(self) -> Doubles:
        """The inverse (F, F) of the shrunk covariance; a direction with next to no spread at all counts as one with a scale of 1 (more,
        where that is less than the rounding of the others)."""
        s, features = self.covariance, len(self.total)
        middle = np.trace(s) / features
        away = float(np.square(s - middle * np.eye(features)).sum())
        noise = max(
            0.0, (self.fourth / max(self.n, 1) - float(np.square(s).sum())) / max(self.n, 1)
        )
        share = 1.0 if away <= 0 else min(1.0, noise / away)
        shrunk = (1 - share) * s + share * middle * np.eye(features)
        values, vectors = np.linalg.eigh(shrunk)
        least = TINY * values[-1]
        inverse = 1 / np.where(values > least, values, max(1.0, least))
        return np.asarray((vectors * inverse) @ vectors.T)


def over_scale(errors: npt.ArrayLike, scale: npt.ArrayLike) -> Doubles:
    """Errors (n, F), each over its feature's scale (F,), or as it is where that is 0; their mean is the score `standardised`."""
    divisor = np.asarray(scale, np.float64)
    return np.asarray(np.asarray(errors, np.float64) / np.where(divisor > 0, divisor, 1.0))


def contributions(
    residuals: npt.ArrayLike, mean: npt.ArrayLike, precision: npt.ArrayLike
) -> Doubles:
    """What each feature (n, F) adds to the squared distance of residuals (n, F) from their calibration mean: r_i (P r)_i.

    Their mean is the score `mahalanobis`, so that 1 is ordinary. One is negative where a feature makes the others more ordinary.
    """
    away = np.asarray(residuals, np.float64) - np.asarray(mean, np.float64)
    return np.asarray(away * (away @ np.asarray(precision, np.float64)))


def combined(scores: npt.ArrayLike, quantiles: npt.ArrayLike, how: str) -> Doubles:
    """An ensemble's score (n,) of scores (n, d), each over its own calibration quantile (d,): `mean`, or `mean_log1p`."""
    divisor = np.asarray(quantiles, np.float64)
    ratio = np.asarray(scores, np.float64) / np.where(divisor > 0, divisor, 1.0)
    return (np.log1p(np.maximum(ratio, 0)) if how == "mean_log1p" else ratio).mean(axis=-1)
