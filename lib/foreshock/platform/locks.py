"""One run at a time in a folder: a run directory, or a place that several runs publish to.

On a file system the lock is the system's, which dies with its process. On S3 it is an object that
is kept fresh: the object `.lock/<n>` with the highest n. To take the lock is to create the next
number, which only one of several processes can. Its owner writes the object anew every few seconds.
A process that meets a lock watches it. The lock counts as left behind, and the next number is
taken, if it stays unchanged for a while or if its process is gone from this same machine. Clocks
are not compared.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foreshock.errors import ServiceError, SettingsError
from foreshock.platform.files import create
from foreshock.platform.paths import is_remote
from foreshock.platform.transfers import remove

LOCK = ".lock"
BEAT_SECONDS, DEAD_SECONDS = 5.0, 25.0


@contextlib.contextmanager
def locked(folder: Path, setting: str) -> Iterator[Callable[[], None]]:
    """Lock a folder that a setting names; both are in the errors.

    Yields a function that raises ServiceError once the lock was lost. Raises SettingsError if
    another run has the lock.
    """
    subject = f"{setting} {folder}"
    if is_remote(folder):
        with _ObjectLock(folder / LOCK, subject).taken() as check:
            yield check
        return
    with (folder / LOCK).open("w") as handle:
        try:
            # The system gives it back even if this process is killed.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"{subject}: another run is at work in it. Wait for it.") from None
        yield lambda: None


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _process_namespace() -> str:
    # A process's number means something there only: containers of one machine have their own.
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


@dataclass(frozen=True)
class _Owner:
    """Who wrote a lock's object. `beat` differs at every writing, so that it is seen to live."""

    host: str = field(default_factory=socket.gethostname)
    boot: str = field(default_factory=_boot_id)
    processes: str = field(default_factory=_process_namespace)
    process: int = field(default_factory=os.getpid)
    beat: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def read(cls, path: Path) -> _Owner | None:
        """The owner that an object names; None if there is no object or it names nobody.

        A field that the object lacks, as one of another version may, is empty.
        """
        try:
            content = json.loads(path.read_text())
            return cls(**{name: content.get(name, "") for name in cls.__dataclass_fields__})
        except (FileNotFoundError, ValueError, AttributeError):
            return None

    def to_json(self) -> str:
        """The owner as the text of a lock's object, which `read` takes."""
        return json.dumps(asdict(self))

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it is a process of this machine since its last start, in this container."""
        machine = (socket.gethostname(), _boot_id(), _process_namespace())
        return (self.host, self.boot, self.processes) == machine

    @property
    def is_alive(self) -> bool:
        """Whether the process exists.

        Ask it of an owner on this machine only: elsewhere its number is another process's.
        """
        try:
            os.kill(int(self.process), 0)
        except (ProcessLookupError, TypeError, ValueError):
            return False
        except PermissionError:
            # It exists, but is another user's.
            pass
        return True


class _ObjectLock:
    """A lock on S3. `subject` says what it locks: the setting and the folder."""

    def __init__(self, objects: Path, subject: str) -> None:
        self.objects, self.subject = objects, subject
        self._number = 0
        self._stopping, self._lost = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Callable[[], None]]:
        """Take the lock and keep it fresh while the block runs.

        Yields a function that raises ServiceError once another run took the lock over. Raises
        SettingsError if another run has it.
        """
        self._number = self._await_turn()
        if not create(self._object, _Owner().to_json()):
            raise SettingsError(
                f"{self.subject}: another run began in it at the same moment. Wait for it."
            )
        heart = threading.Thread(target=self._keep_fresh, daemon=True)
        heart.start()
        # Lower numbers are locks of runs that died: nobody looks at them any longer.
        for left_behind in self.objects.iterdir():
            if left_behind.name < self._object.name:
                remove(left_behind)
        try:
            yield self._check
        finally:
            self._stopping.set()
            heart.join(timeout=BEAT_SECONDS)
            with contextlib.suppress(Exception):
                remove(self._object)

    @property
    def _object(self) -> Path:
        return self._object_of(self._number)

    def _object_of(self, number: int) -> Path:
        return self.objects / f"{number:08d}"

    def _highest(self) -> int | None:
        names = (path.name for path in self.objects.iterdir())
        return max((int(name) for name in names if name.isdigit()), default=None)

    def _keep_fresh(self) -> None:
        while not self._stopping.wait(BEAT_SECONDS):
            # The next beat tries again; who waits for this lock is patient.
            with contextlib.suppress(Exception):
                if self._highest() != self._number:
                    self._lost.set()
                    return
                self._object.write_text(_Owner().to_json())

    def _check(self) -> None:
        if self._lost.is_set() or self._highest() != self._number:
            raise ServiceError(
                f"{self.subject}: another run took it over, for this one showed no life for "
                f"{DEAD_SECONDS:.0f} s. Nothing more is written; run the same command again when "
                "the other has ended."
            )

    def _await_turn(self) -> int:
        """The number to take. Raises SettingsError if a living run has the highest."""
        highest = self._highest()
        if highest is None:
            return 1
        owner = _Owner.read(self._object_of(highest))
        if owner is not None and owner.is_of_this_machine:
            if owner.is_alive:
                raise self._taken_by(owner.host)
            return highest + 1
        # Another machine's process cannot be looked at. Its lock must change, or it is dead.
        deadline = time.monotonic() + DEAD_SECONDS
        while time.monotonic() < deadline:
            time.sleep(1)
            current_owner = _Owner.read(self._object_of(highest))
            if current_owner is None:
                return self._await_turn()
            if current_owner != owner:
                raise self._taken_by(current_owner.host)
        return highest + 1

    def _taken_by(self, host: Any) -> SettingsError:
        return SettingsError(
            f"{self.subject}: another run is at work in it (on {host}). Wait for it."
        )
