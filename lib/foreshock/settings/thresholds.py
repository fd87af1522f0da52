"""Settings of the section `thresholds`: the rules that make a score an alarm."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from foreshock.settings.section import PositiveInteger, RawMapping, SettingsSection

KEYS_OF_RULE = {
    "quantile": ("level", "margin"),
    "pot": ("risk", "margin"),
    "conformal": ("level", "control"),
    "fixed": ("value",),
}


class RuleSettings(SettingsSection):
    """A threshold rule. Each takes some keys: quantile(level, margin), pot(risk, margin),
    conformal(level, control), fixed(value)."""

    name: Annotated[
        str,
        Field(
            description="The rule.",
            json_schema_extra={"allowed": ", ".join(KEYS_OF_RULE)},
        ),
    ] = "quantile"
    level: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description=(
                "quantile: the quantile of calibration scores. conformal: the false discovery "
                "rate or the risk (see control), 0.1 by default."
            ),
        ),
    ] = 0.99
    risk: Annotated[
        float,
        Field(
            gt=0,
            lt=0.1,
            description="pot: the probability that an ordinary score exceeds the threshold.",
        ),
    ] = 1e-4
    value: Annotated[
        float | None, Field(description="fixed: the threshold. Required for that rule.")
    ] = None
    control: Annotated[
        Literal["fdr", "risk"],
        Field(
            description=(
                "conformal: what `level` bounds. fdr: the share of ordinary runs of events among "
                "those flagged (Benjamini and Hochberg). risk: the share of ordinary runs of "
                "events that is flagged."
            )
        ),
    ] = "fdr"
    margin: Annotated[
        float,
        Field(gt=0, description="quantile and pot: the threshold is multiplied by it."),
    ] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _keys_of_its_rule(cls, value: Any) -> Any:
        # Before defaults are filled in, it is still plain which keys were given.
        raw = {"name": value} if isinstance(value, str) else value
        if not isinstance(raw, dict):
            return raw
        name = raw.get("name", "quantile")
        if not isinstance(name, str) or name not in KEYS_OF_RULE:
            raise ValueError(f"allowed rules: {', '.join(KEYS_OF_RULE)}; received {name!r}")
        for key in ("level", "risk", "value", "control", "margin"):
            if key in raw and key not in KEYS_OF_RULE[name]:
                taken_keys = " and ".join(KEYS_OF_RULE[name])
                raise ValueError(f"rule `{name}` takes {taken_keys}; received {key}")
        if name == "conformal":
            # Its level is a rate of errors: the 0.99 of quantile would flag nearly everything.
            return {"level": 0.1, **raw}
        if name == "fixed" and raw.get("value") is None:
            raise ValueError(
                "rule `fixed` wants a value, for example {name: fixed, value: 0.5}; received none"
            )
        return raw

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError(f"value: a finite number is wanted, received {value}")
        return value

    @model_serializer(mode="wrap")
    def _only_its_keys(self, serialize: SerializerFunctionWrapHandler) -> RawMapping:
        # Keys of other rules would be refused when conf.yaml is read back.
        kept_keys = ("name", *KEYS_OF_RULE[self.name])
        return {key: value for key, value in serialize(self).items() if key in kept_keys}

    @property
    def table_level(self) -> float | None:
        """The level of the rule's rows in the table `thresholds`; None for a fixed value.

        >>> RuleSettings(name="pot", risk=0.001).table_level
        0.999
        """
        levels = {"quantile": self.level, "pot": 1 - self.risk, "conformal": self.level}
        return levels.get(self.name)

    @property
    def quantile(self) -> float | None:
        """The quantile of calibration that the rule takes or falls back on; None for a fixed value.

        >>> RuleSettings(name="conformal", level=0.1).quantile
        0.9
        """
        return 1 - self.level if self.name == "conformal" else self.table_level


class ThresholdsSettings(SettingsSection):
    """How thresholds are fitted and which one judges."""

    rules: Annotated[
        tuple[RuleSettings, ...],
        Field(
            min_length=1,
            description=(
                "The rules. Their thresholds are written side by side. A rule is a mapping such "
                "as {name: pot, risk: 0.0001}, or its name."
            ),
            json_schema_extra={
                "allowed": (
                    "list of quantile(level, margin), pot(risk, margin), conformal(level, "
                    "control), fixed(value)"
                )
            },
        ),
    ] = (RuleSettings(),)
    use: Annotated[
        str | None,
        Field(description="The name of the rule that judges. If null, the first rule."),
    ] = None
    per: Annotated[
        Literal["group", "partition", "all"],
        Field(
            description=(
                "What has a threshold of its own: every group, every group and partition, or all "
                "events together. If the partition is time, partition judges by the pooled row."
            )
        ),
    ] = "group"
    min_count: Annotated[
        PositiveInteger,
        Field(
            description=(
                "A group with fewer calibration events takes the pooled threshold. A run with "
                "fewer in all ends with exit code 3."
            )
        ),
    ] = 1000

    @model_validator(mode="after")
    def _rules_are_distinct(self) -> ThresholdsSettings:
        names = [rule.name for rule in self.rules]
        if self.use is not None and self.use not in names:
            raise ValueError(f"use: one of the rules ({', '.join(names)}), received {self.use!r}")
        # A rule may come twice with two levels; `use` then means the first.
        if len(set(self.rules)) != len(self.rules):
            raise ValueError("two rules are the same")
        return self

    @property
    def judging_rule(self) -> RuleSettings:
        """The rule that judges: the first that `use` names, else the first of all.

        The thresholds of all other rules are written, but flag no event.
        """
        return next((rule for rule in self.rules if rule.name == self.use), self.rules[0])
