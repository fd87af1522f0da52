"""Settings of the data: source, events, split; and what every section shares."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from foreshock import columns

ANOMALY_KINDS = ("value_spike", "dust_burst", "gas_price_regime", "drained_account", "order_only")
NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]


def not_available(what: str) -> ValueError:
    """The error for a value of the interface that is not built yet."""
    return ValueError(f"{what} is not available in this version")


class Section(BaseModel):
    """A part of the settings: frozen, strict about keys, finite numbers only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any, info: ValidationInfo) -> Any:
        if (
            isinstance(value, bool)
            and cls.model_fields[str(info.field_name)].annotation is not bool
        ):
            raise ValueError(
                "neither true nor false; a number (an integer for counts), text or a section is wanted"
            )
        return value


class RunSettings(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)] = "run"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7


class SourceSettings(Section):
    """Where events come from. `events` … `anomalies_from` shape the synthetic table only, `database` … `query_timeout` ask Athena.

    partitions: first and last, both included. output: where UNLOAD writes; max_bytes_scanned: of all queries of a run together;
    queries: so many at once; query_timeout: seconds for each.
    """

    kind: str = "files"
    path: str | None = None
    format: str = "parquet"
    schema_: Annotated[str | None, Field(alias="schema")] = None
    events: Positive = 150_000
    entities: Positive = 300
    start: date = date(2023, 1, 1)
    days: Annotated[int, Field(ge=1, le=20_000)] = 30
    seed: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    prevalence: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    kinds: tuple[str, ...] = ANOMALY_KINDS
    anomalies_from: date | None = None
    database: Annotated[str | None, Field(min_length=1)] = None
    table: Annotated[str | None, Field(min_length=1)] = None
    query: Annotated[str | None, Field(min_length=1)] = None
    partitions: tuple[str, str] | None = None
    workgroup: Annotated[str | None, Field(min_length=1)] = None
    output: Annotated[str | None, Field(pattern=r"^s3://[^/]+")] = None
    max_bytes_scanned: Positive | None = None
    queries: Annotated[int, Field(ge=1, le=100)] = 4
    query_timeout: Annotated[float, Field(gt=0)] = 3600

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        if value not in ("files", "synthetic", "athena"):
            raise ValueError("allowed: files, synthetic, athena")
        return value

    @field_validator("format")
    @classmethod
    def _format(cls, value: str) -> str:
        if value == "npy":
            raise not_available("`npy`")
        if value not in ("parquet", "csv", "jsonl"):
            raise ValueError("allowed: parquet, csv, jsonl")
        return value

    @field_validator("kinds")
    @classmethod
    def _kinds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(ANOMALY_KINDS)):
            raise ValueError(f"allowed: {', '.join(ANOMALY_KINDS)}; unknown: {', '.join(unknown)}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> SourceSettings:
        for kind, own in OWN_KEYS.items():
            if kind != self.kind and (extra := sorted(own & self.model_fields_set)):
                names = ", ".join(e.rstrip("_") for e in extra)
                raise ValueError(f"only kind: {kind} takes {names}; {self.kind} takes no {names}")
        if self.kind == "files" and not self.path:
            raise ValueError("`path` is needed for kind: files")
        if self.kind == "athena":
            if (self.table is None) == (self.query is None):
                raise ValueError("kind: athena wants either `table` or `query`")
            if self.database is None:
                raise ValueError("`database` is needed for kind: athena")
            if self.partitions is not None and _ordered(self.partitions[0]) > _ordered(
                self.partitions[1]
            ):
                raise ValueError(
                    f"partitions: the first comes before the last; received {list(self.partitions)}"
                )
        return self

    @field_validator("partitions", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return [str(v) for v in value] if isinstance(value, list | tuple) else value


def _ordered(partition: str) -> tuple[int, str]:
    """By what partitions are in order: whole numbers as such."""
    return (int(partition), "") if re.match(r"^-?\d+$", partition) else (0, partition)


OWN_KEYS = {
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


class EventsSettings(Section):
    """SQL expressions over the source's columns."""

    entity: str
    time: str
    partition: str | None = None
    group: str | None = None
    tiebreak: tuple[str, ...] = ()
    id: str | None = None
    label: str | None = None
    kind: str | None = None
    where: str | None = None
    train_where: str | None = None
    calibrate_where: str | None = None
    features: Annotated[dict[str, str], Field(min_length=1)]

    @field_validator("*", mode="before")
    @classmethod
    def _blank(cls, value: Any) -> Any:
        if any(
            isinstance(v, str) and not v.strip()
            for v in (value if isinstance(value, list | tuple) else [value])
        ):
            raise ValueError("an empty expression")
        if isinstance(value, bool | int | float):
            return str(value)
        return value

    @field_validator("tiebreak", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("features", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name, expression in value.items():
            if not isinstance(name, str) or not NAME.match(name):
                raise ValueError(
                    f"a feature's name is letters, digits and _, not starting with a digit: {name!r}"
                )
            if name in columns.CONTRACT or name.startswith(
                (columns.TIEBREAK_PREFIX, columns.RAW_PREFIX)
            ):
                raise ValueError(
                    f"`{name}` is a column of the event contract; name the feature otherwise"
                )
            if isinstance(expression, list | dict):
                raise ValueError(
                    f"feature `{name}`: one SQL expression is wanted, received {expression!r}"
                )
            if not str(expression if expression is not None else "").strip():
                raise ValueError(f"feature `{name}` has an empty expression")
        folded = [name.lower() for name in value]
        if len(set(folded)) != len(folded):
            raise ValueError("two features differ only in case")
        return {name: str(expression) for name, expression in value.items()}


class Span(Section):
    """A half-open range of time, `[start, end)`, in UTC."""

    start: datetime
    end: datetime

    @property
    def micros(self) -> tuple[int, int]:
        """Start and end in microseconds since 1970 UTC."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return tuple((at - epoch) // (epoch.resolution) for at in (self.start, self.end))  # type: ignore[return-value]

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


class TestTable(Section):
    __test__ = False
    path: Annotated[str, Field(min_length=1)]


def parse_time(value: Any) -> datetime:
    """A date, timestamp or its text as a time in UTC. Raises ValueError for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f"a date or timestamp such as 2019-03-01 is wanted, received {value!r}"
            ) from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"a date or timestamp such as 2019-03-01 is wanted, received {value!r}")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SplitSettings(Section):
    train: Span | None = None
    calibration: Span | None = None
    test: Span | TestTable | None = None

    @field_validator("train", "calibration", "test", mode="before")
    @classmethod
    def _span(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError(f"[from, to) takes two times, received {len(value)}")
            start, end = (parse_time(v) for v in value)
            if start >= end:
                raise ValueError(
                    f"[from, to): from must be before to, received [{value[0]}, {value[1]}]"
                )
            return Span(start=start, end=end)
        if isinstance(value, dict) and set(value) == {"path"}:
            if info.field_name != "test":
                raise ValueError(f"only test takes a path, not {info.field_name}")
            return TestTable(**value)
        if value is None:
            return value
        raise ValueError(f"[from, to) or, for test, {{path: …}} is wanted, received {value!r}")

    @model_validator(mode="after")
    def _order(self) -> SplitSettings:
        spans = [(name, span) for name, span in self.spans().items()]
        for (a, first), (b, second) in itertools.pairwise(spans):
            if second.start < first.start:
                raise ValueError(
                    f"in the order train, calibration, test: {b} {second} begins before {a} {first}"
                )
            if second.start < first.end:
                raise ValueError(f"no overlap: {a} {first} and {b} {second} overlap")
        return self

    def spans(self) -> dict[str, Span]:
        """The splits of the main table that are ranges of time, in order."""
        return {n: s for n in columns.SPLITS if isinstance(s := getattr(self, n), Span)}

    @property
    def test_path(self) -> str | None:
        return self.test.path if isinstance(self.test, TestTable) else None
