"""The exceptions a caller can act on; each carries the exit code of the public interface."""

from __future__ import annotations


class ForeshockError(Exception):
    """A failure with a message for the user.

    The message says what is wrong and where, what is allowed, what was received and what to do.
    """

    exit_code = 1


class SettingsError(ForeshockError):
    """A setting, an argument or the environment is wrong; nothing was written."""

    exit_code = 2


class DataError(ForeshockError):
    """The data, a dataset or a bundle break the contract."""

    exit_code = 3


class ServiceError(ForeshockError):
    """A service or the machine failed after retries."""

    exit_code = 4


class GateError(ForeshockError):
    """All was written, but a gate in `quality` was not met."""

    exit_code = 5
