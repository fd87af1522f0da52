"""The scaler: statistics of training events per feature, the policy for each, and its application.
NumPy alone.

The median and the interquartile range are the location and scale that a few extreme values cannot
move: Huber and Ronchetti, "Robust Statistics" (2nd ed., 2009), sections 1.1 and 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.statistics.arrays import Float32Array, Float64Array
from foreshock.statistics.histogram import Histogram

QUARTILES = (0.25, 0.5, 0.75)
LIMIT = float(np.finfo(np.float32).max)
LARGEST_EXPONENT = 700  # exp(700) is a float64 still
SCALED, FLOORED, ZERO, DROPPED = "scaled", "floored", "zero", "dropped"  # policies
MEASURES = {"robust": "interquartile range", "standard": "standard deviation"}


def transform(values: npt.ArrayLike, name: str) -> Float32Array:
    """Values after the transform `none`, `asinh` or `log1p`, as finite float32; NaN stays NaN.

    log1p is taken of the magnitude and keeps the sign: sign(x) · log(1 + |x|).

    >>> transform([-1.0, 0.0, 1.0], "log1p").round(3).tolist()
    [-0.6930000185966492, 0.0, 0.6930000185966492]
    """
    transformed_values = np.asarray(values, np.float64)
    if name == "asinh":
        transformed_values = np.arcsinh(transformed_values)
    elif name == "log1p":
        transformed_values = np.sign(transformed_values) * np.log1p(np.abs(transformed_values))
    # What exceeds float32 would become infinity, and a histogram takes finite values only.
    return np.clip(transformed_values, -LIMIT, LIMIT).astype(np.float32)


@dataclass(frozen=True)
class FeatureScale:
    """One feature: its statistics over train (after the transform) and how it is scaled.

    n, nulls: training events with a value and without. fill: what a null becomes, after the
    transform. policy: `scaled`; `floored` (the scale is raised to a share of the range); `zero` (no
    spread: scaled to 0); `dropped`. why: the reason for any policy but `scaled`.
    """

    name: str
    n: int
    nulls: int
    fill: float
    center: float
    scale: float
    policy: str
    why: str
    median: float
    q1: float
    q3: float
    minimum: float
    maximum: float
    mean: float
    std: float

    @property
    def is_kept(self) -> bool:
        """Whether the feature is one of `x`."""
        return self.policy != DROPPED


@dataclass(frozen=True)
class Scaler:
    """Scales features: transform, minus center, over scale, clip. `features` holds every feature of
    the settings.
    """

    method: str
    transform: str
    clip: float | None
    features: tuple[FeatureScale, ...]

    @property
    def kept_features(self) -> tuple[FeatureScale, ...]:
        """How the features of `x` are scaled, in order."""
        return tuple(feature for feature in self.features if feature.is_kept)

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of the features of `x`, in order.

        A feature of policy `dropped` is none of them.
        """
        return tuple(kept_feature.name for kept_feature in self.kept_features)

    def apply(self, values: npt.ArrayLike) -> Float32Array:
        """Scaled float32 features (n, kept) of raw ones (n, all of the settings).

        A NaN is a null, which becomes the feature's `fill`. The columns are those of `kept`.

        >>> fee = fit_feature("fee", Histogram.of([1, 2, 3, 4, 100]), (2.0, 3.0, 4.0), nulls=0,
        ...     method="robust", floor=0.0, constant="zero", null_policy="quarantine")
        >>> Scaler("robust", "none", None, (fee,)).apply([[5.0], [float("nan")]]).tolist()
        [[1.0], [-1.5]]
        """
        raw_values = np.array(values, np.float64, ndmin=2)
        kept_columns = [column for column, feature in enumerate(self.features) if feature.is_kept]
        kept_features = self.kept_features
        scaled_values: Float64Array = transform(raw_values[:, kept_columns], self.transform).astype(
            np.float64
        )
        fills = np.array([feature.fill for feature in kept_features])
        centers = np.array([feature.center for feature in kept_features])
        # A scale of 0 belongs to a feature that is set to 0 below.
        divisors = np.array([feature.scale or 1.0 for feature in kept_features])
        scaled_values = (
            np.where(np.isnan(scaled_values), fills, scaled_values) - centers
        ) / divisors
        scaled_values[:, [feature.policy == ZERO for feature in kept_features]] = 0.0
        # Even without a clip nothing leaves float32's range.
        clip_limit = LIMIT if self.clip is None else self.clip
        clipped_values: Float64Array = np.clip(scaled_values, -clip_limit, clip_limit)
        return clipped_values.astype(np.float32)

    def invert(self, x: npt.ArrayLike) -> Float64Array:
        """Approximate original values (n, kept) of scaled ones (n, kept).

        What clip and the policy `zero` removed is lost.

        >>> fee = fit_feature("fee", Histogram.of([1, 2, 3, 4, 100]), (2.0, 3.0, 4.0), nulls=0,
        ...     method="robust", floor=0.0, constant="zero", null_policy="quarantine")
        >>> Scaler("robust", "none", None, (fee,)).invert([[1.0]]).tolist()
        [[5.0]]
        """
        scales = np.array([feature.scale for feature in self.kept_features])
        centers = np.array([feature.center for feature in self.kept_features])
        original_values: Float64Array = np.asarray(x, np.float64) * scales + centers
        if self.transform == "asinh":
            # exp overflows float64 beyond 709.
            original_values = np.sinh(np.clip(original_values, -LARGEST_EXPONENT, LARGEST_EXPONENT))
        elif self.transform == "log1p":
            magnitudes = np.expm1(np.clip(np.abs(original_values), 0, LARGEST_EXPONENT))
            original_values = np.sign(original_values) * magnitudes
        return original_values

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for scaler.json.

        `from_mapping` reads it back.
        """
        return {
            "method": self.method,
            "transform": self.transform,
            "clip": self.clip,
            "kept": list(self.kept),
            "dropped": [feature.name for feature in self.features if not feature.is_kept],
            "features": [asdict(feature) for feature in self.features],
        }

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> Scaler:
        """The scaler that `to_mapping` gave.

        Raises DataError if keys are missing or unknown, as in a file of another version.
        """
        try:
            features = tuple(FeatureScale(**feature) for feature in raw["features"])
            return cls(raw["method"], raw["transform"], raw["clip"], features)
        except (KeyError, TypeError) as error:
            raise DataError(f"scaler.json: not a scaler of this version ({error}).") from None


def fit_feature(
    name: str,
    histogram: Histogram,
    quartiles: tuple[float, float, float],
    nulls: int,
    *,
    method: str,
    floor: float,
    constant: str,
    null_policy: str,
) -> FeatureScale:
    """The scale of one feature from its merged histogram and exact quartiles (all after the
    transform).

    method, floor, constant: the settings of section `scaling`. Raises DataError for a feature null
    in every training row, or without spread if `constant` is fail.

    >>> scale = fit_feature("fee", Histogram.of([1, 2, 3, 4, 100]), (2.0, 3.0, 4.0), nulls=0,
    ...     method="robust", floor=0.0, constant="zero", null_policy="quarantine")
    >>> scale.center, scale.scale, scale.policy
    (3.0, 2.0, 'scaled')
    """
    if not histogram.n or histogram.minimum is None or histogram.maximum is None:
        raise DataError(
            f"feature `{name}` is null in every training row ({nulls} rows): correct "
            f"events.features.{name}, or remove it."
        )
    lower_quartile, median, upper_quartile = quartiles
    value_range = histogram.maximum - histogram.minimum
    center, scale = _center_and_scale(method, histogram, quartiles)
    no_spread = _no_spread(method, scale, floor * value_range, value_range)
    policy, why = SCALED, ""
    if no_spread is not None:
        why = no_spread or f"constant: {median:g} in all {histogram.n} training rows"
        policy = DROPPED if constant == "drop" else ZERO
    # Or a sensor that hardly moved in training would drown the rest.
    elif method != "none" and scale < floor * value_range:
        policy, why = FLOORED, f"scale {scale:g} raised to {floor:g} of its range {value_range:g}"
        scale = floor * value_range
    if no_spread is not None and constant == "fail":
        raise DataError(
            f"feature `{name}`: {why}, and scaling.constant is fail. Remove it, transform it, set "
            "scaling.floor, or choose scaling.constant: zero or drop."
        )
    return FeatureScale(
        name=name,
        n=histogram.n,
        nulls=nulls,
        fill=median if null_policy == "median" else 0.0,
        center=center,
        scale=scale,
        policy=policy,
        why=why,
        median=median,
        q1=lower_quartile,
        q3=upper_quartile,
        minimum=histogram.minimum,
        maximum=histogram.maximum,
        mean=float(histogram.mean or 0.0),
        std=float(histogram.std or 0.0),
    )


def _center_and_scale(
    method: str, histogram: Histogram, quartiles: tuple[float, float, float]
) -> tuple[float, float]:
    """What a method subtracts from values, and what it divides them by."""
    lower_quartile, median, upper_quartile = quartiles
    minimum, maximum = histogram.minimum or 0.0, histogram.maximum or 0.0
    return {
        "robust": (median, upper_quartile - lower_quartile),
        "standard": (float(histogram.mean or 0.0), float(histogram.std or 0.0)),
        "minmax": (minimum, maximum - minimum),
        "none": (0.0, 1.0),
    }[method]


def _no_spread(method: str, scale: float, least: float, spread: float) -> str | None:
    """Why a feature cannot be scaled: "" if it is constant; None if it can."""
    if method == "none":
        return None
    if spread == 0:
        return ""
    if scale == 0 and least <= 0:
        return f"its {MEASURES.get(method, 'range')} is 0 (range {spread:g})"
    return None
