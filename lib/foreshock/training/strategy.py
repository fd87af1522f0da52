"""Where training runs: the devices of this machine and the strategy over them."""

from __future__ import annotations

import os

from foreshock.quiet import held_stderr

with held_stderr():
    import keras
    import tensorflow as tf


def prepare_devices(seed: int) -> tf.distribute.Strategy:
    """Seed everything, ask for deterministic kernels, let GPU memory grow; the strategy for one replica."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    device = "/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0"
    return tf.distribute.OneDeviceStrategy(device)


def one_thread() -> None:
    """Scoring tasks share a machine's cores: one thread each. Without effect once TensorFlow has started."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return
