"""AWS as configured: endpoint, region and profile for Python and for Spark alike.

Credentials come from the environment alone. What `aws:` in the conf says goes to the environment,
where boto3, s3fs and the processes that Spark starts read it.
"""

from __future__ import annotations

import os
from typing import Any

KMS_KEY, REQUESTER_PAYS = "FORESHOCK_KMS_KEY", "FORESHOCK_REQUESTER_PAYS"
# What Spark's executors are told; no credentials.
EXPORTED_VARIABLES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CA_BUNDLE",
    KMS_KEY,
    REQUESTER_PAYS,
)
HADOOP_AWS = "org.apache.hadoop:hadoop-aws:3.3.4"
# For a session that this process configures. Plain `s3://` goes through S3A too, as on EMR. Parquet
# is read at random places.
S3_SCHEME = {
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.s3a.aws.credentials.provider": (
        "com.amazonaws.auth.DefaultAWSCredentialsProviderChain"
    ),
    "spark.hadoop.fs.s3a.experimental.input.fadvise": "random",
    "spark.hadoop.fs.s3a.fast.upload.buffer": "bytebuffer",
}
# Tasks put their files in place themselves: what they write is staging, which no reader sees, and a
# task that is tried again writes the same names.
COMMIT = {"mapreduce.fileoutputcommitter.algorithm.version": "2"}
RETRIES: dict[str, Any] = {"max_attempts": 10, "mode": "standard"}


def endpoint(service: str = "S3") -> str | None:
    """The custom endpoint of a service; None if AWS's public one is used.

    service: as in the variable AWS_ENDPOINT_URL_<service>: S3, GLUE, S3TABLES. That variable wins
    over AWS_ENDPOINT_URL.
    """
    for variable in (f"AWS_ENDPOINT_URL_{service}", "AWS_ENDPOINT_URL"):
        if url := os.environ.get(variable):
            return url
    return None


def s3_options() -> dict[str, Any]:
    """Options of s3fs.

    A custom endpoint implies path style. No listing is cached, for other processes write there too.
    """
    client_options: dict[str, Any] = {"retries": RETRIES}
    options: dict[str, Any] = {"use_listings_cache": False, "config_kwargs": client_options}
    if endpoint():
        options["endpoint_url"] = endpoint()
        client_options["s3"] = {"addressing_style": "path"}
    # A key in the environment wins over a profile, for boto3 and Java too.
    if os.environ.get("AWS_PROFILE") and not os.environ.get("AWS_ACCESS_KEY_ID"):
        options["profile"] = os.environ["AWS_PROFILE"]
    if os.environ.get(REQUESTER_PAYS):
        options["requester_pays"] = True
    if os.environ.get(KMS_KEY):
        options["s3_additional_kwargs"] = {
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": os.environ[KMS_KEY],
        }
    return options


def hadoop_options() -> dict[str, str]:
    """Spark's configuration of S3A from the same environment.

    Region, endpoint, who pays and the KMS key, each only if it is set. Credentials are never among
    them.
    """
    options: dict[str, str] = {}
    if os.environ.get("AWS_REGION"):
        options["spark.hadoop.fs.s3a.endpoint.region"] = os.environ["AWS_REGION"]
    if url := endpoint():
        options |= {
            "spark.hadoop.fs.s3a.endpoint": url,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(url.startswith("https")).lower(),
        }
    # Two names of one option: Hadoop's from 3.3.5 on, and EMRFS's.
    if os.environ.get(REQUESTER_PAYS):
        options |= {
            "spark.hadoop.fs.s3a.requester.pays.enabled": "true",
            "spark.hadoop.fs.s3.useRequesterPaysHeader": "true",
        }
    if key := os.environ.get(KMS_KEY):
        options |= {
            "spark.hadoop.fs.s3a.server-side-encryption-algorithm": "SSE-KMS",
            "spark.hadoop.fs.s3a.server-side-encryption.key": key,
        }
    return options


def executor_environment() -> dict[str, str]:
    """The variables of EXPORTED_VARIABLES that are set, as options of Spark for its executors.

    Each key is `spark.executorEnv.<variable>`. Credentials are not handed on.
    """
    variables = [name for name in EXPORTED_VARIABLES if os.environ.get(name)]
    return {f"spark.executorEnv.{name}": os.environ[name] for name in variables}
