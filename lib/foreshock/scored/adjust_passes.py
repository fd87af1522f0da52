"""What scores are adjusted by, as passes over scored files: scales of errors, sums over residuals."""

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
        """These events among the rows of a file."""
        is_fitted = pc.equal(rows.table[schema.SPLIT], int(self.split))
        if self.only_admitted:
            is_fitted = pc.and_(is_fitted, pc.not_equal(rows.table[schema.CALIBRATE], 0))
        return rows.table.filter(is_fitted)


def mean_errors(rows: pa.Table) -> Float64Array:
    """The error (n, F) of each feature, averaged over the windows that hold the event."""
    count = np.maximum(rows[schema.N_WINDOWS].to_numpy(), 1)
    return np.asarray(schema.matrix_of(rows, schema.ERRORS) / count[:, None])


def residuals_of(rows: pa.Table) -> Float64Array:
    """Value less expected value (n, F), scaled."""
    return schema.matrix_of(rows, schema.VALUES) - schema.matrix_of(rows, schema.EXPECTED)


def with_forecast(rows: pa.Table) -> pa.Table:
    """The events of which the model expected something."""
    return rows.filter(pc.greater(rows[schema.N_FORECASTS], 0))


@dataclass(frozen=True)
class ErrorSums:
    """A pass: the number of fitted events, and the sum (F,) of their errors by feature."""

    events: FittedEvents
    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (*FITTED, schema.ERRORS, schema.N_WINDOWS)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The number and the sum of one file."""
        fitted = self.events.of(rows)
        fitted = fitted.filter(pc.is_valid(fitted[schema.ERRORS]))
        if not len(fitted):
            return _packed(())
        return _packed((np.array([len(fitted)]), mean_errors(fitted).sum(axis=0)))

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
        """The sums of one file."""
        fitted = with_forecast(self.events.of(rows))
        if not len(fitted):
            return _packed(())
        residuals = residuals_of(fitted)
        number = np.array([len(residuals)])
        return _packed((number, residuals.sum(axis=0), (residuals.T @ residuals).ravel()))

    def empty(self) -> Sums:
        """No event."""
        return ()

    def add(self, total: Sums, part: pa.Table) -> Sums:
        """The sums with those of one more file."""
        return _added(total, part)

    def residuals(self, sums: Sums) -> Residuals:
        """The sums by name; the fourth powers are still to come (`FourthPowers`)."""
        number, total, products = sums
        return Residuals(int(number[0]), total, products.reshape(len(total), len(total)))


@dataclass(frozen=True)
class FourthPowers:
    """A pass: the sum of the lengths, to the fourth, of residuals less their `mean` (F,)."""

    events: FittedEvents
    mean: tuple[float, ...]
    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (*FITTED, schema.VALUES, schema.EXPECTED, schema.N_FORECASTS)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The sum of one file."""
        fitted = with_forecast(self.events.of(rows))
        if not len(fitted):
            return _packed(())
        squares = np.square(residuals_of(fitted) - np.array(self.mean)).sum(axis=1)
        return _packed((np.array([np.square(squares).sum()]),))

    def empty(self) -> Sums:
        """No event."""
        return ()

    def add(self, total: Sums, part: pa.Table) -> Sums:
        """The sum with that of one more file."""
        return _added(total, part)


def _packed(arrays: Sums) -> pa.Table:
    sums = pa.array([array.tolist() for array in arrays], pa.list_(pa.float64()))
    return pa.table({"sums": sums})


def _added(total: Sums, part: pa.Table) -> Sums:
    arrays = tuple(np.asarray(values, np.float64) for values in part["sums"].to_pylist())
    if not total:
        return arrays
    return tuple(before + more for before, more in zip(total, arrays, strict=True))
