"""Settings of the work: quality, scaling, windows, model, training, scoring, thresholds."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from foreshock.settings.data import Positive, Section, Share, not_available

DETECTORS = (
    "lstm_autoencoder",
    "pca",
    "isolation_forest",
    "ridge_forecast",
    "kmeans",
    "last_value",
    "zscore",
)

NULL_POLICIES = ("quarantine", "zero", "median")


class QualitySettings(Section):
    nulls: str | dict[str, str] = "quarantine"
    max_quarantined: Share = 0.01
    max_unjudged: Share | None = None
    max_flagged: Share | None = None

    @field_validator("nulls")
    @classmethod
    def _nulls(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for policy in [value] if isinstance(value, str) else value.values():
            if policy not in NULL_POLICIES:
                raise ValueError(f"allowed: {', '.join(NULL_POLICIES)}; received {policy!r}")
        return value

    def null_policy(self, feature: str) -> str:
        """quarantine, zero or median for a feature."""
        if isinstance(self.nulls, str):
            return self.nulls
        return self.nulls.get(feature, self.nulls.get("default", "quarantine"))


class ScalingSettings(Section):
    method: Literal["robust", "standard", "minmax", "none"] = "robust"
    transform: Literal["none", "asinh", "log1p"] = "none"
    clip: Annotated[float | None, Field(gt=0)] = None
    constant: Literal["zero", "drop", "fail"] = "zero"
    floor: Share = 0.0


class WindowsSettings(Section):
    length: Annotated[int, Field(ge=1, le=100_000)] = 50
    stride: Positive = 1
    block: Positive = 1024
    max_gap: Annotated[float | None, Field(gt=0)] = None
    short: Literal["drop", "pad"] = "drop"

    @model_validator(mode="after")
    def _block(self) -> WindowsSettings:
        if self.length > self.block:
            raise ValueError(
                f"length ({self.length}) must not exceed block ({self.block}): raise windows.block"
            )
        return self


class ModelSettings(Section):
    name: str = "lstm_autoencoder"
    units: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=8)] = (64, 32)
    dense: Annotated[int, Field(ge=0)] = 16
    activation: Literal["tanh", "relu", "sigmoid", "elu", "selu", "softplus", "linear"] = "tanh"
    output: Literal["linear", "sigmoid", "tanh", "relu", "softplus"] = "linear"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    l1: Annotated[float, Field(ge=0)] = 0.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    from_: Annotated[str | None, Field(alias="from")] = None

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return known_detector(value)


KNOWN_LATER = ("point_process",)
ENSEMBLE = "ensemble"


def known_detector(value: str) -> str:
    if value in KNOWN_LATER:
        raise not_available(f"`{value}`")
    if value not in (*DETECTORS, ENSEMBLE):
        raise ValueError(f"allowed: {', '.join(DETECTORS)}; received {value!r}")
    return value


class CalibrationSettings(Section):
    method: str = "split"
    folds: Annotated[int, Field(ge=2)] = 5

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in ("split", "out_of_fold", "train"):
            raise ValueError(f"allowed: split, out_of_fold, train; received {value!r}")
        return value


class TrainingSettings(Section):
    epochs: Positive = 10
    batch: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    patience: Annotated[int, Field(ge=0)] = 3
    windows_per_epoch: Positive | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    replicas: Literal["auto"] | Positive = "auto"
    workers: Positive = 1
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    clip_norm: Annotated[float | None, Field(gt=0)] = None
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    jit_compile: Literal["auto", "always", "never"] = "auto"
    checkpoint_steps: Positive = 200
    attempts: Annotated[int, Field(ge=1, le=4)] = 1

    @model_validator(mode="after")
    def _enough(self) -> TrainingSettings:
        if self.workers > 1 and self.replicas not in ("auto", 1):
            raise ValueError(
                f"replicas ({self.replicas}) with {self.workers} workers: `auto` is wanted, every GPU of each machine"
            )
        least = self.workers * (self.replicas if isinstance(self.replicas, int) else 1)
        if self.batch < least:
            raise ValueError(
                f"batch ({self.batch}) must not be smaller than workers x replicas ({least}): each needs a window"
            )
        if self.windows_per_epoch is not None and self.windows_per_epoch < self.workers:
            raise ValueError(
                f"windows_per_epoch ({self.windows_per_epoch}) must not be smaller than workers ({self.workers})"
            )
        return self


class SmoothSettings(Section):
    """A causal average over an entity's last scores: `mean` of so many events, or `exponential` with so many events' span."""

    mean: Annotated[int | None, Field(ge=2, le=10_000)] = None
    exponential: Annotated[int | None, Field(ge=2, le=200)] = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"mean": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one(self) -> SmoothSettings:
        if (self.mean is None) == (self.exponential is None):
            raise ValueError(
                "a number of events, {mean: events} or {exponential: events} is wanted"
            )
        return self


class ScoringSettings(Section):
    """errors: how the model's errors by feature make one: plain mean, each over its calibration scale, or their Mahalanobis distance."""

    score: Literal["window", "last", "cover", "mean", "median", "max", "min"] = "window"
    errors: Literal["plain", "standardised", "mahalanobis"] = "plain"
    smooth: SmoothSettings | None = None

    @model_validator(mode="after")
    def _together(self) -> ScoringSettings:
        fits = {
            "standardised": ("window", "last", "cover", "mean"),
            "mahalanobis": ("last", "cover", "mean"),
        }.get(self.errors)
        if fits is not None and self.score not in fits:
            raise ValueError(
                f"errors: {self.errors} goes with score: {', '.join(fits)}; received {self.score}"
            )
        return self


