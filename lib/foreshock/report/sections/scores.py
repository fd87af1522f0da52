"""How scores are spread: the model's by split, and those of the detectors beside it."""

from __future__ import annotations

from dataclasses import dataclass

from foreshock.columns import OUT_OF_FOLD
from foreshock.report.judging import pooled_threshold
from foreshock.report.plots.distribution import score_bodies, score_curves, score_tails
from foreshock.report.records.data import ReportData
from foreshock.statistics.histogram import Histogram


@dataclass(frozen=True)
class SplitScores:
    """The scores of a split in short; quantiles to the histogram's bound."""

    events: int
    smallest: float | None
    median: float | None
    p90: float | None
    p99: float | None
    largest: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> SplitScores:
        """The scores of a histogram.

        >>> SplitScores.of(Histogram.of([1.0, 2.0, 3.0])).largest
        3.0
        """
        median, p90, p99 = (histogram.quantile(level) for level in (0.5, 0.9, 0.99))
        return cls(histogram.n, histogram.minimum, median, p90, p99, histogram.maximum)


@dataclass(frozen=True)
class Scores:
    """bodies, tails: figures of the model's scores. other_tails: a figure a detector beside it."""

    model: str
    by_split: dict[str, SplitScores]
    bodies: str
    tails: str
    other_tails: dict[str, str]

    @property
    def has_out_of_fold(self) -> bool:
        """Whether there are scores by models that did not see the event."""
        return OUT_OF_FOLD in self.by_split


def build_scores(data: ReportData) -> Scores:
    """How scores are spread.

    Each detector's figure has that detector's threshold: scores of detectors do not compare.
    """
    # The splits that have no scored event have no histogram.
    model_histograms = data.distributions.get(data.model, {})
    model_curves, model_limit = score_curves(model_histograms), pooled_threshold(data, data.model)
    other_tails = {
        detector: score_tails(
            score_curves(histograms), pooled_threshold(data, detector), detector, is_small=True
        )
        for detector, histograms in data.distributions.items()
        if detector != data.model
    }
    return Scores(
        model=data.model,
        by_split={
            split: SplitScores.of(histogram) for split, histogram in model_histograms.items()
        },
        bodies=score_bodies(model_curves, model_limit, "Where the scores lie"),
        tails=score_tails(model_curves, model_limit, "How many score above a value"),
        other_tails=other_tails,
    )
