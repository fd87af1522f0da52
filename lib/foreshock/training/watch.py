"""How training is watched: progress lines, TensorBoard event files, and a beat for whoever supervises a worker."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foreshock.platform.paths import is_remote
from foreshock.platform.quiet import silenced_stderr
from foreshock.platform.transfers import copy
from foreshock.training.checkpoint import Position
from foreshock.training.loop import Epoch

with silenced_stderr():
    import tensorflow as tf

EVERY_SECONDS = 10.0
# What tf.summary.scalar marks a value with; that function wants the tensorboard package, which only a reader of the files needs.
SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
)


class Progress:
    """Tells `say(message, **fields)` every ten seconds and at each epoch, and writes scalars under `folder` for TensorBoard."""

    def __init__(
        self,
        say: Callable[..., None],
        folder: Path | None,
        epochs: int,
        beat: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say, self._epochs, self._beat = say, epochs, beat
        self._folder = (
            folder  # TensorFlow writes to no S3: there the events go up when the training closes
        )
        self._local = (
            tempfile.TemporaryDirectory() if folder is not None and is_remote(folder) else None
        )
        self._writer: Any = None
        if folder is not None:
            self._writer = tf.summary.create_file_writer(
                str(folder) if self._local is None else self._local.name
            )
        self._shown = time.monotonic()
        self._began: tuple[int, float] | None = None

    def steps(self, position: Position, steps: int, loss: float, norm: float, rate: float) -> None:
        self._write(
            position.global_step,
            **{"step/loss": loss, "step/gradient_norm": norm, "step/learning_rate": rate},
        )
        now = time.monotonic()
        self._began = self._began or (position.global_step, now)
        if now - self._shown < EVERY_SECONDS:
            return
        self._shown = now
        done, since = position.global_step - self._began[0], now - self._began[1]
        left = (self._epochs - position.epoch) * steps + steps - position.step
        self._say(
            f"epoch {position.epoch}/{self._epochs} step {position.step}/{steps}",
            loss=loss,
            windows_per_second=position.windows / max(position.seconds, 1e-9),
            gradient_norm=norm,
            seconds_left=round(left * since / done) if done else None,
        )

    def epoch(self, epoch: Epoch, position: Position) -> None:
        speed = epoch.windows / max(epoch.seconds, 1e-9)
        held = (
            {}
            if epoch.validation_loss is None
            else {"epoch/validation_loss": epoch.validation_loss}
        )
        self._write(
            position.global_step,
            **{
                "epoch/loss": epoch.loss,
                "epoch/windows_per_second": speed,
                "epoch/waiting_for_data": epoch.waited,
                **held,
            },
        )
        left = 0 if position.finished else round((self._epochs - epoch.epoch) * epoch.seconds)
        self._say(
            f"epoch {epoch.epoch}/{self._epochs}",
            loss=epoch.loss,
            validation_loss=epoch.validation_loss,
            windows_per_second=speed,
            waiting_for_data=epoch.waited,
            seconds_left_at_most=left,
        )
        self._shown = time.monotonic()

    def note(self, message: str) -> None:
        self._say(message)

    def state(self, doing: str) -> None:
        self._beat(doing)

    def _write(self, step: int, **scalars: float) -> None:
        if self._writer is None:
            return
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=SCALAR)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._local is not None and self._folder is not None:
            copy(Path(self._local.name), self._folder)
            self._local.cleanup()
