"""Every acceptance line of the main job at a reduced size.

scripts/accept tries them at full size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from foreshock.diagnosis import facts as cause_names

from acceptance import checks, diagnosis, processes, question, rules, tools

needs_shared = pytest.mark.skipif(
    not tools.SHARED.exists(), reason="the shared real data is not here"
)


def test_windows_equal_brute_force(tmp_path: Path, spark: Any) -> None:
    assert checks.windows(tmp_path, spark, cases=1)["windows compared"] > 100


def test_quartiles_are_exact(tmp_path: Path, spark: Any) -> None:
    checks.scaling_exact(tmp_path, spark, values=100_000, partitions=10)


@pytest.mark.slow
def test_dataset_is_small_and_plain(tmp_path: Path, spark: Any) -> None:
    checks.dataset_size(tmp_path, spark, events=15_000)


def test_bundle_reloads_equal(tmp_path: Path, spark: Any) -> None:
    checks.bundle(tmp_path, spark)


def test_interval_covers() -> None:
    assert 0.88 <= checks.interval_coverage(60) <= 1.0


def test_peaks_over_threshold() -> None:
    rules.pot(seeds=20, compared=2)


@pytest.mark.slow
def test_threshold_is_an_order_statistic(tmp_path: Path, spark: Any) -> None:
    checks.threshold(tmp_path, spark, runs=200, events=40_000)


@pytest.mark.slow
def test_same_seed_same_scores(tmp_path: Path, spark: Any) -> None:
    checks.repeat(tmp_path, spark, events=4000)


@needs_shared
def test_ethereum_schema(tmp_path: Path, spark: Any) -> None:
    checks.schema(tmp_path, spark)


@needs_shared
@pytest.mark.slow
def test_ethereum_reconciles(tmp_path: Path, spark: Any) -> None:
    checks.ethereum(tmp_path, spark)


@pytest.mark.slow
def test_order_only_is_found(tmp_path: Path, spark: Any) -> None:
    checks.order_only(tmp_path, spark, seeds=(7,))


@pytest.mark.slow
def test_a_killed_run_is_finished(tmp_path: Path) -> None:
    processes.kill_all(tmp_path, in_turn=True)


@pytest.mark.slow
def test_a_cluster_gives_the_same_tables(tmp_path: Path) -> None:
    processes.cluster(tmp_path)


@pytest.mark.slow
def test_memory_stays_bounded(tmp_path: Path) -> None:
    processes.memory(tmp_path, events=400_000, windows_per_epoch=20_000)


@pytest.mark.slow
def test_the_question_fails_and_its_twin_does_not(tmp_path: Path, spark: Any) -> None:
    smaller: dict[str, Any] = {
        "source": {"events": 45_000, "entities": 30},
        "training": {"epochs": 6, "learning_rate": 0.005, "schedule": "constant"},
    }
    # So few steps neither flatten the one network nor train the other as well.
    question.question(
        tmp_path,
        lambda made, target: checks.run(made, target, spark),
        seeds=(7,),
        named=frozenset({"output_out_of_reach"}),
        wanted=0.4,
        **smaller,
    )


def test_planted_causes_are_named() -> None:
    shallow = [
        c
        for c in diagnosis.PLANTED
        if c not in (cause_names.OUT_OF_REACH, cause_names.UNDER_FITTED)
    ]
    assert [diagnosis.judge(diagnosis.plant((c,), 11))["causes"][0] for c in shallow] == shallow
    assert diagnosis.judge(diagnosis.plant((), 11))["causes"] == [cause_names.HEALTHY]


@pytest.mark.slow
def test_heavy_tails_alone_are_no_cause() -> None:
    diagnosis.heavy(seeds=range(3))


@pytest.mark.slow
def test_planted_causes_of_networks_are_named() -> None:
    for cause in (cause_names.OUT_OF_REACH, cause_names.UNDER_FITTED):
        assert diagnosis.judge(diagnosis.plant((cause,), 11))["causes"][0] == cause


def test_conformal_holds_its_rate() -> None:
    rules.conformal(simulations=60)
