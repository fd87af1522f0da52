"""Rows of the run's tables as the summary and the page read them (columns: `tables.describe`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class JudgingRule:
    """The rule that decides which events are anomalies: its name and its level, for a run may
    have two rules of one name. level None: the rule has none, such as `fixed`.

    >>> str(JudgingRule("quantile", 0.999)), str(JudgingRule("fixed", None))
    ('quantile 0.999', 'fixed')
    """

    name: str
    level: float | None

    def __str__(self) -> str:
        return self.name if self.level is None else f"{self.name} {self.level:.10g}"


@dataclass(frozen=True)
class ThresholdRow:
    """A row of `thresholds`. partition None: all partitions pooled."""

    detector: str
    group: str
    partition: str | None
    rule: str
    level: float | None
    threshold: float | None
    n: int | None
    ci_low: float | None
    ci_high: float | None
    fallback: str | None
    fitted_on: str | None
    goodness: float | None = None
    run_id: str = ""

    @property
    def judging_rule(self) -> JudgingRule:
        """The rule that the row is of.

        Rows of one rule with two levels differ in it.
        """
        return JudgingRule(self.rule, self.level)


@dataclass(frozen=True)
class MetricRow:
    """A row of `metrics`. kind None: all kinds of anomaly. value None: undefined."""

    detector: str
    split: str
    group: str
    kind: str | None
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int | None
    seed: int | None = None
    run_id: str = ""


@dataclass(frozen=True)
class DriftRow:
    """A row of `drift`: how far two splits lie apart. feature None: the score."""

    from_split: str
    to_split: str
    group: str
    feature: str | None
    wasserstein: float | None
    psi: float | None
    quantile_ratio: float | None
    verdict: str
    trimmed: float | None = None
    band: float | None = None
    n_from: int | None = None
    n_to: int | None = None
    run_id: str = ""


@dataclass(frozen=True)
class PartitionRow:
    """A row of `error_distribution`, without its histogram."""

    detector: str
    split: str
    partition: str
    group: str
    n: int
    p50: float | None = None
    p99: float | None = None
    max: float | None = None
