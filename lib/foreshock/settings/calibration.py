"""Settings of the section `calibration`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from foreshock.settings.section import OneOf, SettingsSection


class CalibrationSettings(SettingsSection):
    """Which scores thresholds are fitted on."""

    method: Annotated[
        str,
        AfterValidator(OneOf(("split", "out_of_fold", "train"))),
        Field(
            description=(
                "split: scores of split.calibration. out_of_fold: scores of training events by "
                "models that did not see them. train: in-sample scores of training events, which "
                "give thresholds that are likely too low; the report warns."
            )
        ),
    ] = "split"
    folds: Annotated[
        int,
        Field(ge=2, description="Into how many folds out_of_fold cuts the training time."),
    ] = 5
