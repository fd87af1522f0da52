"""AWS as configured, with boto3: the section `aws` put into the environment, and clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoRegionError

from foreshock.errors import SettingsError
from foreshock.platform.aws import KMS_KEY, REQUESTER_PAYS, RETRIES, endpoint

# Variables that would win over the settings' endpoint and profile if they stayed.
STRONGER_VARIABLES = {
    "endpoint": (
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_GLUE",
        "AWS_ENDPOINT_URL_ATHENA",
        "AWS_ENDPOINT_URL_S3TABLES",
    ),
    "profile": (
        "AWS_DEFAULT_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ),
}
SETTING_VARIABLES = {
    "endpoint": ("AWS_ENDPOINT_URL",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
    "kms_key": (KMS_KEY,),
    "requester_pays": (REQUESTER_PAYS,),
}
# For clients that clean up once a job is told to end: they may not hold it up.
QUICK_OPTIONS: dict[str, Any] = {
    "retries": {"max_attempts": 2, "mode": "standard"},
    "connect_timeout": 3,
    "read_timeout": 5,
}


def apply(settings: Mapping[str, str | None]) -> None:
    """Put the section `aws` of the settings into this process's environment.

    What it sets replaces what is there. Raises SettingsError for a profile that does not exist.
    """
    for key, variables in SETTING_VARIABLES.items():
        if value := settings.get(key):
            os.environ.update(dict.fromkeys(variables, value))
            for variable in STRONGER_VARIABLES.get(key, ()):
                os.environ.pop(variable, None)
    # boto3 reads AWS_DEFAULT_REGION alone, Java AWS_REGION.
    if "AWS_REGION" in os.environ:
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    try:
        session = boto3.session.Session()
        if session.region_name:
            os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = session.region_name
        _export_endpoint_of_profile(session)
    except BotoCoreError as error:
        raise SettingsError(
            f"`aws.profile` or AWS_PROFILE: {error}. Name a profile of the AWS configuration, or "
            "none."
        ) from None


def _export_endpoint_of_profile(session: Any) -> None:
    """Put the endpoint that a profile names into the environment; Spark would not see it."""
    is_ignored = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    if endpoint() or is_ignored or not session.profile_name:
        return
    # Only botocore's session, inside boto3's, tells the keys of a profile.
    url = session._session.get_scoped_config().get("endpoint_url")
    if isinstance(url, str):
        os.environ["AWS_ENDPOINT_URL"] = url


def client(service: str, *, quick: bool = False) -> Any:
    """A client of an AWS service; a `quick` one gives up within seconds.

    Raises SettingsError if no region is set, or if the configuration is wrong.
    """
    config = Config(**(QUICK_OPTIONS if quick else {"retries": RETRIES}))
    try:
        return boto3.session.Session().client(service, config=config)
    except NoRegionError:
        raise SettingsError(
            f"no AWS region is set, which {service} needs: set `aws.region`, AWS_REGION, or name a "
            "profile that has one."
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"AWS {service}: {error}. Correct `aws` in the conf or the AWS configuration."
        ) from None
