"""Fits every rule's thresholds.

It says which passes over the scores the rules need, and makes the rows from them.
"""

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
from foreshock.thresholds.rules import (
    Estimate,
    Threshold,
    fixed_row,
    pot_estimate,
    quantile_estimate,
    threshold_rows,
    wanted_keys,
)
from foreshock.thresholds.tail_passes import RunMaxima, Tails

# Of the share of scores above a quantile: the part of the tail that its bootstrap looks at.
TAIL_MULTIPLE = 4


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
        """The distributions of which a threshold is wanted; none if there is no event to fit on.

        See `rules.wanted_keys` for their order.
        """
        return wanted_keys(self.distributions, self.detectors, self.fitted_split)

    @cached_property
    def tail_starts(self) -> list[TailStart]:
        """The tails that quantiles' intervals and peaks over threshold look at, each once.

        Distributions of fewer than min_count scores get no estimate, and so have no tail here.
        """
        large_keys = [
            distribution_key
            for distribution_key in self.keys
            if self.distributions.of(distribution_key).n >= self.min_count
        ]
        return list(
            dict.fromkeys(
                self._tail_start(threshold_rule, threshold_rule.quantile, distribution_key)
                for threshold_rule in self.rules
                if threshold_rule.quantile is not None and threshold_rule.name != "conformal"
                for distribution_key in large_keys
            )
        )

    @cached_property
    def wanted_quantiles(self) -> list[Wanted]:
        """The quantiles that rules want, and those at which tails begin.

        A conformal rule wants one for what it falls back on.
        """
        wanted_levels = [
            threshold_rule.quantile
            for threshold_rule in self.rules
            if threshold_rule.quantile is not None
        ]
        wanted_quantiles = locate(self.distributions, self.keys, wanted_levels)
        for tail_start in self.tail_starts:
            wanted_quantiles += locate(self.distributions, [tail_start.key], [tail_start.level])
        return wanted_quantiles

    @cached_property
    def tails(self) -> Tails:
        """The tails as a pass.

        They begin at the lower edge of the bin that holds their first quantile, for the quantile
        itself is found in the same read; `thresholds` cuts them.
        """
        bin_edges = {
            (wanted_quantile.key, wanted_quantile.level): wanted_quantile.lowest
            for wanted_quantile in self.wanted_quantiles
        }
        asked_tails = {
            (tail_start.key, bin_edges[tail_start.key, tail_start.level]): None
            for tail_start in self.tail_starts
        }
        return Tails(tuple(asked_tails), self.admitted_split)

    @cached_property
    def run_maxima(self) -> RunMaxima:
        """What conformal rules judge: maxima of event runs, of the fitted split and of test.

        It asks for nothing if no rule is conformal.
        """
        # Partitions are left out: conformal thresholds are fitted over all of them pooled.
        pooled_keys: list[Key] = []
        if any(threshold_rule.name == "conformal" for threshold_rule in self.rules):
            pooled_keys = [
                distribution_key
                for distribution_key in self.keys
                if distribution_key.partition is None
            ]
            # Selection by Benjamini and Hochberg looks at the runs of test too.
            pooled_keys += [
                distribution_key._replace(split=C.TEST) for distribution_key in pooled_keys
            ]
        return RunMaxima(tuple(pooled_keys), self.admitted_split)

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
        bin_edges = {
            (wanted_quantile.key, wanted_quantile.level): wanted_quantile.lowest
            for wanted_quantile in self.wanted_quantiles
        }
        cut_tails = {}
        for tail_start in self.tail_starts:
            tail_events = tails[tail_start.key, bin_edges[tail_start.key, tail_start.level]]
            # The quantile is known now; the tail was read from its bin's lower edge on.
            cut_tails[tail_start] = tail_events.from_value(exact[tail_start.key, tail_start.level])
        fitted_rows: list[Threshold] = []
        for threshold_rule in self.rules:
            table_level = threshold_rule.table_level
            if table_level is None:
                fitted_rows.append(fixed_row(self.detectors[0], threshold_rule.value or 0.0))
            elif not self.keys:
                continue
            elif threshold_rule.name == "conformal":
                pooled_keys = [
                    distribution_key
                    for distribution_key in self.keys
                    if distribution_key.partition is None
                ]
                estimate_of = partial(self._conformal_estimate, threshold_rule, exact, maxima)
                fitted_rows += self._rows(
                    threshold_rule, table_level, pooled_keys, estimate_of, margin=1.0
                )
            else:
                estimate_of = partial(
                    self._quantile_estimate, threshold_rule, table_level, exact, cut_tails
                )
                fitted_rows += self._rows(
                    threshold_rule,
                    table_level,
                    self.keys,
                    estimate_of,
                    margin=threshold_rule.margin,
                )
        return fitted_rows

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
            tail_share = excess_share(self.distributions.of(key).n, rule.risk)
            return TailStart(key, 1 - tail_share)
        return TailStart(key, tail_level(level))

    def _conformal_estimate(
        self, rule: RuleSettings, exact: Exact, maxima: dict[Key, Float64Array], key: Key
    ) -> Estimate | str:
        """A cut over event runs.

        All groups pooled with too few runs take the quantile instead.
        """
        calibration_maxima, test_maxima = maxima[key], maxima[key._replace(split=C.TEST)]
        if rule.control == "fdr":
            cut = fdr_cut(calibration_maxima, test_maxima, rule.level)
        else:
            cut = risk_cut(calibration_maxima, rule.level)
        if not isinstance(cut, str):
            return Estimate(cut.threshold, instead=cut.reason)
        if key.group != C.ALL or rule.quantile is None:
            return f"conformal: {cut}"
        n_scores = self.distributions.of(key).n
        return quantile_estimate(
            key, exact[key, rule.quantile], n_scores, rule.quantile, instead=cut
        )

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
        tail_start, n_scores = self._tail_start(rule, level, key), self.distributions.of(key).n
        tail_events = tails[tail_start]
        if rule.name != "pot":
            interval_ends = quantile_interval(
                tail_events.units,
                tail_events.sizes,
                tail_events.values,
                tail_events.homes,
                level,
                self.seed,
            )
            return quantile_estimate(key, exact[key, level], n_scores, level, interval_ends)
        estimate_of = pot_estimate(tail_events, exact[key, tail_start.level], n_scores, rule.risk)
        if not isinstance(estimate_of, str) or key.partition is not None or key.group != C.ALL:
            return estimate_of
        fallback_reason = estimate_of.removeprefix("pot: ")
        return quantile_estimate(key, exact[key, level], n_scores, level, instead=fallback_reason)
