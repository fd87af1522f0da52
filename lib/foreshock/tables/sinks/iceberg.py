"""Iceberg tables, made with comments and partitions. A run's rows are replaced in one commit a table, which fails where another's came
between."""

from __future__ import annotations

import contextlib
import operator
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import cast

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType, _parse_datatype_string

from foreshock.errors import ServiceError, SettingsError
from foreshock.tables.describe import Described

CATALOG = "foreshock"
RUNTIME, BUNDLE = (
    "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.1",
    "org.apache.iceberg:iceberg-aws-bundle:1.10.1",
)
S3TABLES = (
    "software.amazon.s3tables:s3-tables-catalog-for-iceberg:0.1.8",
    "software.amazon.awssdk:s3tables:2.29.52",
    "com.github.ben-manes.caffeine:caffeine:3.1.8",
    "org.apache.commons:commons-configuration2:2.11.0",
)
CONFLICT, OVERTAKEN = ("ValidationException", "ConcurrentModification"), "CommitFailedException"
MARK = "foreshock-publish"

Key = tuple[str, str]  # split, partition


def packages(catalog: str) -> tuple[str, ...]:
    """Java packages, by their Maven names, that a session of this project's own needs for a catalog."""
    return (
        RUNTIME,
        *(() if catalog == "hadoop" else (BUNDLE,)),
        *(S3TABLES if catalog == "s3tables" else ()),
    )


