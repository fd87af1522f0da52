"""Typed, frozen settings; unknown keys are refused. The sections' cross-checks are here."""

from __future__ import annotations

from pydantic import field_validator, model_validator

from foreshock.settings.data import (
    ANOMALY_KINDS,
    EventsSettings,
    RunSettings,
    Section,
    SourceSettings,
    Span,
    SplitSettings,
    TestTable,
)
from foreshock.settings.output import AwsSettings, TablesSettings
from foreshock.settings.work import (
    DETECTORS,
    ENSEMBLE,
    CalibrationSettings,
    EnsembleSettings,
    ModelSettings,
    QualitySettings,
    RuleSettings,
    ScalingSettings,
    ScoringSettings,
    ThresholdsSettings,
    TrainingSettings,
    WindowsSettings,
    known_detector,
)

__all__ = [
    "ANOMALY_KINDS",
    "DETECTORS",
    "ENSEMBLE",
    "RuleSettings",
    "Settings",
    "Span",
    "TestTable",
]


class Settings(Section):
    """All settings of a run (interface: Settings)."""

    run: RunSettings = RunSettings()
    source: SourceSettings
    events: EventsSettings
    split: SplitSettings
    quality: QualitySettings = QualitySettings()
    scaling: ScalingSettings = ScalingSettings()
    windows: WindowsSettings = WindowsSettings()
    model: ModelSettings = ModelSettings()
    detectors: tuple[str, ...] = ("pca", "isolation_forest")
    ensemble: EnsembleSettings | None = None
    calibration: CalibrationSettings = CalibrationSettings()
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    thresholds: ThresholdsSettings = ThresholdsSettings()
    tables: TablesSettings = TablesSettings()
    aws: AwsSettings = AwsSettings()

    @field_validator("detectors")
    @classmethod
    def _detectors(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if known_detector(name) in ("lstm_autoencoder", ENSEMBLE):
                raise ValueError(
                    f"{name} runs as {'model.name' if name != ENSEMBLE else 'the section ensemble'}; detectors beside the "
                    "model: " + ", ".join(DETECTORS[1:])
                )
        if len(set(value)) != len(value):
            raise ValueError("a detector is named twice")
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if isinstance(self.quality.nulls, dict):
            unknown = sorted(set(self.quality.nulls) - set(self.events.features) - {"default"})
            if unknown:
                raise ValueError(
                    f"quality.nulls names features that are not there: {', '.join(unknown)}"
                )
        if self.model.name == ENSEMBLE and self.ensemble is None:
            raise ValueError(
                "model.name: ensemble wants the section ensemble, such as {of: [pca, ridge_forecast]}"
            )
        if self.scoring.errors != "plain" and self.model.name in ("isolation_forest", ENSEMBLE):
            raise ValueError(
                f"scoring.errors: {self.scoring.errors} wants a model that expects a value of each feature; "
                f"{self.model.name} does not"
            )
        for name in {"last_value", "ridge_forecast"} & set(self.all_detectors):
            if (
                name == "last_value" and self.scoring.score == "min"
            ) or self.windows.short == "pad":
                raise ValueError(
                    f"detector {name} knows nothing before a window's first event, so neither windows.short: pad nor, for "
                    "last_value, scoring.score: min go with it; leave one of them out"
                )
            if self.windows.length < 2:
                raise ValueError(
                    f"detector {name} wants windows.length of 2 or more; received {self.windows.length}"
                )
        if self.split.test is None:
            raise ValueError("split.test is needed: [from, to) or {path: …}")
        if self.model.from_ is None:
            for name in dict.fromkeys(("train", self.fitted_rows)):
                if getattr(self.split, name) is None:
                    raise ValueError(f"split.{name} is needed: [from, to)")
        return self

    @property
    def fitted_split(self) -> str:
        """The split whose scores thresholds are fitted on."""
        return "calibration" if self.calibration.method == "split" else self.calibration.method

    @property
    def fitted_rows(self) -> str:
        """The split of settings that holds those events."""
        return "calibration" if self.calibration.method == "split" else "train"

    @property
    def needed_splits(self) -> tuple[str, ...]:
        """The splits that must hold events and windows."""
        if self.model.from_ is not None:
            return ("test",)
        return (
            ("train", "test")
            if self.split.calibration is None
            else ("train", "calibration", "test")
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.events.features)

    @property
    def all_detectors(self) -> tuple[str, ...]:
        """The run's model first (an ensemble with its members), then the detectors beside it, an ensemble beside it last."""
        ensemble = () if self.ensemble is None else (*self.ensemble.of, ENSEMBLE)
        return tuple(
            dict.fromkeys(
                (
                    self.model.name,
                    *(ensemble if self.model.name == ENSEMBLE else ()),
                    *self.detectors,
                    *ensemble,
                )
            )
        )

    @property
    def fitted_detectors(self) -> tuple[str, ...]:
        """Those of all_detectors that are trained."""
        return tuple(d for d in self.all_detectors if d != ENSEMBLE)
