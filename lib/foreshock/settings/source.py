"""Settings of the section `source`: where events come from."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from foreshock.settings.section import OneOf, PositiveInteger, SettingsSection

ANOMALY_KINDS = ("value_spike", "dust_burst", "gas_price_regime", "drained_account", "order_only")
_KINDS_TEXT = ", ".join(ANOMALY_KINDS)


class SourceSettings(SettingsSection):
    """Where events come from: files, a synthetic table made here, or a table that Athena reads.

    Some keys belong to one kind of source; another kind refuses them.
    """

    kind: Annotated[
        str,
        AfterValidator(OneOf(("files", "synthetic", "athena"))),
        Field(description="The kind of source: files, a table made by Foreshock, or Athena."),
    ] = "files"
    path: Annotated[
        str | None,
        Field(
            description=(
                "A file, folder, glob or s3://… URL. Folders like date=2019-12-30 are partitions. "
                "Relative to the conf file. Required if `kind` is files."
            )
        ),
    ] = None
    format: Annotated[
        str,
        AfterValidator(OneOf(("parquet", "csv", "jsonl"), later=("npy",))),
        Field(description="The format of the files."),
    ] = "parquet"
    schema_: Annotated[
        str | None,
        Field(
            alias="schema",
            description=(
                "For csv and jsonl: the columns as a DDL string, such as `value DOUBLE, day DATE`. "
                "If null, names come from the header and types are inferred over the whole source: "
                "a column is numeric if at least 1 − quality.max_quarantined of its cells parse, "
                "and the rows of the remaining cells are quarantined."
            ),
        ),
    ] = None
    events: Annotated[
        PositiveInteger, Field(description="Synthetic table: the number of events.")
    ] = 150_000
    entities: Annotated[
        PositiveInteger, Field(description="Synthetic table: the number of entities.")
    ] = 300
    start: Annotated[date, Field(description="Synthetic table: the first day.")] = date(2023, 1, 1)
    days: Annotated[
        int, Field(ge=1, le=20_000, description="Synthetic table: the number of days.")
    ] = 30
    seed: Annotated[
        int | None,
        Field(
            ge=0,
            lt=2**31,
            description="Synthetic table: where its random numbers start. If null, `run.seed`.",
        ),
    ] = None
    prevalence: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="Synthetic table: the share of events that are anomalous.",
        ),
    ] = 0.02
    kinds: Annotated[
        tuple[str, ...],
        Field(
            description="Synthetic table: the kinds of anomalies.",
            json_schema_extra={"allowed": f"list of {_KINDS_TEXT}"},
        ),
    ] = ANOMALY_KINDS
    anomalies_from: Annotated[
        date | None,
        Field(description="Synthetic table: the first day with anomalies. If null, the first day."),
    ] = None
    database: Annotated[
        str | None,
        Field(min_length=1, description="Athena: the database. Required if `kind` is athena."),
    ] = None
    table: Annotated[
        str | None,
        Field(min_length=1, description="Athena: the table. Either `table` or `query` is given."),
    ] = None
    query: Annotated[
        str | None,
        Field(min_length=1, description="Athena: one SELECT statement, instead of `table`."),
    ] = None
    partitions: Annotated[
        tuple[str, str] | None,
        Field(
            description=(
                "Athena: the first and the last partition to read, both included. "
                "If null, all partitions."
            ),
            json_schema_extra={"allowed": "[first, last] or null"},
        ),
    ] = None
    workgroup: Annotated[
        str | None,
        Field(min_length=1, description="Athena: the workgroup. If null, Athena's primary."),
    ] = None
    output: Annotated[
        str | None,
        Field(
            pattern=r"^s3://[^/]+",
            description=(
                "Athena: the folder that UNLOAD writes to, s3://…. Required unless the run "
                "directory is on S3, which is then the default."
            ),
        ),
    ] = None
    max_bytes_scanned: Annotated[
        PositiveInteger | None,
        Field(
            description=(
                "Athena: how many bytes all queries of a run together may scan. If they scan "
                "more, running queries are stopped and the exit code is 4. If null, no limit."
            )
        ),
    ] = None
    queries: Annotated[
        int, Field(ge=1, le=100, description="Athena: how many queries run at the same time.")
    ] = 4
    query_timeout: Annotated[
        float, Field(gt=0, description="Athena: the longest time of one query, in seconds.")
    ] = 3600

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(ANOMALY_KINDS)):
            raise ValueError(f"allowed: {_KINDS_TEXT}; unknown: {', '.join(unknown)}")
        return value

    @field_validator("partitions", mode="before")
    @classmethod
    def _partitions_as_text(cls, value: Any) -> Any:
        # YAML reads 20191230 and 2019-12-30 as a number and a date.
        return [str(name) for name in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _keys_of_its_kind(self) -> SourceSettings:
        for kind, fields in FIELDS_OF_KIND.items():
            # Only keys that the conf names: every field has a value by default.
            if kind != self.kind and (extra := sorted(fields & self.model_fields_set)):
                names = ", ".join(name.rstrip("_") for name in extra)
                raise ValueError(f"only kind: {kind} takes {names}; {self.kind} takes no {names}")
        if self.kind == "files" and not self.path:
            raise ValueError("`path` is needed for kind: files")
        return self

    @model_validator(mode="after")
    def _athena_is_complete(self) -> SourceSettings:
        if self.kind != "athena":
            return self
        if (self.table is None) == (self.query is None):
            raise ValueError("kind: athena wants either `table` or `query`")
        if self.database is None:
            raise ValueError("`database` is needed for kind: athena")
        if self.partitions is not None:
            first, last = self.partitions
            if _partition_order(first) > _partition_order(last):
                received = list(self.partitions)
                raise ValueError(
                    f"partitions: the first comes before the last; received {received}"
                )
        return self


def _partition_order(partition: str) -> tuple[int, str]:
    """The sort key of a partition's name: whole numbers by value, before them all other text."""
    # As text, 10 comes before 9.
    return (int(partition), "") if re.match(r"^-?\d+$", partition) else (0, partition)


# The fields that one kind of source takes and the remaining kinds refuse.
FIELDS_OF_KIND = {
    "files": {"path", "format", "schema_"},
    "synthetic": {
        "events",
        "entities",
        "start",
        "days",
        "seed",
        "prevalence",
        "kinds",
        "anomalies_from",
    },
    "athena": {
        "database",
        "table",
        "query",
        "partitions",
        "workgroup",
        "output",
        "max_bytes_scanned",
        "queries",
        "query_timeout",
    },
}

# How Athena is asked, not what it is asked for: two runs that differ here alone are the same run.
FIELDS_OF_ASKING = ("workgroup", "output", "max_bytes_scanned", "queries", "query_timeout")
