"""What each detector of windows expects, by hand or by a peer.

What all detectors have in common is in test_checks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from foreshock.windows.models.fitting import fit_sample
from foreshock.windows.models.isolation_forest import IsolationForest
from sklearn.ensemble import IsolationForest as Forest
from support.small_detectors import small_network

L, F = 6, 2
X = np.random.default_rng(4).normal(size=(400, L, F)).astype(np.float32)
WEIGHT = np.ones((400, L), np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dense": 0, "units": [5]},
        {"activation": "relu", "output": "sigmoid", "dropout": 0.3},
        {"units": [7, 5, 3], "l2": 0.01},
    ],
)
@pytest.mark.slow
def test_the_scan_rebuilds_what_keras_does(changes: dict[str, Any]) -> None:
    detector = small_network(L, F, seed=6, **changes)
    network = detector.network
    network.set_weights([w + np.float32(0.1) for w in network.get_weights()])  # biases too
    from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder

    for n in (1, 3, 400):
        wanted = network(X[:n], training=False).numpy()
        assert (
            np.abs(
                LSTMAutoencoder(network, detector.network_spec).reconstruct(X[:n]) - wanted
            ).max()
            <= 2e-6
        )


@pytest.mark.parametrize(("name", "fitted_on"), [("kmeans", 134), ("isolation_forest", 300)])
def test_what_a_thinned_sample_leaves_is_counted(
    name: str, fitted_on: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "foreshock.windows.models.kmeans.SAMPLE", 150
    )  # of 400 windows every third is taken
    monkeypatch.setattr("foreshock.windows.models.isolation_forest.MOST_ROWS", 300)
    assert fit_sample(name, X, WEIGHT, 5).fitted_on == fitted_on


def test_isolation_forest_scores_equal_scikit_learn() -> None:
    forest = Forest(n_estimators=100, max_samples=256, random_state=5).fit(X[:, -1])
    ours = IsolationForest.fit(X, WEIGHT, 5).score_rows(X[:, 0])
    assert np.abs(ours + forest.score_samples(X[:, 0])).max() < 1e-9


def test_pca_rebuilds_what_lies_in_its_components() -> None:
    basis = np.random.default_rng(1).normal(size=(3, L * F))
    windows = (
        (np.random.default_rng(2).normal(size=(500, 3)) @ basis)
        .reshape(500, L, F)
        .astype(np.float32)
    )
    model: Any = fit_sample("pca", windows, np.ones((500, L), np.float32), 0)
    assert len(model.components) <= 3
    assert model.errors(windows).mean() < 0.2 * windows.var()


@pytest.mark.parametrize(
    "change",
    [
        {"activation": "relu", "output": "sigmoid", "l1": 0.001, "l2": 0.001, "dropout": 0.2},
        {"dense": 0},
    ],
)
def test_the_questions_variant_builds_and_is_bounded(change: dict[str, Any]) -> None:
    network = small_network(L, F, **change).network
    out = network(X[:8], training=False).numpy()
    assert out.shape == (8, L, F)
    if change.get("output") == "sigmoid":
        assert (out > 0).all() and (out < 1).all()
        assert network.losses


def test_zscore_is_the_squared_distance_from_the_mean_in_deviations() -> None:
    x = np.array([[[1.0, 5.0], [3.0, 5.0]], [[9.0, 9.0], [2.0, 5.0]]], np.float32)
    model = fit_sample("zscore", x, np.array([[1, 1], [0, 1]], np.float32), 0)  # 9 is padding
    expected = model.reconstruct(x)
    assert expected is not None
    assert np.allclose(expected[0, 0], [2.0, 5.0])
    assert np.allclose(model.errors(x)[0, :, 0], 1.5)
    assert np.allclose(model.errors(np.full((1, 2, 2), 6.0, np.float32))[0, 0], [16 / (2 / 3), 1.0])


def test_last_value_expects_no_change() -> None:
    x = np.array([[[0.0], [2.0], [2.0]]], np.float32)
    model = fit_sample("last_value", x, np.ones((1, 3), np.float32), 0)
    expected = model.reconstruct(x)
    assert expected is not None
    assert expected[0, :, 0].tolist() == [0.0, 0.0, 2.0]
    assert model.errors(x)[0, :, 0].tolist() == [0.0, 2.0, 0.0]  # a step's mean square is 2
    still = fit_sample("last_value", np.ones((3, 4, 1), np.float32), np.ones((3, 4), np.float32), 0)
    assert still.errors(x).max() == 4.0


def test_kmeans_gives_the_distance_to_the_nearest_centroid() -> None:
    rng = np.random.default_rng(3)
    centres = np.array([-8.0, 0.0, 8.0])
    x = (centres[rng.integers(0, 3, 900)][:, None, None] + rng.normal(0, 0.1, (900, L, 1))).astype(
        np.float32
    )
    model = fit_sample("kmeans", x, np.ones((900, L), np.float32), 1)
    found = model.reconstruct(x)
    assert np.abs(found - np.round(x / 8) * 8).max() < 0.5
    between = np.full((1, L, 1), 4.0, np.float32)
    assert abs(float(model.errors(between).mean()) - 16) < 4
    alike = fit_sample("kmeans", np.ones((50, L, 1), np.float32), np.ones((50, L), np.float32), 1)
    assert float(alike.errors(np.ones((1, L, 1), np.float32)).max()) == 0.0


def test_ridge_forecast_expects_the_mean_where_it_has_no_past() -> None:
    x = np.random.default_rng(3).normal(2, 1, (400, 12, 2)).astype(np.float32)
    model = fit_sample("ridge_forecast", x, np.ones((400, 12), np.float32), 0)
    expected = model.reconstruct(x)
    assert expected is not None
    assert expected[:, :8] == pytest.approx(
        np.broadcast_to(x[:, -1].mean(axis=0), (400, 8, 2)), rel=1e-4
    )
    share = 1 - np.square(x - expected).sum() / np.square(x - x.mean(axis=(0, 1))).sum()
    assert abs(share) < 0.05  # noise that nothing can forecast
