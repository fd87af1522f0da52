"""Standard error silenced while a library loads that prints however it is asked not to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def silenced_stderr() -> Iterator[None]:
    """What is written to file descriptor 2 in the block is lost. Exceptions pass.

    TensorFlow's banners come from C++, so that replacing `sys.stderr` does not stop them.
    """
    saved_descriptor, null_descriptor = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null_descriptor, 2)
        yield
    finally:
        os.dup2(saved_descriptor, 2)
        os.close(saved_descriptor)
        os.close(null_descriptor)
