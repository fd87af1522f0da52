"""How many threads TensorFlow takes in a process that shares its machine with others."""

from __future__ import annotations

import os

from foreshock.platform.quiet import silenced_stderr


def use_one_thread() -> None:
    """Have TensorFlow use one thread: scoring tasks share a machine's cores.

    It loads TensorFlow, so call it only if a network is loaded too. Without effect once TensorFlow
    has started its threads.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced_stderr():
        import tensorflow as tf
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return
