"""Settings of the section `events`: SQL expressions over the source's columns."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from foreshock import columns
from foreshock.settings.section import SettingsSection

_FEATURE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
# The reference page shows these as what a key takes.
_EXPRESSION = {"allowed": "SQL expression"}
_EXPRESSION_OR_NULL = {"allowed": "SQL expression or null"}


class EventsSettings(SettingsSection):
    """SQL expressions over the source's columns, in Spark's dialect.

    Times without a zone are UTC.
    """

    entity: Annotated[
        str,
        Field(
            description=(
                "Whose sequence an event belongs to. A constant such as \"'all'\" makes one "
                "sequence of all events."
            ),
            json_schema_extra=_EXPRESSION,
        ),
    ]
    time: Annotated[
        str, Field(description="When the event happened.", json_schema_extra=_EXPRESSION)
    ]
    partition: Annotated[
        str | None,
        Field(
            description="The partition that an event is filed by. If null, the UTC day of `time`.",
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    group: Annotated[
        str | None,
        Field(
            description="What a threshold belongs to. If null, one group called `all`.",
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    tiebreak: Annotated[
        tuple[str, ...],
        Field(
            description="The order of events that have the same entity and time.",
            json_schema_extra={"allowed": "list of SQL expressions"},
        ),
    ] = ()
    id: Annotated[
        str | None,
        Field(
            description=(
                "A unique name of an event. If null, a stable hash of the row; equal rows are "
                "told apart."
            ),
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    label: Annotated[
        str | None,
        Field(
            description="1: anomalous, 0: ordinary. Only evaluation reads it.",
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    kind: Annotated[
        str | None,
        Field(
            description="The kind of an anomaly. Only evaluation reads it.",
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    where: Annotated[
        str | None,
        Field(
            description=(
                "Rows for which it is true are kept. All other rows are counted as filtered and "
                "leave before sequences are made."
            ),
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    train_where: Annotated[
        str | None,
        Field(
            description=(
                "A training window must satisfy it in every row. It may read the label; the "
                'report then says "semi-supervised".'
            ),
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    calibrate_where: Annotated[
        str | None,
        Field(
            description="Thresholds are fitted on these events only. Every event is still scored.",
            json_schema_extra=_EXPRESSION_OR_NULL,
        ),
    ] = None
    features: Annotated[
        dict[str, str],
        Field(
            min_length=1,
            description="The features: names and numeric expressions. Their order counts.",
            json_schema_extra={"allowed": "mapping of names to SQL expressions, at least one"},
        ),
    ]

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_blank(cls, value: Any) -> Any:
        expressions = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(text, str) and not text.strip() for text in expressions):
            raise ValueError("an empty expression")
        # A bare number or boolean in YAML is a constant expression.
        return str(value) if isinstance(value, bool | int | float) else value

    @field_validator("tiebreak", mode="before")
    @classmethod
    def _single_tiebreak(cls, value: Any) -> Any:
        # A single expression needs no brackets in YAML.
        return (value,) if isinstance(value, str) else value

    @field_validator("features", mode="before")
    @classmethod
    def _check_features(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for name, expression in value.items():
            _check_feature_name(name)
            _check_feature_expression(name, expression)
        # Spark's column names do not tell upper and lower case apart.
        folded_names = {name.lower() for name in value}
        if len(folded_names) != len(value):
            raise ValueError("two features differ only in case")
        return {name: str(expression) for name, expression in value.items()}


def _check_feature_name(name: Any) -> None:
    if not isinstance(name, str) or not _FEATURE_NAME.match(name):
        raise ValueError(
            f"a feature's name is letters, digits and _, not starting with a digit: {name!r}"
        )
    reserved_prefixes = (columns.TIEBREAK_PREFIX, columns.RAW_PREFIX)
    if name in columns.CONTRACT or name.startswith(reserved_prefixes):
        raise ValueError(f"`{name}` is a column of the event contract; name the feature otherwise")


def _check_feature_expression(name: str, expression: Any) -> None:
    if isinstance(expression, list | dict):
        raise ValueError(f"feature `{name}`: one SQL expression is wanted, received {expression!r}")
    if expression is None or not str(expression).strip():
        raise ValueError(f"feature `{name}` has an empty expression")
