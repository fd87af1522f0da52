"""Settings of the section `split`: which events train, calibrate and test."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from foreshock import columns
from foreshock.settings.section import SettingsSection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = {"allowed": "[from, to): two dates or timestamps; or null"}


class Span(SettingsSection):
    """A half-open range of time, `[start, end)`, in UTC."""

    start: datetime
    end: datetime

    @property
    def micros(self) -> tuple[int, int]:
        """Start and end in microseconds since 1970 UTC.

        >>> second = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
        >>> Span(start=_EPOCH, end=second).micros
        (0, 1000000)
        """
        resolution = _EPOCH.resolution  # a microsecond
        return (self.start - _EPOCH) // resolution, (self.end - _EPOCH) // resolution

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


class TestTable(SettingsSection):
    """A table of its own to test on. It has the columns of the main table."""

    # This is no test class, whatever pytest thinks of its name.
    __test__ = False

    path: Annotated[str, Field(min_length=1, description="Where the table lies.")]


class SplitSettings(SettingsSection):
    """Half-open ranges of time, in this order and without overlap. Times without a zone are UTC."""

    train: Annotated[
        Span | None,
        Field(
            description="What models are trained on. Required unless `model.from` is given.",
            json_schema_extra=_SPAN,
        ),
    ] = None
    calibration: Annotated[
        Span | None,
        Field(
            description=(
                "What thresholds are fitted on. Required if `calibration.method` is split and "
                "`model.from` is null."
            ),
            json_schema_extra=_SPAN,
        ),
    ] = None
    test: Annotated[
        Span | TestTable | None,
        Field(
            description=(
                "What is judged and evaluated: a range of time, or another table with the same "
                "columns. Required."
            ),
            json_schema_extra={"allowed": "[from, to): two dates or timestamps; or {path: …}"},
        ),
    ] = None

    @field_validator("train", "calibration", "test", mode="before")
    @classmethod
    def _read_span(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return value
        if isinstance(value, list | tuple):
            return _span_of(value)
        if isinstance(value, dict) and set(value) == {"path"}:
            if info.field_name != "test":
                raise ValueError(f"only test takes a path, not {info.field_name}")
            return TestTable(**value)
        raise ValueError(f"[from, to) or, for test, {{path: …}} is wanted, received {value!r}")

    @model_validator(mode="after")
    def _in_order(self) -> SplitSettings:
        spans = self.spans().items()
        for (earlier_name, earlier), (later_name, later) in itertools.pairwise(spans):
            if later.start < earlier.start:
                raise ValueError(
                    f"in the order train, calibration, test: {later_name} {later} begins before "
                    f"{earlier_name} {earlier}"
                )
            if later.start < earlier.end:
                raise ValueError(
                    f"no overlap: {earlier_name} {earlier} and {later_name} {later} overlap"
                )
        return self

    def spans(self) -> dict[str, Span]:
        """The splits of the main table that are ranges of time, by name and in order of time.

        A split that is null, or is a table of its own, is left out.
        """
        ranges = {name: getattr(self, name) for name in columns.SPLITS}
        return {name: span for name, span in ranges.items() if isinstance(span, Span)}

    @property
    def test_path(self) -> str | None:
        """Where the test table lies; None if `test` is a range of time."""
        return self.test.path if isinstance(self.test, TestTable) else None


def parse_time(value: Any) -> datetime:
    """A date, a timestamp or the text of one as a time in UTC. Raises ValueError for all else.

    >>> parse_time("2019-03-01T02:00:00+02:00")
    datetime.datetime(2019, 3, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    instant = value
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _no_time(value) from None
    # To Python a datetime is a date too.
    elif isinstance(value, date) and not isinstance(value, datetime):
        instant = datetime(value.year, value.month, value.day)
    if not isinstance(instant, datetime):
        raise _no_time(value)
    # A time without a zone is UTC, whatever the zone of the machine.
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _no_time(value: Any) -> ValueError:
    return ValueError(f"a date or timestamp such as 2019-03-01 is wanted, received {value!r}")


def _span_of(times: list[Any] | tuple[Any, ...]) -> Span:
    if len(times) != 2:
        raise ValueError(f"[from, to) takes two times, received {len(times)}")
    start, end = (parse_time(value) for value in times)
    if start >= end:
        raise ValueError(f"[from, to): from must be before to, received [{times[0]}, {times[1]}]")
    return Span(start=start, end=end)
