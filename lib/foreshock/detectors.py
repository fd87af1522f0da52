"""What each detector can do, by name, and what every fitted detector offers. Loads nothing heavy.

Two families share this contract. Detectors of *windows* score windows (N, L, F) of scaled features.
Detectors of *sequences* score the events of an entity in time order and need no window. Nobody asks
for a detector's name or class: what a detector can do is a flag of its `DetectorEntry`. To add a
detector, write its class and add one line to `REGISTRY`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    import pyarrow as pa

    from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array

Family = Literal["windows", "sequences", "combination"]
# Plain data, as JSON holds it.
Spec = Mapping[str, Any]
ENSEMBLE = "ensemble"


class Detector(Protocol):
    """What every fitted detector offers, whichever its family. A higher score is more anomalous."""

    @property
    def blind_events(self) -> int:
        """How many first events (of a window or a sequence) the detector makes no forecast for."""

    @property
    def fitted_on(self) -> int | None:
        """How many training windows (or events) it was fitted on; None: from all."""

    def spec(self) -> Spec:
        """Plain data that, with `arrays`, rebuilds the detector."""

    def arrays(self) -> Mapping[str, AnyArray]:
        """The fitted parameters. Nothing is pickled."""

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> Self:
        """The detector that `spec` and `arrays` were taken from.

        Raises KeyError or ValueError if they do not fit together.
        """


class WindowDetector(Detector, Protocol):
    """A fitted detector of windows (N, L, F) float32, scaled."""

    def errors(self, windows: Float32Array) -> Float32Array:
        """Errors (N, L, F), or (N, L, 1) from a detector that does not see features apart.

        `scoring.score` says how an event's score is made of them.
        """

    def reconstruct(self, windows: Float32Array) -> Float32Array | None:
        """The expected values (N, L, F). None from a detector that expects no values.

        Ignore the first `blind_events` steps: the detector makes no forecast there.
        """

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """`errors(windows)`, computed from what `reconstruct(windows)` gave.

        A caller that needs both saves computing the expected values twice.
        """


class RowDetector(WindowDetector, Protocol):
    """A detector of windows that looks at each event alone (`DetectorEntry.scores_rows`)."""

    def score_rows(self, rows: Float32Array) -> Float64Array:
        """The anomaly score (n,) of events (n, F)."""


@dataclass(frozen=True)
class SequenceScores:
    """What a sequence detector makes of n events; NaN for an event that it does not judge.

    Attributes:
        scores: (n,), higher is more anomalous.
        values: (n, A) of what the score is attributed to (`DetectorEntry.attributed`), in the units
            that the tables show.
        expected: (n, A) what was expected of these.
    """

    scores: Float64Array
    values: Float64Array
    expected: Float64Array


class SequenceDetector(Detector, Protocol):
    """A fitted detector of events in total order: rows of `sequences.event_rows`."""

    @staticmethod
    def summary(events: pa.Table) -> bytes:
        """What fitting needs of some training events. Summaries are merged in any order."""

    @classmethod
    def from_summaries(cls, summaries: Iterable[bytes]) -> Self:
        """The detector fitted on all summarised events. Raises ValueError if they are too few."""

    def judge(self, events: pa.Table) -> SequenceScores:
        """The scores of events, with what explains them.

        events: n rows of `sequences.event_rows`, in total order.
        """


FittedDetector = WindowDetector | SequenceDetector  # which of them, `DetectorEntry.family` says


@dataclass(frozen=True)
class DetectorEntry:
    """A detector's name, where its class is, and what it can do.

    Attributes:
        name: the name in settings, bundles and tables.
        location: `module:Class`, imported by `load_class` when it is first needed.
        trainable: `module:Class` of its `training.trainable.Trainable`; None if it is fitted
            without the training loop.
        family: what it reads of the prepared dataset.
        sees_features: gives errors per feature, so that they can be attributed, standardised, or
            made a Mahalanobis distance.
        expects_values: `reconstruct` gives an expected value of each feature.
        forecasts: expects an event from those before it in its window. It needs windows of at least
            2 events without padding.
        first_error_is_zero: the error of a window's first event is always 0, so the least error
            over windows says nothing.
        can_underfit: learns a shape of windows, so that explaining little of the training windows
            is a fault.
        is_seeded: fitting depends on `run.seed`.
        is_additive: fitted from moments that merge, so on all windows, and exactly without those of
            a fold.
        refits_without_fold: can be fitted without a fold of training time (`calibration.method:
            out_of_fold`).
        scores_rows: scores each event alone (`RowDetector`); the scores of an event's windows need
            no averaging.
        carries_state: a daily run goes on from what the run before it knew.
        attributed: what its scores are attributed to, if that is not the run's features.
        unjudged_reason: why an event has no score, if the detector itself makes it null.
    """

    name: str
    location: str
    trainable: str | None = None
    family: Family = "windows"
    sees_features: bool = True
    expects_values: bool = True
    forecasts: bool = False
    first_error_is_zero: bool = False
    can_underfit: bool = False
    is_seeded: bool = False
    is_additive: bool = False
    refits_without_fold: bool = True
    scores_rows: bool = False
    carries_state: bool = False
    attributed: tuple[str, ...] = ()
    unjudged_reason: str | None = None

    @property
    def is_trainable(self) -> bool:
        """Whether the training loop fits it (section `training`), rather than one call of `fit`.

        >>> entry_of("pca").is_trainable, entry_of("lstm_autoencoder").is_trainable
        (False, True)
        """
        return self.trainable is not None

    @property
    def reads_windows(self) -> bool:
        """Whether it scores the prepared windows.

        >>> entry_of("pca").reads_windows, entry_of("gap").reads_windows
        (True, False)
        """
        return self.family == "windows"

    @property
    def reads_sequences(self) -> bool:
        """Whether it scores the prepared sequences.

        >>> entry_of("pca").reads_sequences, entry_of("gap").reads_sequences
        (False, True)
        """
        return self.family == "sequences"

    def load_class(self) -> Any:
        """The detector's class. The first call imports its module, with what that needs."""
        return _load(self.location)

    def load_trainable(self) -> Any:
        """The class of the detector's `Trainable`. The first call imports its module.

        Raises ValueError if the training loop does not fit the detector.
        """
        if self.trainable is None:
            raise ValueError(f"detector {self.name} is not trained by the training loop")
        return _load(self.trainable)


