"""Where training runs: the devices of this machine, the workers there are, and the strategy over them."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from typing import Any, Literal

from foreshock.errors import SettingsError
from foreshock.platform.quiet import silenced_stderr

with silenced_stderr():
    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class Replication:
    """A strategy with what it is made of: replicas of this worker, workers in all, this worker's number."""

    strategy: tf.distribute.Strategy
    replicas: int = 1
    workers: int = 1
    worker: int = 0

    @property
    def chief(self) -> bool:
        """Whether this worker writes what all share."""
        return self.worker == 0


def most_replicas() -> tuple[int, str]:
    """How many replicas this machine can hold, and of what: its GPUs, or without any its processor cores."""
    gpus = tf.config.list_physical_devices("GPU")
    return (len(gpus), "GPUs") if gpus else (os.cpu_count() or 1, "processor cores")


def check_replicas(replicas: int | Literal["auto"]) -> int:
    """The wanted number of replicas; `auto`: one a GPU, or one. Raises SettingsError where the machine has not as many devices."""
    most, what = most_replicas()
    if replicas == "auto":
        return most if what == "GPUs" else 1
    if replicas > most:
        raise SettingsError(
            f"training.replicas is {replicas}, but this machine has {most} {what}: at most {most} replicas. "
            "Lower it, or use `auto`."
        )
    return replicas


def prepare_devices(
    seed: int, replicas: int | Literal["auto"] = 1, worker: int = 0, workers: int = 1
) -> Replication:
    """Seed everything, ask for deterministic kernels, let GPU memory grow; the strategy over this process's devices.

    With several workers the environment's TF_CONFIG names them (TensorFlow, MultiWorkerMirroredStrategy). Without a GPU, replicas
    are logical devices of the processor. Raises SettingsError for more replicas than devices.
    """
    wanted = check_replicas(replicas)
    gpus = tf.config.list_physical_devices("GPU")[:wanted]
    if gpus:
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus and wanted > 1:
        _logical_devices(wanted)
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    settle_memory()
    kind = "GPU" if gpus else "CPU"
    if workers > 1:
        found = Replication(tf.distribute.MultiWorkerMirroredStrategy(), wanted, workers, worker)
        if found.strategy.num_replicas_in_sync != wanted * workers:
            raise SettingsError(
                f"training.replicas is {wanted} on each of {workers} workers, but TensorFlow makes "
                f"{found.strategy.num_replicas_in_sync} replicas in all. Use `auto`."
            )
        return found
    if wanted == 1:
        return Replication(tf.distribute.OneDeviceStrategy(f"/{kind}:0"))
    return Replication(
        tf.distribute.MirroredStrategy([f"/{kind}:{i}" for i in range(wanted)]), wanted
    )


def settle_memory() -> None:
    """Take what imports made out of garbage collection: a full collection over TensorFlow's objects stalls a loop for 0.25 s."""
    gc.collect()
    gc.freeze()


def _logical_devices(wanted: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * wanted
        )
    except RuntimeError:  # TensorFlow has started already
        if (there := len(tf.config.list_logical_devices("CPU"))) < wanted:
            raise SettingsError(
                f"training.replicas is {wanted}, but TensorFlow already runs in this process with {there} logical "
                "devices. Start the training in a process of its own."
            ) from None


def set_precision(precision: str) -> str:
    """Set what layers compute in; weights stay float32. `auto`: bfloat16 where every GPU has it (compute capability 8), else float32."""
    wanted = precision
    if precision == "auto":
        gpus: list[Any] = tf.config.list_physical_devices("GPU")
        able = [
            tf.config.experimental.get_device_details(g).get("compute_capability", (0, 0))[0] >= 8
            for g in gpus
        ]
        wanted = "bfloat16" if able and all(able) else "float32"
    keras.config.set_dtype_policy("mixed_bfloat16" if wanted == "bfloat16" else "float32")
    return wanted


def one_thread() -> None:
    """Scoring tasks share a machine's cores: one thread each. Without effect once TensorFlow has started."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        return
