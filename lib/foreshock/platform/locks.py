"""One run at a time in a run directory. Here the system's file lock, which dies with its process; on S3 an object that is kept fresh.

On S3 a lock is the object `.lock/<n>` with the highest n; to take it is to create the next one, which only one of several can. Its
owner writes it anew every few seconds. Who finds one watches it: unchanged for a while, or its process is gone from this same
machine, it counts as left behind and the next number is taken. Clocks are not compared.
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
from pathlib import Path
from typing import Any

from foreshock.errors import ServiceError, SettingsError
from foreshock.platform.files import create
from foreshock.platform.paths import is_remote
from foreshock.platform.transfers import remove

LOCK = ".lock"
BEAT_SECONDS, DEAD_SECONDS = 5.0, 25.0


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Callable[[], None]]:
    """Hold a run directory; yields a function that raises ServiceError once the lock was lost. Raises SettingsError where it is held."""
    if is_remote(folder):
        with _object(folder / LOCK, f"--run-dir {folder}") as held:
            yield held
        return
    with (folder / LOCK).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"--run-dir {folder}: another run is at work in it. Wait for it."
            ) from None
        yield lambda: None


@contextlib.contextmanager
def _object(locks: Path, where: str) -> Iterator[Callable[[], None]]:
    number = _await_turn(locks, where)
    own = locks / f"{number:08d}"
    stop, lost = threading.Event(), threading.Event()

    def body() -> str:
        return json.dumps(
            {
                "host": socket.gethostname(),
                "boot": _boot(),
                "processes": _processes(),
                "process": os.getpid(),
                "beat": uuid.uuid4().hex,
            }
        )

    if not create(own, body()):
        raise SettingsError(f"{where}: another run began in it at the same moment. Wait for it.")

    def beat() -> None:
        while not stop.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception):  # the next beat tries again; who waits is patient
                if _highest(locks) != number:
                    lost.set()
                    return
                own.write_text(body())

    def held() -> None:
        if lost.is_set() or _highest(locks) != number:
            raise ServiceError(
                f"{where}: another run took it over, for this one showed no life for {DEAD_SECONDS:.0f} s. Nothing more is "
                "written; run the same command again when the other has ended."
            )

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    for old in locks.iterdir():
        if old.name < own.name:
            remove(old)
    try:
        yield held
    finally:
        stop.set()
        thread.join(timeout=BEAT_SECONDS)
        with contextlib.suppress(Exception):
            remove(own)


def _await_turn(locks: Path, where: str) -> int:
    """The number to take. Raises SettingsError where a living run holds the highest."""
    highest = _highest(locks)
    if highest is None:
        return 1
    first = _read(locks / f"{highest:08d}")
    here = (first.get("host"), first.get("boot"), first.get("processes")) == (
        socket.gethostname(),
        _boot(),
        _processes(),
    )
    if here and not _alive(first.get("process")):
        return highest + 1
    until = time.monotonic() + (0 if here else DEAD_SECONDS)
    while time.monotonic() < until:
        time.sleep(1)
        now = _read(locks / f"{highest:08d}")
        if not now:
            return _await_turn(locks, where)
        if now != first:
            break
    else:
        if not here:
            return highest + 1
    raise SettingsError(
        f"{where}: another run is at work in it (on {first.get('host')}). Wait for it."
    )


def _highest(locks: Path) -> int | None:
    return max((int(p.name) for p in locks.iterdir() if p.name.isdigit()), default=None)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _processes() -> str:
    """The namespace in which a process's number means something: containers of one machine have their own."""
    with contextlib.suppress(OSError):
        return str(Path("/proc/self/ns/pid").readlink())
    return ""


def _alive(process: Any) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        pass
    return True
