"""What a failure means for the user.

The examples are as Spark, Java, Python and the machine report them.
"""

import errno
import os

import pytest
from foreshock import errors
from foreshock.platform.failures import explain


class JavaError:
    """A py4j throwable: a text and a cause."""

    def __init__(self, text: str, cause: "JavaError | None" = None) -> None:
        self.text, self.cause = text, cause

    def toString(self) -> str:
        return self.text

    def getCause(self) -> "JavaError | None":
        return self.cause


class Py4JJavaError(Exception):
    def __init__(self, text: str, java: JavaError) -> None:
        super().__init__(text)
        self.java_exception = java


class CapturedError(Exception):
    """pyspark's exception made from a Java one: the message is in `desc`."""

    def __init__(self, desc: str) -> None:
        super().__init__()
        self.desc = desc


ABORTED = (
    "org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 7.0 failed "
    "1 times, most recent "
    "failure: Lost task 3.0 in stage 7.0 (TID 21) (host executor driver): "
)
TRACEBACK = (
    "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
    '  File "/x/pyspark/worker.py", line 1247, in main\n    process()\n'
    '  File "/x/foreshock/scoring/scorer.py", line 61, in score_chunk\n'
)


def python_error(line: str) -> Py4JJavaError:
    """A Python worker's exception as the driver sees it."""
    return Py4JJavaError(
        "An error occurred while calling o99.collect.",
        JavaError(
            ABORTED
            + TRACEBACK
            + line
            + "\n\n\tat org.apache.spark.api.python.BasePythonRunner.handle"
            "(PythonRunner.scala:572)\n"
            "\tat java.base/java.lang.Thread.run(Thread.java:840)\n"
        ),
    )


