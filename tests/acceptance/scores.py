"""Which errors make the better score, on tables with known anomalies.

Plain, standardised and Mahalanobis errors are compared, smoothed or not, by model and kind of
score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from acceptance import checks, planted_runs, tools

# (score, errors, smooth): Mahalanobis is of one step's residuals, so it does not go with `window`,
# the default score.
WINDOW = (("window", "plain", None), ("window", "standardised", None))
COVER = tuple(
    ("cover", errors, smooth)
    for errors in ("plain", "standardised", "mahalanobis")
    for smooth in (None, {"mean": 5})
)
Run = Callable[[dict[str, Any], Path], Any]


def tables(work: Path, seed: int, model: str) -> dict[str, dict[str, Any]]:
    """The confs by table.

    The demo has anomalies of many kinds. The other table has single bursts of noise in eight
    correlated features.
    """
    demo = checks.demo_conf(seed, scoring__score="cover")
    demo["source"]["events"] = 60_000
    demo |= {"model": demo.get("model", {}) | {"name": model}, "detectors": []}
    path = tools.write(planted_runs.table("healthy", seed)[0], work / f"bursts-{model}-{seed}")
    bursts = planted_runs.conf(path, "healthy", seed)
    bursts["model"] = bursts.get("model", {}) | {"name": model}
    return {"demo": demo, "bursts": bursts}


def scores(work: Path, run: Run, *, seeds: Iterable[int], models: dict[str, int]) -> dict[str, Any]:
    """PR AUC on test, as the median over seeds. The trivial score has the prevalence.

    models: with how many of the seeds each model runs.
    Means over models and tables are compared. The default (plain errors of windows) is within
    0.05 of the best `window` score. The README's advice (Mahalanobis errors, unsmoothed, score
    `cover`) is within 0.05 of the best score.
    """
    found: dict[tuple[str, str], list[float]] = {}
    prevalence: dict[str, list[float]] = {}
    for model, number in models.items():
        for seed in list(seeds)[:number]:
            for table, made in tables(work, seed, model).items():
                for score, errors, smooth in (
                    *WINDOW,
                    *(c for c in COVER if model == "pca" or c[2] is None),
                ):
                    made["scoring"] = {"score": score, "errors": errors, "smooth": smooth}
                    name = f"{score}, {errors}" + (", smoothed" if smooth else "")
                    target = work / f"{table}-{model}-{seed}-{name.replace(', ', '-')}"
                    run(made, target)
                    rows = {
                        m["metric"]: m["value"]
                        for m in tools.summary(target)["metrics"]
                        if m["split"] == "test"
                        and m["group"] == "all"
                        and m["kind"] is None
                        and m["detector"] == model
                    }
                    found.setdefault((f"{table}, {model}", name), []).append(rows["pr_auc"])
                    prevalence.setdefault(table, []).append(rows["prevalence"])
    median = {key: float(np.median(v)) for key, v in found.items()}
    figures: dict[str, Any] = {
        f"{t}: PR AUC, {n} (min to max)": f"{median[t, n]:.3f} ({min(v):.3f} to {max(v):.3f})"
        for (t, n), v in found.items()
    }
    figures |= {f"{t}: prevalence": float(np.median(v)) for t, v in prevalence.items()}
    cases = dict.fromkeys(t for t, _ in found)
    names = [n for n in dict.fromkeys(n for _, n in found) if all((t, n) in median for t in cases)]
    mean = {n: float(np.mean([median[t, n] for t in cases])) for n in names}
    figures["in the mean"] = {
        n: round(v, 3) for n, v in sorted(mean.items(), key=lambda item: -item[1])
    }
    of_windows = {n: v for n, v in mean.items() if n.startswith("window")}
    figures["default, behind the best of windows"] = (
        max(of_windows.values()) - mean["window, plain"]
    )
    figures["advice, behind the best of all"] = max(mean.values()) - mean["cover, mahalanobis"]
    assert figures["default, behind the best of windows"] <= 0.05, figures
    assert figures["advice, behind the best of all"] <= 0.05, figures
    return figures
