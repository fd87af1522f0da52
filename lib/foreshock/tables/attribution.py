"""The columns of `scores` that say why.

They hold each feature's share of the error, and the feature that is most wrong, in original units.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

from foreshock.scored import schema

# exp of more than about 709 overflows a double.
LARGEST_EXPONENT = 700.0
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
        """The value of a feature of a scaled array, in original units.

        values: an array column. feature: the place of the feature, counted from 0; null gives null.
        A transform is undone up to exp(700), so that no value is infinite.
        """
        feature_scale = F.get(_array(self.scale), feature)
        unscaled_value = F.get(values, feature) * feature_scale + F.get(
            _array(self.center), feature
        )
        exponent_limit = F.lit(LARGEST_EXPONENT)
        if self.transform == "asinh":
            return F.sinh(F.greatest(-exponent_limit, F.least(exponent_limit, unscaled_value)))
        if self.transform == "log1p":
            return F.signum(unscaled_value) * F.expm1(
                F.least(exponent_limit, F.abs(unscaled_value))
            )
        return unscaled_value


def _array(values: tuple[float, ...]) -> Column:
    return F.array(*[F.lit(value) for value in values])


def explain(units: FeatureUnits) -> list[Column]:
    """COLUMNS from the attribution of a scored row; all null where there is no error to split.

    units: of the features, in the order of the attribution's lists. The frame must have the columns
    of `schema.ATTRIBUTION`.
    """
    feature_errors = F.col(schema.ERRORS)
    total_error = F.aggregate(
        feature_errors, F.lit(0.0), lambda sum_, error: sum_ + error.cast("double")
    )
    # The function takes no column in this version of PySpark.
    top_place = f"cast(array_position({schema.ERRORS}, array_max({schema.ERRORS})) as int) - 1"
    top_feature = F.expr(top_place)
    feature_shares = F.struct(
        *[
            (feature_errors[feature_number].cast("double") / total_error).alias(column_name)
            for feature_number, column_name in enumerate(units.names)
        ]
    )
    explaining_columns = (
        feature_shares,
        F.get(F.array(*[F.lit(column_name) for column_name in units.names]), top_feature),
        F.get(F.col(schema.WORST_STEP), top_feature),
        units.original(F.col(schema.VALUES), top_feature),
        units.original(F.col(schema.EXPECTED), top_feature),
    )
    return [
        F.when(total_error > 0, column).alias(column_name)
        for column_name, column in zip(COLUMNS, explaining_columns, strict=True)
    ]
