"""The columns of `scores` that say why: each feature's share of the error, and the one that is most wrong, in original units."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

from foreshock.scored import schema

LARGEST_EXPONENT = 700.0  # of what exp is taken
COLUMNS = ("feature_errors", "top_feature", "top_step", "top_value", "top_expected")


@dataclass(frozen=True)
class FeatureUnits:
    """How features were scaled.

    For each feature its name, and the center and scale that bring a value back; then the transform
    is undone.
    """

    names: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    transform: str

    def original(self, values: Column, feature: Column) -> Column:
        """The value of a feature (counted from 0) of a scaled array, in original units."""
        scale = F.get(_array(self.scale), feature)
        unscaled = F.get(values, feature) * scale + F.get(_array(self.center), feature)
        limit = F.lit(LARGEST_EXPONENT)
        if self.transform == "asinh":
            return F.sinh(F.greatest(-limit, F.least(limit, unscaled)))
        if self.transform == "log1p":
            return F.signum(unscaled) * F.expm1(F.least(limit, F.abs(unscaled)))
        return unscaled


def _array(values: tuple[float, ...]) -> Column:
    return F.array(*[F.lit(value) for value in values])


def explain(units: FeatureUnits) -> list[Column]:
    """COLUMNS from the attribution of a scored row; all null where there is no error to split."""
    errors = F.col(schema.ERRORS)
    total = F.aggregate(errors, F.lit(0.0), lambda sum_, error: sum_ + error.cast("double"))
    # The function takes no column in this version of PySpark.
    place = f"cast(array_position({schema.ERRORS}, array_max({schema.ERRORS})) as int) - 1"
    top = F.expr(place)
    shares = F.struct(
        *[
            (errors[number].cast("double") / total).alias(name)
            for number, name in enumerate(units.names)
        ]
    )
    columns = (
        shares,
        F.get(F.array(*[F.lit(name) for name in units.names]), top),
        F.get(F.col(schema.WORST_STEP), top),
        units.original(F.col(schema.VALUES), top),
        units.original(F.col(schema.EXPECTED), top),
    )
    return [
        F.when(total > 0, column).alias(name) for name, column in zip(COLUMNS, columns, strict=True)
    ]
