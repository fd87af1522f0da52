"""What a Python worker of Spark is spared around each task."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
import zipimport
from collections.abc import Callable
from typing import Any

import pyarrow as pa

# What this worker's process was last settled for; a worker runs many tasks.
_settled: dict[str, int] = {}
# glibc's; other C libraries have none. It gives the memory that a task freed back to the system.
_trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)


def settle_worker() -> None:
    """Spare a worker's next tasks what PySpark does around each: 90 % of a short task's time.

    PySpark invalidates import caches, and every zip importer then reads its whole directory again:
    the importers are dropped, and come back when they are next needed. PySpark collects garbage
    over all that the imported modules hold: it is frozen whenever more modules were imported. The
    JVM sends a task in pieces, each of which waits until the piece before is acknowledged, which
    Linux puts off by 40 ms: the worker acknowledges at once.
    """
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimport.zipimporter):
            sys.path_importer_cache.pop(path, None)
    if len(sys.modules) > _settled.get("modules", 0):
        _settled["modules"] = len(sys.modules)
        gc.collect()
        gc.freeze()
    pa.default_memory_pool().release_unused()
    _trim(0)
    _acknowledge_at_once()


def _acknowledge_at_once() -> None:
    daemon: Any = sys.modules["__main__"]
    has_quick_acknowledgement = hasattr(socket, "TCP_QUICKACK")
    if hasattr(daemon, "worker_main") and has_quick_acknowledgement and not _settled.get("quick"):
        _settled["quick"] = 1
        daemon.worker_main = _acknowledging(daemon.worker_main)


def _acknowledging(worker_main: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def worker_main_that_acknowledges(infile: Any, outfile: Any) -> None:
        """Spark's worker, once its connection acknowledges at once."""
        with socket.socket(fileno=os.dup(infile.fileno())) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        worker_main(infile, outfile)

    return worker_main_that_acknowledges
