"""Settings of the section `training`: how the network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from foreshock.settings.section import PositiveInteger, SettingsSection


class TrainingSettings(SettingsSection):
    """How the network is trained. Detectors without a network read none of these keys."""

    epochs: Annotated[
        PositiveInteger, Field(description="The largest number of passes over the windows.")
    ] = 10
    batch: Annotated[
        PositiveInteger,
        Field(description="Windows per step, over all replicas and workers together."),
    ] = 256
    learning_rate: Annotated[float, Field(gt=0, description="The largest learning rate.")] = 0.001
    patience: Annotated[
        int,
        Field(
            ge=0,
            description=(
                "Epochs without progress on the validation part after which training stops."
            ),
        ),
    ] = 3
    windows_per_epoch: Annotated[
        PositiveInteger | None,
        Field(description="Windows that an epoch draws. If null, all training windows."),
    ] = None
    validation: Annotated[
        float,
        Field(gt=0, lt=1, description="The validation part: this last share of train's time."),
    ] = 0.1
    replicas: Annotated[
        Literal["auto"] | PositiveInteger,
        Field(description="Devices per worker. auto: every GPU it sees, else one CPU replica."),
    ] = "auto"
    workers: Annotated[
        PositiveInteger,
        Field(
            description=(
                "Processes that train together in a barrier stage of Spark, one per machine if "
                "there are GPUs. 1: the driver trains."
            )
        ),
    ] = 1
    schedule: Annotated[
        Literal["constant", "cosine"],
        Field(
            description="cosine: the learning rate falls along half a cosine to 0 over all epochs."
        ),
    ] = "constant"
    warmup_steps: Annotated[
        int, Field(ge=0, description="Steps over which the rate first rises to learning_rate.")
    ] = 0
    clip_norm: Annotated[
        float | None,
        Field(
            gt=0,
            description="The largest norm of a step's gradient. If null, no limit.",
        ),
    ] = None
    precision: Annotated[
        Literal["float32", "bfloat16", "auto"],
        Field(
            description=(
                "What devices compute in. auto: bfloat16 if every GPU has it. Weights stay float32."
            )
        ),
    ] = "float32"
    jit_compile: Annotated[
        Literal["auto", "always", "never"],
        Field(
            description=(
                "Whether XLA compiles the network. auto: where that is faster. always: where it "
                "cannot, training says so and goes on without."
            )
        ),
    ] = "auto"
    checkpoint_steps: Annotated[
        PositiveInteger,
        Field(
            description="Steps from a checkpoint to the next. The end of an epoch always has one."
        ),
    ] = 200
    attempts: Annotated[
        int,
        Field(
            ge=1, le=4, description="Starts of the workers before the job ends with exit code 4."
        ),
    ] = 1

    @model_validator(mode="after")
    def _replicas_fit_workers(self) -> TrainingSettings:
        if self.workers > 1 and self.replicas not in ("auto", 1):
            raise ValueError(
                f"replicas ({self.replicas}) with {self.workers} workers: `auto` is wanted, every "
                "GPU of each machine"
            )
        return self

    @model_validator(mode="after")
    def _windows_for_every_replica(self) -> TrainingSettings:
        # How many `auto` gives is known only where devices are seen.
        replicas = self.replicas if isinstance(self.replicas, int) else 1
        smallest_batch = self.workers * replicas
        if self.batch < smallest_batch:
            raise ValueError(
                f"batch ({self.batch}) must not be smaller than workers x replicas "
                f"({smallest_batch}): each needs a window"
            )
        if self.windows_per_epoch is not None and self.windows_per_epoch < self.workers:
            raise ValueError(
                f"windows_per_epoch ({self.windows_per_epoch}) must not be smaller than workers "
                f"({self.workers})"
            )
        return self
