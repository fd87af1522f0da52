"""Threshold rules: from distributions to the rows of the `thresholds` table, with every fallback said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from foreshock import columns as C
from foreshock.errors import DataError, SettingsError
from foreshock.thresholds.distribution import CHOSEN, Distributions, Key, TailEvents
from foreshock.thresholds.pareto import dispersion, fit_tail, interval

SELF, FIXED = "self", "fixed"


@dataclass(frozen=True)
class Threshold:
    """A row of `thresholds`. partition None: pooled over partitions. threshold None: could not be judged. level None: fixed.

    goodness: the p-value of the tail's fit (pot); small where the tail is no Pareto tail.
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
        return asdict(self)


def wanted_keys(distributions: Distributions, detectors: tuple[str, ...], fitted: str) -> list[Key]:
    """Every distribution of which a threshold is wanted: pooled, per group, per partition, and per test partition.

    fitted: the split that thresholds are fitted on; of it what calibrate_where admits, where it is there. None where nothing is.
    """
    splits = {k.split for k in distributions.parts}
    split = CHOSEN if CHOSEN in splits else fitted
    if split not in splits:
        return []
    keys: list[Key] = []
    for d in detectors:
        groups = distributions.groups(split)
        keys += [Key(d, split, None, C.ALL), *[Key(d, split, None, g) for g in groups]]
        keys += [
            k for k in sorted(distributions.parts) if k.detector == d and k.split in (split, C.TEST)
        ]
    return list(dict.fromkeys(keys))


@dataclass(frozen=True)
class Estimate:
    """A rule's threshold of one distribution, with its 95 % interval; goodness: p-value of the fitted tail, where there is one."""

    threshold: float
    ci_low: float | None = None
    ci_high: float | None = None
    goodness: float | None = None
    instead: str | None = None  # which other rule gave it, and why


def threshold_rows(
    distributions: Distributions,
    keys: list[Key],
    own: Callable[[Key], Estimate | str],
    *,
    rule: str,
    level: float,
    margin: float,
    min_count: int,
    fitted: str,
) -> list[Threshold]:
    """A rule's rows: pooled first. `own` gives a distribution's estimate, or says why there is none.

    A partition that has too few events (min_count) or no estimate falls back on its group pooled, a group on all groups pooled.
    Raises DataError where even all together are too few.
    """
    rows: dict[Key, Threshold] = {}
    for key in sorted(
        keys,
        key=lambda k: (
            k.detector,
            k.partition is not None,
            k.group != C.ALL,
            k.group,
            k.partition or "",
        ),
    ):
        n = distributions.of(key).n
        on = SELF if key.split == C.TEST else fitted
        found = own(key) if n >= min_count else f"n = {n} < min_count = {min_count}"
        if not isinstance(found, str):
            ends = [
                None if v is None else v * margin
                for v in (found.threshold, found.ci_low, found.ci_high)
            ]
            rows[key] = Threshold(
                key.detector,
                key.group,
                key.partition,
                rule,
                level,
                ends[0],
                n,
                ends[1],
                ends[2],
                found.instead,
                on,
                found.goodness,
            )
        elif key.partition is None and key.group == C.ALL:
            raise DataError(
                f"{n} judged events of split.{fitted} are too few for any threshold ({found}). Widen it"
                + (" or lower thresholds.min_count." if n < min_count else ".")
            )
        elif on == SELF:
            rows[key] = Threshold(
                key.detector,
                key.group,
                key.partition,
                rule,
                level,
                None,
                n,
                None,
                None,
                f"none: {found}",
                on,
            )
        else:
            parent = rows[
                Key(
                    key.detector, key.split, None, key.group if key.partition is not None else C.ALL
                )
            ]
            where = (
                f"group {key.group}"
                if key.partition is not None and parent.fallback is None
                else C.ALL
            )
            rows[key] = Threshold(
                key.detector,
                key.group,
                key.partition,
                rule,
                level,
                parent.threshold,
                n,
                parent.ci_low,
                parent.ci_high,
                "; ".join([f"{where}: {found}", *([parent.fallback] if parent.fallback else [])]),
                on,
                parent.goodness,
            )
    return list(rows.values())


