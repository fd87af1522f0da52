"""The columns of `scores` that say why: each feature's share of the error, and the one that is most wrong, in original units."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

MOST = 700.0  # of what exp is taken
COLUMNS = ("feature_errors", "top_feature", "top_step", "top_value", "top_expected")


@dataclass(frozen=True)
class Units:
    """How features were scaled: names, and for each the center and scale that bring a value back; then the transform is undone."""

    names: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    transform: str

    def original(self, values: Column, at: Column) -> Column:
        """The value of feature `at` (counted from 0) of a scaled array, in original units."""
        y = F.get(values, at) * F.get(_array(self.scale), at) + F.get(_array(self.center), at)
        if self.transform == "asinh":
            return F.sinh(F.greatest(F.lit(-MOST), F.least(F.lit(MOST), y)))
        return (
            F.signum(y) * F.expm1(F.least(F.lit(MOST), F.abs(y)))
            if self.transform == "log1p"
            else y
        )


def _array(values: tuple[float, ...]) -> Column:
    return F.array(*[F.lit(v) for v in values])


def explain(units: Units) -> list[Column]:
    """COLUMNS from a scored row's `errors`, `step`, `value` and `expected`; all null where there is no error to split."""
    errors = F.col("errors")
    total = F.aggregate(errors, F.lit(0.0), lambda a, b: a + b.cast("double"))
    at = F.expr(
        "cast(array_position(errors, array_max(errors)) as int) - 1"
    )  # the function takes no column
    shares = F.struct(
        *[(errors[i].cast("double") / total).alias(name) for i, name in enumerate(units.names)]
    )
    found = (
        shares,
        F.get(F.array(*[F.lit(n) for n in units.names]), at),
        F.get(F.col("step"), at),
        units.original(F.col("value"), at),
        units.original(F.col("expected"), at),
    )
    return [
        F.when(total > 0, column).alias(name) for column, name in zip(found, COLUMNS, strict=True)
    ]
