"""What a failure of Spark, Java or Python means for the user: the project's exception for it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

from foreshock import errors

OWN_ERROR = re.compile(r"foreshock\.errors\.(\w+): (.*)")
# A dot ends a file's name only where it ends the sentence too.
FILE_NAME = re.compile(r"((?:file:|hdfs:|s3a?:)?/[^\s,;'\"\]]+?)(?=[\s,;'\"\]]|\.\s|\.$|$)")
FULL_DISK = ("No space left on device", "Disk quota exceeded")
NO_PERMISSION = ("Permission denied", "Read-only file system", "AccessControlException")
# Marks in the messages of Spark, Parquet, Arrow and Hadoop, which share no code for a failure.
CORRUPT_FILE = (
    "is not a Parquet file",
    "Could not read footer",
    "ParquetDecodingException",
    "CORRUPTED",
    "FAILED_READ_FILE",
    "Failed merging schema",
    "CANNOT_MERGE",
    "UNABLE_TO_INFER_SCHEMA",
    "Encountered error while reading file",
    "Parquet magic bytes",
    "Couldn't deserialize thrift",
    "Corrupt",
    "Unexpected end of stream",
    "CSV header does not conform",
    "Invalid Parquet file",
    "MALFORMED_RECORD",
)
FAILING_ROW = (
    "SparkRuntimeException",
    "SparkArithmeticException",
    "SparkDateTimeException",
    "SparkNumberFormatException",
    "SparkArrayIndexOutOfBoundsException",
    "java.lang.ArithmeticException",
    "java.time.DateTimeException",
    "PatternSyntaxException",
)
AWS_EXCEPTIONS = (
    "AmazonS3Exception",
    "AmazonClientException",
    "SdkClientException",
    "AWSBadRequestException",
    "AWSServiceIOException",
    "AWSServiceThrottledException",
    "NoAuthWithAWSException",
    "AmazonServiceException",
    "botocore.exceptions",
    "AWSClientIOException",
    "AWSRedirectException",
    "software.amazon.awssdk",
)
AWS_MODULES = ("botocore.", "aiobotocore.", "boto3.", "aiohttp.")
BROKEN_CONNECTION = (
    "java.net.Socket",
    "java.net.UnknownHost",
    "java.net.ConnectException",
    "ConnectionClosedException",
    "NoHttpResponseException",
    "ConnectTimeoutException",
)
ICEBERG = "org.apache.iceberg.exceptions."
DEAD_WORKER = (
    "Python worker exited unexpectedly",
    "OutOfMemoryError",
    "Lost executor",
    "ExecutorLostFailure",
    "Total size of serialized results",
)
# Failures that the user can mend by choosing another place, or other permissions.
PLACE_ERRORS = (
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
)
# Causes that are followed: a chain may be a circle.
LONGEST_CHAIN = 12


def machine_error(error: OSError, what: str) -> errors.ForeshockError:
    """The project's error for an OSError while doing `what`.

    A missing permission is the user's to mend (SettingsError), a full disk the machine's
    (ServiceError).

    >>> no_space = OSError(errno.ENOSPC, "No space left on device", "/runs")
    >>> machine_error(no_space, "--run-dir").exit_code
    4
    """
    message = f"{what}: {error.strerror or error} ({error.filename or what})."
    if error.errno in PLACE_ERRORS:
        return errors.SettingsError(
            f"{message} Choose a place that can be written, or change its permissions."
        )
    return errors.ServiceError(f"{message} Free or add space, then run the same command again.")


def explain(error: BaseException, doing: str) -> errors.ForeshockError | None:
    """The project's error for a failure while `doing` something; None for a defect of ours.

    The checks go from the surest sign to the vaguest: our own exception, AWS's, a disk,
    permissions, a catalog, a connection, the operating system, a file, a row, a worker.
    """
    if isinstance(error, errors.ForeshockError):
        return error
    if isinstance(error, MemoryError):
        return errors.ServiceError(
            f"{doing}: out of memory. Give the process more, or lower windows.block."
        )
    text = _text(error)
    return (
        _own_error(text)
        or _service_error(error, text, doing)
        or _operating_system_error(error, doing)
        or _data_error(text, doing)
        or _worker_error(text, doing)
    )


def _own_error(text: str) -> errors.ForeshockError | None:
    """Our own exception, raised in a Spark task and carried back as text."""
    matches = OWN_ERROR.findall(text)
    if not matches:
        return None
    # The innermost cause comes last.
    name, message = matches[-1]
    kind: type[errors.ForeshockError] = getattr(errors, name, errors.ForeshockError)
    return kind(message.replace("\\n", " ").strip())


def _service_error(error: BaseException, text: str, doing: str) -> errors.ForeshockError | None:
    """A failure of AWS, of the disk, of permissions, of a catalog or of a connection."""
    cause = _cause(text)
    if service := _aws_message(error, text):
        return errors.ServiceError(
            f"{doing}: AWS refused or failed: {service}. Check credentials, permissions and the "
            "service, then run the same command."
        )
    if _has(text, FULL_DISK):
        return errors.ServiceError(
            f"{doing}: the disk is full ({cause}). Free or add space, then run the same command."
        )
    if _has(text, NO_PERMISSION):
        return errors.SettingsError(
            f"{doing}: no permission ({cause}). Change it, or choose another place."
        )
    if ICEBERG in text:
        message = next(line.strip() for line in reversed(text.splitlines()) if ICEBERG in line)
        return errors.ServiceError(
            f"{doing}: the Iceberg catalog refused or failed: {message[:400].rstrip('.')}. Check "
            "it and its credentials, then run the same command."
        )
    # A dead worker breaks its connections too: then the worker is what the user hears of.
    broken_lines = [line.strip() for line in text.splitlines() if _has(line, BROKEN_CONNECTION)]
    if broken_lines and "s3" in text.lower() and not _has(text, DEAD_WORKER):
        return errors.ServiceError(
            f"{doing}: the connection to S3 failed: {broken_lines[-1][:400].rstrip('.')}. Run the "
            "same command again."
        )
    return None


def _operating_system_error(error: BaseException, doing: str) -> errors.ForeshockError | None:
    # A missing file is no failure of the machine: whoever looks for it says what it means.
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        return machine_error(error, doing)
    return None


def _data_error(text: str, doing: str) -> errors.ForeshockError | None:
    """A file that cannot be read, or an expression that fails on a row."""
    cause = _cause(text)
    if _has(text, CORRUPT_FILE):
        names = FILE_NAME.findall(cause) or FILE_NAME.findall(text)
        # A stack names the files of programs too.
        data_files = [name for name in names if not name.endswith((".py", ".jar"))]
        file = data_files[0] if data_files else "a source file"
        return errors.DataError(
            f"{doing}: {file} cannot be read; it is corrupt or of another format ({cause}). "
            "Remove or replace it."
        )
    if _has(text, FAILING_ROW):
        return errors.DataError(
            f"{doing}: an SQL expression of `events` fails on a row of the source ({cause}). Guard "
            "it, such as with nullif, if or a try_ function."
        )
    return None


def _worker_error(text: str, doing: str) -> errors.ForeshockError | None:
    if _has(text, DEAD_WORKER):
        return errors.ServiceError(
            f"{doing}: a worker failed ({_cause(text)}). Give executors more memory or try again."
        )
    return None


def _aws_message(error: BaseException, text: str) -> str | None:
    """What AWS itself said: through s3fs and boto3, or through Hadoop's S3A within Spark."""
    link: BaseException | None = error
    for _ in range(LONGEST_CHAIN):
        if link is None:
            break
        if type(link).__module__.startswith(AWS_MODULES):
            return " ".join(str(link).split())[:400].rstrip(".")
        link = link.__cause__ or link.__context__
    lines = [line.strip() for line in text.splitlines() if _has(line, AWS_EXCEPTIONS)]
    return " ".join(lines[-1].split())[:400].rstrip(".") if lines else None


