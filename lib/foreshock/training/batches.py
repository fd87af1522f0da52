"""The batches of an epoch as they are read, with the time that a worker waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from foreshock.errors import ServiceError
from foreshock.platform.quiet import silenced_stderr
from foreshock.training.trainable import Batch, EpochShare, TrainingData

with silenced_stderr():
    import tensorflow as tf


class TimedBatches:
    """The replicas' parts of each batch that is left of an epoch.

    `state` is told `data` while it waits and `step` when it has a batch.
    """

    def __init__(
        self,
        data: TrainingData,
        share: EpochShare,
        first_step: int,
        replicas: int,
        state: Callable[[str], None],
    ) -> None:
        self._data = data
        self._share = share
        self._first_step = first_step
        self._replicas = replicas
        self._state = state
        self._waited_seconds = 0.0

    def __iter__(self) -> Iterator[list[Batch]]:
        """Raises what stopped the reading, or ServiceError if nobody knows what did."""
        elements = iter(self._data.dataset(self._share, self._first_step))
        for _ in range(self._first_step, self._share.steps):
            self._state("data")
            started = time.monotonic()
            try:
                parts = [next(elements) for _ in range(self._replicas)]
            except (tf.errors.OpError, StopIteration) as error:
                # TensorFlow's error is one of its own; the reader's says what went wrong.
                if self._data.failure is not None:
                    raise self._data.failure from None
                text = " ".join(str(error).split())[:300]
                raise ServiceError(f"training cannot read its data ({text}).") from None
            self._waited_seconds += time.monotonic() - started
            self._state("step")
            yield parts

    def take_waited_seconds(self) -> float:
        """The seconds that it waited for data since this was last asked.

        Asking sets them back to 0.
        """
        waited_seconds, self._waited_seconds = self._waited_seconds, 0.0
        return waited_seconds
