"""The names of detectors, as `model.name`, `detectors` and `ensemble.of` take them.

They come from the registry: a detector that is added there is known here.
"""

from __future__ import annotations

from foreshock.detectors import ENSEMBLE, REGISTRY, detector_names
from foreshock.settings.section import not_available

# Names that a later version fills: whoever asks for one hears so.
LATER_DETECTORS = ("point_process",)


def detectors_beside() -> tuple[str, ...]:
    """The detectors that may run beside the model; one that is trained runs as the model.

    >>> "pca" in detectors_beside(), "lstm_autoencoder" in detectors_beside()
    (True, False)
    """
    return detector_names(lambda entry: not entry.is_trainable)


def known_detector(name: str) -> str:
    """The name itself. Raises ValueError if it is not the name of a detector.

    >>> known_detector("pca")
    'pca'
    """
    if name in LATER_DETECTORS:
        raise not_available(f"`{name}`")
    if name not in (*REGISTRY, ENSEMBLE):
        raise ValueError(f"allowed: {', '.join(REGISTRY)}; received {name!r}")
    return name
