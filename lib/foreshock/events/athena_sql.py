"""The SQL that Athena is asked: one SELECT, and the UNLOAD of a partition.

No setting becomes SQL unquoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import TokenType

from foreshock.errors import SettingsError
from foreshock.events.partitions import NULL, WHOLE

WHOLE_NUMBERS = ("int", "bigint", "smallint", "tinyint", "integer")


@dataclass(frozen=True)
class AthenaTable:
    """What Athena is to give.

    sql: the query that yields the rows.
    partition_key: the partition column; None if the table is taken whole.
    key_type: the SQL type of that column.
    locations: the folders of each partition. It is empty for a query, and `*` has those of a table
    that is taken whole.
    values: the partitions, in order; for a query the days or months asked for.
    """

    sql: str
    partition_key: str | None
    key_type: str
    locations: Mapping[str, list[str]]
    values: tuple[str, ...]


def quoted_name(text: str) -> str:
    """An identifier quoted for Athena.

    >>> quoted_name('a"b')
    '"a""b"'
    """
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string quoted for Athena.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def check_query(query: str) -> None:
    """Raise SettingsError unless a query is one SELECT that no parenthesis in it can break out of.

    >>> check_query("SELECT a FROM t WHERE b = ';'")
    >>> check_query("SELECT 1; DROP TABLE t")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    foreshock.errors.SettingsError: `source.query`: it holds more than one statement ...
    """
    fault = _fault(query)
    if fault is not None:
        raise SettingsError(f"`source.query`: {fault}; one SELECT is wanted, without a semicolon.")


def _fault(query: str) -> str | None:
    """What keeps a query from being one SELECT, or None."""
    try:
        tokens = sqlglot.tokenize(query, read="athena")
    except Exception:
        return "it cannot be split into words (an open quote or comment)"
    token_types = [token.token_type for token in tokens]
    if TokenType.SEMICOLON in token_types:
        return "it holds more than one statement or a semicolon"
    first = next((token for token in tokens if token.token_type != TokenType.L_PAREN), None)
    if first is None:
        return "it is empty"
    if first.token_type not in (TokenType.SELECT, TokenType.WITH):
        return f"it begins with {first.text!r}"
    if not _parentheses_match(token_types):
        return "its parentheses do not match"
    try:
        parsed: Any = sqlglot.parse_one(query, read="athena")
    except sqlglot.errors.SqlglotError:
        # Athena knows more than the parser does.
        return None
    return None if isinstance(parsed, sqlglot.exp.Query) else "it is no SELECT"


def _parentheses_match(token_types: list[TokenType]) -> bool:
    depth = 0
    for token_type in token_types:
        depth += (token_type == TokenType.L_PAREN) - (token_type == TokenType.R_PAREN)
        if depth < 0:
            # It closes the parenthesis that UNLOAD opens.
            return False
    return depth == 0


def whole_number(value: str) -> int:
    """A partition of a column of whole numbers. Raises SettingsError for text that is none.

    >>> whole_number("09")
    9
    """
    if not re.match(r"^-?\d+$", value):
        raise SettingsError(
            "`source.partitions`: the partition column holds whole numbers; "
            f"{value!r} is no whole number."
        )
    return int(value)


def unload_statement(table: AthenaTable, source_partition: str, target: str) -> str:
    """The UNLOAD of a source partition (`*`: everything) to a folder on S3.

    >>> table = AthenaTable("SELECT * FROM t", "day", "date", {}, ("2019-12-30",))
    >>> print(unload_statement(table, "2019-12-30", "s3://lake/out/"))
    UNLOAD (
    SELECT * FROM t WHERE "day" = DATE '2019-12-30'
    ) TO 's3://lake/out/' WITH (format = 'PARQUET', compression = 'SNAPPY')
    """
    where_clause = ""
    if table.partition_key is not None:
        if source_partition != WHOLE:
            where_clause = (
                f" WHERE {_is_partition(table.partition_key, table.key_type, source_partition)}"
            )
        elif table.values:
            where_clause = f" WHERE {_is_between(table.partition_key, table)}"
    options = "format = 'PARQUET', compression = 'SNAPPY'"
    return f"UNLOAD (\n{table.sql}{where_clause}\n) TO {literal(target)} WITH ({options})"


def _is_partition(partition_key: str, key_type: str, value: str) -> str:
    column = quoted_name(partition_key)
    if value == NULL:
        return f"{column} IS NULL"
    if key_type == "varchar":
        # The column of a query: its type is not known.
        return f"CAST({column} AS varchar) = {literal(value)}"
    return f"{column} = {_typed_literal(key_type, value)}"


def _is_between(partition_key: str, table: AthenaTable) -> str:
    first = _typed_literal(table.key_type, table.values[0])
    last = _typed_literal(table.key_type, table.values[-1])
    return f"{quoted_name(partition_key)} BETWEEN {first} AND {last}"


def _typed_literal(key_type: str, value: str) -> str:
    if key_type in WHOLE_NUMBERS:
        return str(whole_number(value))
    if key_type == "date":
        return f"DATE {literal(value)}"
    return literal(value)
