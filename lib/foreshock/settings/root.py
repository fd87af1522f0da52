"""All settings of a run: the sections, and the checks across them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from foreshock.detectors import ENSEMBLE, detector_names, entry_of
from foreshock.settings.aws import AwsSettings
from foreshock.settings.calibration import CalibrationSettings
from foreshock.settings.detectors import detectors_beside, known_detector
from foreshock.settings.ensemble import EnsembleSettings
from foreshock.settings.events import EventsSettings
from foreshock.settings.model import ModelSettings
from foreshock.settings.quality import QualitySettings
from foreshock.settings.run import RunSettings
from foreshock.settings.scaling import ScalingSettings
from foreshock.settings.scoring import ScoringSettings
from foreshock.settings.section import SettingsSection
from foreshock.settings.source import ANOMALY_KINDS, SourceSettings
from foreshock.settings.split import Span, SplitSettings, TestTable
from foreshock.settings.tables import TablesSettings
from foreshock.settings.thresholds import RuleSettings, ThresholdsSettings
from foreshock.settings.training import TrainingSettings
from foreshock.settings.windows import WindowsSettings

__all__ = [
    "ANOMALY_KINDS",
    "ENSEMBLE",
    "RuleSettings",
    "Settings",
    "Span",
    "TestTable",
]


class Settings(SettingsSection):
    """All settings of a run. `source`, `events` and `split` have no defaults."""

    run: RunSettings = RunSettings()
    source: SourceSettings
    events: EventsSettings
    split: SplitSettings
    quality: QualitySettings = QualitySettings()
    scaling: ScalingSettings = ScalingSettings()
    windows: WindowsSettings = WindowsSettings()
    model: ModelSettings = ModelSettings()
    detectors: Annotated[
        tuple[str, ...],
        Field(
            description="Detectors that run beside the model; their scores: `detector_scores`.",
            json_schema_extra={"allowed": f"list of {', '.join(detectors_beside())}"},
        ),
    ] = ("pca", "isolation_forest")
    ensemble: Annotated[
        EnsembleSettings | None,
        Field(description="A detector made of others. If null, there is none."),
    ] = None
    calibration: CalibrationSettings = CalibrationSettings()
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    thresholds: ThresholdsSettings = ThresholdsSettings()
    tables: TablesSettings = TablesSettings()
    aws: AwsSettings = AwsSettings()

    @field_validator("detectors")
    @classmethod
    def _detectors_run_beside(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        beside = detectors_beside()
        for name in value:
            if known_detector(name) not in beside:
                place = "the section ensemble" if name == ENSEMBLE else "model.name"
                raise ValueError(
                    f"{name} runs as {place}; detectors beside the model: " + ", ".join(beside)
                )
        if len(set(value)) != len(value):
            raise ValueError("a detector is named twice")
        return value

    @model_validator(mode="after")
    def _nulls_name_features(self) -> Settings:
        policies = self.quality.nulls
        if isinstance(policies, dict):
            unknown = sorted(set(policies) - set(self.events.features) - {"default"})
            if unknown:
                names = ", ".join(unknown)
                raise ValueError(f"quality.nulls names features that are not there: {names}")
        return self

    @model_validator(mode="after")
    def _model_has_what_it_needs(self) -> Settings:
        model = self.model.name
        if model == ENSEMBLE and self.ensemble is None:
            raise ValueError(
                "model.name: ensemble wants the section ensemble, such as "
                "{of: [pca, ridge_forecast]}"
            )
        entry = entry_of(model)
        has_errors = entry.sees_features and entry.expects_values
        if self.scoring.errors != "plain" and not has_errors:
            raise ValueError(
                f"scoring.errors: {self.scoring.errors} wants a model that expects a value of "
                f"each feature; {model} does not"
            )
        return self

    @model_validator(mode="after")
    def _forecasters_have_a_past(self) -> Settings:
        zero_first = detector_names(lambda entry: entry.first_error_is_zero)
        for name in self.all_detectors:
            entry = entry_of(name)
            if not entry.forecasts:
                continue
            # The least of errors of which one is always 0 says nothing of an event.
            takes_least = entry.first_error_is_zero and self.scoring.score == "min"
            if takes_least or self.windows.short == "pad":
                raise ValueError(
                    f"detector {name} knows nothing before a window's first event, so neither "
                    f"windows.short: pad nor, for {', '.join(zero_first)}, scoring.score: min go "
                    "with it; leave one of them out"
                )
            if self.windows.length < 2:
                raise ValueError(
                    f"detector {name} wants windows.length of 2 or more; "
                    f"received {self.windows.length}"
                )
        return self

    @model_validator(mode="after")
    def _detectors_can_leave_out_a_fold(self) -> Settings:
        # Each fold is scored by detectors that were fitted without it.
        if self.calibration.method == "out_of_fold":
            for name in self.fitted_detectors:
                if not entry_of(name).refits_without_fold:
                    raise ValueError(
                        "calibration.method: out_of_fold wants detectors that can be fitted "
                        f"without a fold of training time; {name} cannot. Leave it out, or use "
                        "calibration.method: split"
                    )
        return self

    @model_validator(mode="after")
    def _splits_are_there(self) -> Settings:
        if self.split.test is None:
            raise ValueError("split.test is needed: [from, to) or {path: …}")
        # A donor run brings scaler, models and thresholds, so nothing is fitted.
        if self.model.from_ is None:
            for name in dict.fromkeys(("train", self.fitted_rows)):
                if getattr(self.split, name) is None:
                    raise ValueError(f"split.{name} is needed: [from, to)")
        return self

    @property
    def fitted_split(self) -> str:
        """The split, as tables name it, whose scores thresholds are fitted on.

        `calibration`, `out_of_fold` or `train`, as `calibration.method` says.
        """
        return "calibration" if self.calibration.method == "split" else self.calibration.method

    @property
    def fitted_rows(self) -> str:
        """The key of the section `split` that holds the events of `fitted_split`.

        `calibration`, or `train`: scores out of fold are those of training events.
        """
        return "calibration" if self.calibration.method == "split" else "train"

    @property
    def needed_splits(self) -> tuple[str, ...]:
        """The splits that must hold events and windows, in order of time.

        With `model.from` that is test alone, as nothing is fitted.
        """
        if self.model.from_ is not None:
            return ("test",)
        if self.split.calibration is None:
            return ("train", "test")
        return ("train", "calibration", "test")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names, in the order of the conf file."""
        return tuple(self.events.features)

    @property
    def all_detectors(self) -> tuple[str, ...]:
        """Every detector of the run, once: the model first, an ensemble after its members.

        If the ensemble is the model, it comes first and its members come next.
        """
        ensemble = () if self.ensemble is None else (*self.ensemble.of, ENSEMBLE)
        before = ensemble if self.model.name == ENSEMBLE else ()
        return tuple(dict.fromkeys((self.model.name, *before, *self.detectors, *ensemble)))

    @property
    def fitted_detectors(self) -> tuple[str, ...]:
        """The detectors of the run that are fitted: all but the ensemble.

        They come in the order of `all_detectors`.
        """
        return tuple(name for name in self.all_detectors if name != ENSEMBLE)
