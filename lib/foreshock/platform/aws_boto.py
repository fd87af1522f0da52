"""AWS as configured, with boto3: what `aws:` says put into the environment, and clients of its services."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, NoRegionError

from foreshock.errors import SettingsError
from foreshock.platform.aws import KMS_KEY, REQUESTER_PAYS, RETRIES, endpoint

# What wins over the settings' endpoint and profile where it is in the environment.
STRONGER = {
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
SETTINGS = {
    "endpoint": ("AWS_ENDPOINT_URL",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_PROFILE",),
    "kms_key": (KMS_KEY,),
    "requester_pays": (REQUESTER_PAYS,),
}


def apply(given: Mapping[str, str | None]) -> None:
    """Put the section `aws` of the settings into this process's environment, in place of what is there.

    Raises SettingsError for a profile that is none.
    """
    for key, names in SETTINGS.items():
        if value := given.get(key):
            os.environ.update(dict.fromkeys(names, value))
            for name in STRONGER.get(key, ()):
                os.environ.pop(name, None)
    if "AWS_REGION" in os.environ:  # boto3 reads the other one alone
        os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]
    try:
        session = boto3.session.Session()
        if session.region_name:
            os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = session.region_name
        if (
            not endpoint()
            and os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true"
            and session.profile_name
        ):
            own = session._session.get_scoped_config().get(
                "endpoint_url"
            )  # a profile may name one too; Spark would not see it
            if isinstance(own, str):
                os.environ["AWS_ENDPOINT_URL"] = own
    except BotoCoreError as error:
        raise SettingsError(
            f"`aws.profile` or AWS_PROFILE: {error}. Name a profile of the AWS configuration, or none."
        ) from None


def client(service: str, *, quick: bool = False) -> Any:
    """A client of an AWS service; quick: it gives up within seconds. Raises SettingsError where no region is set."""
    hurried: dict[str, Any] = {
        "retries": {"max_attempts": 2, "mode": "standard"},
        "connect_timeout": 3,
        "read_timeout": 5,
    }
    config = Config(**hurried if quick else {"retries": RETRIES})
    try:
        return boto3.session.Session().client(service, config=config)
    except NoRegionError:
        raise SettingsError(
            f"no AWS region is set, which {service} needs: set `aws.region`, AWS_REGION, or name a profile that has "
            "one."
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"AWS {service}: {error}. Correct `aws` in the conf or the AWS configuration."
        ) from None
