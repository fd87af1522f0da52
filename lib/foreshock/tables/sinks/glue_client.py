"""What is used of boto3's client of Glue, which has no types, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from botocore.exceptions import ClientError

from foreshock.errors import ServiceError

# Codes, not classes: botocore makes its exceptions' classes at run time.
MISSING, THERE_ALREADY = "EntityNotFoundException", "AlreadyExistsException"

# As boto3 takes and gives it: Glue's names to Glue's values.
GlueObject = Mapping[str, Any]


class GlueClient(Protocol):
    """Calls of Glue, named as boto3 names them."""

    def get_database(self, *, Name: str) -> GlueObject:
        """A database."""

    def create_database(self, *, DatabaseInput: GlueObject) -> GlueObject:
        """Make a database."""

    def get_table(self, *, DatabaseName: str, Name: str) -> GlueObject:
        """A table."""

    def create_table(self, *, DatabaseName: str, TableInput: GlueObject) -> GlueObject:
        """Make a table."""

    def update_table(self, *, DatabaseName: str, TableInput: GlueObject) -> GlueObject:
        """Replace what is known of a table."""

    def batch_delete_partition(
        self, *, DatabaseName: str, TableName: str, PartitionsToDelete: Sequence[GlueObject]
    ) -> GlueObject:
        """Forget at most 25 partitions."""

    def batch_create_partition(
        self, *, DatabaseName: str, TableName: str, PartitionInputList: Sequence[GlueObject]
    ) -> GlueObject:
        """Make at most 100 partitions known."""

    def update_partition(
        self,
        *,
        DatabaseName: str,
        TableName: str,
        PartitionValueList: Sequence[str],
        PartitionInput: GlueObject,
    ) -> GlueObject:
        """Replace what is known of a partition."""


def has_code(error: ClientError, code: str) -> bool:
    """Whether an error of AWS has a code.

    code: as AWS spells it, such as MISSING.
    """
    return bool(error.response.get("Error", {}).get("Code") == code)


def service_error(call: str, error: Exception) -> ServiceError:
    """The project's error for a call that Glue refused.

    call: the call's name, or what it was for, as the message begins.

    >>> str(service_error("GetTable", ValueError("no access"))).split(". ")[0]
    'Glue GetTable: no access'
    """
    return ServiceError(
        f"Glue {call}: {error}. Check permissions and the service, then run the same command."
    )
