"""Settings of where results go, and of AWS."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from foreshock.settings.data import Section


class GlueSettings(Section):
    """The Glue database that Parquet tables are registered in; null: none. create: whether it is made when it is not there."""

    database: Annotated[str | None, Field(pattern=r"^[a-z0-9_-]+$", max_length=255)] = None
    create: StrictBool = False


class IcebergSettings(Section):
    """An Iceberg catalog. warehouse: a folder or s3://…, or the ARN of an S3 table bucket; uri: of a REST catalog.

    create: whether the namespace (Glue: the database) is made when it is not there.
    """

    catalog: Literal["hadoop", "glue", "s3tables", "rest"] = "hadoop"
    warehouse: Annotated[str | None, Field(min_length=1)] = None
    uri: Annotated[str | None, Field(pattern=r"^https?://[^\s@]+$")] = None
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=255)] = "foreshock"
    create: StrictBool = False

    @model_validator(mode="after")
    def _whole(self) -> IcebergSettings:
        if (
            self.catalog == "s3tables"
            and self.warehouse is not None
            and not self.warehouse.startswith("arn:")
        ):
            raise ValueError(
                f"catalog s3tables: `warehouse` is the ARN of a table bucket, arn:aws:s3tables:…; received {self.warehouse!r}"
            )
        if self.catalog != "rest" and self.uri is not None:
            raise ValueError(f"only catalog: rest takes uri; received {self.uri!r}")
        return self


class TablesSettings(Section):
    """Where analysts read the tables; the run keeps its own under the run directory."""

    sink: str = "parquet"
    location: str | None = None
    glue: GlueSettings = GlueSettings()
    iceberg: IcebergSettings = IcebergSettings()

    @field_validator("sink")
    @classmethod
    def _sink(cls, value: str) -> str:
        if value not in ("parquet", "iceberg"):
            raise ValueError(f"allowed: parquet, iceberg; received {value!r}")
        return value

    @model_validator(mode="after")
    def _together(self) -> TablesSettings:
        if self.sink == "iceberg":
            if self.location is not None or self.glue.database is not None:
                raise ValueError(
                    "sink: iceberg takes iceberg.warehouse and iceberg.namespace, not location or glue.database"
                )
            if self.iceberg.catalog == "rest" and self.iceberg.uri is None:
                raise ValueError("sink: iceberg with catalog: rest wants iceberg.uri")
            if self.iceberg.catalog != "rest" and self.iceberg.warehouse is None:
                raise ValueError(
                    "sink: iceberg wants iceberg.warehouse: a folder, s3://…, or the ARN of an S3 table bucket"
                )
        elif "iceberg" in self.model_fields_set and self.iceberg != IcebergSettings():
            raise ValueError("only sink: iceberg takes iceberg")
        return self


class AwsSettings(Section):
    """AWS where its own configuration (environment, profile) is not to decide. Credentials are never settings."""

    endpoint: Annotated[str | None, Field(pattern=r"^https?://[^\s/@]+/?$")] = None
    region: Annotated[str | None, Field(pattern=r"^[a-z0-9-]+$")] = None
    profile: Annotated[str | None, Field(min_length=1)] = None
    kms_key: Annotated[str | None, Field(min_length=1)] = None
    requester_pays: Literal["requester"] | None = None
