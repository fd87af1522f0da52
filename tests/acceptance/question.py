"""Acceptance of the question: its settings fail as they did, and the verdict says why.

The mended twin finds the anomalies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from acceptance import tools

Run = Callable[[dict[str, Any], Path], Any]
CAUSES = {"output_out_of_reach", "under_fitted"}


def conf(name: str, seed: int, **sections: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((tools.ROOT / "conf" / f"{name}.yaml").read_text())
    made["run"]["seed"] = seed
    if "path" in made["source"]:
        made["source"]["path"] = str((tools.ROOT / "conf" / made["source"]["path"]).resolve())
    for section, values in sections.items():
        made[section] |= values
    return made


def metric(summary: dict[str, Any], name: str, detector: str = "lstm_autoencoder") -> float | None:
    value: float | None = next(
        m["value"]
        for m in summary["metrics"]
        if m["metric"] == name
        and m["detector"] == detector
        and m["split"] == "test"
        and m["group"] == "all"
        and m["kind"] is None
    )
    return value


def question(
    work: Path,
    run: Run,
    *,
    seeds: tuple[int, ...],
    named: frozenset[str] = frozenset(CAUSES),
    wanted: float = 0.6,
    **sections: dict[str, Any],
) -> dict[str, Any]:
    """question.yaml fails and question_mended.yaml succeeds, both at specificity >= 0.95.

    question.yaml has sensitivity <= 0.05, and its verdict names the causes.
    question_mended.yaml has sensitivity >= 0.6.
    """
    figures: dict[str, Any] = {}
    for seed in seeds:
        for name in ("question", "question_mended"):
            run(conf(name, seed, **sections), work / f"{name}-{seed}")
            summary = tools.summary(work / f"{name}-{seed}")
            sensitivity, specificity = (
                metric(summary, "sensitivity"),
                metric(summary, "specificity"),
            )
            causes = summary["verdict"]["causes"]
            figures |= {
                f"{name}, seed {seed}: sensitivity": sensitivity,
                f"{name}, seed {seed}: specificity": specificity,
                f"{name}, seed {seed}: accuracy": metric(summary, "accuracy"),
                f"{name}, seed {seed}: ROC AUC network": metric(summary, "roc_auc"),
                f"{name}, seed {seed}: ROC AUC PCA": metric(summary, "roc_auc", "pca"),
                f"{name}, seed {seed}: verdict": ", ".join(causes),
            }
            assert sensitivity is not None and specificity is not None and specificity >= 0.95, (
                figures
            )
            if name == "question":
                assert sensitivity <= 0.05 and set(causes) >= named, figures
                assert (
                    "under_fitted" not in named or "regularised flat" in summary["verdict"]["text"]
                ), figures
            else:
                assert sensitivity >= wanted and not set(causes) & CAUSES, figures
    return figures


def ethereum(work: Path, run: Run) -> dict[str, Any]:
    """On the labelled Ethereum transactions both say that there is no signal."""
    figures: dict[str, Any] = {}
    for name in ("question_ethereum", "question_ethereum_mended"):
        run(conf(name, 7), work / name)
        summary = tools.summary(work / name)
        aucs = {
            m["detector"]: (m["value"], m["ci_low"], m["ci_high"])
            for m in summary["metrics"]
            if m["metric"] == "roc_auc"
            and m["split"] == "test"
            and m["kind"] is None
            and m["group"] == "all"
            and m["detector"] in summary["detectors"]
        }
        figures |= {
            f"{name}: ROC AUC of {d} (95 % interval)": f"{v:.3f} ({a:.3f} to {b:.3f})"
            for d, (v, a, b) in aucs.items()
        }
        figures |= {
            f"{name}: sensitivity, specificity": f"{metric(summary, 'sensitivity'):.3f}, "
            f"{metric(summary, 'specificity'):.3f}",
            f"{name}: verdict": ", ".join(summary["verdict"]["causes"]),
        }
        assert "no_signal" in summary["verdict"]["causes"], figures
    return figures
