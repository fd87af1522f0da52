"""Options of Spark's catalog, for each kind of catalog."""

from __future__ import annotations

from foreshock.tables.sinks.iceberg_catalog import AwsOptions, catalog_options, packages

AWS = AwsOptions(
    endpoint="http://s3",
    glue_endpoint="http://glue",
    s3tables_endpoint="http://tables",
    region="eu-west-1",
    kms_key="key",
)


def test_a_catalog_of_folders_needs_no_aws() -> None:
    assert catalog_options("hadoop", "s3://lake", None, AWS) == {
        "type": "hadoop",
        "cache-enabled": "false",
        "warehouse": "s3://lake",
    }
    assert len(packages("hadoop")) == 1


def test_catalogs_of_aws_have_their_endpoint_and_that_of_s3() -> None:
    options = catalog_options("glue", "s3://lake", None, AWS)
    assert options["glue.endpoint"] == "http://glue" and options["s3.endpoint"] == "http://s3"
    assert options["client.region"] == "eu-west-1" and options["s3.sse.key"] == "key"
    options = catalog_options("s3tables", "arn:aws:s3tables:x", None, AWS)
    assert options["s3tables.endpoint"] == "http://tables" and "glue.endpoint" not in options
    assert len(packages("s3tables")) > len(packages("glue")) == 2


def test_a_rest_catalog_uses_s3_only_for_a_warehouse_there() -> None:
    elsewhere = catalog_options("rest", "named", "http://rest", AwsOptions())
    assert elsewhere == {
        "type": "rest",
        "cache-enabled": "false",
        "warehouse": "named",
        "uri": "http://rest",
    }
    assert "io-impl" in catalog_options("rest", "s3://lake", "http://rest", AwsOptions())
