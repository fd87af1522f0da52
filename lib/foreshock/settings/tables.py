"""Settings of the section `tables`: where analysts read the results."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, model_validator

from foreshock.settings.section import OneOf, SettingsSection


class GlueSettings(SettingsSection):
    """The Glue database that Parquet tables on S3 are registered in."""

    database: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9_-]+$",
            max_length=255,
            description="The database. If null, tables are not registered.",
        ),
    ] = None
    create: Annotated[
        StrictBool, Field(description="Whether a database that is not there is made.")
    ] = False


class IcebergSettings(SettingsSection):
    """The Iceberg catalog that tables are written to."""

    catalog: Annotated[
        Literal["hadoop", "glue", "s3tables", "rest"],
        Field(description="The kind of catalog; s3tables is Amazon S3 Tables."),
    ] = "hadoop"
    warehouse: Annotated[
        str | None,
        Field(
            min_length=1,
            description=(
                "hadoop and glue: a folder or s3://…. s3tables: the ARN of a table bucket. rest: "
                "a name that the server knows, or null."
            ),
        ),
    ] = None
    uri: Annotated[
        str | None,
        Field(pattern=r"^https?://[^\s@]+$", description="rest: the catalog's address."),
    ] = None
    namespace: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9_]+$",
            max_length=255,
            description="The namespace of the tables; in Glue, the database.",
        ),
    ] = "foreshock"
    create: Annotated[
        StrictBool,
        Field(description="Whether a namespace that is not there is made; hadoop always makes it."),
    ] = False

    @model_validator(mode="after")
    def _keys_of_its_catalog(self) -> IcebergSettings:
        warehouse = self.warehouse
        # An ARN is how Amazon names a table bucket; a folder would fail only when Spark writes.
        if self.catalog == "s3tables" and warehouse and not warehouse.startswith("arn:"):
            raise ValueError(
                "catalog s3tables: `warehouse` is the ARN of a table bucket, arn:aws:s3tables:…; "
                f"received {warehouse!r}"
            )
        if self.catalog != "rest" and self.uri is not None:
            raise ValueError(f"only catalog: rest takes uri; received {self.uri!r}")
        return self


class TablesSettings(SettingsSection):
    """Where tables are published for analysts. The run directory always keeps its own tables."""

    sink: Annotated[
        str,
        AfterValidator(OneOf(("parquet", "iceberg"))),
        Field(description="What is published: Parquet folders or Iceberg tables."),
    ] = "parquet"
    location: Annotated[
        str | None,
        Field(
            description=(
                "parquet: a folder or s3://… that several runs may publish to. If null, the "
                "tables stay in <run-dir>/tables. Relative to the conf file."
            )
        ),
    ] = None
    glue: Annotated[
        GlueSettings, Field(description="parquet on S3: where the tables are registered.")
    ] = GlueSettings()
    iceberg: Annotated[IcebergSettings, Field(description="iceberg: the catalog.")] = (
        IcebergSettings()
    )

    @model_validator(mode="after")
    def _keys_of_its_sink(self) -> TablesSettings:
        if self.sink == "iceberg":
            self._check_iceberg()
        # conf.yaml spells out all defaults, and is read back: a section of defaults passes.
        elif "iceberg" in self.model_fields_set and self.iceberg != IcebergSettings():
            raise ValueError("only sink: iceberg takes iceberg")
        return self

    def _check_iceberg(self) -> None:
        if self.location is not None or self.glue.database is not None:
            raise ValueError(
                "sink: iceberg takes iceberg.warehouse and iceberg.namespace, not location or "
                "glue.database"
            )
        if self.iceberg.catalog == "rest" and self.iceberg.uri is None:
            raise ValueError("sink: iceberg with catalog: rest wants iceberg.uri")
        if self.iceberg.catalog != "rest" and self.iceberg.warehouse is None:
            raise ValueError(
                "sink: iceberg wants iceberg.warehouse: a folder, s3://…, or the ARN of an S3 "
                "table bucket"
            )
