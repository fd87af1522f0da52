"""The registry of detectors: it loads nothing heavy, and a detector without a flag is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from acceptance import tools
from foreshock.detectors import COMBINATION, ENSEMBLE, REGISTRY, DetectorEntry, entry_of
from foreshock.errors import SettingsError
from foreshock.settings.load import build_settings

HEAVY = ("numpy", "pandas", "pyarrow", "pyspark", "sklearn", "tensorflow", "keras")


def refused(**changes: Any) -> str:
    """What a run with these settings is told. It is refused with exit code 2."""
    conf = tools.conf() | {"source": {"path": "no-table"}} | changes
    with pytest.raises(SettingsError) as caught:
        build_settings(conf)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_registry_loads_nothing_heavy() -> None:
    program = (
        "import sys; before = set(sys.modules); import foreshock.detectors as d; "
        "d.entry_of('lstm_autoencoder').is_trainable; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (("foreshock.stages.train",), ("pyspark", "tensorflow", "sklearn")),
        (("foreshock.stages.train_detectors", "foreshock.windows.scoring.scorer"), ("tensorflow",)),
    ],
)
def test_tensorflow_and_spark_are_loaded_only_for_their_work(
    modules: tuple[str, ...], heavy: tuple[str, ...]
) -> None:
    program = (
        f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; "
        "from foreshock.detectors import REGISTRY; "
        f"{'tensorflow' in heavy and len(heavy) == 1} and "
        "[entry.load_class() for entry in REGISTRY.values() if not entry.is_trainable]; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr


def test_a_detector_is_found_by_its_name() -> None:
    assert all(entry.name == name for name, entry in REGISTRY.items())
    assert entry_of(ENSEMBLE) is COMBINATION
    with pytest.raises(KeyError):
        entry_of("no_such_detector")


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=list(REGISTRY))
def test_flags_agree(entry: DetectorEntry) -> None:
    assert entry.reads_windows != entry.reads_sequences
    assert entry.sees_features or not entry.expects_values or entry.reads_sequences
    assert not (entry.is_additive and entry.is_trainable)
    assert entry.forecasts or not entry.first_error_is_zero


@pytest.mark.parametrize("errors", ["standardised", "mahalanobis"])
def test_errors_by_feature_want_a_detector_that_sees_features(errors: str) -> None:
    blind = [name for name, entry in REGISTRY.items() if not entry.expects_values]
    assert blind
    for name in [*blind, ENSEMBLE]:
        message = refused(
            model={"name": name},
            scoring={"errors": errors, "score": "last"},
            detectors=[],
            ensemble={"of": ["pca", "zscore"]},
        )
        assert "scoring.errors" in message and name in message


def test_out_of_fold_wants_detectors_that_can_leave_out_a_fold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stubborn = DetectorEntry("stubborn", "no.such:Class", refits_without_fold=False)
    monkeypatch.setitem(REGISTRY, "stubborn", stubborn)
    method = {"calibration": {"method": "out_of_fold"}}
    for changes in (
        {"model": {"name": "stubborn"}, "detectors": []},
        {"model": {"name": "pca"}, "detectors": ["stubborn"]},
        {"model": {"name": "pca"}, "detectors": [], "ensemble": {"of": ["pca", "stubborn"]}},
    ):
        message = refused(**changes, **method)
        assert "calibration.method: out_of_fold" in message and "stubborn" in message
