"""From the errors of features to one score, and from scores to ensembles. NumPy alone.

A score is the errors over their calibration scale, or a Mahalanobis distance. The covariance is
shrunk toward a multiple of the identity as far as its own noise asks for: Ledoit and Wolf, "A
Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", J. Multivar. Anal. 88 (2004),
section 3.2, from sums that merge over partitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import Float64Array

# Relative to the greatest variance. A direction with less spread is constant but for rounding.
TINY = 1e-10


@dataclass(frozen=True)
class Residuals:
    """Sums over n residuals r (F,): what their mean and their shrunk covariance are made from.

    total: of r (F,). products: of r rᵀ (F, F). fourth: of the centred ones' lengths to the fourth.

    >>> pair = Residuals(2, np.array([2.0, 0.0]), np.array([[4.0, 0.0], [0.0, 2.0]]))
    >>> pair.mean.tolist(), pair.covariance.tolist()
    ([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    """

    n: int
    total: Float64Array
    products: Float64Array
    fourth: float = 0.0

    @property
    def mean(self) -> Float64Array:
        """The mean residual (F,).

        It is 0 for every feature if n is 0.
        """
        return self.total / max(self.n, 1)

    @property
    def covariance(self) -> Float64Array:
        """The covariance (F, F) of the residuals, divided by n and not by n − 1.

        Rounding may leave the variance of a constant feature a little below 0.
        """
        return self.products / max(self.n, 1) - np.outer(self.mean, self.mean)

    def precision(self) -> Float64Array:
        """The inverse (F, F) of the shrunk covariance.

        A direction with next to no spread counts as one with a scale of 1. The scale is more if 1
        is less than the rounding of the other directions.
        """
        covariance, n_features = self.covariance, len(self.total)
        mean_variance = np.trace(covariance) / n_features
        identity_matrix = np.eye(n_features)
        squared_distance = float(np.square(covariance - mean_variance * identity_matrix).sum())
        # Ledoit and Wolf's b²: how far chance takes a covariance of n residuals from the true one.
        excess_fourth = self.fourth / max(self.n, 1) - float(np.square(covariance).sum())
        mean_noise = max(0.0, excess_fourth / max(self.n, 1))
        # 0 / 0 says nothing: the covariance is a multiple of the identity already.
        shrinkage = 1.0 if squared_distance <= 0 else min(1.0, mean_noise / squared_distance)
        shrunk_covariance = (
            1 - shrinkage
        ) * covariance + shrinkage * mean_variance * identity_matrix
        eigenvalues, eigenvectors = np.linalg.eigh(shrunk_covariance)
        least_eigenvalue = TINY * eigenvalues[-1]
        # The inverse of a vanishing variance would let a constant feature outweigh all others.
        inverse_eigenvalues = 1 / np.where(
            eigenvalues > least_eigenvalue, eigenvalues, max(1.0, least_eigenvalue)
        )
        return np.asarray((eigenvectors * inverse_eigenvalues) @ eigenvectors.T)


def over_scale(errors: npt.ArrayLike, scale: npt.ArrayLike) -> Float64Array:
    """Errors (n, F), each over the scale (F,) of its feature; as they are where the scale is 0.

    Their mean over features is the score `standardised`.

    >>> over_scale([[2.0, 3.0]], [4.0, 0.0]).tolist()
    [[0.5, 3.0]]
    """
    # A feature without any error in calibration has no scale to be measured by.
    divisor = np.asarray(scale, np.float64)
    return np.asarray(np.asarray(errors, np.float64) / np.where(divisor > 0, divisor, 1.0))


def contributions(
    residuals: npt.ArrayLike, mean: npt.ArrayLike, precision: npt.ArrayLike
) -> Float64Array:
    """What each feature (n, F) adds to the squared distance of residuals (n, F) from their
    calibration mean (F,): r_i (P r)_i for a precision P (F, F).

    Their mean over features is the score `mahalanobis`, so that 1 is ordinary. A contribution is
    negative if the feature makes the other features more ordinary.

    >>> contributions([[3.0, 1.0]], [1.0, 1.0], [[0.5, 0.0], [0.0, 2.0]]).tolist()
    [[2.0, 0.0]]
    """
    centred_residuals = np.asarray(residuals, np.float64) - np.asarray(mean, np.float64)
    return np.asarray(centred_residuals * (centred_residuals @ np.asarray(precision, np.float64)))


def combined(scores: npt.ArrayLike, quantiles: npt.ArrayLike, how: str) -> Float64Array:
    """An ensemble's scores (n,) from its members' (n, d).

    Each score is divided by its member's calibration quantile (d,). how: `mean` of these ratios,
    or `mean_log1p` of log(1 + ratio).

    >>> combined([[2.0, 3.0]], [1.0, 2.0], "mean").tolist()
    [1.75]
    """
    divisor = np.asarray(quantiles, np.float64)
    score_ratios = np.asarray(scores, np.float64) / np.where(divisor > 0, divisor, 1.0)
    if how == "mean_log1p":
        # A Mahalanobis score may be a little below 0 by rounding, and log1p has no value below −1.
        score_ratios = np.log1p(np.maximum(score_ratios, 0))
    return np.asarray(score_ratios.mean(axis=-1))
