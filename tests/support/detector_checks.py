"""What every detector of windows must do, one function a property, as in River's `checks`.

A check takes a function that makes the detector anew and the windows (N, L, F). `checks_of` names
those that an entry of the registry must pass: a detector that is added brings all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import pytest
from foreshock.detectors import DetectorEntry, WindowDetector
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.models.fitting import errors_and_expected, fit_sample, load_fitted

from support.small_detectors import network_mapping, small_network

LENGTH, FEATURES, WINDOWS = 6, 2, 400
Maker = Callable[[], WindowDetector]
Check = Callable[[DetectorEntry, Maker, AnyArray], None]


def some_windows(seed: int = 4) -> AnyArray:
    """Windows (N, L, F) of standard normal values."""
    shape = (WINDOWS, LENGTH, FEATURES)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_detector(entry: DetectorEntry, windows: AnyArray, seed: int = 5) -> WindowDetector:
    """The detector, fitted on the windows. A trainable detector is as before its first step."""
    if entry.is_trainable:
        network: WindowDetector = small_network(windows.shape[1], windows.shape[2], seed)
        return network
    return fit_sample(entry.name, windows, np.ones(windows.shape[:2], np.float32), seed)


def errors_have_one_value_an_event(entry: DetectorEntry, make: Maker, windows: AnyArray) -> None:
    errors = make().errors(windows)
    wanted_features = windows.shape[2] if entry.sees_features else 1
    assert errors.shape == (*windows.shape[:2], wanted_features)
    assert errors.dtype == np.float32


def errors_are_finite_and_not_negative(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    errors = make().errors(windows)
    assert np.isfinite(errors).all()
    assert errors.min() >= 0


def the_same_seed_gives_the_same_errors(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    assert np.abs(make().errors(windows) - make().errors(windows)).max() <= 1e-6


def another_seed_matters_only_if_it_is_seeded(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    other = make_detector(entry, windows, seed=6).errors(windows)
    assert entry.is_seeded == bool((other != make().errors(windows)).any())


def a_permuted_batch_gives_permuted_errors(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    detector = make()
    order = np.random.default_rng(0).permutation(len(windows))
    permuted = detector.errors(windows)[order]
    assert np.abs(detector.errors(windows[order]) - permuted).max() <= 1e-5


def an_empty_batch_gives_no_errors(entry: DetectorEntry, make: Maker, windows: AnyArray) -> None:
    assert len(make().errors(windows[:0])) == 0


def saved_and_loaded_gives_the_same_errors(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    detector = make()
    loaded = cast(WindowDetector, load_fitted(entry.name, detector.spec(), detector.arrays()))
    assert np.abs(loaded.errors(windows) - detector.errors(windows)).max() <= 1e-6
    assert loaded.blind_events == detector.blind_events
    assert loaded.fitted_on == detector.fitted_on


def a_damaged_bundle_is_a_data_error(entry: DetectorEntry, make: Maker, windows: AnyArray) -> None:
    detector = make()
    all_but_the_first = dict(list(detector.arrays().items())[1:])
    with pytest.raises(DataError, match=entry.name):
        load_fitted(entry.name, detector.spec(), all_but_the_first)


def a_jump_raises_the_errors_of_its_window(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    detector = make()
    ordinary = detector.errors(windows)[0].mean()
    jumping = windows.copy()
    jumping[0, 1::2] += 50
    assert detector.errors(jumping)[0].mean() > ordinary


def values_are_expected_if_it_says_so(entry: DetectorEntry, make: Maker, windows: AnyArray) -> None:
    expected = make().reconstruct(windows)
    assert (expected is not None) == entry.expects_values
    if expected is not None:
        assert expected.shape == windows.shape


def one_pass_gives_the_errors_of_two(entry: DetectorEntry, make: Maker, windows: AnyArray) -> None:
    detector = make()
    errors, _ = errors_and_expected(detector, windows)
    assert np.abs(errors - detector.errors(windows)).max() <= 1e-6


def it_is_blind_to_first_events_only_if_it_forecasts(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    assert (make().blind_events > 0) == entry.forecasts


def a_first_error_is_zero_if_it_says_so(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    assert entry.first_error_is_zero == bool((make().errors(windows)[:, 0] == 0).all())


def a_row_has_the_same_score_in_every_window_if_it_scores_rows(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    detector = make()
    assert entry.scores_rows == hasattr(detector, "score_rows")
    if entry.scores_rows:
        first_rows = detector.score_rows(windows[:, 0])  # type: ignore[attr-defined]
        assert np.abs(detector.errors(windows)[:, 0, 0] - first_rows).max() <= 1e-6


def a_merged_fit_is_the_fit_on_all_if_it_is_additive(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    from foreshock.windows.models.fitting import fit_moments
    from foreshock.windows.models.moments import WindowMoments

    assert entry.is_additive == hasattr(entry.load_class(), "from_moments")
    if entry.is_additive:
        origin = windows.mean(axis=(0, 1), dtype=np.float64)
        halves = [WindowMoments.of_windows(half, origin) for half in np.array_split(windows, 2)]
        merged = fit_moments(entry.name, halves[0] + halves[1])
        assert np.abs(merged.errors(windows) - make().errors(windows)).max() <= 1e-3


def it_is_fitted_on_a_true_number_of_windows(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    fitted_on = make().fitted_on
    assert (fitted_on is None) == entry.is_trainable
    assert fitted_on is None or fitted_on == len(windows)


def steps_lower_the_loss_if_it_is_trainable(
    entry: DetectorEntry, make: Maker, windows: AnyArray
) -> None:
    """Of the same batch, over some steps: one step alone may overshoot."""
    if not entry.is_trainable:
        return
    from foreshock.training.devices import prepare_devices
    from foreshock.training.steps import Stepper

    trainable = entry.load_trainable()(network_mapping(LENGTH, FEATURES))
    replication = prepare_devices(5)
    with replication.strategy.scope():
        network = trainable.build()
    stepper = Stepper(trainable, network, replication, 0.01, None, jit=False)
    weights = np.ones(windows.shape[:2], np.float32)
    before = stepper.validation((windows, weights), batch=100)
    for _ in range(5):
        stepper([(windows, weights)])
    assert stepper.validation((windows, weights), batch=100) < before


CHECKS: tuple[Check, ...] = (
    errors_have_one_value_an_event,
    errors_are_finite_and_not_negative,
    the_same_seed_gives_the_same_errors,
    another_seed_matters_only_if_it_is_seeded,
    a_permuted_batch_gives_permuted_errors,
    an_empty_batch_gives_no_errors,
    saved_and_loaded_gives_the_same_errors,
    a_damaged_bundle_is_a_data_error,
    a_jump_raises_the_errors_of_its_window,
    values_are_expected_if_it_says_so,
    one_pass_gives_the_errors_of_two,
    it_is_blind_to_first_events_only_if_it_forecasts,
    a_first_error_is_zero_if_it_says_so,
    a_row_has_the_same_score_in_every_window_if_it_scores_rows,
    a_merged_fit_is_the_fit_on_all_if_it_is_additive,
    it_is_fitted_on_a_true_number_of_windows,
    steps_lower_the_loss_if_it_is_trainable,
)


def checks_of(entries: Iterator[DetectorEntry]) -> Iterator[tuple[DetectorEntry, Check]]:
    """Every pair of a detector of windows and a property."""
    for entry in entries:
        if entry.reads_windows:
            yield from ((entry, check) for check in CHECKS)
