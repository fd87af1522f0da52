"""One conformance suite over all models: finite, seeded, saved and loaded equal, a batch's order does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from foreshock.errors import DataError
from foreshock.windows.models import registry
from sklearn.ensemble import IsolationForest

L, F = 6, 2
X = np.random.default_rng(4).normal(size=(400, L, F)).astype(np.float32)
WEIGHT = np.ones((400, L), np.float32)


def make(name: str) -> Any:
    if name == "lstm_autoencoder":
        import keras
        from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder, build

        keras.utils.set_random_seed(5)
        spec = {
            "length": L,
            "features": F,
            "units": [6, 3],
            "dense": 3,
            "activation": "tanh",
            "output": "linear",
            "dropout": 0.0,
            "l1": 0.0,
            "l2": 0.0,
        }
        return LSTMAutoencoder(build(spec), spec)
    return registry.fit(name, X, WEIGHT, 5)


@pytest.fixture(
    params=[
        "lstm_autoencoder",
        "pca",
        "isolation_forest",
        "ridge_forecast",
        "kmeans",
        "last_value",
        "zscore",
    ]
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_conformance(name: str) -> None:
    model = make(name)
    errors = model.errors(X)
    assert errors.shape[:2] == (400, L)
    assert errors.shape[2] in (1, F)
    assert np.isfinite(errors).all()
    assert np.abs(make(name).errors(X) - errors).max() <= 1e-6
    order = np.random.default_rng(0).permutation(400)
    assert np.abs(model.errors(X[order]) - errors[order]).max() <= 1e-5
    again = registry.load(name, model.spec(), model.arrays())
    assert np.abs(again.errors(X) - errors).max() <= 1e-6
    odd = X.copy()
    odd[0, 1::2] += 50
    assert model.errors(odd)[0].mean() > errors[0].mean()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dense": 0, "units": [5]},
        {"activation": "relu", "output": "sigmoid", "dropout": 0.3},
        {"units": [7, 5, 3], "l2": 0.01},
    ],
)
def test_the_scan_rebuilds_what_keras_does(changes: dict[str, Any]) -> None:
    import keras
    from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder, build

    keras.utils.set_random_seed(6)
    spec = {
        "length": L,
        "features": F,
        "units": [6, 3],
        "dense": 3,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
    } | changes
    network = build(spec)
    network.set_weights([w + np.float32(0.1) for w in network.get_weights()])  # biases too
    for n in (1, 3, 400):
        wanted = network(X[:n], training=False).numpy()
        assert np.abs(LSTMAutoencoder(network, spec).reconstruct(X[:n]) - wanted).max() <= 2e-6


def test_what_a_model_was_fitted_on_is_the_true_number(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "foreshock.windows.models.kmeans.SAMPLE", 150
    )  # of 400 windows every third is taken
    monkeypatch.setattr("foreshock.windows.models.isolation_forest.MOST_ROWS", 300)
    assert registry.fitted_on(make(name)) == {
        "lstm_autoencoder": None,
        "kmeans": 134,
        "isolation_forest": 300,
    }.get(name, 400)


def test_a_damaged_bundle_is_a_data_error(name: str) -> None:
    model = make(name)
    arrays = dict(list(model.arrays().items())[1:])
    with pytest.raises(DataError, match=name):
        registry.load(name, model.spec(), arrays)


def test_isolation_forest_scores_equal_scikit_learn() -> None:
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=5).fit(X[:, -1])
    ours = make("isolation_forest").score_rows(X[:, 0])
    assert np.abs(ours + forest.score_samples(X[:, 0])).max() < 1e-9


def test_pca_rebuilds_what_lies_in_its_components() -> None:
    basis = np.random.default_rng(1).normal(size=(3, L * F))
    windows = (
        (np.random.default_rng(2).normal(size=(500, 3)) @ basis)
        .reshape(500, L, F)
        .astype(np.float32)
    )
    model = registry.fit("pca", windows, np.ones((500, L), np.float32), 0)
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
    from foreshock.windows.models.lstm_autoencoder import build

    spec = {
        "length": L,
        "features": F,
        "units": [6, 3],
        "dense": 3,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0.0,
        "l1": 0.0,
        "l2": 0.0,
        **change,
    }
    network = build(spec)
    out = network(X[:8], training=False).numpy()
    assert out.shape == (8, L, F)
    if change.get("output") == "sigmoid":
        assert (out > 0).all() and (out < 1).all()
        assert network.losses


def test_zscore_is_the_squared_distance_from_the_mean_in_deviations() -> None:
    x = np.array([[[1.0, 5.0], [3.0, 5.0]], [[9.0, 9.0], [2.0, 5.0]]], np.float32)
    model = registry.fit("zscore", x, np.array([[1, 1], [0, 1]], np.float32), 0)  # 9 is padding
    assert np.allclose(model.reconstruct(x)[0, 0], [2.0, 5.0])
    assert np.allclose(model.errors(x)[0, :, 0], 1.5)
    assert np.allclose(model.errors(np.full((1, 2, 2), 6.0, np.float32))[0, 0], [16 / (2 / 3), 1.0])


def test_last_value_expects_no_change() -> None:
    x = np.array([[[0.0], [2.0], [2.0]]], np.float32)
    model = registry.fit("last_value", x, np.ones((1, 3), np.float32), 0)
    assert model.reconstruct(x)[0, :, 0].tolist() == [0.0, 0.0, 2.0]
    assert model.errors(x)[0, :, 0].tolist() == [0.0, 2.0, 0.0]  # a step's mean square is 2
    still = registry.fit(
        "last_value", np.ones((3, 4, 1), np.float32), np.ones((3, 4), np.float32), 0
    )
    assert still.errors(x).max() == 4.0


def test_kmeans_gives_the_distance_to_the_nearest_centroid() -> None:
    rng = np.random.default_rng(3)
    centres = np.array([-8.0, 0.0, 8.0])
    x = (centres[rng.integers(0, 3, 900)][:, None, None] + rng.normal(0, 0.1, (900, L, 1))).astype(
        np.float32
    )
    model = registry.fit("kmeans", x, np.ones((900, L), np.float32), 1)
    found = model.reconstruct(x)
    assert np.abs(found - np.round(x / 8) * 8).max() < 0.5
    between = np.full((1, L, 1), 4.0, np.float32)
    assert abs(float(model.errors(between).mean()) - 16) < 4
    alike = registry.fit("kmeans", np.ones((50, L, 1), np.float32), np.ones((50, L), np.float32), 1)
    assert float(alike.errors(np.ones((1, L, 1), np.float32)).max()) == 0.0


def test_ridge_forecast_expects_the_mean_where_it_has_no_past() -> None:
    x = np.random.default_rng(3).normal(2, 1, (400, 12, 2)).astype(np.float32)
    model = registry.fit("ridge_forecast", x, np.ones((400, 12), np.float32), 0)
    expected = model.reconstruct(x)
    assert expected is not None
    assert expected[:, :8] == pytest.approx(
        np.broadcast_to(x[:, -1].mean(axis=0), (400, 8, 2)), rel=1e-4
    )
    share = 1 - np.square(x - expected).sum() / np.square(x - x.mean(axis=(0, 1))).sum()
    assert abs(share) < 0.05  # noise that nothing can forecast
