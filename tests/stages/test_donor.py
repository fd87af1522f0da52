"""The donor run of `model.from`.

It is found each time, verified once a process, and refused if it changed.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.platform.files import write_json
from foreshock.platform.run_directory import RunDirectory
from foreshock.stages import donor as donor_module
from foreshock.stages.donor import donor_run


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run directory as a finished run leaves it, as far as a donor is looked at."""
    run = RunDirectory(str(tmp_path / "earlier"))
    (run / "model").mkdir(parents=True)
    (run / "tables" / "thresholds").mkdir(parents=True)
    write_json(run / "scaler.json", {"features": []})
    write_json(run / "model" / "bundle.json", {})
    run.publish("prepare", "p", {}, sealed=[run / "scaler.json"])
    run.publish("train", "t", {}, sealed=[run / "model" / "bundle.json"])
    run.publish("score", "scored", {})
    return run.path


def context_of(path: Path | None) -> Any:
    model = SimpleNamespace(from_=None if path is None else str(path))
    return SimpleNamespace(settings=SimpleNamespace(model=model), shared={})


def test_without_model_from_there_is_none() -> None:
    assert donor_run(context_of(None)) is None


def test_a_finished_run_is_found_and_verified_once_a_process(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[object] = []
    monkeypatch.setattr(donor_module, "verify_donor", verified.append)
    context = context_of(finished)
    donors = [donor_run(context) for _ in range(3)]
    assert [donor.path for donor in donors if donor] == [finished] * 3
    assert verified == donors[:1]


def test_an_altered_scaler_is_named(finished: Path) -> None:
    (finished / "scaler.json").write_text("{}")
    with pytest.raises(DataError, match=r"scaler\.json.*altered"):
        donor_run(context_of(finished))


@pytest.mark.parametrize("name", ["scaler.json", "model/bundle.json"])
def test_a_directory_without_a_finished_run_is_refused(finished: Path, name: str) -> None:
    (finished / name).unlink()
    with pytest.raises(SettingsError, match=rf"`model\.from`.*{name}"):
        donor_run(context_of(finished))


def test_a_run_whose_scoring_is_under_way_is_refused(finished: Path) -> None:
    RunDirectory(str(finished)).begin("score")
    with pytest.raises(SettingsError, match="under way"):
        donor_run(context_of(finished))


def test_a_run_that_is_scored_anew_meanwhile_is_refused(finished: Path) -> None:
    context = context_of(finished)
    donor_run(context)
    RunDirectory(str(finished)).publish("score", "scored anew", {})
    with pytest.raises(ServiceError, match="scored anew while this run was at work"):
        donor_run(context)
