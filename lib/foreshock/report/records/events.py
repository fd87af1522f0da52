"""Single events that the page shows (`score_details.json`): the highest, and a sample over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foreshock.report.records.reading import read_record
from foreshock.report.wording import iso_of_micros


@dataclass(frozen=True)
class TopEvent:
    """One of the highest events of test with the window that ends at it.

    event_time, times: ISO text, UTC. x, reconstruction: (L steps, F features), scaled. errors:
    (L,). feature_errors: each feature's share of the error; None if it is not known, as are
    top_step (0 or less, counted from the event) and the values in original units.
    """

    entity: str | None
    event_id: str | None
    event_time: str
    partition: str | None
    group: str | None
    score: float | None
    threshold: float | None
    label: int | None
    kind: str | None
    features: Sequence[str]
    times: Sequence[str] = ()
    x: Sequence[Sequence[float]] | None = None
    reconstruction: Sequence[Sequence[float]] | None = None
    errors: Sequence[float] | None = None
    feature_errors: Mapping[str, float | None] | None = None
    top_feature: str | None = None
    top_step: int | None = None
    top_value: float | None = None
    top_expected: float | None = None

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> TopEvent:
        """The event in `score_details.json`, whose times are microseconds since 1970.

        Raises KeyError without `event_time`, TypeError without another field that has no default.
        """
        times = tuple(iso_of_micros(micros) for micros in raw.get("times", ()))
        event_time = iso_of_micros(raw["event_time"])
        return read_record(cls, {**raw, "times": times, "event_time": event_time})


@dataclass(frozen=True)
class TimelineEvent:
    """A scored event of the sample over time. event_time: ISO text, UTC. label None: unknown."""

    event_time: str
    score: float | None
    is_anomaly: bool | None
    label: int | None

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> TimelineEvent:
        """The event in `score_details.json`, whose time is microseconds since 1970.

        >>> raw = {"event_time": 0, "score": 1.5, "is_anomaly": True, "label": None}
        >>> TimelineEvent.from_mapping(raw).event_time
        '1970-01-01T00:00:00+00:00'
        """
        return read_record(cls, {**raw, "event_time": iso_of_micros(raw["event_time"])})
