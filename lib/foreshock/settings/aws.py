"""Settings of the section `aws`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from foreshock.settings.section import SettingsSection


class AwsSettings(SettingsSection):
    """What replaces AWS's own configuration (environment, profile). Credentials are never settings.

    The section says where a run works, not what it does: it does not count when runs are compared.
    """

    endpoint: Annotated[
        str | None,
        Field(
            # No `@`: an address would hold credentials, which are never settings.
            pattern=r"^https?://[^\s/@]+/?$",
            description="The address of all services, such as http://localhost:5000; path style.",
        ),
    ] = None
    region: Annotated[str | None, Field(pattern=r"^[a-z0-9-]+$", description="The region.")] = None
    profile: Annotated[
        str | None, Field(min_length=1, description="A profile of the AWS configuration.")
    ] = None
    kms_key: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The KMS key that encrypts what is written to S3 (SSE-KMS).",
        ),
    ] = None
    requester_pays: Annotated[
        Literal["requester"] | None,
        Field(description="Who pays for reading S3. Works on clusters only."),
    ] = None
