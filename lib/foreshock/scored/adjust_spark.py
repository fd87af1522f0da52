"""Makes one score of errors by feature, and ensembles, by rewriting scored files in Spark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession

from foreshock.errors import DataError
from foreshock.scored import schema
from foreshock.scored.adjust import Residuals, combined, contributions, over_scale
from foreshock.scored.adjust_passes import (
    ErrorSums,
    FittedEvents,
    FourthPowers,
    ResidualSums,
    Sums,
    mean_errors,
    residuals_of,
)
from foreshock.scored.events import ScoredEvents
from foreshock.scored.passes import Pass
from foreshock.scored.passes_spark import run_passes
from foreshock.scored.rewrite_spark import NewColumn, rewritten
from foreshock.statistics.arrays import Float64Array
from foreshock.statistics.finite import LARGEST


@dataclass(frozen=True)
class Rescoring:
    """How errors by feature become a score: `standardised` by the scale (F,) of the errors, or as
    the `mahalanobis` distance of residuals with a mean (F,) and a precision (F, F)."""

    how: Literal["standardised", "mahalanobis"]
    scale: Float64Array
    mean: Float64Array
    precision: Float64Array

    @classmethod
    def standardised(cls, scale: Float64Array) -> Rescoring:
        """Rescoring by the scale (F,) of the errors.

        scale: `error_scale`. A feature whose scale is 0 keeps its errors.
        """
        empty = np.zeros(0)
        return cls("standardised", scale, empty, empty)

    @classmethod
    def mahalanobis(cls, mean: Float64Array, precision: Float64Array) -> Rescoring:
        """Rescoring by the distance of residuals from their calibration mean.

        mean (F,) and precision (F, F): those of `residuals`.
        """
        return cls("mahalanobis", np.zeros(0), mean, precision)

    def contributions(self, rows: pa.Table) -> Float64Array:
        """What each feature adds to the score (n, F).

        An event of which the model never expected anything has no residual: it keeps its plain
        errors, in which 1 is ordinary too (the flag `blind`).
        """
        feature_errors = mean_errors(rows)
        if self.how == "standardised":
            return over_scale(feature_errors, self.scale)
        is_expected = rows[schema.N_FORECASTS].to_numpy()[:, None] > 0
        feature_contributions = contributions(residuals_of(rows), self.mean, self.precision)
        return np.where(is_expected, feature_contributions, feature_errors)

    def scores(self, rows: pa.Table) -> NewColumn:
        """The scores (n,): the mean over features of `contributions`.

        rows: with the attribution, none of it null.
        """
        return NewColumn(np.asarray(self.contributions(rows).mean(axis=-1)))

    def errors(self, rows: pa.Table) -> NewColumn:
        """The contributions as errors (n, F) summed over windows, at most 1e30 each.

        A negative contribution becomes 0, for a share of the error cannot be negative.
        """
        window_counts = np.maximum(rows[schema.N_WINDOWS].to_numpy(), 1)
        feature_errors = np.maximum(self.contributions(rows), 0) * window_counts[:, None]
        largest_errors = np.maximum(feature_errors.max(axis=-1, keepdims=True), 1)
        # An event's errors shrink together, so that their shares stay.
        return NewColumn(np.asarray(feature_errors * np.minimum(1, LARGEST / largest_errors)))


def error_scale(spark: SparkSession, scored: ScoredEvents, events: FittedEvents) -> Float64Array:
    """The mean error (F,) of each feature over the fitted events: the scale of `standardised`.

    Raises DataError if there is no such event.
    """
    n_fitted, error_sum = _sums(spark, scored, ErrorSums(events))
    return np.asarray(error_sum / n_fitted[0])


def residuals(spark: SparkSession, scored: ScoredEvents, events: FittedEvents) -> Residuals:
    """The sums of `Residuals` over the fitted events of which the model expected something.

    The files are read twice: fourth powers need the mean. Raises DataError if there is no such
    event.
    """
    residual_pass = ResidualSums(events)
    residual_sums = residual_pass.residuals(_sums(spark, scored, residual_pass))
    fourth_pass = FourthPowers(events, tuple(residual_sums.mean.tolist()))
    (fourth_sum,) = _sums(spark, scored, fourth_pass)
    return replace(residual_sums, fourth=float(fourth_sum[0]))


def _sums(spark: SparkSession, scored: ScoredEvents, wanted: Pass[Sums]) -> Sums:
    # Always in Spark: a product of matrices depends on the number of threads in its last digits.
    residual_sums = run_passes(spark, scored, [wanted], few_here=False).of(wanted)
    if not residual_sums:
        raise DataError(
            "no event of the split that thresholds are fitted on was judged, so scoring.errors has "
            "no scale. Widen the split."
        )
    return residual_sums


def rescored(
    spark: SparkSession, scored: ScoredEvents, rescoring: Rescoring, target: Path
) -> ScoredEvents:
    """The events with another score of the run's model, and errors that are what features add.

    Scores of other detectors stay. target: the folder to write to, which must not exist.
    """
    new_columns = {
        scored.score_column(scored.model): rescoring.scores,
        schema.ERRORS: rescoring.errors,
    }
    return rewritten(spark, scored, new_columns, scored.detectors, target)


@dataclass(frozen=True)
class Combination:
    """An ensemble: its members, the calibration quantile of each, and how they are combined."""

    name: str
    members: tuple[str, ...]
    quantiles: tuple[float, ...]
    how: str

    def scores(self, rows: pa.Table) -> NewColumn:
        """The ensemble's scores (n,), missing where a member did not judge the event.

        rows: with the scores of every member.
        """
        member_scores = np.column_stack(
            [schema.scores_of(rows, member_name) for member_name in self.members]
        )
        # NaN where a member is missing; the mask makes these null, since NaN is no score.
        combined_scores = combined(member_scores, self.quantiles, self.how)
        return NewColumn(combined_scores, np.isnan(member_scores).any(axis=1))


def with_ensemble(
    spark: SparkSession,
    scored: ScoredEvents,
    combination: Combination,
    detectors: tuple[str, ...],
    target: Path,
) -> ScoredEvents:
    """The events with the scores of `detectors` in their order, the ensemble among them.

    target: the folder to write to, which must not exist.
    """
    new_columns = {schema.score_column(combination.name): combination.scores}
    return rewritten(spark, scored, new_columns, detectors, target)
