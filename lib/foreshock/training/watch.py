"""How training is watched: progress lines, TensorBoard's event files, a beat for a supervisor."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foreshock.platform.paths import is_remote
from foreshock.platform.quiet import silenced_stderr
from foreshock.platform.transfers import copy
from foreshock.training.history import EpochRecord, Position
from foreshock.training.trainable import Say

with silenced_stderr():
    import tensorflow as tf

EVERY_SECONDS = 10.0
# A divisor for an epoch that took no time.
LEAST_SECONDS = 1e-9
# What tf.summary.scalar marks a value with; that function wants the tensorboard package, which only
# a reader of the files needs.
SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class TrainingProgress:
    """Tells `say(message, **fields)` every ten seconds and at each epoch.

    It writes scalars under `folder` for TensorBoard, and tells `beat` what the worker does.
    """

    def __init__(
        self,
        say: Say,
        folder: Path | None,
        epochs: int,
        beat: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say = say
        self._folder = folder
        self._epochs = epochs
        self._beat = beat
        self._local: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Any = None
        if folder is not None:
            # TensorFlow writes to no S3: there the events go up when the training closes.
            if is_remote(folder):
                self._local = tempfile.TemporaryDirectory()
            target = str(folder) if self._local is None else self._local.name
            self._writer = tf.summary.create_file_writer(target)
        self._last_said = time.monotonic()
        self._began: tuple[int, float] | None = None  # global step and time

    def steps(self, position: Position, steps: int, loss: float, norm: float, rate: float) -> None:
        """Some steps of the epoch's `steps` are done; `loss` is their mean.

        Scalars are written at every call, a line is said if the last one is ten seconds old.
        """
        scalars = {
            "step/loss": loss,
            "step/gradient_norm": norm,
            "step/learning_rate": rate,
        }
        self._write(position.global_step, scalars)
        now = time.monotonic()
        # The rate is that of this process: a resumed training made its earlier steps before.
        self._began = self._began or (position.global_step, now)
        if now - self._last_said < EVERY_SECONDS:
            return
        self._last_said = now
        steps_done = position.global_step - self._began[0]
        steps_left = (self._epochs - position.epoch) * steps + steps - position.step
        seconds_left = None
        if steps_done:
            seconds_left = round(steps_left * (now - self._began[1]) / steps_done)
        self._say(
            f"epoch {position.epoch}/{self._epochs} step {position.step}/{steps}",
            loss=loss,
            windows_per_second=position.windows / max(position.seconds, LEAST_SECONDS),
            gradient_norm=norm,
            seconds_left=seconds_left,
        )

    def epoch(self, record: EpochRecord, position: Position) -> None:
        """An epoch is done: write its scalars and say a line.

        The time left at most is that of all epochs left, each as long as this one.
        """
        windows_per_second = record.windows / max(record.seconds, LEAST_SECONDS)
        scalars = {
            "epoch/loss": record.loss,
            "epoch/windows_per_second": windows_per_second,
            "epoch/waiting_for_data": record.waited,
        }
        if record.validation_loss is not None:
            scalars["epoch/validation_loss"] = record.validation_loss
        self._write(position.global_step, scalars)
        seconds_left = 0
        if not position.finished:
            seconds_left = round((self._epochs - record.epoch) * record.seconds)
        self._say(
            f"epoch {record.epoch}/{self._epochs}",
            loss=record.loss,
            validation_loss=record.validation_loss,
            windows_per_second=windows_per_second,
            waiting_for_data=record.waited,
            seconds_left_at_most=seconds_left,
        )
        self._last_said = time.monotonic()

    def note(self, message: str) -> None:
        """What a user should know."""
        self._say(message)

    def state(self, doing: str) -> None:
        """What the worker does now."""
        self._beat(doing)

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=SCALAR)
        # A training that is killed keeps its curve up to here.
        self._writer.flush()

    def close(self) -> None:
        """Close the event file, and carry it to S3 if the folder lies there.

        Call it once, and after an error too: what was written so far is kept.
        """
        if self._writer is not None:
            self._writer.close()
        if self._local is not None and self._folder is not None:
            copy(Path(self._local.name), self._folder)
            self._local.cleanup()