def catalog_options(
    catalog: str, warehouse: str | None, uri: str | None, aws: dict[str, str | None]
) -> dict[str, str]:
    """Options of Spark's catalog. aws: endpoint (of S3), glue and s3tables (theirs), region, kms_key as they are set; keys may lack.

    What else a REST catalog wants (a token, SigV4) Spark's own configuration has, under spark.sql.catalog.foreshock.
    """
    kinds = {
        "hadoop": {"type": "hadoop"},
        "glue": {"type": "glue"},
        "rest": {"type": "rest"},
        "s3tables": {"catalog-impl": "software.amazon.s3tables.iceberg.S3TablesCatalog"},
    }
    options = {**kinds[catalog], "cache-enabled": "false"}
    if warehouse is not None:
        options["warehouse"] = warehouse
    if uri is not None:
        options["uri"] = uri
    if catalog == "hadoop":
        return options
    if catalog != "rest" or (warehouse or "").startswith("s3"):
        options["io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
    if endpoint := aws.get("endpoint"):
        options |= {"s3.endpoint": endpoint, "s3.path-style-access": "true"}
    if own := aws.get(catalog):
        options[f"{catalog}.endpoint"] = own
    if region := aws.get("region"):
        options["client.region"] = region
    if key := aws.get("kms_key"):
        options |= {"s3.sse.type": "kms", "s3.sse.key": key}
    return options


@dataclass
class Iceberg:
    """The tables of a namespace. `look` at them before work begins: `replace` then fails where others wrote the same rows since."""

    spark: SparkSession
    namespace: str
    options: dict[str, str]
    create: bool
    _seen: dict[str, tuple[int | None, frozenset[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spark.conf.set(f"spark.sql.catalog.{CATALOG}", "org.apache.iceberg.spark.SparkCatalog")
        for key, value in self.options.items():
            self.spark.conf.set(f"spark.sql.catalog.{CATALOG}.{key}", value)

    def name(self, table: str, part: str = "") -> str:
        return f"{CATALOG}.`{self.namespace}`.{table}{part}"

    def look(self, tables: dict[str, Described]) -> None:
        """Raise SettingsError where the namespace is missing, or a table of one of these names has another schema or partition spec."""
        if not self.spark.catalog.databaseExists(f"{CATALOG}.`{self.namespace}`"):
            if not self.create and self.options.get("type") != "hadoop":
                raise SettingsError(
                    f"`tables.iceberg.namespace`: there is no {self.namespace!r} in the catalog (Glue: no such database). "
                    "Make it, correct the name, or set tables.iceberg.create: true."
                )
            self.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {CATALOG}.`{self.namespace}`")
        for table, wanted in tables.items():
            if self.exists(table):
                self._check(table, wanted)
                self._seen[table] = (self.snapshot(table), self._snapshots(table))
            else:
                self._seen[table] = (None, frozenset())

    def exists(self, table: str) -> bool:
        return bool(self.spark.catalog.tableExists(self.name(table)))

    def snapshot(self, table: str) -> int | None:
        """Id of the current snapshot; None: nothing was ever written."""
        found = self.spark.sql(
            f"SELECT snapshot_id FROM {self.name(table, '.refs')} WHERE name = 'main'"
        ).collect()
        return int(found[0][0]) if found else None

    def _snapshots(self, table: str) -> frozenset[int]:
        """Those that changed rows; compaction does not."""
        found = self.spark.sql(
            f"SELECT snapshot_id FROM {self.name(table, '.snapshots')} WHERE operation <> 'replace'"
        )
        return frozenset(r[0] for r in found.collect())

    def _partitioned_by(self, table: str) -> list[str]:
        rows = self.spark.sql(f"DESCRIBE TABLE {self.name(table)}").collect()
        names = [r["col_name"] for r in rows]
        start = next((i for i, n in enumerate(names) if n.startswith("# Partition")), None)
        if start is None:
            return []
        found = []
        for row in rows[start + 1 :]:
            if row["col_name"].startswith("# Metadata") or not row["col_name"]:
                break
            if not row["col_name"].startswith("#"):
                found.append(
                    row["data_type"] if row["col_name"].startswith("Part ") else row["col_name"]
                )
        return found

    def _check(self, table: str, wanted: Described) -> None:
        have = self.spark.table(self.name(table)).schema
        for name, kind in _fields(wanted):
            if name in have.names and (why := _differs(have[name].dataType, kind, name)):
                raise SettingsError(
                    f"`tables.iceberg`: the table {self.namespace}.{table} is there with another schema: {why}. Use "
                    "another namespace, or rename that table."
                )
        by = list(wanted.partitions or ("run_id",))
        if (spec := self._partitioned_by(table)) != by:
            raise SettingsError(
                f"`tables.iceberg`: the table {self.namespace}.{table} is there, partitioned by "
                f"{', '.join(spec) or 'nothing'}; {', '.join(by)} is wanted. Use another namespace, or rename that table."
            )

    def _ensure(self, table: str, wanted: Described) -> None:
        """Make the table, or add the columns that it lacks."""
        if not self.exists(table):
            columns = ", ".join(
                f"`{c.name}` {c.type} COMMENT {_text(c.comment)}" for c in wanted.columns
            )
            by = ", ".join(f"`{n}`" for n in wanted.partitions or ("run_id",))
            try:
                self.spark.sql(
                    f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({columns}) USING iceberg PARTITIONED BY ({by}) "
                    f"COMMENT {_text(wanted.comment)}"
                )
                return
            except Exception:
                if not self.exists(table):  # another run may have made it meanwhile
                    raise
        self._check(table, wanted)
        have = self.spark.table(self.name(table)).schema
        comments = {c.name: c.comment for c in wanted.columns}
        for name, kind in _fields(wanted):
            if name not in have.names:
                self._add(table, f"`{name}`", kind, comments[name])
            elif isinstance(kind, StructType):
                inner = cast(StructType, have[name].dataType)
                for part in kind.fields:
                    if part.name not in inner.names:
                        self._add(table, f"`{name}`.`{part.name}`", part.dataType, comments[name])

    def _add(self, table: str, column: str, kind: DataType, comment: str) -> None:
        try:
            self.spark.sql(
                f"ALTER TABLE {self.name(table)} ADD COLUMN {column} {kind.simpleString()} COMMENT {_text(comment)}"
            )
        except Exception:  # another run may have added it meanwhile
            try:
                self.spark.table(self.name(table)).select(F.col(column))
            except Exception:
                raise ServiceError(
                    f"Iceberg table {self.namespace}.{table}: the column {column} could not be added. Run the same command "
                    "again."
                ) from None

    def conflict(self, table: str, keys: Sequence[Key]) -> Key | None:
        """A partition of these that another run wrote since `look`; None: none."""
        if not self.exists(table) or not (new := self._snapshots(table) - self._seen[table][1]):
            return None
        entries = (
            self.spark.table(self.name(table, ".all_entries"))
            .filter(F.col("status") == 1)
            .filter(F.col("snapshot_id").isin(*new))
        )
        rows = (
            entries.select("data_file.partition.split", "data_file.partition.partition")
            .distinct()
            .collect()
        )
        return next((k for k in sorted({(r[0], r[1]) for r in rows}) if k in set(keys)), None)

    def replace(
        self, table: str, wanted: Described, frame: DataFrame | None, where: Column
    ) -> int | None:
        """Put the rows of `frame` in place of those that `where` tells, in one commit; returns its snapshot id, None where it changed
        nothing. Raises ServiceError where another run changed such rows since `look`."""
        self._ensure(table, wanted)
        have = self.spark.table(self.name(table)).schema
        empty = self.spark.createDataFrame([], have)
        rows = (
            empty
            if frame is None
            else frame.select(*[_fit(frame.schema, f.name, f.dataType) for f in have])
        )
        mark = uuid.uuid4().hex
        writer = (
            rows.writeTo(self.name(table))
            .option("isolation-level", "serializable")
            .option(f"snapshot-property.{MARK}", mark)
        )
        if (base := self._seen.get(table, (None,))[0]) is not None:
            writer = writer.option("validate-from-snapshot-id", str(base))
        try:
            writer.overwrite(where)
        except BaseException as error:
            with contextlib.suppress(Exception):
                self.spark.sparkContext.cancelAllJobs()
            if OVERTAKEN in str(error):
                raise ServiceError(
                    f"Iceberg table {self.namespace}.{table}: other commits kept coming first ({_line(error)}). Run the "
                    "same command again."
                ) from None
            if any(word in str(error) for word in CONFLICT):
                raise ServiceError(
                    f"Iceberg table {self.namespace}.{table}: another run wrote the same partitions while this one was at "
                    f"work; its rows stay ({_line(error)}). Run the same command again to replace them."
                ) from None
            raise
        made = (
            self.spark.table(self.name(table, ".snapshots"))
            .filter(F.col("summary")[MARK] == mark)
            .select("snapshot_id")
            .collect()
        )
        if not made:
            return None
        self._seen[table] = (int(made[0][0]), self._snapshots(table))
        return int(made[0][0])


def _fields(wanted: Described) -> list[tuple[str, DataType]]:
    schema = cast(
        StructType,
        _parse_datatype_string(", ".join(f"`{c.name}` {c.type}" for c in wanted.columns)),
    )
    return [(f.name, f.dataType) for f in schema.fields]


def _differs(have: DataType, wanted: DataType, name: str) -> str | None:
    if isinstance(have, StructType) and isinstance(wanted, StructType):
        for part in wanted.fields:
            if part.name in have.names and (
                why := _differs(have[part.name].dataType, part.dataType, f"{name}.{part.name}")
            ):
                return why
        return None
    if have.simpleString() == wanted.simpleString():
        return None
    return f"column {name} is {have.simpleString()}, {wanted.simpleString()} is wanted"


def _fit(schema: StructType, name: str, kind: DataType) -> Column:
    """A column as the table has it: null where the run has none."""
    if name not in schema.names:
        return F.lit(None).cast(kind).alias(name)
    own = schema[name].dataType
    if isinstance(kind, StructType) and isinstance(own, StructType) and kind.names != own.names:
        parts = [
            (F.col(name)[f.name] if f.name in own.names else F.lit(None).cast(f.dataType)).alias(
                f.name
            )
            for f in kind.fields
        ]
        return F.when(F.col(name).isNotNull(), F.struct(*parts)).alias(name)
    return F.col(name)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _line(error: BaseException) -> str:
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if any(word in line for word in (*CONFLICT, OVERTAKEN))
    ]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def at_keys(keys: Sequence[Key]) -> Column:
    """Which rows lie in these partitions."""
    by_split: dict[str, list[str]] = {}
    for split, partition in keys:
        by_split.setdefault(split, []).append(partition)
    each = [
        (F.col("split") == split) & F.col("partition").isin(*names)
        for split, names in sorted(by_split.items())
    ]
    return reduce(operator.or_, each)
