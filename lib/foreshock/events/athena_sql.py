"""What Athena is asked: a table or a query, its partitions, and the UNLOAD of each. No setting becomes SQL unquoted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlglot
from sqlglot.tokens import TokenType

from foreshock.errors import DataError, SettingsError
from foreshock.events.partitions import DAY, MONTH, NULL, WHOLE, identifier

WHOLE_NUMBERS = ("int", "bigint", "smallint", "tinyint", "integer")


@dataclass(frozen=True)
class Table:
    """What Athena is to give: SQL that yields the rows, its partition column with type, and the partitions' values and locations.

    locations is empty for a query, whose partitions are the days or months asked for; `*` has those of a table that is taken whole.
    """

    sql: str
    key: str | None
    kind: str
    locations: dict[str, list[str]]
    values: tuple[str, ...]


def name(text: str) -> str:
    """An identifier quoted for Athena."""
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string quoted for Athena."""
    return "'" + text.replace("'", "''") + "'"


def check_query(query: str) -> None:
    """Raise SettingsError unless a query is one SELECT that no parenthesis of its own can break out of."""

    def refuse(why: str) -> SettingsError:
        return SettingsError(f"`source.query`: {why}; one SELECT is wanted, without a semicolon.")

    try:
        tokens = sqlglot.tokenize(query, read="athena")
    except Exception:
        raise refuse("it cannot be split into words (an open quote or comment)") from None
    if any(t.token_type == TokenType.SEMICOLON for t in tokens):
        raise refuse("it holds more than one statement or a semicolon")
    words = [t for t in tokens if t.token_type != TokenType.L_PAREN]
    if not words or words[0].token_type not in (TokenType.SELECT, TokenType.WITH):
        raise refuse(f"it begins with {words[0].text!r}" if words else "it is empty")
    depth = 0
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth < 0:
            break
    if depth:
        raise refuse("its parentheses do not match")
    try:
        parsed: Any = sqlglot.parse_one(query, read="athena")
    except sqlglot.errors.SqlglotError:
        return  # Athena knows more than the parser does
    if not isinstance(parsed, sqlglot.exp.Query):
        raise refuse("it is no SELECT")


def find_table(
    glue: Any, database: str, table: str, partition: str | None, asked: tuple[str, str] | None
) -> Table:
    """A table of the Glue catalog. partition: the setting events.partition; asked: first and last partition wanted, both included.

    Raises DataError where partitions are asked for of a table without the column.
    """
    found = glue.get_table(DatabaseName=database, Name=table)["Table"]
    keys = {k["Name"]: k.get("Type", "string").lower() for k in found.get("PartitionKeys", [])}
    wanted = identifier(partition)
    key = next((k for k in keys if wanted is not None and k.lower() == wanted.lower()), None)
    if key is None and asked is not None:
        if len(keys) != 1:
            raise DataError(
                f"`source.partitions`: the table {database}.{table} has {len(keys) or 'no'} partition columns"
                f"{' (' + ', '.join(keys) + ')' if keys else ''}; set events.partition to the one that is meant."
            )
        key = next(iter(keys))
    sql = f"SELECT * FROM {name(database)}.{name(table)}"
    projected = found.get("Parameters", {}).get("projection.enabled", "").lower() == "true"
    whole = found.get("StorageDescriptor", {}).get("Location")
    if key is None or (projected and asked is None):  # what a projection has, Glue does not list
        parts = [] if projected else _partitions(glue, database, table) if keys else []
        return Table(
            sql,
            None,
            "string",
            {
                WHOLE: [p["StorageDescriptor"]["Location"] for p in parts]
                or ([whole] if whole else [])
            },
            (),
        )
    kind = keys[key]
    order = _order(kind)
    locations: dict[str, list[str]] = {}
    if projected and asked is not None:
        template = found["Parameters"].get(
            "storage.location.template", f"{str(whole).rstrip('/')}/{key}=${{{key}}}"
        )
        locations = {
            v: [template.replace(f"${{{key}}}", v)] if len(keys) == 1 else [str(whole)]
            for v in _between(*asked)
        }
    else:
        at = list(keys).index(key)
        for one in _partitions(glue, database, table):
            value = one["Values"][at]
            locations.setdefault(
                str(order(value)) if kind in WHOLE_NUMBERS and value != NULL else value, []
            ).append(one["StorageDescriptor"]["Location"])
    known = sorted((v for v in locations if v != NULL), key=order)
    values = tuple(
        [v for v in known if asked is None or order(asked[0]) <= order(v) <= order(asked[1])]
        + [v for v in locations if v == NULL and asked is None]
    )
    if not values:
        there = (
            f"; there are {len(known)}, from {known[0]} to {known[-1]}"
            if known
            else ", nor any other in the Glue catalog"
        )
        raise DataError(
            f"`source.partitions`: {database}.{table} has no partition from {asked[0]} to {asked[1]}{there}."
            if asked
            else f"`source.table`: {database}.{table} has no partition in the Glue catalog; the source is empty."
        )
    return Table(sql, key, kind, {v: locations[v] for v in values}, values)