def failed_on_a_row(error: BaseException) -> bool:
    """Whether Spark gave up because an expression cannot be evaluated for some row.

    >>> failed_on_a_row(RuntimeError("SparkArithmeticException: divide by zero"))
    True
    >>> failed_on_a_row(RuntimeError("Lost executor 3"))
    False
    """
    return _has(_text(error), FAILING_ROW)


def reason(error: BaseException) -> str:
    """A failure's innermost cause in one line of at most 300 characters.

    >>> reason(ValueError("no digit"))
    'ValueError: no digit'
    """
    return _cause(_text(error))


def _has(text: str, marks: Iterable[str]) -> bool:
    return any(mark in text for mark in marks)


def _text(error: BaseException) -> str:
    """The failure and the Java causes behind it, without the lines of a stack."""
    parts = [f"{type(error).__name__}: {error}"]
    # A py4j error holds its Java exception, Spark's own errors a description.
    java_cause = getattr(error, "java_exception", None)
    for _ in range(LONGEST_CHAIN):
        if java_cause is None:
            break
        parts.append(str(java_cause.toString()))
        java_cause = java_cause.getCause()
    if description := getattr(error, "desc", None):
        parts.append(str(description))
    lines = [line for part in parts for line in part.splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith("at "))


def _cause(text: str) -> str:
    """The most telling line of a failure's text: the innermost cause, without raw rows."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marks = (*FULL_DISK, *NO_PERMISSION, *CORRUPT_FILE, *FAILING_ROW, *DEAD_WORKER)
    telling_lines = [line for line in lines if _has(line, marks)] or lines
    return telling_lines[-1][:300].rstrip(".") if telling_lines else "no message"
