"""Fits every rule's thresholds: which quantiles and tails the rules want, two passes over the scores for all of them, the rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from foreshock import columns as C
from foreshock.settings.root import RuleSettings
from foreshock.thresholds import spark as passes
from foreshock.thresholds.conformal import fdr_cut, risk_cut
from foreshock.thresholds.distribution import Distributions, Key, TailEvents, Wanted, locate
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

Exact = dict[tuple[Key, float], float]
Units = dict[Key, npt.NDArray[np.float64]]
Begin = tuple[Key, float]  # a distribution and the level from which its tail is looked at


@dataclass(frozen=True)
class Fitting:
    """Scored files whose distributions are known, and what all rules share."""

    spark: SparkSession
    files: list[str]
    detectors: tuple[str, ...]
    distributions: Distributions
    split: str
    chosen: str | None
    min_count: int
    seed: int

    def keys(self) -> list[Key]:
        """The distributions of which a threshold is wanted; none where there is no event to fit one on."""
        return wanted_keys(self.distributions, self.detectors, self.split)

    def rows(
        self, rules: tuple[RuleSettings, ...], more: list[Wanted]
    ) -> tuple[list[Threshold], Exact]:
        """The rows of all rules, in their order, and the exact quantiles: those rules want, and `more`."""
        keys = self.keys()
        enough = [k for k in keys if self.distributions.of(k).n >= self.min_count]
        fitted = [(rule, rule.quantile) for rule in rules if rule.quantile is not None]
        begins = list(
            dict.fromkeys(
                (key, self._begin(rule, at, key))
                for rule, at in fitted
                for key in enough
                if rule.name != "conformal"
            )
        )
        levels = list(
            dict.fromkeys(at for _, at in fitted)
        )  # those of a conformal rule for its fallback
        wanted = locate(self.distributions, keys, levels)
        for key, level in begins:
            wanted += locate(self.distributions, [key], [level])
        exact = passes.exact_quantiles(
            self.spark,
            self.files,
            self.detectors,
            list(dict.fromkeys([*more, *wanted])),
            self.chosen,
        )
        asked = [(key, exact[key, level]) for key, level in begins]
        tails = dict(
            zip(
                begins,
                passes.tails(self.spark, self.files, self.detectors, asked, self.chosen),
                strict=True,
            )
        )
        units = self._units(keys) if any(r.name == "conformal" for r in rules) and keys else {}
        found: list[Threshold] = []
        for rule in rules:
            if rule.table_level is None:
                found.append(fixed_row(self.detectors[0], rule.value or 0.0))
            elif keys and rule.name == "conformal":
                pooled = [k for k in keys if k.partition is None]
                found += threshold_rows(
                    self.distributions,
                    pooled,
                    partial(self._conformal, rule, exact, units),
                    rule=rule.name,
                    level=rule.table_level,
                    margin=1.0,
                    min_count=self.min_count,
                    fitted=self.split,
                )
            elif keys:
                found += threshold_rows(
                    self.distributions,
                    keys,
                    partial(self._own, rule, rule.table_level, exact, tails),
                    rule=rule.name,
                    level=rule.table_level,
                    margin=rule.margin,
                    min_count=self.min_count,
                    fitted=self.split,
                )
        return found, exact

    def _units(self, keys: list[Key]) -> Units:
        wanted = [k for k in keys if k.partition is None]
        wanted += [k._replace(split=C.TEST) for k in wanted]
        return dict(
            zip(
                wanted,
                passes.unit_scores(self.spark, self.files, self.detectors, wanted, self.chosen),
                strict=True,
            )
        )

    def _conformal(
        self, rule: RuleSettings, exact: Exact, units: Units, key: Key
    ) -> Estimate | str:
        """A cut over units; all groups pooled with too few units take the plain quantile instead."""
        calibration, test = units[key], units[key._replace(split=C.TEST)]
        cut = (
            fdr_cut(calibration, test, rule.level)
            if rule.control == "fdr"
            else risk_cut(calibration, rule.level)
        )
        if not isinstance(cut, str):
            return Estimate(cut.threshold, instead=cut.reason)
        if key.group != C.ALL or rule.quantile is None:
            return f"conformal: {cut}"
        return quantile_estimate(
            key, exact[key, rule.quantile], self.distributions.of(key).n, rule.quantile, instead=cut
        )

    def _begin(self, rule: RuleSettings, at: float, key: Key) -> float:
        return (
            1 - excess_share(self.distributions.of(key).n, rule.risk)
            if rule.name == "pot"
            else passes.tail_level(at)
        )

    def _own(
        self, rule: RuleSettings, at: float, exact: Exact, tails: dict[Begin, TailEvents], key: Key
    ) -> Estimate | str:
        """A distribution's estimate; all groups pooled with too few excesses for a tail take the plain quantile instead."""
        begin, n = (key, self._begin(rule, at, key)), self.distributions.of(key).n
        if rule.name == "pot":
            found = pot_estimate(tails[begin], exact[begin], n, rule.risk)
            if not isinstance(found, str) or key.partition is not None or key.group != C.ALL:
                return found
            return quantile_estimate(
                key, exact[key, at], n, at, instead=found.removeprefix("pot: ")
            )
        tail = tails[begin]
        ends = quantile_interval(tail.units, tail.sizes, tail.values, tail.homes, at, self.seed)
        return quantile_estimate(key, exact[key, at], n, at, ends)