class EnsembleSettings(Section):
    """Scores of several detectors, each divided by its own calibration quantile, as one: their mean, or the mean of log(1 + x)."""

    of: Annotated[tuple[str, ...], Field(min_length=2)]
    combine: Literal["mean", "mean_log1p"] = "mean"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.99

    @field_validator("of")
    @classmethod
    def _of(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if known_detector(name) == ENSEMBLE:
                raise ValueError("an ensemble is not made of itself")
        if len(set(value)) != len(value):
            raise ValueError("a detector is named twice")
        return value


class RuleSettings(Section):
    """A threshold rule: quantile (level), pot (risk), conformal (level, control) or fixed (value).

    The level of conformal is the false discovery rate among flagged units of events (control: fdr), or the share of ordinary units
    that is flagged (control: risk); 0.1 where not given.
    """

    name: str = "quantile"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.99
    risk: Annotated[float, Field(gt=0, lt=0.1)] = 1e-4
    value: float | None = None
    control: Literal["fdr", "risk"] = "fdr"
    margin: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        raw = {"name": value} if isinstance(value, str) else value
        if not isinstance(raw, dict):
            return raw
        name = raw.get("name", "quantile")
        if not isinstance(name, str) or name not in RULES:
            raise ValueError(f"allowed rules: {', '.join(RULES)}; received {name!r}")
        for key in ("level", "risk", "value", "control", "margin"):
            if key in raw and key not in RULES[name]:
                raise ValueError(f"rule `{name}` takes {' and '.join(RULES[name])}; received {key}")
        if name == "conformal":
            return {"level": 0.1, **raw}
        if name == "fixed" and raw.get("value") is None:
            raise ValueError(
                "rule `fixed` wants a value, for example {name: fixed, value: 0.5}; received none"
            )
        return raw

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"value: a finite number is wanted, received {value}")
        return value

    @model_serializer(mode="wrap")
    def _own(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: v for k, v in serialize(self).items() if k == "name" or k in RULES[self.name]}

    @property
    def table_level(self) -> float | None:
        """The level of the rule's rows in `thresholds`; None: it has none."""
        return {"quantile": self.level, "pot": 1 - self.risk, "conformal": self.level}.get(
            self.name
        )

    @property
    def quantile(self) -> float | None:
        """The quantile that the rule wants, or falls back on; None: none."""
        return 1 - self.level if self.name == "conformal" else self.table_level


RULES = {
    "quantile": ("level", "margin"),
    "pot": ("risk", "margin"),
    "conformal": ("level", "control"),
    "fixed": ("value",),
}


class ThresholdsSettings(Section):
    rules: Annotated[tuple[RuleSettings, ...], Field(min_length=1)] = (RuleSettings(),)
    use: str | None = None
    per: Literal["group", "partition", "all"] = "group"
    min_count: Positive = 1000

    @model_validator(mode="after")
    def _use(self) -> ThresholdsSettings:
        if self.use is not None and self.use not in {r.name for r in self.rules}:
            raise ValueError(
                f"use: one of the rules ({', '.join(r.name for r in self.rules)}), received {self.use!r}"
            )
        if len(set(self.rules)) != len(self.rules):
            raise ValueError("two rules are the same")
        return self

    @property
    def judging_rule(self) -> RuleSettings:
        """The rule that judges."""
        return next((r for r in self.rules if r.name == self.use), self.rules[0])