EXAMPLES = {
    "our own error stays": (errors.DataError("3 rows"), errors.DataError, ["3 rows"]),
    "a line to S3 that broke amid a file": (
        CapturedError(
            "Encountered error while reading file s3://lake/x.parquet\nCaused by: "
            "java.net.SocketException: Connection reset"
        ),
        errors.ServiceError,
        ["connection to S3", "Connection reset"],
    ),
    "a full disk, though a socket broke too": (
        python_error(
            "OSError: [Errno 28] No space left on device\njava.net.SocketException: Broken pipe "
            "s3://lake"
        ),
        errors.ServiceError,
        ["disk is full"],
    ),
    "a worker that died, though a socket broke too": (
        CapturedError(
            "Python worker exited unexpectedly (crashed) s3://lake\njava.net.SocketException: "
            "Connection reset"
        ),
        errors.ServiceError,
        ["a worker failed"],
    ),
    "a REST catalog that refuses": (
        CapturedError(
            "org.apache.iceberg.exceptions.NotAuthorizedException: Not authorized: the token is "
            "wrong"
        ),
        errors.ServiceError,
        ["Iceberg catalog", "the token is wrong"],
    ),
    "our own error in a Python worker": (
        python_error("foreshock.errors.DataError: /run/model: the bundle does not belong"),
        errors.DataError,
        ["/run/model: the bundle does not belong"],
    ),
    "our service error in a Python worker": (
        python_error("foreshock.errors.ServiceError: the disk gave up"),
        errors.ServiceError,
        ["the disk gave up"],
    ),
    "our settings error in a Python worker": (
        python_error("foreshock.errors.SettingsError: run.seed"),
        errors.SettingsError,
        ["run.seed"],
    ),
    "memory": (MemoryError(), errors.ServiceError, ["out of memory"]),
    "full disk, Python": (
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/x"),
        errors.ServiceError,
        ["No space left", "/run/x"],
    ),
    "full disk, Java": (
        Py4JJavaError(
            "An error occurred while calling o1.parquet.",
            JavaError(ABORTED, JavaError("java.io.IOException: No space left on device")),
        ),
        errors.ServiceError,
        ["disk is full", "No space left"],
    ),
    "full disk, in a Python worker": (
        python_error(
            "OSError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on "
            "device"
        ),
        errors.ServiceError,
        ["disk is full"],
    ),
    "quota": (
        OSError(errno.EDQUOT, "Disk quota exceeded", "/run/x"),
        errors.ServiceError,
        ["Disk quota exceeded"],
    ),
    "no permission, Python": (
        PermissionError(errno.EACCES, "Permission denied", "/run/x"),
        errors.SettingsError,
        ["/run/x"],
    ),
    "no permission, Java": (
        CapturedError("java.io.FileNotFoundException: /data/x.parquet (Permission denied)"),
        errors.SettingsError,
        ["/data/x.parquet", "permission"],
    ),
    "read-only": (
        OSError(errno.EROFS, "Read-only file system", "/run/x"),
        errors.SettingsError,
        ["Read-only"],
    ),
    "not Parquet": (
        CapturedError(
            "java.lang.RuntimeException: file:/data/date=1/x.parquet is not a Parquet file. "
            "Expected magic number"
        ),
        errors.DataError,
        ["/data/date=1/x.parquet", "corrupt"],
    ),
    "not Parquet, in the cause": (
        Py4JJavaError(
            "An error occurred while calling o1.count.",
            JavaError(
                ABORTED,
                JavaError(
                    "org.apache.spark.SparkException: Could not read footer for file: "
                    "file:/data/x.parquet",
                    JavaError(
                        "java.lang.RuntimeException: file:/data/x.parquet is not a Parquet file."
                    ),
                ),
            ),
        ),
        errors.DataError,
        ["file:/data/x.parquet"],
    ),
    "no schema": (
        CapturedError(
            "[UNABLE_TO_INFER_SCHEMA] Unable to infer schema for Parquet. It must be specified "
            "manually."
        ),
        errors.DataError,
        ["infer"],
    ),
    "schemas that do not merge": (
        CapturedError("Failed merging schema of file file:/data/b.parquet: struct<x:string>"),
        errors.DataError,
        ["file:/data/b.parquet"],
    ),
    "Arrow on a broken file": (
        python_error(
            "pyarrow.lib.ArrowInvalid: Could not open Parquet input source "
            "'/run/events/x.parquet': Parquet magic "
            "bytes not found in footer. Either the file is corrupted or this is not a parquet file."
        ),
        errors.DataError,
        ["/run/events/x.parquet", "Parquet magic bytes"],
    ),
    "Arrow on a broken file that it does not name": (
        python_error(
            "pyarrow.lib.ArrowInvalid: Parquet magic bytes not found in footer. Either the file is "
            "corrupted or this is not a parquet file."
        ),
        errors.DataError,
        ["Parquet magic bytes"],
    ),
    "ragged row": (
        CapturedError(
            "[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed records are detected in "
            "record parsing."
        ),
        errors.DataError,
        ["Malformed"],
    ),
    "dead Python worker": (
        Py4JJavaError(
            "An error occurred",
            JavaError(
                ABORTED + "org.apache.spark.SparkException: Python worker exited "
                "unexpectedly (crashed)"
            ),
        ),
        errors.ServiceError,
        ["worker", "memory"],
    ),
    "Java out of memory": (
        Py4JJavaError(
            "An error occurred", JavaError("java.lang.OutOfMemoryError: Java heap space")
        ),
        errors.ServiceError,
        ["Java heap space", "memory"],
    ),
    "lost executor": (
        Py4JJavaError(
            "An error occurred",
            JavaError(
                ABORTED + "ExecutorLostFailure (executor 2 exited caused by one of the "
                "running tasks)"
            ),
        ),
        errors.ServiceError,
        ["ExecutorLostFailure"],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_failures_a_user_can_act_on(name: str) -> None:
    error, kind, named = EXAMPLES[name]
    found = explain(error, "prepare: sorting events")
    assert type(found) is kind
    message = str(found)
    assert "\n" not in message
    assert "\tat " not in message
    assert ".py" not in message, "a file of the program is not the user's file"
    assert len(message) < 900
    for part in named:
        assert part in message
    if not isinstance(error, errors.ForeshockError) and "our" not in name:
        assert "prepare: sorting events" in message, "it says what was being done"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"), KeyError("column"), ZeroDivisionError(), AssertionError("never"),
        python_error("ValueError: operands could not be broadcast together"),
        Py4JJavaError("An error occurred", JavaError("java.lang.NullPointerException")),
    ],
    ids=lambda e: f"{type(e).__name__} {str(e)[:20]}",
)  # fmt: skip
def test_what_is_a_defect_of_ours_stays_one(error: Exception) -> None:
    assert explain(error, "prepare") is None


def test_a_file_of_ours_that_is_not_there_is_no_full_disk() -> None:
    found = explain(
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/run/x"), "prepare"
    )
    assert found is None or "space" not in str(found)


def test_a_circle_of_causes_ends() -> None:
    java = JavaError("java.lang.IllegalStateException: round")
    java.cause = java
    assert explain(Py4JJavaError("An error occurred", java), "prepare") is None


def test_exit_codes_are_those_of_the_interface() -> None:
    kinds = (
        errors.ForeshockError,
        errors.SettingsError,
        errors.DataError,
        errors.ServiceError,
        errors.GateError,
    )
    assert [kind.exit_code for kind in kinds] == [1, 2, 3, 4, 5]
