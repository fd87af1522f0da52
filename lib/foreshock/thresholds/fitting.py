"""Fits every rule's thresholds: which passes over the scores the rules need, and the rows made of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

from foreshock import columns as C
from foreshock.settings.root import RuleSettings
from foreshock.statistics.arrays import Float64Array
from foreshock.thresholds.conformal import fdr_cut, risk_cut
from foreshock.thresholds.distribution import Distributions, Exact, Key, TailEvents, Wanted, locate
from foreshock.thresholds.interval import quantile_interval
from foreshock.thresholds.pareto import excess_share
from foreshock.thresholds.passes import RunMaxima, Tails
from foreshock.thresholds.rules import (
    Estimate,
    Threshold,
    fixed_row,
    pot_estimate,
    quantile_estimate,
    threshold_rows,
    wanted_keys,
)

TAIL_MULTIPLE = 4  # of the share of scores above a quantile: what its bootstrap looks at


@dataclass(frozen=True)
class TailStart:
    """Where the tail of a distribution begins: a level, whose quantile is not yet known."""

    key: Key
    level: float


def tail_level(level: float) -> float:
    """The level from which on the bootstrap of a quantile looks at values: four times the tail.

    >>> round(tail_level(0.99), 4), tail_level(0.5)
    (0.96, 0.0)
    """
    return max(0.0, 1 - TAIL_MULTIPLE * (1 - level))


@dataclass(frozen=True)
class ThresholdFit:
    """The thresholds that are to be fitted on scores whose distributions are known.

    First `wanted_quantiles`, `tails` and `run_maxima` say what is needed of the scored files; all
    of that is had from one read of them. Then `thresholds` makes the rows.
    """

    distributions: Distributions
    rules: tuple[RuleSettings, ...]
    detectors: tuple[str, ...]
    fitted_split: str
    admitted_split: str | None
    min_count: int
    seed: int

    @cached_property
    def keys(self) -> list[Key]:
        """The distributions of which a threshold is wanted; none if there is no event to fit on."""
        return wanted_keys(self.distributions, self.detectors, self.fitted_split)

    @cached_property
    def tail_starts(self) -> list[TailStart]:
        """The tails that quantiles' intervals and peaks over threshold look at, each once."""
        large = [key for key in self.keys if self.distributions.of(key).n >= self.min_count]
        return list(
            dict.fromkeys(
                self._tail_start(rule, rule.quantile, key)
                for rule in self.rules
                if rule.quantile is not None and rule.name != "conformal"
                for key in large
            )
        )

    @cached_property
    def wanted_quantiles(self) -> list[Wanted]:
        """The quantiles that rules want; a conformal rule for what it falls back on."""
        levels = [rule.quantile for rule in self.rules if rule.quantile is not None]
        wanted = locate(self.distributions, self.keys, levels)
        for start in self.tail_starts:
            wanted += locate(self.distributions, [start.key], [start.level])
        return wanted

    @cached_property
    def tails(self) -> Tails:
        """The tails as a pass. They begin at the lower edge of the bin that holds their first
        quantile, for the quantile itself is found in the same read; `thresholds` cuts them."""
        edges = {(want.key, want.level): want.lowest for want in self.wanted_quantiles}
        asked = {(start.key, edges[start.key, start.level]): None for start in self.tail_starts}
        return Tails(tuple(asked), self.admitted_split)

    @cached_property
    def run_maxima(self) -> RunMaxima:
        """What conformal rules judge: maxima of event runs, of the fitted split and of test."""
        pooled: list[Key] = []
        if any(rule.name == "conformal" for rule in self.rules):
            pooled = [key for key in self.keys if key.partition is None]
            pooled += [key._replace(split=C.TEST) for key in pooled]
        return RunMaxima(tuple(pooled), self.admitted_split)

    def thresholds(
        self,
        exact: Exact,
        tails: dict[tuple[Key, float], TailEvents],
        maxima: dict[Key, Float64Array],
    ) -> list[Threshold]:
        """The rows of all rules, in their order.

        exact: the wanted quantiles. tails: of `tails`, by what was asked. maxima: of `run_maxima`.
        Raises DataError where all events together are too few for a threshold.
        """
        edges = {(want.key, want.level): want.lowest for want in self.wanted_quantiles}
        cut_tails = {}
        for start in self.tail_starts:
            tail = tails[start.key, edges[start.key, start.level]]
            cut_tails[start] = tail.from_value(exact[start.key, start.level])
        rows: list[Threshold] = []
        for rule in self.rules:
            level = rule.table_level
            if level is None:
                rows.append(fixed_row(self.detectors[0], rule.value or 0.0))
            elif not self.keys:
                continue
            elif rule.name == "conformal":
                pooled = [key for key in self.keys if key.partition is None]
                estimate = partial(self._conformal_estimate, rule, exact, maxima)
                rows += self._rows(rule, level, pooled, estimate, margin=1.0)
            else:
                estimate = partial(self._quantile_estimate, rule, level, exact, cut_tails)
                rows += self._rows(rule, level, self.keys, estimate, margin=rule.margin)
        return rows

    def _rows(
        self,
        rule: RuleSettings,
        level: float,
        keys: list[Key],
        estimate: partial[Estimate | str],
        margin: float,
    ) -> list[Threshold]:
        return threshold_rows(
            self.distributions,
            keys,
            estimate,
            rule=rule.name,
            level=level,
            margin=margin,
            min_count=self.min_count,
            fitted=self.fitted_split,
        )

    def _tail_start(self, rule: RuleSettings, level: float, key: Key) -> TailStart:
        if rule.name == "pot":
            share = excess_share(self.distributions.of(key).n, rule.risk)
            return TailStart(key, 1 - share)
        return TailStart(key, tail_level(level))

    def _conformal_estimate(
        self, rule: RuleSettings, exact: Exact, maxima: dict[Key, Float64Array], key: Key
    ) -> Estimate | str:
        """A cut over event runs; all groups pooled with too few of them take the quantile instead."""
        calibration, test = maxima[key], maxima[key._replace(split=C.TEST)]
        if rule.control == "fdr":
            cut = fdr_cut(calibration, test, rule.level)
        else:
            cut = risk_cut(calibration, rule.level)
        if not isinstance(cut, str):
            return Estimate(cut.threshold, instead=cut.reason)
        if key.group != C.ALL or rule.quantile is None:
            return f"conformal: {cut}"
        count = self.distributions.of(key).n
        return quantile_estimate(key, exact[key, rule.quantile], count, rule.quantile, instead=cut)

    def _quantile_estimate(
        self,
        rule: RuleSettings,
        level: float,
        exact: Exact,
        tails: dict[TailStart, TailEvents],
        key: Key,
    ) -> Estimate | str:
        """A distribution's estimate; all groups pooled with too few excesses for a tail take the
        plain quantile instead."""
        start, count = self._tail_start(rule, level, key), self.distributions.of(key).n
        tail = tails[start]
        if rule.name != "pot":
            ends = quantile_interval(
                tail.units, tail.sizes, tail.values, tail.homes, level, self.seed
            )
            return quantile_estimate(key, exact[key, level], count, level, ends)
        estimate = pot_estimate(tail, exact[key, start.level], count, rule.risk)
        if not isinstance(estimate, str) or key.partition is not None or key.group != C.ALL:
            return estimate
        reason = estimate.removeprefix("pot: ")
        return quantile_estimate(key, exact[key, level], count, level, instead=reason)
