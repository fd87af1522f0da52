"""What a failure of Spark, Java or Python means for the user: the project's exception for it."""

from __future__ import annotations

import errno
import re

from foreshock import errors
from foreshock.platform.run_directory import machine_error

OWN = re.compile(r"foreshock\.errors\.(\w+): (.*)")
FILE = re.compile(r"((?:file:|hdfs:|s3a?:)?/[^\s,;'\"\]]+?)(?=[\s,;'\"\]]|\.\s|\.$|$)")
DISK = ("No space left on device", "Disk quota exceeded")
PERMISSION = ("Permission denied", "Read-only file system", "AccessControlException")
CORRUPT = (
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
ROW = (
    "SparkRuntimeException",
    "SparkArithmeticException",
    "SparkDateTimeException",
    "SparkNumberFormatException",
    "SparkArrayIndexOutOfBoundsException",
    "java.lang.ArithmeticException",
    "java.time.DateTimeException",
    "PatternSyntaxException",
)
AWS = (
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
LINE = (
    "java.net.Socket",
    "java.net.UnknownHost",
    "java.net.ConnectException",
    "ConnectionClosedException",
    "NoHttpResponseException",
    "ConnectTimeoutException",
)
ICEBERG = "org.apache.iceberg.exceptions."
DEAD = (
    "Python worker exited unexpectedly",
    "OutOfMemoryError",
    "Lost executor",
    "ExecutorLostFailure",
    "Total size of serialized results",
)


def explain(error: BaseException, doing: str) -> errors.ForeshockError | None:
    """The project's error for a failure while `doing` something, or None where it is a defect of ours."""
    if isinstance(error, errors.ForeshockError):
        return error
    if isinstance(error, MemoryError):
        return errors.ServiceError(
            f"{doing}: out of memory. Give the process more, or lower windows.block."
        )
    text = _text(error)
    if own := OWN.findall(text):
        name, message = own[-1]
        return getattr(errors, name, errors.ForeshockError)(message.replace("\\n", " ").strip())
    head = _cause(text)
    if service := _service(error, text):
        return errors.ServiceError(
            f"{doing}: AWS refused or failed: {service}. Check credentials, permissions and the service, then run "
            "the same command."
        )
    if any(mark in text for mark in DISK):
        return errors.ServiceError(
            f"{doing}: the disk is full ({head}). Free or add space, then run the same command."
        )
    if any(mark in text for mark in PERMISSION):
        return errors.SettingsError(
            f"{doing}: no permission ({head}). Change it, or choose another place."
        )
    if ICEBERG in text:
        said = next(line.strip() for line in reversed(text.splitlines()) if ICEBERG in line)
        return errors.ServiceError(
            f"{doing}: the Iceberg catalog refused or failed: {said[:400].rstrip('.')}. Check it and its "
            "credentials, then run the same command."
        )
    broken = [line.strip() for line in text.splitlines() if any(mark in line for mark in LINE)]
    if broken and "s3" in text.lower() and not any(mark in text for mark in DEAD):
        return errors.ServiceError(
            f"{doing}: the connection to S3 failed: {broken[-1][:400].rstrip('.')}. Run the same command again."
        )
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.ENOENT:
        found = machine_error(error, doing)
        return found if isinstance(found, errors.ForeshockError) else None
    if any(mark in text for mark in CORRUPT):
        named = [
            f for f in FILE.findall(head) or FILE.findall(text) if not f.endswith((".py", ".jar"))
        ]
        file = named[0] if named else "a source file"
        return errors.DataError(
            f"{doing}: {file} cannot be read; it is corrupt or of another format ({head}). "
            "Remove or replace it."
        )
    if failed_on_a_row(error):
        return errors.DataError(
            f"{doing}: an SQL expression of `events` fails on a row of the source ({head}). Guard it, such as "
            "with nullif, if or a try_ function."
        )
    if any(mark in text for mark in DEAD):
        return errors.ServiceError(
            f"{doing}: a worker failed ({head}). Give executors more memory or try again."
        )
    return None


def _service(error: BaseException, text: str) -> str | None:
    """What AWS itself said, where a failure is its: from s3fs and boto3, or from Hadoop's S3A within Spark."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            break
        if type(seen).__module__.startswith(("botocore.", "aiobotocore.", "boto3.", "aiohttp.")):
            return " ".join(str(seen).split())[:400].rstrip(".")
        seen = seen.__cause__ or seen.__context__
    found = [line.strip() for line in text.splitlines() if any(mark in line for mark in AWS)]
    return " ".join(found[-1].split())[:400].rstrip(".") if found else None


def failed_on_a_row(error: BaseException) -> bool:
    """Whether Spark gave up because an expression cannot be evaluated for some row."""
    return any(mark in _text(error) for mark in ROW)


def reason(error: BaseException) -> str:
    """A failure's innermost cause in one line."""
    return _cause(_text(error))


def _text(error: BaseException) -> str:
    parts = [f"{type(error).__name__}: {error}"]
    java = getattr(error, "java_exception", None)
    for _ in range(12):
        if java is None:
            break
        parts.append(str(java.toString()))
        java = java.getCause()
    desc = getattr(error, "desc", None)
    if desc:
        parts.append(str(desc))
    lines = [line for part in parts for line in part.splitlines()]
    return "\n".join(line for line in lines if not line.lstrip().startswith("at "))


def _cause(text: str) -> str:
    """The most telling line of a failure's text: the innermost cause, one line, no raw rows."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marks = (*DISK, *PERMISSION, *CORRUPT, *ROW, *DEAD)
    telling = [line for line in lines if any(m in line for m in marks)] or lines
    return telling[-1][:300].rstrip(".") if telling else "no message"
