"""Fits and loads detectors of windows by name, through the registry; no name stands here."""

from __future__ import annotations

from collections.abc import Mapping

from foreshock.detectors import REGISTRY, FittedDetector, Spec, WindowDetector
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array
from foreshock.windows.models.moments import WindowMoments


def fit_sample(
    name: str, windows: Float32Array, weights: Float32Array, seed: int
) -> WindowDetector:
    """A detector fitted on windows (N, L, F) with weights (N, L), 0 where a window is padded.

    Raises KeyError for an unknown name, DataError if the windows are too few.
    """
    fitted: WindowDetector = REGISTRY[name].load_class().fit(windows, weights, seed)
    return fitted


def fit_moments(name: str, moments: WindowMoments) -> WindowDetector:
    """An additive detector, fitted exactly on all windows from their moments.

    Other detectors have no `from_moments` (`DetectorEntry.is_additive`). Raises KeyError for an
    unknown name, DataError if the windows are too few.
    """
    fitted: WindowDetector = REGISTRY[name].load_class().from_moments(moments)
    return fitted


def load_fitted(name: str, spec: Spec, arrays: Mapping[str, AnyArray]) -> FittedDetector:
    """A fitted detector from its spec and arrays, as a bundle holds them.

    Raises DataError for a name that this version does not know, or if they do not fit.
    """
    if name not in REGISTRY:
        raise DataError(f"model bundle: no such model {name!r} in this version.")
    try:
        fitted: FittedDetector = REGISTRY[name].load_class().load(spec, arrays)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"model bundle: {name} does not load ({error}); the bundle is damaged or of another "
            "version."
        ) from None
    return fitted


def errors_and_expected(
    detector: WindowDetector, windows: Float32Array
) -> tuple[Float32Array, Float32Array | None]:
    """Errors of windows (N, L, F) and the expected values, from one forward pass.

    The expected values are None from a detector that expects none.
    """
    expected = detector.reconstruct(windows)
    if expected is None:
        return detector.errors(windows), None
    return detector.errors_of(windows, expected), expected