def _partitions(glue: Any, database: str, table: str) -> list[dict[str, Any]]:
    return [
        p
        for page in glue.get_paginator("get_partitions").paginate(
            DatabaseName=database, TableName=table
        )
        for p in page["Partitions"]
    ]


def _order(kind: str) -> Callable[[str], Any]:
    """By what values of a partition column are in order: whole numbers are not text. Raises SettingsError for a value that is none."""
    return _whole if kind in WHOLE_NUMBERS else str


def _whole(value: str) -> int:
    if not re.match(r"^-?\d+$", value):
        raise SettingsError(
            f"`source.partitions`: the partition column holds whole numbers; {value!r} is no whole number."
        )
    return int(value)


def find_query(query: str, partition: str | None, asked: tuple[str, str] | None) -> Table:
    """A query as a table; its partitions are the days or months from the first asked for to the last.

    Raises SettingsError for a query that is not one SELECT, or where partitions are asked for without a column or of another kind.
    """
    check_query(query)
    key = identifier(partition)
    sql = f"SELECT * FROM (\n{query}\n)"
    if asked is None:
        return Table(sql, None, "string", {}, ())
    if key is None:
        raise SettingsError(
            "`source.partitions` with a query wants events.partition: the column of the query that holds the partition."
        )
    return Table(sql, key, "varchar", {}, tuple(_between(*asked)))


def _between(first: str, last: str) -> Iterator[str]:
    """Days or months from the first to the last, both included."""
    for pattern, step in ((DAY, "D"), (MONTH, "M")):
        if re.match(pattern, first) and re.match(pattern, last):
            yield from (
                np.arange(np.datetime64(first, step), np.datetime64(last, step) + 1)
                .astype(str)
                .tolist()
            )
            return
    raise SettingsError(
        f"`source.partitions`: where the catalog does not list them, first and last are days such as 2019-12-30 or months "
        f"such as 2019-12; received {first!r} and {last!r}."
    )


def statement(table: Table, unit: str, target: str) -> str:
    """The UNLOAD of a unit (`*`: everything) to a folder."""
    where = ""
    if unit != WHOLE and table.key is not None:
        where = f" WHERE {_condition(table, unit)}"
    elif table.values and table.key is not None:
        where = f" WHERE {name(table.key)} BETWEEN {_typed(table.kind, table.values[0])} AND {_typed(table.kind, table.values[-1])}"
    return f"UNLOAD (\n{table.sql}{where}\n) TO {literal(target)} WITH (format = 'PARQUET', compression = 'SNAPPY')"


def _condition(table: Table, value: str) -> str:
    key = name(str(table.key))
    if value == NULL:
        return f"{key} IS NULL"
    if table.kind == "varchar":  # of a query: the column's type is not known
        return f"CAST({key} AS varchar) = {literal(value)}"
    return f"{key} = {_typed(table.kind, value)}"


def _typed(kind: str, value: str) -> str:
    if kind in WHOLE_NUMBERS:
        return str(_whole(value))
    if kind == "date":
        return f"DATE {literal(value)}"
    return literal(value)
