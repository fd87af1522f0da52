"""The scaler: statistics of training events per feature, the policy for each, and its application."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foreshock.errors import DataError
from foreshock.statistics.histogram import Histogram

QUARTILES = (0.25, 0.5, 0.75)
LIMIT = float(np.finfo(np.float32).max)


def transform(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
    """Values after the optional transform, as float32. log1p is taken of the magnitude and keeps the sign."""
    x = np.asarray(values, np.float64)
    if name == "asinh":
        x = np.arcsinh(x)
    elif name == "log1p":
        x = np.sign(x) * np.log1p(np.abs(x))
    return np.clip(x, -LIMIT, LIMIT).astype(np.float32)


@dataclass(frozen=True)
class FeatureScale:
    """One feature: its statistics over train (after the transform) and how it is scaled.

    fill: what a null becomes, after the transform. policy: `scaled`; `floored` (scale raised to `floor` × range);
    `zero` (no spread: scaled to 0); `dropped`.
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


@dataclass(frozen=True)
class Scaler:
    """Scales features: transform, minus center, over scale, clip. `features` holds every feature of the settings."""

    method: str
    transform: str
    clip: float | None
    features: tuple[FeatureScale, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The features of `x`, in order."""
        return tuple(f.name for f in self.features if f.policy != "dropped")

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Scaled features, (n, F kept) float32, of raw ones, (n, F) float64 where NaN is a null to fill."""
        raw = np.array(values, np.float64, ndmin=2)
        keep = [i for i, f in enumerate(self.features) if f.policy != "dropped"]
        scales = [self.features[i] for i in keep]
        x = transform(raw[:, keep], self.transform).astype(np.float64)
        x = np.where(np.isnan(x), np.array([f.fill for f in scales]), x)
        x = (x - np.array([f.center for f in scales])) / np.array([f.scale or 1.0 for f in scales])
        x[:, [i for i, f in enumerate(scales) if f.policy == "zero"]] = 0.0
        limit = LIMIT if self.clip is None else self.clip
        return np.clip(x, -limit, limit).astype(np.float32)

    def invert(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Approximate original values, (n, F kept), of scaled ones: without what clip and `zero` removed."""
        scales = [f for f in self.features if f.policy != "dropped"]
        y = np.asarray(x, np.float64) * np.array([f.scale for f in scales]) + np.array(
            [f.center for f in scales]
        )
        if self.transform == "asinh":
            return np.sinh(np.clip(y, -700, 700))
        if self.transform == "log1p":
            return np.sign(y) * np.expm1(np.clip(np.abs(y), 0, 700))
        return y

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for scaler.json; `from_mapping` reads it back."""
        return {
            "method": self.method,
            "transform": self.transform,
            "clip": self.clip,
            "kept": list(self.kept),
            "dropped": [f.name for f in self.features if f.policy == "dropped"],
            "features": [asdict(f) for f in self.features],
        }

    @classmethod
    def from_mapping(cls, raw: dict[str, Any]) -> Scaler:
        """The scaler of `to_mapping`. Raises DataError where keys are missing."""
        try:
            features = tuple(FeatureScale(**f) for f in raw["features"])
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
    """The scale of one feature from its merged histogram and exact quartiles (all after the transform).

    Raises DataError for a feature null in every training row, or without spread where `constant` is fail.
    """
    if not histogram.n or histogram.minimum is None or histogram.maximum is None:
        raise DataError(
            f"feature `{name}` is null in every training row ({nulls} rows): correct "
            f"events.features.{name}, or remove it."
        )
    q1, median, q3 = quartiles
    mean, std = float(histogram.mean or 0.0), float(histogram.std or 0.0)
    spread = histogram.maximum - histogram.minimum
    center, scale = {
        "robust": (median, q3 - q1),
        "standard": (mean, std),
        "minmax": (histogram.minimum, spread),
        "none": (0.0, 1.0),
    }[method]
    policy, why = "scaled", ""
    if method != "none" and spread == 0:
        policy = "dropped" if constant == "drop" else "zero"
        why = f"constant: {median:g} in all {histogram.n} training rows"
    elif method != "none" and scale < floor * spread:
        policy, why = "floored", f"scale {scale:g} raised to {floor:g} of its range {spread:g}"
        scale = floor * spread
    elif scale == 0:
        measure = {"robust": "interquartile range", "standard": "standard deviation"}.get(
            method, "range"
        )
        policy, why = (
            ("dropped" if constant == "drop" else "zero"),
            f"its {measure} is 0 (range {spread:g})",
        )
    if policy in ("zero", "dropped") and constant == "fail":
        raise DataError(
            f"feature `{name}`: {why}, and scaling.constant is fail. Remove it, transform it, set "
            "scaling.floor, or choose scaling.constant: zero or drop."
        )
    fill = median if null_policy == "median" else 0.0
    return FeatureScale(
        name,
        histogram.n,
        nulls,
        fill,
        center,
        scale,
        policy,
        why,
        median,
        q1,
        q3,
        histogram.minimum,
        histogram.maximum,
        mean,
        std,
    )
