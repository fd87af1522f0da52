"""Threshold rules: from distributions to the rows of the `thresholds` table, with every fallback said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.thresholds.distribution import CHOSEN, Distributions, Key

SELF = "self"


@dataclass(frozen=True)
class Threshold:
    """A row of `thresholds`. partition None: pooled over partitions. threshold None: could not be judged."""

    detector: str
    group: str
    partition: str | None
    rule: str
    level: float
    threshold: float | None
    n: int
    ci_low: float | None
    ci_high: float | None
    fallback: str | None
    fitted_on: str

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)


def fitted_split(distributions: Distributions) -> str:
    """The split that thresholds are fitted on: calibration, or what calibrate_where admits of it."""
    return CHOSEN if any(k.split == CHOSEN for k in distributions.parts) else C.CALIBRATION


def wanted_keys(distributions: Distributions, detectors: tuple[str, ...]) -> list[Key]:
    """Every distribution of which a threshold is wanted: pooled, per group, per calibration partition, per test partition."""
    split = fitted_split(distributions)
    keys: list[Key] = []
    for d in detectors:
        groups = distributions.groups(split)
        keys += [Key(d, split, None, C.ALL), *[Key(d, split, None, g) for g in groups]]
        keys += [k for k in sorted(distributions.parts) if k.detector == d and k.split in (split, C.TEST)]
    return list(dict.fromkeys(keys))


def quantile_thresholds(
    distributions: Distributions, keys: list[Key], exact: dict[tuple[Key, float], float],
    intervals: dict[tuple[Key, float], tuple[float | None, float | None]], *, level: float, margin: float, min_count: int,
) -> list[Threshold]:
    """The quantile rule's rows: pooled first. A group or partition with fewer than min_count events falls back.

    A partition falls back on its group pooled, a group on all groups pooled. Raises DataError where even all together are too few.
    """
    rows: dict[Key, Threshold] = {}
    for key in sorted(keys, key=lambda k: (k.detector, k.partition is not None, k.group != C.ALL, k.group, k.partition or "")):
        n = distributions.of(key).n
        fitted = SELF if key.split == C.TEST else C.CALIBRATION
        low, high = intervals.get((key, level), (None, None))
        value = exact.get((key, level))
        fallback = None
        if n < min_count:
            low = high = None
            if key.partition is None and key.group == C.ALL:
                raise DataError(f"{n} judged calibration events, fewer than thresholds.min_count ({min_count}): too few for any "
                                "threshold. Widen split.calibration or lower min_count.")
            if fitted == SELF:
                value, fallback = None, f"none: n = {n} < min_count = {min_count}"
            else:
                parent = rows[Key(key.detector, key.split, None, key.group if key.partition is not None else C.ALL)]
                value, low, high = parent.threshold, parent.ci_low, parent.ci_high
                where = f"group {key.group}" if key.partition is not None and parent.fallback is None else C.ALL
                fallback = f"{where}: n = {n} < min_count = {min_count}"
                rows[key] = Threshold(key.detector, key.group, key.partition, "quantile", level, value, n, low, high, fallback, fitted)
                continue
        scaled = [None if v is None else v * margin for v in (value, low, high)]
        rows[key] = Threshold(key.detector, key.group, key.partition, "quantile", level, scaled[0], n, scaled[1], scaled[2], fallback,
                              fitted)
    return list(rows.values())


Judging = dict[tuple[str, str | None, str | None], float]


def judging(rows: list[Threshold], *, rule: str, level: float, per: str, partition_is_time: bool) -> Judging:
    """Which threshold judges: (detector, group or None for any, partition or None for any) -> threshold."""
    found: Judging = {}
    for row in rows:
        if row.rule != rule or row.level != level or row.threshold is None or row.fitted_on == SELF:
            continue
        if row.partition is None and row.group == C.ALL:
            found[row.detector, None, None] = row.threshold
        if row.partition is None and per != "all":
            found[row.detector, row.group, None] = row.threshold
        elif row.partition is not None and per == "partition" and not partition_is_time:
            found[row.detector, row.group, row.partition] = row.threshold
    return found


def threshold_of(found: Judging, detector: str, group: str, partition: str) -> float | None:
    """The threshold for an event: its partition's, else its group's, else the pooled one; None where there is none."""
    for key in ((detector, group, partition), (detector, group, None), (detector, None, None)):
        if key in found:
            return found[key]
    return None
