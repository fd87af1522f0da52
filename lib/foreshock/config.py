"""Typed, frozen settings; unknown keys are refused. Each section is one class; cross-checks are on `Settings`."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from foreshock import columns

DETECTORS = ("lstm_autoencoder", "pca", "isolation_forest")
SCORE_KINDS = ("window", "last", "cover", "mean", "median", "max", "min")
ANOMALY_KINDS = ("value_spike", "dust_burst", "gas_price_regime", "drained_account", "order_only")
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


def not_available(what: str) -> ValueError:
    """The error for a value of the interface that is not built yet."""
    return ValueError(f"{what} is not available in this version")


class Section(BaseModel):
    """A part of the settings: frozen, strict about keys, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Run(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)] = "run"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7


class Source(Section):
    """Where events come from. `events` … `anomalies_from` shape the synthetic table only."""

    kind: str = "files"
    path: str | None = None
    format: str = "parquet"
    schema_: Annotated[str | None, Field(alias="schema")] = None
    events: Positive = 150_000
    entities: Positive = 300
    start: date = date(2023, 1, 1)
    days: Annotated[int, Field(ge=1, le=20_000)] = 30
    seed: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    prevalence: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    kinds: tuple[str, ...] = ANOMALY_KINDS
    anomalies_from: date | None = None

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        if value == "athena":
            raise not_available("`athena`")
        if value not in ("files", "synthetic"):
            raise ValueError("allowed: files, synthetic")
        return value

    @field_validator("format")
    @classmethod
    def _format(cls, value: str) -> str:
        if value == "npy":
            raise not_available("`npy`")
        if value not in ("parquet", "csv", "jsonl"):
            raise ValueError("allowed: parquet, csv, jsonl")
        return value

    @field_validator("kinds")
    @classmethod
    def _kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(ANOMALY_KINDS)):
            raise ValueError(f"allowed: {', '.join(ANOMALY_KINDS)}; unknown: {', '.join(unknown)}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Source:
        shape = {"events", "entities", "start", "days", "seed", "prevalence", "kinds", "anomalies_from"}
        if self.kind == "files":
            if not self.path:
                raise ValueError("`path` is needed for kind: files")
            if extra := sorted(shape & self.model_fields_set):
                raise ValueError(f"only kind: synthetic takes {', '.join(extra)}")
        elif extra := sorted({"path", "format", "schema_"} & self.model_fields_set):
            raise ValueError(f"kind: synthetic takes no {', '.join(e.rstrip('_') for e in extra)}")
        return self


class Events(Section):
    """SQL expressions over the source's columns."""

    entity: str
    time: str
    partition: str | None = None
    group: str | None = None
    tiebreak: tuple[str, ...] = ()
    id: str | None = None
    label: str | None = None
    kind: str | None = None
    where: str | None = None
    train_where: str | None = None
    calibrate_where: str | None = None
    features: Annotated[dict[str, str], Field(min_length=1)]

    @field_validator("*", mode="before")
    @classmethod
    def _blank(cls, value: Any) -> Any:
        if isinstance(value, str) and not value.strip():
            raise ValueError("an empty expression")
        if isinstance(value, bool | int | float):
            return str(value)
        return value

    @field_validator("tiebreak", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("features", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name, expression in value.items():
            if not isinstance(name, str) or not NAME.match(name):
                raise ValueError(f"a feature's name is letters, digits and _, not starting with a digit: {name!r}")
            if name in columns.CONTRACT or name.startswith((columns.TIEBREAK_PREFIX, columns.RAW_PREFIX)):
                raise ValueError(f"`{name}` is a column of the event contract; name the feature otherwise")
            if not str(expression if expression is not None else "").strip():
                raise ValueError(f"feature `{name}` has an empty expression")
        folded = [name.lower() for name in value]
        if len(set(folded)) != len(folded):
            raise ValueError("two features differ only in case")
        return {name: str(expression) for name, expression in value.items()}


class Span(Section):
    """A half-open range of time, `[start, end)`, in UTC."""

    start: datetime
    end: datetime

    @property
    def micros(self) -> tuple[int, int]:
        """Start and end in microseconds since 1970 UTC."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return tuple((at - epoch) // (epoch.resolution) for at in (self.start, self.end))  # type: ignore[return-value]

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


class TestTable(Section):
    __test__ = False
    path: Annotated[str, Field(min_length=1)]


def parse_time(value: Any) -> datetime:
    """A date, timestamp or its text as a time in UTC. Raises ValueError for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"a date or timestamp such as 2019-03-01 is wanted, received {value!r}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"a date or timestamp such as 2019-03-01 is wanted, received {value!r}")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Split(Section):
    train: Span | None = None
    calibration: Span | None = None
    test: Span | TestTable | None = None

    @field_validator("train", "calibration", "test", mode="before")
    @classmethod
    def _span(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError(f"[from, to) takes two times, received {len(value)}")
            start, end = (parse_time(v) for v in value)
            if start >= end:
                raise ValueError(f"[from, to): from must be before to, received [{value[0]}, {value[1]}]")
            return {"start": start, "end": end}
        if isinstance(value, dict) and set(value) == {"path"}:
            return TestTable(**value)
        if isinstance(value, dict) and set(value) == {"start", "end"}:
            return value
        if value is None:
            return value
        raise ValueError(f"[from, to) or, for test, {{path: …}} is wanted, received {value!r}")

    @model_validator(mode="after")
    def _order(self) -> Split:
        for name in ("train", "calibration"):
            if isinstance(getattr(self, name), TestTable):
                raise ValueError(f"only test takes a path, not {name}")
        spans = [(name, span) for name, span in self.spans().items()]
        for (a, first), (b, second) in itertools.pairwise(spans):
            if second.start < first.start:
                raise ValueError(f"in the order train, calibration, test: {b} {second} begins before {a} {first}")
            if second.start < first.end:
                raise ValueError(f"no overlap: {a} {first} and {b} {second} overlap")
        return self

    def spans(self) -> dict[str, Span]:
        """The splits of the main table that are ranges of time, in order."""
        return {n: s for n in columns.SPLITS if isinstance(s := getattr(self, n), Span)}

    @property
    def test_path(self) -> str | None:
        return self.test.path if isinstance(self.test, TestTable) else None


NULL_POLICIES = ("quarantine", "zero", "median")


class Quality(Section):
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


class Scaling(Section):
    method: Literal["robust", "standard", "minmax", "none"] = "robust"
    transform: Literal["none", "asinh", "log1p"] = "none"
    clip: Annotated[float | None, Field(gt=0)] = None
    constant: Literal["zero", "drop", "fail"] = "zero"
    floor: Share = 0.0


class Windows(Section):
    length: Annotated[int, Field(ge=1, le=100_000)] = 50
    stride: Positive = 1
    block: Positive = 1024
    max_gap: Annotated[float | None, Field(gt=0)] = None
    short: Literal["drop", "pad"] = "drop"

    @model_validator(mode="after")
    def _block(self) -> Windows:
        if self.length > self.block:
            raise ValueError(f"length ({self.length}) must not exceed block ({self.block}): raise windows.block")
        return self


class Model(Section):
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
        return _detector(value)


KNOWN_LATER = ("point_process", "ridge_forecast", "kmeans", "last_value", "zscore", "ensemble")


def _detector(value: str) -> str:
    if value in KNOWN_LATER:
        raise not_available(f"`{value}`")
    if value not in DETECTORS:
        raise ValueError(f"allowed: {', '.join(DETECTORS)}; received {value!r}")
    return value


class Calibration(Section):
    method: str = "split"
    folds: Annotated[int, Field(ge=2)] = 5

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value in ("out_of_fold", "train"):
            raise not_available(f"`{value}`")
        if value != "split":
            raise ValueError(f"allowed: split; received {value!r}")
        return value


class Training(Section):
    epochs: Positive = 10
    batch: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    patience: Annotated[int, Field(ge=0)] = 3
    windows_per_epoch: Positive | None = None
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    replicas: Literal["auto"] | Positive = "auto"
    workers: Positive = 1

    @model_validator(mode="after")
    def _one(self) -> Training:
        if self.replicas not in ("auto", 1) or self.workers != 1:
            raise not_available("training on more than one replica or worker")
        return self


class Scoring(Section):
    score: Literal["window", "last", "cover", "mean", "median", "max", "min"] = "window"
    smooth: Any = None

    @field_validator("smooth")
    @classmethod
    def _smooth(cls, value: Any) -> Any:
        if value is not None:
            raise not_available("smooth")
        return value


class Rule(Section):
    name: str = "quantile"
    level: Annotated[float, Field(gt=0, lt=1)] = 0.99
    margin: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _later(cls, value: Any) -> Any:
        name = value.get("name", "quantile") if isinstance(value, dict) else value
        if name in ("pot", "conformal", "fixed"):
            raise not_available(f"rule `{name}`")
        if name != "quantile":
            raise ValueError(f"allowed rules: quantile; received {name!r}")
        return {"name": value} if isinstance(value, str) else value


class Thresholds(Section):
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)] = (Rule(),)
    use: str | None = None
    per: Literal["group", "partition", "all"] = "group"
    min_count: Positive = 1000

    @model_validator(mode="after")
    def _use(self) -> Thresholds:
        if self.use is not None and self.use not in {r.name for r in self.rules}:
            raise ValueError(f"use: one of the rules ({', '.join(r.name for r in self.rules)}), received {self.use!r}")
        if len({(r.name, r.level, r.margin) for r in self.rules}) != len(self.rules):
            raise ValueError("two rules are the same")
        return self

    @property
    def chosen(self) -> Rule:
        """The rule that judges."""
        return next((r for r in self.rules if r.name == self.use), self.rules[0])


class Tables(Section):
    sink: str = "parquet"
    location: str | None = None

    @field_validator("sink")
    @classmethod
    def _sink(cls, value: str) -> str:
        if value == "iceberg":
            raise not_available("`iceberg`")
        if value != "parquet":
            raise ValueError(f"allowed: parquet; received {value!r}")
        return value


class Settings(Section):
    """All settings of a run (interface: Settings)."""

    run: Run = Run()
    source: Source
    events: Events
    split: Split
    quality: Quality = Quality()
    scaling: Scaling = Scaling()
    windows: Windows = Windows()
    model: Model = Model()
    detectors: tuple[str, ...] = ("pca", "isolation_forest")
    ensemble: Any = None
    calibration: Calibration = Calibration()
    training: Training = Training()
    scoring: Scoring = Scoring()
    thresholds: Thresholds = Thresholds()
    tables: Tables = Tables()

    @field_validator("detectors")
    @classmethod
    def _detectors(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if _detector(name) == "lstm_autoencoder":
                raise ValueError("lstm_autoencoder runs as model.name; detectors beside it: pca, isolation_forest")
        if len(set(value)) != len(value):
            raise ValueError("a detector is named twice")
        return value

    @field_validator("ensemble")
    @classmethod
    def _ensemble(cls, value: Any) -> Any:
        if value is not None:
            raise not_available("ensemble")
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if isinstance(self.quality.nulls, dict):
            unknown = sorted(set(self.quality.nulls) - set(self.events.features) - {"default"})
            if unknown:
                raise ValueError(f"quality.nulls names features that are not there: {', '.join(unknown)}")
        if self.split.test is None:
            raise ValueError("split.test is needed: [from, to) or {path: …}")
        if self.model.from_ is None:
            for name in ("train", "calibration"):
                if getattr(self.split, name) is None:
                    raise ValueError(f"split.{name} is needed: [from, to)")
        return self

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.events.features)

    @property
    def all_detectors(self) -> tuple[str, ...]:
        """The run's model first, then the detectors beside it."""
        return (self.model.name, *(d for d in self.detectors if d != self.model.name))