def _load(location: str) -> Any:
    # At the first need: reading flags loads neither TensorFlow nor scikit-learn.
    module, _, attribute = location.partition(":")
    return getattr(importlib.import_module(module), attribute)


_MODELS = "foreshock.windows.models"

REGISTRY: dict[str, DetectorEntry] = {
    entry.name: entry
    for entry in (
        DetectorEntry(
            "lstm_autoencoder",
            f"{_MODELS}.lstm_autoencoder:LSTMAutoencoder",
            trainable=f"{_MODELS}.lstm_trainable:LSTMTrainable",
            can_underfit=True,
            is_seeded=True,
        ),
        DetectorEntry("pca", f"{_MODELS}.pca:PCA", is_additive=True, can_underfit=True),
        DetectorEntry(
            "isolation_forest",
            f"{_MODELS}.isolation_forest:IsolationForest",
            sees_features=False,
            expects_values=False,
            is_seeded=True,
            scores_rows=True,
        ),
        DetectorEntry(
            "ridge_forecast",
            f"{_MODELS}.ridge_forecast:RidgeForecast",
            forecasts=True,
            is_additive=True,
            can_underfit=True,
        ),
        DetectorEntry("kmeans", f"{_MODELS}.kmeans:KMeans", is_seeded=True, can_underfit=True),
        DetectorEntry(
            "last_value",
            f"{_MODELS}.last_value:LastValue",
            forecasts=True,
            first_error_is_zero=True,
        ),
        DetectorEntry("zscore", f"{_MODELS}.zscore:ZScore"),
        DetectorEntry(
            "gap",
            "foreshock.point_process.gap:Gap",
            family="sequences",
            sees_features=False,
            is_additive=True,
            carries_state=True,
            attributed=("gap",),
            unjudged_reason="first_event",
        ),
    )
}

# An ensemble is no detector: it is fitted by nobody, and its score is made of its members' scores
# (foreshock.scored).
COMBINATION = DetectorEntry(
    ENSEMBLE,
    "",
    family="combination",
    sees_features=False,
    expects_values=False,
)


def entry_of(name: str) -> DetectorEntry:
    """What a detector, or the ensemble, can do. Raises KeyError for an unknown name.

    >>> entry_of("pca").is_additive, entry_of("isolation_forest").sees_features
    (True, False)
    """
    return COMBINATION if name == ENSEMBLE else REGISTRY[name]


def detector_names(admitted: Callable[[DetectorEntry], bool] = lambda _: True) -> tuple[str, ...]:
    """The names of the detectors whose entry is admitted, in the registry's order.

    >>> detector_names(lambda entry: entry.is_trainable)
    ('lstm_autoencoder',)
    """
    return tuple(name for name, entry in REGISTRY.items() if admitted(entry))
