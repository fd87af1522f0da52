"""Settings of the section `scoring`: what an event's score is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from foreshock.settings.section import SettingsSection

# A standardised or Mahalanobis error is a mean, which has no median or extreme over windows.
_SCORES_OF_ERRORS = {
    "standardised": ("window", "last", "cover", "mean"),
    "mahalanobis": ("last", "cover", "mean"),
}


class SmoothSettings(SettingsSection):
    """A causal average over an entity's last scores. A plain number means {mean: number}."""

    mean: Annotated[
        int | None,
        Field(ge=2, le=10_000, description="The plain mean of so many last events."),
    ] = None
    exponential: Annotated[
        int | None,
        Field(ge=2, le=200, description="The exponential mean with a span of so many events."),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _number_is_mean(cls, value: Any) -> Any:
        # True is an integer to Python.
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return {"mean": value} if is_number else value

    @model_validator(mode="after")
    def _exactly_one(self) -> SmoothSettings:
        if (self.mean is None) == (self.exponential is None):
            raise ValueError(
                "a number of events, {mean: events} or {exponential: events} is wanted"
            )
        return self


class ScoringSettings(SettingsSection):
    """What an event's score is made of."""

    score: Annotated[
        Literal["window", "last", "cover", "mean", "median", "max", "min"],
        Field(
            description=(
                "window: the mean error of the window that ends at the event. last: the event's "
                "own error in that window. cover: the mean error of all windows that hold the "
                "event, known length − 1 events later. mean, median, max, min: of the event's own "
                "error over all windows that hold it."
            )
        ),
    ] = "window"
    errors: Annotated[
        Literal["plain", "standardised", "mahalanobis"],
        Field(
            description=(
                "How a model's errors in the features become one. plain: their mean. "
                "standardised: each is divided by its calibration mean first; goes with window, "
                "last, cover and mean. mahalanobis: the squared distance by calibration's shrunk "
                "covariance, over the number of features; goes with last, cover and mean."
            )
        ),
    ] = "plain"
    smooth: Annotated[
        SmoothSettings | None,
        Field(
            description=(
                "Every score is averaged over the entity's last events, this one included: "
                "{mean: events} or {exponential: events}. If null, scores stay."
            ),
            json_schema_extra={
                "allowed": "{mean: 2 to 10000}, {exponential: 2 to 200}, a number or null"
            },
        ),
    ] = None

    @model_validator(mode="after")
    def _errors_fit_score(self) -> ScoringSettings:
        fitting_scores = _SCORES_OF_ERRORS.get(self.errors)
        if fitting_scores is not None and self.score not in fitting_scores:
            raise ValueError(
                f"errors: {self.errors} goes with score: {', '.join(fitting_scores)}; "
                f"received {self.score}"
            )
        return self
