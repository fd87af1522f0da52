"""Threshold rules: from distributions to rows of `thresholds`, with every fallback said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from foreshock import columns as C
from foreshock.errors import DataError, SettingsError
from foreshock.thresholds.distribution import ADMITTED, Distributions, Key, TailEvents
from foreshock.thresholds.pareto import dispersion, fit_tail, interval

# What `fitted_on` says of a test partition's threshold, which never judges, and of a fixed value.
SELF, FIXED = "self", "fixed"


@dataclass(frozen=True)
class Threshold:
    """A row of `thresholds`.

    partition None: pooled over partitions. level None: a fixed value. threshold None: could not be
    judged. goodness: the p-value of the tail's fit (pot); small if the tail is no Pareto tail.
    """

    detector: str
    group: str
    partition: str | None
    rule: str
    level: float | None
    threshold: float | None
    n: int
    ci_low: float | None
    ci_high: float | None
    fallback: str | None
    fitted_on: str
    goodness: float | None = None

    def to_mapping(self) -> dict[str, Any]:
        """The row by column, without `run_id`.

        Values are plain, as Arrow and JSON take them.
        """
        return asdict(self)


def wanted_keys(distributions: Distributions, detectors: tuple[str, ...], fitted: str) -> list[Key]:
    """Every distribution of which a threshold is wanted: pooled, per group, per partition.

    Each test partition has one too. fitted: the split that thresholds are fitted on; only what
    calibrate_where admits of it, if there is such a part. Empty if the split has no events.
    """
    splits = {key.split for key in distributions.parts}
    split = ADMITTED if ADMITTED in splits else fitted
    if split not in splits:
        return []
    keys: list[Key] = []
    for detector in detectors:
        keys.append(Key(detector, split, None, C.ALL))
        keys += [Key(detector, split, None, group) for group in distributions.groups(split)]
        keys += [
            key
            for key in sorted(distributions.parts)
            if key.detector == detector and key.split in (split, C.TEST)
        ]
    return list(dict.fromkeys(keys))


@dataclass(frozen=True)
class Estimate:
    """A rule's threshold of one distribution, with its 95 % interval.

    goodness: the p-value of the fitted tail, if there is one. instead: which other rule gave it,
    and why.
    """

    threshold: float
    ci_low: float | None = None
    ci_high: float | None = None
    goodness: float | None = None
    instead: str | None = None


def threshold_rows(
    distributions: Distributions,
    keys: list[Key],
    estimate_of: Callable[[Key], Estimate | str],
    *,
    rule: str,
    level: float,
    margin: float,
    min_count: int,
    fitted: str,
) -> list[Threshold]:
    """A rule's rows: pooled first.

    estimate_of: a distribution's estimate, or why there is none. A partition that has too few
    events (min_count) or no estimate falls back on its group pooled, a group on all groups pooled.
    Raises DataError if even all together are too few.
    """
    rows: dict[Key, Threshold] = {}
    # Pooled rows come first: a partition or group that falls back copies one of them.
    for key in sorted(keys, key=_pooled_first):
        n = distributions.of(key).n
        fitted_on = SELF if key.split == C.TEST else fitted
        estimate = estimate_of(key) if n >= min_count else f"n = {n} < min_count = {min_count}"
        if not isinstance(estimate, str):
            row = _estimated_row(key, rule, level, estimate, margin, n, fitted_on)
        elif key.partition is None and key.group == C.ALL:
            advice = " or lower thresholds.min_count." if n < min_count else "."
            raise DataError(
                f"{n} judged events of split.{fitted} are too few for any threshold ({estimate}). "
                f"Widen it{advice}"
            )
        elif fitted_on == SELF:
            row = Threshold(
                key.detector,
                key.group,
                key.partition,
                rule,
                level,
                threshold=None,
                n=n,
                ci_low=None,
                ci_high=None,
                fallback=f"none: {estimate}",
                fitted_on=fitted_on,
            )
        else:
            row = _fallback_row(key, rows, estimate, n)
        rows[key] = row
    return list(rows.values())


def _pooled_first(key: Key) -> tuple[str, bool, bool, str, str]:
    is_partition, is_group = key.partition is not None, key.group != C.ALL
    return key.detector, is_partition, is_group, key.group, key.partition or ""


def _estimated_row(
    key: Key, rule: str, level: float, estimate: Estimate, margin: float, n: int, fitted_on: str
) -> Threshold:
    threshold, low, high = (
        None if value is None else value * margin
        for value in (estimate.threshold, estimate.ci_low, estimate.ci_high)
    )
    return Threshold(
        key.detector,
        key.group,
        key.partition,
        rule,
        level,
        threshold,
        n,
        low,
        high,
        estimate.instead,
        fitted_on,
        estimate.goodness,
    )


def _fallback_row(key: Key, rows: dict[Key, Threshold], reason: str, n: int) -> Threshold:
    """The row of the group pooled, or of all groups pooled, with the reason."""
    is_partition = key.partition is not None
    parent = rows[Key(key.detector, key.split, None, key.group if is_partition else C.ALL)]
    # A group that fell back itself is no source: name where the value comes from.
    source = f"group {key.group}" if is_partition and parent.fallback is None else C.ALL
    reasons = [f"{source}: {reason}"] + ([parent.fallback] if parent.fallback else [])
    return replace(
        parent, group=key.group, partition=key.partition, n=n, fallback="; ".join(reasons)
    )


def fixed_row(model: str, value: float) -> Threshold:
    """The fixed rule's row, for all groups and partitions.

    It is of the run's model alone, for another detector's scores are on another scale.
    """
    return Threshold(model, C.ALL, None, "fixed", None, value, 0, None, None, None, FIXED)


def check_borrowed(rows: list[Threshold], rule: str, level: float | None, where: str) -> None:
    """Raise SettingsError if none of another run's rows is of the rule that is to judge.

    rows: the other run's thresholds. where: how the error calls that run.
    """
    if any(row.rule == rule and row.level == level and row.fitted_on != SELF for row in rows):
        return
    available = sorted({f"{row.rule} {row.level:.10g}" for row in rows if row.level is not None})
    level_text = "" if level is None else f" {level:.10g}"
    raise SettingsError(
        f"thresholds: {rule}{level_text} is to judge, but the thresholds of {where} are "
        f"{', '.join(available) or 'none'}. Use one of those, or `fixed`."
    )


def pot_estimate(tail: TailEvents, start: float, n: int, risk: float) -> Estimate | str:
    """Peaks over threshold: the value that a score exceeds with probability `risk`.

    tail: the highest of n scores. Returns why there is no estimate if there is none.
    """
    above = tail.values > start
    excesses = tail.values[above] - start
    if len(excesses) <= risk * n:
        return f"pot: {len(excesses)} of {n} scores lie above {start:g}, no more than the risk"
    try:
        fitted = fit_tail(excesses, start, n)
    except ValueError as error:
        return f"pot: {error}"
    spread = dispersion(tail.units, tail.sizes, tail.homes[above])
    low, high = interval(excesses, fitted, risk, spread)
    return Estimate(fitted.quantile(risk), low, high, fitted.p)


def quantile_estimate(
    key: Key,
    value: float,
    n: int,
    level: float,
    ends: tuple[float | None, float | None] = (None, None),
    instead: str | None = None,
) -> Estimate | str:
    """The exact quantile at a level of n scores, with its interval.

    instead: why it stands in for another rule. If fewer than one score would lie above it, it is
    the highest of them, whatever the level. Only all groups pooled take that, and say so; any other
    distribution gets why it has no estimate.
    """
    reasons = [] if instead is None else [f"quantile: {instead}"]
    # 10,000 × (1 − 0.9999) is a little less than 1 in floating point.
    if n * (1 - level) > 1 - 1e-9:
        return Estimate(value, *ends, instead="; ".join(reasons) or None)
    # 1 / (1 − 0.9999) is a little more than 10,000 in floating point.
    least = math.ceil(1 / (1 - level) - 1e-6)
    too_few = f"n = {n} < {least}, too few for level {level:.10g}"
    if key.partition is not None or key.group != C.ALL:
        return f"quantile: {too_few}"
    return Estimate(value, instead="; ".join([f"highest score: {too_few}", *reasons]))


# (detector, group or None for any, partition or None for any) -> threshold
Judging = dict[tuple[str, str | None, str | None], float]


def judging(
    rows: list[Threshold], *, rule: str, level: float | None, per: str, partition_is_time: bool
) -> Judging:
    """Which threshold judges an event, by its detector, group and partition.

    rule, level: of the rule that judges. per: `all`, `group` or `partition`, as `thresholds.per`.
    partition_is_time: partitions are days or months, whose rows judge nothing. Of several rows of a
    place the first counts. Rows fitted on a test partition's scores never judge.
    """
    thresholds: Judging = {}
    for row in rows:
        if row.rule != rule or row.level != level or row.threshold is None or row.fitted_on == SELF:
            continue
        if row.partition is None and row.group == C.ALL:
            thresholds.setdefault((row.detector, None, None), row.threshold)
        if row.partition is None and per != "all":
            thresholds.setdefault((row.detector, row.group, None), row.threshold)
        elif row.partition is not None and per == "partition" and not partition_is_time:
            thresholds.setdefault((row.detector, row.group, row.partition), row.threshold)
    return thresholds


def threshold_of(thresholds: Judging, detector: str, group: str, partition: str) -> float | None:
    """The threshold for an event: its partition's, else its group's, else the pooled one.

    None if there is none.

    >>> thresholds = {("pca", None, None): 2.0, ("pca", "eu", None): 3.0}
    >>> threshold_of(thresholds, "pca", "eu", "2024-01-01")
    3.0
    """
    for key in ((detector, group, partition), (detector, group, None), (detector, None, None)):
        if key in thresholds:
            return thresholds[key]
    return None
