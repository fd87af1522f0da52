"""The names of detectors, as `model.name`, `detectors` and `ensemble.of` take them."""

from __future__ import annotations

from foreshock.settings.section import not_available

NETWORK = "lstm_autoencoder"
DETECTORS = (
    NETWORK,
    "pca",
    "isolation_forest",
    "ridge_forecast",
    "kmeans",
    "last_value",
    "zscore",
)
ENSEMBLE = "ensemble"
LATER_DETECTORS = ("point_process",)

# They forecast an event from those before it, so they say nothing of a window's first event.
FORECASTERS = ("last_value", "ridge_forecast")


def known_detector(name: str) -> str:
    """The name itself. Raises ValueError if it is not the name of a detector.

    >>> known_detector("pca")
    'pca'
    """
    if name in LATER_DETECTORS:
        raise not_available(f"`{name}`")
    if name not in (*DETECTORS, ENSEMBLE):
        raise ValueError(f"allowed: {', '.join(DETECTORS)}; received {name!r}")
    return name
