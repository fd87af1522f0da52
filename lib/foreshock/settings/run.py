"""Settings of the section `run`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from foreshock.settings.section import SettingsSection


class RunSettings(SettingsSection):
    """What a run is called and what its random numbers start from."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
            max_length=100,
            description="The run's name. It begins the run id, which every table has.",
        ),
    ] = "run"
    seed: Annotated[
        int,
        Field(
            ge=0,
            lt=2**31,
            description="Where all random numbers start: weights, batches, samples, bootstraps.",
        ),
    ] = 7
