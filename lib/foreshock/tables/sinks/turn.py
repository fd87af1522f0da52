"""A turn to write where writers do not exclude each other: one run at a time in a folder."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from foreshock.errors import ServiceError, SettingsError
from foreshock.platform.locks import locked
from foreshock.tables.sinks.protocol import TurnCheck

WAIT_SECONDS, POLL_SECONDS = 600.0, 1.0


@contextlib.contextmanager
def wait_for_turn(folder: Path, setting: str) -> Iterator[TurnCheck]:
    """Hold a folder that runs publish to, made if it is missing; yields what checks the hold.

    setting: the one that names the folder, for what is said if the hold is lost.
    Raises ServiceError if another run holds it for ten minutes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + WAIT_SECONDS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                check_turn = stack.enter_context(locked(folder, setting))
                break
            # The lock belongs to a run that publishes now; it will end, so this is no error yet.
            except SettingsError:
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"{folder}: another run has published there for {WAIT_SECONDS:.0f} s. Run "
                        "the same command again."
                    ) from None
                time.sleep(POLL_SECONDS)
        yield check_turn
