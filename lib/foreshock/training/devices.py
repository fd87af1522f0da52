"""Where training runs: the devices of this machine, the workers, and the strategy over them."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from typing import Literal

from foreshock.errors import SettingsError
from foreshock.platform.quiet import silenced_stderr

with silenced_stderr():
    import keras
    import tensorflow as tf

Replicas = int | Literal["auto"]
# The compute capability from which on GPUs multiply bfloat16.
FIRST_WITH_BFLOAT16 = 8


@dataclass(frozen=True)
class Replication:
    """A strategy with what it is made of.

    Attributes:
        strategy: TensorFlow's, over this process's devices and the other workers.
        replicas: devices of this worker.
        workers: processes that train together.
        worker: the number of this one, from 0.
    """

    strategy: tf.distribute.Strategy
    replicas: int = 1
    workers: int = 1
    worker: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes what all share."""
        return self.worker == 0


def most_replicas() -> tuple[int, str]:
    """How many replicas this machine can hold, and of what: its GPUs, or else processor cores.

    The second value is the word for messages: "GPUs" or "processor cores".
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return len(gpus), "GPUs"
    return os.cpu_count() or 1, "processor cores"


def check_replicas(replicas: Replicas) -> int:
    """The wanted number of replicas. `auto`: one for each GPU, or one.

    Raises SettingsError if the machine has fewer devices.
    """
    most, device_kind = most_replicas()
    if replicas == "auto":
        return most if device_kind == "GPUs" else 1
    if replicas > most:
        raise SettingsError(
            f"training.replicas is {replicas}, but this machine has {most} {device_kind}: at most "
            f"{most} replicas. Lower it, or use `auto`."
        )
    return replicas


def prepare_devices(
    seed: int, replicas: Replicas = 1, worker: int = 0, workers: int = 1
) -> Replication:
    """The strategy over this process's devices, ready to train deterministically.

    Seeds everything, asks for deterministic kernels, and lets GPU memory grow. With several workers
    the environment's TF_CONFIG names them (TensorFlow, MultiWorkerMirroredStrategy). Without a GPU,
    replicas are logical devices of the processor. Raises SettingsError for more replicas than
    devices.
    """
    wanted = check_replicas(replicas)
    gpus = tf.config.list_physical_devices("GPU")[:wanted]
    if gpus:
        tf.config.set_visible_devices(gpus, "GPU")
    # TensorFlow would take all memory of a GPU at its start.
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    # Before anything makes a tensor: TensorFlow's devices cannot be changed afterwards.
    if not gpus and wanted > 1:
        _make_logical_devices(wanted)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    settle_memory()
    if workers > 1:
        return _over_workers(wanted, worker, workers)
    device_kind = "GPU" if gpus else "CPU"
    if wanted == 1:
        return Replication(tf.distribute.OneDeviceStrategy(f"/{device_kind}:0"))
    devices = [f"/{device_kind}:{number}" for number in range(wanted)]
    return Replication(tf.distribute.MirroredStrategy(devices), wanted)


def _over_workers(replicas: int, worker: int, workers: int) -> Replication:
    # It reads the addresses of the workers from TF_CONFIG.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if strategy.num_replicas_in_sync != replicas * workers:
        raise SettingsError(
            f"training.replicas is {replicas} on each of {workers} workers, but TensorFlow makes "
            f"{strategy.num_replicas_in_sync} replicas in all. Use `auto`."
        )
    return Replication(strategy, replicas, workers, worker)


def settle_memory() -> None:
    """Take what imports made out of garbage collection.

    A full collection over TensorFlow's objects stalls a loop for 0.25 s.
    """
    gc.collect()
    gc.freeze()


def _make_logical_devices(wanted: int) -> None:
    processor = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            processor, [tf.config.LogicalDeviceConfiguration()] * wanted
        )
    except RuntimeError:  # TensorFlow has started already
        n_devices = len(tf.config.list_logical_devices("CPU"))
        if n_devices < wanted:
            raise SettingsError(
                f"training.replicas is {wanted}, but TensorFlow already runs in this process with "
                f"{n_devices} logical devices. Start the training in a process of its own."
            ) from None


def set_precision(precision: str) -> str:
    """Set what layers compute in, and return it. Weights stay float32.

    `auto`: bfloat16 if every GPU has it (compute capability 8), else float32.
    """
    wanted = precision
    if precision == "auto":
        wanted = "bfloat16" if _gpus_have_bfloat16() else "float32"
    keras.config.set_dtype_policy("mixed_bfloat16" if wanted == "bfloat16" else "float32")
    return wanted


def _gpus_have_bfloat16() -> bool:
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capabilities = [detail.get("compute_capability", (0, 0))[0] for detail in details]
    return bool(gpus) and all(major >= FIRST_WITH_BFLOAT16 for major in capabilities)
