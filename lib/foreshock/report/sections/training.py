"""Training: losses by epoch, the windows that detectors were fitted on, the folds."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock.report.plots.losses import loss_curves
from foreshock.report.records.data import ReportData
from foreshock.report.records.fit import EpochRow, FitFacts, TrainingCurve


@dataclass(frozen=True)
class Training:
    """curve: without epochs if the model is not trained in epochs. losses: its figure."""

    curve: TrainingCurve
    losses: str
    fit: FitFacts

    @property
    def last_epoch(self) -> EpochRow | None:
        """The last epoch, which need not be the one that was kept."""
        return self.curve.epochs[-1] if self.curve.epochs else None


def build_training(data: ReportData) -> Training:
    """Training of the run's detectors.

    The figure of the losses is empty text if the model is not trained in epochs.
    """
    curve = data.training
    return Training(curve, loss_curves(curve.epochs, curve.best_epoch), data.summary.fit)
