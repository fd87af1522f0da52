"""What scores are adjusted by, as passes over scored files.

The passes give scales of errors and sums over residuals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock.scored import schema
from foreshock.scored.adjust import Residuals
from foreshock.scored.events import ScoredRows
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import Float64Array

FITTED = (schema.SPLIT, schema.CALIBRATE)
Sums = tuple[Float64Array, ...]


@dataclass(frozen=True)
class FittedEvents:
    """The events that statistics are of: those of a split with an attribution.

    only_admitted: only those that `events.calibrate_where` admits.
    """

    split: Split
    only_admitted: bool

    def of(self, rows: ScoredRows) -> pa.Table:
        """These events among the rows of a file.

        rows: with the columns FITTED.
        """
        is_fitted = pc.equal(rows.table[schema.SPLIT], int(self.split))
        if self.only_admitted:
            is_fitted = pc.and_(is_fitted, pc.not_equal(rows.table[schema.CALIBRATE], 0))
        return rows.table.filter(is_fitted)


def mean_errors(rows: pa.Table) -> Float64Array:
    """The error (n, F) of each feature, averaged over the windows that hold the event.

    rows: with errors, none of them null, and n_windows. Scored files hold sums over windows.
    """
    window_counts = np.maximum(rows[schema.N_WINDOWS].to_numpy(), 1)
    return np.asarray(schema.matrix_of(rows, schema.ERRORS) / window_counts[:, None])


def residuals_of(rows: pa.Table) -> Float64Array:
    """Value less expected value (n, F), in scaled units.

    It means nothing for a row of which the model expected nothing (`with_forecast`).
    """
    return schema.matrix_of(rows, schema.VALUES) - schema.matrix_of(rows, schema.EXPECTED)


def with_forecast(rows: pa.Table) -> pa.Table:
    """The events of which the model expected something in at least one window.

    A model may be blind to the first steps of a window, and so to the first events of a sequence.
    """
    return rows.filter(pc.greater(rows[schema.N_FORECASTS], 0))


@dataclass(frozen=True)
class ErrorSums:
    """A pass: the number of fitted events, and the sum (F,) of their errors by feature."""

    events: FittedEvents
    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (*FITTED, schema.ERRORS, schema.N_WINDOWS)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The number and the sum of one file; no row if it has no fitted event.

        Events without an attribution, whose errors are null, are left out.
        """
        fitted_rows = self.events.of(rows)
        fitted_rows = fitted_rows.filter(pc.is_valid(fitted_rows[schema.ERRORS]))
        # Not zeros: without an event a file does not tell how many features there are.
        if not len(fitted_rows):
            return _packed(())
        return _packed((np.array([len(fitted_rows)]), mean_errors(fitted_rows).sum(axis=0)))

    def empty(self) -> Sums:
        """No event."""
        return ()

    def add(self, total: Sums, part: pa.Table) -> Sums:
        """The sums with those of one more file."""
        return _added(total, part)


@dataclass(frozen=True)
class ResidualSums:
    """A pass: number, sum (F,) and products (F · F,) of the fitted events' residuals."""

    events: FittedEvents
    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (*FITTED, schema.VALUES, schema.EXPECTED, schema.N_FORECASTS)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The sums of one file; no row if it has no fitted event with a forecast.

        Products are those of each pair of features, row by row.
        """
        fitted_rows = with_forecast(self.events.of(rows))
        if not len(fitted_rows):
            return _packed(())
        residuals = residuals_of(fitted_rows)
        n_fitted = np.array([len(residuals)])
        return _packed((n_fitted, residuals.sum(axis=0), (residuals.T @ residuals).ravel()))

    def empty(self) -> Sums:
        """No event."""
        return ()

    def add(self, total: Sums, part: pa.Table) -> Sums:
        """The sums with those of one more file."""
        return _added(total, part)

    def residuals(self, sums: Sums) -> Residuals:
        """The sums by name; the fourth powers are still to come (`FourthPowers`).

        sums: the total over all files, of one event at least.
        """
        n_fitted, residual_sum, product_sum = sums
        return Residuals(
            int(n_fitted[0]),
            residual_sum,
            product_sum.reshape(len(residual_sum), len(residual_sum)),
        )


@dataclass(frozen=True)
class FourthPowers:
    """A pass: the sum of the lengths, to the fourth, of residuals less their `mean` (F,)."""

    events: FittedEvents
    # Known only once `ResidualSums` is through, which is why this is a pass of its own.
    mean: tuple[float, ...]
    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (*FITTED, schema.VALUES, schema.EXPECTED, schema.N_FORECASTS)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The sum of one file; no row if it has no fitted event with a forecast.

        Events are those that `ResidualSums` counts.
        """
        fitted_rows = with_forecast(self.events.of(rows))
        if not len(fitted_rows):
            return _packed(())
        squared_lengths = np.square(residuals_of(fitted_rows) - np.array(self.mean)).sum(axis=1)
        return _packed((np.array([np.square(squared_lengths).sum()]),))

    def empty(self) -> Sums:
        """No event."""
        return ()

    def add(self, total: Sums, part: pa.Table) -> Sums:
        """The sum with that of one more file."""
        return _added(total, part)


def _packed(arrays: Sums) -> pa.Table:
    # A list a row: the arrays differ in length, and columns may not.
    sum_lists = pa.array([summed_array.tolist() for summed_array in arrays], pa.list_(pa.float64()))
    return pa.table({"sums": sum_lists})


def _added(total: Sums, part: pa.Table) -> Sums:
    part_arrays = tuple(
        np.asarray(array_values, np.float64) for array_values in part["sums"].to_pylist()
    )
    if not total:
        return part_arrays
    return tuple(
        total_array + part_array for total_array, part_array in zip(total, part_arrays, strict=True)
    )
