"""Planted causes in small series: each series has a single known fault.

The project's models, histograms and verdict judge them.
Series are eight mixtures of three autoregressive factors with noise, of eight entities.
Their unit is their spread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from foreshock.columns import CALIBRATION, TEST, TRAIN
from foreshock.detectors import WindowDetector
from foreshock.diagnosis import facts as cause_names
from foreshock.diagnosis.drift import VALIDATION, Shapes, comparisons
from foreshock.diagnosis.verdict import verdict
from foreshock.evaluation.bootstrap import Ranking, intervals
from foreshock.statistics.arrays import AnyArray
from foreshock.statistics.histogram import Histogram
from foreshock.statistics.sliced import SLICES, SlicedKey
from foreshock.windows.models.explained import explained
from foreshock.windows.models.fitting import fit_sample

FEATURES = tuple(f"f{i}" for i in range(8))
ENTITIES, LENGTH = 8, 10
STEPS = {TRAIN: 1200, VALIDATION: 150, CALIBRATION: 400, TEST: 400}  # of each entity
PARTITIONS = 10
PLANTED = (
    cause_names.OUT_OF_REACH,
    cause_names.UNDER_FITTED,
    cause_names.OVER_FITTED,
    cause_names.DRIFTED,
    cause_names.CONTAMINATED,
    cause_names.CONTAMINATED_CALIBRATION,
    cause_names.OUT_OF_SUPPORT,
    cause_names.NO_SIGNAL,
)
Draw = Callable[[np.random.Generator, tuple[int, ...]], AnyArray]
HEAVY: dict[str, Draw] = {
    "t(2.5)": lambda rng, shape: rng.standard_t(2.5, shape),
    "t(3)": lambda rng, shape: rng.standard_t(3, shape),
    "lognormal": lambda rng, shape: (
        (rng.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
}


@dataclass
class Made:
    """The windows of a split.

    x: (N, L, F).
    at: (N,), the time of each window as a share of the split.
    label: (N,), the label of the event that ends the window.
    """

    x: AnyArray
    at: AnyArray
    label: AnyArray


@dataclass
class Planted:
    causes: tuple[str, ...]
    seed: int
    feature: str | None = None
    splits: dict[str, Made] = field(default_factory=dict)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> AnyArray:
    return rng.standard_normal(shape)


def series(rng: np.random.Generator, mixing: AnyArray, steps: int, noise: Draw) -> AnyArray:
    """(entities, steps, F): factors of autocorrelation 0.8 and 0.5 of noise."""
    shocks = rng.standard_normal((ENTITIES, steps + 50, 3)) * 0.6
    factors = np.zeros_like(shocks)
    for t in range(1, steps + 50):
        factors[:, t] = 0.8 * factors[:, t - 1] + shocks[:, t]
    own = factors[:, 50:] @ mixing + 0.5 * noise(rng, (ENTITIES, steps, len(FEATURES)))
    scaled: AnyArray = own / 1.5
    return scaled


def spoil(rng: np.random.Generator, x: AnyArray, share: float) -> AnyArray:
    """Adds bursts of noise, of five events each, to about this share of the steps.

    Returns the steps that the bursts are in, (entities, steps).
    """
    hit = np.zeros(x.shape[:2], bool)
    for e in range(len(x)):
        for start in rng.integers(0, x.shape[1] - 5, max(1, int(share * x.shape[1] / 5))):
            hit[e, start : start + 5] = True
    x[hit] += 2.5 * rng.standard_normal((int(hit.sum()), x.shape[-1]))
    return hit


def cut(x: AnyArray, hit: AnyArray) -> Made:
    views = np.lib.stride_tricks.sliding_window_view(x, LENGTH, axis=1).transpose(
        0, 1, 3, 2
    )  # (E, w, L, F)
    at = np.broadcast_to(np.arange(views.shape[1]) / views.shape[1], views.shape[:2])
    near = np.lib.stride_tricks.sliding_window_view(hit, LENGTH, axis=1).any(axis=-1)
    return Made(
        views.reshape(-1, LENGTH, len(FEATURES)).astype(np.float32),
        at.ravel(),
        near.ravel().astype(np.int64),
    )


def plant(causes: tuple[str, ...], seed: int, noise: Draw = normal, times: float = 1) -> Planted:
    """Series of all splits with these causes planted.

    noise: what the series have beside their factors.
    times: the length of the series, as a multiple of STEPS.
    """
    rng = np.random.default_rng([seed, 5])
    mixing = rng.standard_normal((3, len(FEATURES)))
    mixing /= np.linalg.norm(mixing, axis=0)
    made = Planted(causes, seed)
    steps = {s: int(n * times) for s, n in STEPS.items()} | (
        {TRAIN: 50 + LENGTH - 1} if cause_names.OVER_FITTED in causes else {}
    )
    for split, n in steps.items():
        x = series(rng, mixing, n, noise)
        hit = np.zeros(x.shape[:2], bool)
        if (
            split == TEST
            or (cause_names.CONTAMINATED in causes and split != VALIDATION)
            or (cause_names.CONTAMINATED_CALIBRATION in causes and split == CALIBRATION)
        ):
            hit = spoil(rng, x, 0.03)
        if split == TEST and cause_names.DRIFTED in causes:
            moved = int(rng.integers(len(FEATURES)))
            made.feature = FEATURES[moved]
            x[:, int(0.3 * n) :, moved] += 1.2
        made.splits[split] = cut(x, hit)
    if cause_names.NO_SIGNAL in causes:
        test = made.splits[TEST]
        test.label = np.random.default_rng([seed, 6]).permutation(test.label)
    return made


def network(x: AnyArray, seed: int, **more: Any) -> WindowDetector:
    """A small LSTM autoencoder, trained by Keras."""
    import keras
    from foreshock.windows.models.lstm_autoencoder import LSTMAutoencoder, NetworkSpec, build

    keras.utils.set_random_seed(seed)
    spec = {
        "length": LENGTH,
        "features": len(FEATURES),
        "units": [32],
        "dense": 16,
        "activation": "tanh",
        "output": "linear",
        "dropout": 0,
        "l1": 0,
        "l2": 0,
    } | more
    network_spec = NetworkSpec.from_mapping(spec)
    built = build(network_spec)
    built.compile(keras.optimizers.Adam(0.005), "mse")
    built.fit(x, x, batch_size=128, epochs=3, verbose=0)
    return LSTMAutoencoder(built, network_spec)


def judge(made: Planted, *, deep: bool = False) -> dict[str, Any]:
    """The verdict on a planted run."""
    train = made.splits[TRAIN]
    weight = np.ones(train.x.shape[:2], np.float32)
    output, penalties, name = "linear", {}, "pca"
    if deep or {cause_names.OUT_OF_REACH, cause_names.UNDER_FITTED} & set(made.causes):
        name, more = "lstm_autoencoder", {}
        if cause_names.OUT_OF_REACH in made.causes:
            output = more["output"] = "sigmoid"
        if cause_names.UNDER_FITTED in made.causes:
            penalties = {"l1": 0.2, "l2": 0.2}
        model = network(train.x, made.seed, **more, **penalties)
    else:
        model = fit_sample("pca", train.x, weight, made.seed)
    scores = {s: model.errors(m.x).mean(axis=(1, 2)) for s, m in made.splits.items()}
    parts = {}
    for split, m in made.splits.items():
        piece = (m.at * SLICES).astype(int)
        for s in range(SLICES):
            own = piece == s
            where = (split, "all", f"p{s * PARTITIONS // SLICES}", s)
            parts[SlicedKey(*where, None)] = Histogram.of(scores[split][own])
            for i, feature in enumerate(FEATURES):
                parts[SlicedKey(*where, feature)] = Histogram.of(m.x[own, -1, i])
    shapes = Shapes(parts)
    threshold = float(np.quantile(scores[CALIBRATION], 0.99, method="inverted_cdf"))
    if cause_names.OUT_OF_SUPPORT in made.causes:
        threshold *= 1000
    test = made.splits[TEST]
    ranking = Ranking(scores[TEST], test.label)
    blocks = (test.at * 20).astype(np.int64)
    value = ranking.roc_auc(np.ones(len(blocks)))
    low, high = intervals(lambda w: {"roc_auc": ranking.roc_auc(w)}, blocks, made.seed)["roc_auc"]
    ranked = (cause_names.Ranked(name, value, low, high),)
    fact = explained(model, train.x, weight, FEATURES, output)
    profiles = {s: profile(model, made.splits[s].x) for s in (TRAIN, TEST)}
    return verdict(
        cause_names.Facts(
            name,
            shapes,
            comparisons(shapes),
            threshold,
            "quantile",
            0.99,
            CALIBRATION,
            fact.to_mapping() if fact else None,
            output,
            penalties,
            profiles,
            ranked,
            positive=int(test.label.sum()),
            overlap=LENGTH,
        )
    )


def profile(model: WindowDetector, x: AnyArray) -> dict[str, float]:
    errors = model.errors(x).mean(axis=1)
    top = errors[np.argsort(-errors.sum(axis=1))[: max(10, len(errors) // 100)]]
    return dict(
        zip(FEATURES, (top / top.sum(axis=1, keepdims=True)).mean(axis=0).tolist(), strict=True)
    )


PAIRS = (
    (cause_names.OUT_OF_REACH, cause_names.DRIFTED),
    (cause_names.UNDER_FITTED, cause_names.DRIFTED),
    (cause_names.DRIFTED, cause_names.OUT_OF_SUPPORT),
    (cause_names.CONTAMINATED, cause_names.DRIFTED),
    (cause_names.NO_SIGNAL, cause_names.DRIFTED),
    (cause_names.OUT_OF_SUPPORT, cause_names.NO_SIGNAL),
)


def planted(*, seeds: Iterable[int], healthy: Iterable[int]) -> dict[str, Any]:
    """How often the verdict is right, over the planted causes, healthy runs and pairs of causes.

    The figures are the share of right first verdicts by cause, the false alarms on healthy runs,
    and the share of pairs of which both causes are named.
    """
    seeds, healthy = list(seeds), list(healthy)
    figures: dict[str, Any] = {"seeds": len(seeds), "healthy seeds": len(healthy)}
    first: Counter[str] = Counter()
    said: list[str] = []
    named = drifts = 0
    for cause in PLANTED:
        for seed in seeds:
            made = plant((cause,), seed)
            found = judge(made)
            first[cause] += found["causes"][0] == cause
            if found["causes"] != [cause]:
                said.append(f"{cause} {seed}: {', '.join(found['causes'])}")
            if cause == cause_names.DRIFTED:
                drifts += 1
                named += found["features"][:1] == [made.feature]
        figures[f"{cause}: first verdict right"] = first[cause] / len(seeds)
    alarms = [
        (seed, found["causes"])
        for seed in healthy
        if (found := judge(plant((), seed), deep=seed % 8 == 0))["causes"] != [cause_names.HEALTHY]
    ]
    figures |= {
        "healthy runs with a verdict": len(alarms),
        "drifted feature named first among eight": named / drifts,
    }
    both = 0
    for pair in PAIRS:
        for seed in seeds:
            found = judge(plant(pair, 100 + seed))
            both += set(pair) <= set(found["causes"])
            if not set(pair) <= set(found["causes"]):
                said.append(f"{' + '.join(pair)} {seed}: {', '.join(found['causes'])}")
    figures["both of two causes named"] = both / (len(PAIRS) * len(seeds))
    figures["not as planted"] = (
        "; ".join(said + [f"healthy {s}: {', '.join(c)}" for s, c in alarms]) or "none"
    )
    assert sum(first.values()) >= 0.9 * len(PLANTED) * len(seeds), figures
    assert min(first[c] for c in PLANTED) >= 0.8 * len(seeds), figures
    assert len(alarms) <= max(1, len(healthy) // 20), figures
    assert named >= 0.95 * drifts and both >= 0.7 * len(PAIRS) * len(seeds), figures
    return figures


def heavy(*, seeds: Iterable[int], sizes: tuple[float, ...] = (1, 0.5)) -> dict[str, Any]:
    """Healthy series whose noise has heavy tails: the share of false alarms by law and size."""
    seeds = list(seeds)
    figures: dict[str, Any] = {"seeds": len(seeds), "sizes": ", ".join(map(str, sizes))}
    said = []
    for law, noise in HEAVY.items():
        for size in sizes:
            found = [(seed, judge(plant((), 200 + seed, noise, size))["causes"]) for seed in seeds]
            alarms = [
                f"{law} × {size} {seed}: {', '.join(causes)}"
                for seed, causes in found
                if causes != [cause_names.HEALTHY]
            ]
            figures[f"{law}, series × {size}: alarmed"] = len(alarms) / len(seeds)
            said += alarms
    figures["alarms"] = "; ".join(said) or "none"
    assert len(said) <= 0.1 * len(seeds) * len(sizes) * len(HEAVY), figures
    return figures