def fixed_row(model: str, value: float) -> Threshold:
    """The fixed rule's row: for all groups and partitions, of the run's model alone, for another detector's scores are on another scale."""
    return Threshold(model, C.ALL, None, "fixed", None, value, 0, None, None, None, FIXED)


def check_borrowed(rows: list[Threshold], rule: str, level: float | None, where: str) -> None:
    """Raise SettingsError where none of another run's rows is of the rule that is to judge."""
    if not any(r.rule == rule and r.level == level and r.fitted_on != SELF for r in rows):
        there = sorted({f"{r.rule} {r.level:.10g}" for r in rows if r.level is not None})
        raise SettingsError(
            f"thresholds: {rule}{'' if level is None else f' {level:.10g}'} is to judge, but the thresholds of {where} are "
            f"{', '.join(there) or 'none'}. Use one of those, or `fixed`."
        )


def pot_estimate(tail: TailEvents, start: float, n: int, risk: float) -> Estimate | str:
    """Peaks over threshold: the value exceeded with probability `risk`, of n scores whose tail is given; why not, where it cannot."""
    up = tail.values > start
    excesses = tail.values[up] - start
    if len(excesses) <= risk * n:
        return f"pot: {len(excesses)} of {n} scores lie above {start:g}, no more than the risk"
    try:
        fitted = fit_tail(excesses, start, n)
    except ValueError as error:
        return f"pot: {error}"
    low, high = interval(excesses, fitted, risk, dispersion(tail.units, tail.sizes, tail.homes[up]))
    return Estimate(fitted.quantile(risk), low, high, fitted.p)


def quantile_estimate(
    key: Key,
    value: float,
    n: int,
    level: float,
    ends: tuple[float | None, float | None] = (None, None),
    instead: str | None = None,
) -> Estimate | str:
    """The exact quantile at a level of n scores, with its interval; instead: why it stands in for another rule.

    Where fewer than one score would lie above it, it is the highest of them, whatever the level: only all groups pooled take that, and say
    so; any other distribution gets why it has none.
    """
    said = [] if instead is None else [f"quantile: {instead}"]
    if n * (1 - level) > 1 - 1e-9:
        return Estimate(value, *ends, instead="; ".join(said) or None)
    why = f"n = {n} < {math.ceil(1 / (1 - level) - 1e-6)}, too few for level {level:.10g}"
    if key.partition is not None or key.group != C.ALL:
        return f"quantile: {why}"
    return Estimate(value, instead="; ".join([f"highest score: {why}", *said]))


Judging = dict[tuple[str, str | None, str | None], float]


def judging(
    rows: list[Threshold], *, rule: str, level: float | None, per: str, partition_is_time: bool
) -> Judging:
    """Which threshold judges: (detector, group or None for any, partition or None for any) -> threshold, the first of each."""
    found: Judging = {}
    for row in rows:
        if row.rule != rule or row.level != level or row.threshold is None or row.fitted_on == SELF:
            continue
        if row.partition is None and row.group == C.ALL:
            found.setdefault((row.detector, None, None), row.threshold)
        if row.partition is None and per != "all":
            found.setdefault((row.detector, row.group, None), row.threshold)
        elif row.partition is not None and per == "partition" and not partition_is_time:
            found.setdefault((row.detector, row.group, row.partition), row.threshold)
    return found


def threshold_of(found: Judging, detector: str, group: str, partition: str) -> float | None:
    """The threshold for an event: its partition's, else its group's, else the pooled one; None where there is none."""
    for key in ((detector, group, partition), (detector, group, None), (detector, None, None)):
        if key in found:
            return found[key]
    return None
