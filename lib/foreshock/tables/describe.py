"""What every table holds, in words and types: the one description that Glue, Iceberg and docs/tables.md are made from.

Types are those of Spark's and Hive's DDL.
"""

from __future__ import annotations

from dataclasses import dataclass

from foreshock import columns as C
from foreshock.thresholds.distribution import QUANTILES


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Described:
    """A table: what a row is, its columns, and the columns that it is partitioned by (its files lie by those)."""

    comment: str
    columns: tuple[Column, ...]
    partitions: tuple[str, ...] = ()

    @property
    def plain(self) -> tuple[Column, ...]:
        """The columns that files hold; the others are in their folders' names."""
        return tuple(c for c in self.columns if c.name not in self.partitions)

    @property
    def keys(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.name in self.partitions)


RUN_ID = Column("run_id", "string", "name and settings of the run that wrote the row")
SPLIT = Column("split", "string", "train, out_of_fold, calibration or test")
PARTITION = Column(C.PARTITION, "string", "partition of the source, such as its day")
GROUP = Column(C.GROUP, "string", "what a threshold belongs to; `all`: all groups together")
DETECTOR = Column("detector", "string", "as in model.name")
EVENT = (
    Column(C.ENTITY, "string", "whose sequence the event is of"),
    Column(C.EVENT_ID, "string", "events.id, or a hash of the row"),
    Column(C.EVENT_TIME, "timestamp", "when it happened, UTC"),
)
SCORE = "how anomalous, higher is more; null: could not be judged"
BY_DAY = ("split", C.PARTITION)


def described(features: tuple[str, ...]) -> dict[str, Described]:
    """Every table by name; features: names of the model's, in their order."""
    shares = ", ".join(f"{name}: double" for name in features).replace(": ", ":").replace(", ", ",")
    quantiles = tuple(
        Column(name, "double", f"quantile {level} of the scores")
        for name, level in QUANTILES.items()
    )
    return {
        C.SCORES: Described(
            "an event of calibration or test, by the run's model",
            (
                RUN_ID,
                Column(C.GROUP, "string", "what its threshold belongs to"),
                *EVENT,
                Column(
                    C.LABEL, "int", "1 anomalous, 0 not, null unknown; read by evaluation alone"
                ),
                Column(C.KIND, "string", "kind of the labelled anomaly"),
                Column("score", "double", SCORE),
                Column("threshold", "double", "what the score is judged by; null: there is none"),
                Column("is_anomaly", "boolean", "score > threshold; null: not judged"),
                Column(C.REASON, "string", "why score, or threshold, is null"),
                Column(
                    "feature_errors",
                    f"struct<{shares}>",
                    "each feature's share of the error; they sum to 1",
                ),
                Column("top_feature", "string", "feature with the largest share"),
                Column(
                    "top_step",
                    "int",
                    "how many events before its own (0 or less) that feature is most wrong",
                ),
                Column("top_value", "double", "its value there, in original units"),
                Column(
                    "top_expected", "double", "what the model expected there, in original units"
                ),
                SPLIT,
                PARTITION,
            ),
            BY_DAY,
        ),
        C.DETECTOR_SCORES: Described(
            "an event of calibration or test, by another detector",
            (RUN_ID, DETECTOR, *EVENT, Column("score", "double", SCORE), SPLIT, PARTITION),
            BY_DAY,
        ),
        C.ERROR_DISTRIBUTION: Described(
            "distribution of scores by detector, split, partition and group",
            (
                RUN_ID,
                DETECTOR,
                SPLIT,
                PARTITION,
                GROUP,
                Column("n", "bigint", "events judged"),
                Column("n_unjudged", "bigint", "events without a score"),
                Column("mean", "double", "mean score"),
                Column("std", "double", "standard deviation of the scores"),
                Column("min", "double", "least score"),
                *quantiles,
                Column("max", "double", "highest score"),
                Column(
                    "histogram",
                    "struct<bin:array<int>,count:array<bigint>>",
                    "mergeable histogram of the scores",
                ),
            ),
        ),
        C.THRESHOLDS: Described(
            "a threshold by detector, group, partition and rule",
            (
                RUN_ID,
                DETECTOR,
                GROUP,
                Column(C.PARTITION, "string", "partition; null: all of them pooled"),
                Column("rule", "string", "quantile, pot, conformal or fixed"),
                Column("level", "double", "level that the rule wants"),
                Column("threshold", "double", "scores above it are anomalies"),
                Column("n", "bigint", "scores it was fitted on"),
                Column("ci_low", "double", "lower end of its 95 % interval"),
                Column("ci_high", "double", "upper end of its 95 % interval"),
                Column(
                    "fallback",
                    "string",
                    "what was done instead, where too few scores allow no better",
                ),
                Column(
                    "fitted_on",
                    "string",
                    "split it was fitted on; self: the partition's own scores",
                ),
                Column("goodness", "double", "p-value of the fitted tail's goodness of fit"),
            ),
        ),
        C.DRIFT: Described(
            "how far a pair of splits lies apart, by group and feature",
            (
                RUN_ID,
                Column(
                    "from_split",
                    "string",
                    "split compared: train, out_of_fold, validation or calibration",
                ),
                Column(
                    "to_split",
                    "string",
                    "split compared with: out_of_fold, validation, calibration or test",
                ),
                GROUP,
                Column("feature", "string", "null: the score"),
                Column("wasserstein", "double", "in units of the train spread"),
                Column("psi", "double", "population stability index"),
                Column("quantile_ratio", "double", "ratio of upper quantiles"),
                Column("verdict", "string", "shifted, stable or too_few"),
                Column("trimmed", "double", "the same distance without the tails"),
                Column("band", "double", "distance that chance alone explains"),
                Column("n_from", "bigint", "events of from_split"),
                Column("n_to", "bigint", "events of to_split"),
            ),
        ),
        C.METRICS: Described(
            "a metric by detector, split, group and kind",
            (
                RUN_ID,
                DETECTOR,
                SPLIT,
                GROUP,
                Column(C.KIND, "string", "kind of anomaly; null: all"),
                Column("metric", "string", "its name, such as roc_auc"),
                Column("value", "double", "null: undefined"),
                Column("ci_low", "double", "lower end of its 95 % interval"),
                Column("ci_high", "double", "upper end of its 95 % interval"),
                Column("n", "bigint", "events it is computed from"),
                Column("seed", "bigint", "seed of the interval's bootstrap"),
            ),
        ),
        C.RUNS: Described(
            "a stage's attempt",
            (
                RUN_ID,
                Column("stage", "string", "extract, prepare, train, score, publish or report"),
                Column("started", "timestamp", "UTC"),
                Column("ended", "timestamp", "UTC; null: running, or killed"),
                Column("status", "string", "running, done or failed"),
                Column("counts", "string", "JSON: rows, queries, snapshot ids"),
                Column("settings_sha256", "string", "of the settings"),
                Column("versions", "string", "JSON: package versions"),
            ),
        ),
    }
