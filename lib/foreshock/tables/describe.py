"""What every table holds, in words and types.

Glue, Iceberg and docs/reference/tables.md are made from it. Types are those of Spark's and Hive's
DDL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foreshock import columns as C
from foreshock.thresholds.distribution import QUANTILES


@dataclass(frozen=True)
class ColumnDescription:
    """A column: its name, its type in SQL, what it holds."""

    name: str
    sql_type: str
    comment: str


@dataclass(frozen=True)
class TableDescription:
    """A table: what a row is, its columns, and the columns that its files are partitioned by."""

    comment: str
    columns: tuple[ColumnDescription, ...]
    partitioned_by: tuple[str, ...] = ()

    @property
    def file_columns(self) -> tuple[ColumnDescription, ...]:
        """The columns that files hold; those left out are in their folders' names.

        >>> [column.name for column in DETECTOR_SCORES.file_columns][-2:]
        ['event_time', 'score']
        """
        return tuple(column for column in self.columns if column.name not in self.partitioned_by)

    @property
    def partition_columns(self) -> tuple[ColumnDescription, ...]:
        """The columns that files are partitioned by.

        >>> [column.name for column in DETECTOR_SCORES.partition_columns]
        ['split', 'partition']
        """
        return tuple(column for column in self.columns if column.name in self.partitioned_by)


# A split and a partition are what a run replaces, so files lie by them.
BY_DAY = ("split", C.PARTITION)
SCORE_COMMENT = "how anomalous, higher is more; null: could not be judged"

RUN_ID = ColumnDescription("run_id", "string", "name and settings of the run that wrote the row")
SPLIT = ColumnDescription("split", "string", "train, out_of_fold, calibration or test")
PARTITION = ColumnDescription(C.PARTITION, "string", "partition of the source, such as its day")
GROUP = ColumnDescription(
    C.GROUP, "string", "what a threshold belongs to; `all`: all groups together"
)
DETECTOR = ColumnDescription("detector", "string", "as in model.name")
EVENT = (
    ColumnDescription(C.ENTITY, "string", "whose sequence the event is of"),
    ColumnDescription(C.EVENT_ID, "string", "events.id, or a hash of the row"),
    ColumnDescription(C.EVENT_TIME, "timestamp", "when it happened, UTC"),
)
SCORE = ColumnDescription("score", "double", SCORE_COMMENT)
INTERVAL = (
    ColumnDescription("ci_low", "double", "lower end of its 95 % interval"),
    ColumnDescription("ci_high", "double", "upper end of its 95 % interval"),
)
WHY = (
    ColumnDescription("top_feature", "string", "feature with the largest share"),
    ColumnDescription(
        "top_step",
        "int",
        "how many events before its own (0 or less) that feature is most wrong",
    ),
    ColumnDescription("top_value", "double", "its value there, in original units"),
    ColumnDescription("top_expected", "double", "what the model expected there, in original units"),
)


def describe_scores(features: Sequence[str]) -> TableDescription:
    """The table `scores` of a model with some features, in their order.

    >>> describe_scores(("gas", "value")).columns[11].sql_type
    'struct<gas:double,value:double>'
    """
    share_fields = ",".join(f"{feature}:double" for feature in features)
    return TableDescription(
        "an event of calibration or test, by the run's model",
        (
            RUN_ID,
            ColumnDescription(C.GROUP, "string", "what its threshold belongs to"),
            *EVENT,
            ColumnDescription(
                C.LABEL, "int", "1 anomalous, 0 not, null unknown; read by evaluation alone"
            ),
            ColumnDescription(C.KIND, "string", "kind of the labelled anomaly"),
            SCORE,
            ColumnDescription(
                "threshold", "double", "what the score is judged by; null: there is none"
            ),
            ColumnDescription("is_anomaly", "boolean", "score > threshold; null: not judged"),
            ColumnDescription(C.REASON, "string", "why score, or threshold, is null"),
            ColumnDescription(
                "feature_errors",
                f"struct<{share_fields}>",
                "each feature's share of the error; they sum to 1",
            ),
            *WHY,
            SPLIT,
            PARTITION,
        ),
        BY_DAY,
    )


DETECTOR_SCORES = TableDescription(
    "an event of calibration or test, by another detector",
    (RUN_ID, DETECTOR, *EVENT, SCORE, SPLIT, PARTITION),
    BY_DAY,
)

ERROR_DISTRIBUTION = TableDescription(
    "distribution of scores by detector, split, partition and group",
    (
        RUN_ID,
        DETECTOR,
        SPLIT,
        PARTITION,
        GROUP,
        ColumnDescription("n", "bigint", "events judged"),
        ColumnDescription("n_unjudged", "bigint", "events without a score"),
        ColumnDescription("mean", "double", "mean score"),
        ColumnDescription("std", "double", "standard deviation of the scores"),
        ColumnDescription("min", "double", "least score"),
        *(
            ColumnDescription(name, "double", f"quantile {level} of the scores")
            for name, level in QUANTILES.items()
        ),
        ColumnDescription("max", "double", "highest score"),
        ColumnDescription(
            "histogram",
            "struct<bin:array<int>,count:array<bigint>>",
            "mergeable histogram of the scores",
        ),
    ),
)

THRESHOLDS = TableDescription(
    "a threshold by detector, group, partition and rule",
    (
        RUN_ID,
        DETECTOR,
        GROUP,
        ColumnDescription(C.PARTITION, "string", "partition; null: all of them pooled"),
        ColumnDescription("rule", "string", "quantile, pot, conformal or fixed"),
        ColumnDescription("level", "double", "level that the rule wants"),
        ColumnDescription("threshold", "double", "scores above it are anomalies"),
        ColumnDescription("n", "bigint", "scores it was fitted on"),
        *INTERVAL,
        ColumnDescription(
            "fallback", "string", "what was done instead, where too few scores allow no better"
        ),
        ColumnDescription(
            "fitted_on", "string", "split it was fitted on; self: the partition's own scores"
        ),
        ColumnDescription("goodness", "double", "p-value of the fitted tail's goodness of fit"),
    ),
)

DRIFT = TableDescription(
    "how far a pair of splits lies apart, by group and feature",
    (
        RUN_ID,
        ColumnDescription(
            "from_split",
            "string",
            "split compared: train, out_of_fold, validation or calibration",
        ),
        ColumnDescription(
            "to_split",
            "string",
            "split compared with: out_of_fold, validation, calibration or test",
        ),
        GROUP,
        ColumnDescription("feature", "string", "null: the score"),
        ColumnDescription("wasserstein", "double", "in units of the train spread"),
        ColumnDescription("psi", "double", "population stability index"),
        ColumnDescription("quantile_ratio", "double", "ratio of upper quantiles"),
        ColumnDescription("verdict", "string", "shifted, stable or too_few"),
        ColumnDescription("trimmed", "double", "the same distance without the tails"),
        ColumnDescription("band", "double", "distance that chance alone explains"),
        ColumnDescription("n_from", "bigint", "events of from_split"),
        ColumnDescription("n_to", "bigint", "events of to_split"),
    ),
)

METRICS = TableDescription(
    "a metric by detector, split, group and kind",
    (
        RUN_ID,
        DETECTOR,
        SPLIT,
        GROUP,
        ColumnDescription(C.KIND, "string", "kind of anomaly; null: all"),
        ColumnDescription("metric", "string", "its name, such as roc_auc"),
        ColumnDescription("value", "double", "null: undefined"),
        *INTERVAL,
        ColumnDescription("n", "bigint", "events it is computed from"),
        ColumnDescription("seed", "bigint", "seed of the interval's bootstrap"),
    ),
)

RUNS = TableDescription(
    "a stage's attempt",
    (
        RUN_ID,
        ColumnDescription("stage", "string", "extract, prepare, train, score, publish or report"),
        ColumnDescription("started", "timestamp", "UTC"),
        ColumnDescription("ended", "timestamp", "UTC; null: running, or killed"),
        ColumnDescription("status", "string", "running, done or failed"),
        ColumnDescription("counts", "string", "JSON: rows, queries, snapshot ids"),
        ColumnDescription("settings_sha256", "string", "of the settings"),
        ColumnDescription("versions", "string", "JSON: package versions"),
    ),
)


def describe_tables(features: Sequence[str]) -> dict[str, TableDescription]:
    """Every table by name; features: the model's, in their order.

    >>> list(describe_tables(("gas",)))[:3]
    ['scores', 'detector_scores', 'error_distribution']
    """
    return {
        C.SCORES: describe_scores(features),
        C.DETECTOR_SCORES: DETECTOR_SCORES,
        C.ERROR_DISTRIBUTION: ERROR_DISTRIBUTION,
        C.THRESHOLDS: THRESHOLDS,
        C.DRIFT: DRIFT,
        C.METRICS: METRICS,
        C.RUNS: RUNS,
    }
