"""Settings of the section `quality`: rows that break the contract, and gates."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from foreshock.settings.section import SettingsSection, Share

NULL_POLICIES = ("quarantine", "zero", "median")


class QualitySettings(SettingsSection):
    """What happens to missing values, and the gates of a run.

    If a gate is not met, all results are written and the exit code is 5.
    """

    nulls: Annotated[
        str | dict[str, str],
        Field(
            description=(
                "What happens to a row in which a feature is null: the row is quarantined, or the "
                "feature becomes zero or the training median. One word for all features, or a "
                "mapping such as {default: median, fee: zero}."
            ),
            json_schema_extra={
                "allowed": f"{', '.join(NULL_POLICIES)}; or a mapping of features to these"
            },
        ),
    ] = "quarantine"
    max_quarantined: Annotated[
        Share, Field(description="Gate: the largest share of rows that may be quarantined.")
    ] = 0.01
    max_unjudged: Annotated[
        Share | None,
        Field(
            description=(
                "Gate: the largest share of calibration and test events without a score. "
                "If null, no gate."
            ),
        ),
    ] = None
    max_flagged: Annotated[
        Share | None,
        Field(description="Gate: the largest share of judged events flagged. If null, no gate."),
    ] = None

    @field_validator("nulls")
    @classmethod
    def _known_policies(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for policy in [value] if isinstance(value, str) else value.values():
            if policy not in NULL_POLICIES:
                raise ValueError(f"allowed: {', '.join(NULL_POLICIES)}; received {policy!r}")
        return value

    def null_policy(self, feature: str) -> str:
        """The policy for nulls of a feature: quarantine, zero or median.

        >>> QualitySettings(nulls={"default": "median", "fee": "zero"}).null_policy("amount")
        'median'
        """
        if isinstance(self.nulls, str):
            return self.nulls
        return self.nulls.get(feature, self.nulls.get("default", "quarantine"))
