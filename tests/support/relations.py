"""Queries of DuckDB that give rows."""

from __future__ import annotations

from typing import cast

import duckdb


def relation(sql: str) -> duckdb.DuckDBPyRelation:
    """The rows of a SELECT. The query sees views and files, not the caller's variables."""
    return cast(duckdb.DuckDBPyRelation, duckdb.sql(sql))
