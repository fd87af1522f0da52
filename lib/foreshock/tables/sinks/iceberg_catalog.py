"""How Spark is told of an Iceberg catalog: Java packages and options. Without Spark itself."""

from __future__ import annotations

from dataclasses import dataclass

CATALOG = "foreshock"
RUNTIME = "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.1"
AWS_BUNDLE = "org.apache.iceberg:iceberg-aws-bundle:1.10.1"
S3TABLES_PACKAGES = (
    "software.amazon.s3tables:s3-tables-catalog-for-iceberg:0.1.8",
    "software.amazon.awssdk:s3tables:2.29.52",
    "com.github.ben-manes.caffeine:caffeine:3.1.8",
    "org.apache.commons:commons-configuration2:2.11.0",
)
CATALOG_OPTIONS = {
    "hadoop": {"type": "hadoop"},
    "glue": {"type": "glue"},
    "rest": {"type": "rest"},
    "s3tables": {"catalog-impl": "software.amazon.s3tables.iceberg.S3TablesCatalog"},
}


@dataclass(frozen=True)
class AwsOptions:
    """AWS as the machine has it configured; None: not set. endpoint: of S3."""

    endpoint: str | None = None
    glue_endpoint: str | None = None
    s3tables_endpoint: str | None = None
    region: str | None = None
    kms_key: str | None = None


def packages(catalog: str) -> tuple[str, ...]:
    """The Java packages that a session of this project needs for a catalog, by Maven names.

    >>> packages("hadoop")
    ('org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.1',)
    """
    if catalog == "hadoop":
        return (RUNTIME,)
    if catalog == "s3tables":
        return (RUNTIME, AWS_BUNDLE, *S3TABLES_PACKAGES)
    return (RUNTIME, AWS_BUNDLE)


def catalog_options(
    catalog: str, warehouse: str | None, uri: str | None, aws: AwsOptions
) -> dict[str, str]:
    """Options of Spark's catalog. uri: of a REST catalog.

    What else a REST catalog wants (a token, SigV4) Spark's configuration has, under
    spark.sql.catalog.foreshock.

    >>> catalog_options("hadoop", "/lake", None, AwsOptions())
    {'type': 'hadoop', 'cache-enabled': 'false', 'warehouse': '/lake'}
    """
    # A cached table would hide what other runs commit.
    options = {**CATALOG_OPTIONS[catalog], "cache-enabled": "false"}
    if warehouse is not None:
        options["warehouse"] = warehouse
    if uri is not None:
        options["uri"] = uri
    if catalog == "hadoop":
        return options
    if catalog != "rest" or (warehouse or "").startswith("s3"):
        options["io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
    if aws.endpoint:
        options |= {"s3.endpoint": aws.endpoint, "s3.path-style-access": "true"}
    endpoints = {"glue": aws.glue_endpoint, "s3tables": aws.s3tables_endpoint}
    catalog_endpoint = endpoints.get(catalog)
    if catalog_endpoint:
        options[f"{catalog}.endpoint"] = catalog_endpoint
    if aws.region:
        options["client.region"] = aws.region
    if aws.kms_key:
        options |= {"s3.sse.type": "kms", "s3.sse.key": aws.kms_key}
    return options
