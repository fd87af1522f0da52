"""Which type a column of text has, decided from counts of what its cells parse as."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

from foreshock.errors import DataError

BOOLEAN, WHOLE_NUMBER, LARGE_NUMBER = "boolean", "bigint", "decimal(38,0)"
FLOATING, TEXT, VOID = "double", "string", "void"


@dataclass(frozen=True)
class CellCounts:
    """How many cells of a text column parse as what. Blank cells are not counted.

    `beyond_int64` and `beyond_38_digits` are whole numbers too large for `bigint` and
    `decimal(38,0)`.
    """

    filled: int = 0
    numbers: int = 0
    integers: int = 0
    beyond_int64: int = 0
    beyond_38_digits: int = 0
    booleans: int = 0

    def __add__(self, other: CellCounts) -> CellCounts:
        sums = [mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)]
        return CellCounts(*sums)

    def to_list(self) -> list[int]:
        """The counts as ledger.json holds them, in the order of the fields.

        >>> CellCounts(filled=3, numbers=2).to_list()
        [3, 2, 0, 0, 0, 0]
        """
        return list(astuple(self))

    @classmethod
    def from_list(cls, counts: Sequence[int]) -> CellCounts:
        """The counts that `to_list` wrote. Raises DataError for a list of another length.

        >>> CellCounts.from_list([3, 2, 0, 0, 0, 0]).numbers
        2
        """
        if len(counts) != len(cls.__dataclass_fields__):
            raise DataError(
                f"cells: {len(cls.__dataclass_fields__)} counts are wanted, received {len(counts)}."
            )
        return cls(*counts)

    def column_type(self, max_bad: float) -> str:
        """The SQL type of a column with these cells.

        max_bad: the share of filled cells that may fail to parse in a numeric column.

        >>> CellCounts(filled=100, numbers=99, integers=99).column_type(max_bad=0.01)
        'bigint'
        >>> CellCounts(filled=100, numbers=98, integers=98).column_type(max_bad=0.01)
        'string'
        >>> CellCounts().column_type(max_bad=0.01)
        'void'
        """
        if not self.filled:
            return VOID
        # Only numbers may have cells that do not parse: booleans are all or none.
        if self.booleans == self.filled:
            return BOOLEAN
        if self.numbers < (1 - max_bad) * self.filled:
            return TEXT
        if self.integers != self.numbers or self.beyond_38_digits:
            return FLOATING
        # 38 digits are the most that Spark's decimals have; a double rounds beyond 15.
        return LARGE_NUMBER if self.beyond_int64 else WHOLE_NUMBER


ColumnCells = Mapping[str, CellCounts]
"""The cells of a source partition's columns, by column."""

Census = Mapping[str, ColumnCells]
"""The cells of a source's columns, by source partition."""


def infer_types(census: Census, max_bad: float) -> dict[str, str]:
    """The SQL type of each text column, from its cells in all source partitions together.

    The order in which the source partitions came does not matter.

    >>> monday = {"amount": CellCounts(filled=2, numbers=2, integers=2)}
    >>> tuesday = {"amount": CellCounts(filled=2, numbers=2, integers=1)}
    >>> infer_types({"2023-01-02": monday, "2023-01-03": tuesday}, max_bad=0.0)
    {'amount': 'double'}
    """
    totals: dict[str, CellCounts] = {}
    for columns in census.values():
        for column, cells in columns.items():
            totals[column] = totals.get(column, CellCounts()) + cells
    return {column: cells.column_type(max_bad) for column, cells in totals.items()}


def changed_types(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The columns of `after` whose type differs from that in `before`, sorted.

    >>> changed_types({"amount": "bigint"}, {"amount": "double", "note": "string"})
    ['amount', 'note']
    """
    return sorted(column for column in after if before.get(column) != after[column])


def incomplete_columns(census: Census, columns: Iterable[str]) -> list[str]:
    """The columns, in the order given, that some source partition lacks.

    >>> cells = CellCounts(filled=1)
    >>> incomplete_columns({"a": {"x": cells, "y": cells}, "b": {"x": cells}}, ["x", "y"])
    ['y']
    """
    return [column for column in columns if any(column not in cells for cells in census.values())]
