"""Detectors of windows for tests, small enough to be made in a moment."""

from __future__ import annotations

from typing import Any

from foreshock.windows.models.bundle_facts import TrainingFacts

NO_FACTS = TrainingFacts(seed=0, versions={}, train_windows=0, sample_windows=0)


def network_mapping(length: int, features: int, **changes: Any) -> dict[str, Any]:
    """The plain spec of a small network for windows (N, length, features)."""
    return {
        "length": length,
        "features": features,
        "units": [6, 3],
        "dense": 3,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
    } | changes


def small_network(length: int, features: int, seed: int = 5, **changes: Any) -> Any:
    """A network that has learned nothing yet, as a detector."""
    import keras
    from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder, NetworkSpec, build

    keras.utils.set_random_seed(seed)
    spec = NetworkSpec.from_mapping(network_mapping(length, features, **changes))
    return LSTMAutoencoder(build(spec), spec)
