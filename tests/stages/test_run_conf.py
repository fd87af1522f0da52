"""Whose run a directory holds: of these settings, of others, of another version, of nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from foreshock.errors import SettingsError
from foreshock.platform.run_directory import RunDirectory
from foreshock.settings.load import build_settings
from foreshock.settings.root import Settings
from foreshock.stages.run_conf import claim

CONF: dict[str, Any] = {
    "source": {"path": "/data"},
    "events": {"entity": "who", "time": "at", "features": {"value": "value"}},
    "split": {
        "train": ["2024-01-01", "2024-01-04"],
        "calibration": ["2024-01-04", "2024-01-05"],
        "test": ["2024-01-05", "2024-01-07"],
    },
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(str(tmp_path / "run"))
    directory.path.mkdir()
    return directory


def settings(**sections: Any) -> Settings:
    return build_settings(CONF | sections)


def take(run: RunDirectory, wanted: Settings, *, force: bool = False) -> bool:
    return claim(run, wanted, force=force, replace_all=False)


def start(run: RunDirectory) -> None:
    """As if a stage had been published."""
    (run.path / ".stages").mkdir()
    (run.path / ".stages" / "extract.json").write_text("{}")


def rewrite(run: RunDirectory, change: Any) -> None:
    """Change the settings in conf.yaml, as another version may have written them."""
    content = yaml.safe_load(run.conf.read_text())
    change(content["settings"])
    run.conf.write_text(yaml.safe_dump(content))


def refusal(run: RunDirectory, wanted: Settings) -> str:
    before = run.conf.read_text()
    with pytest.raises(SettingsError) as caught:
        take(run, wanted)
    assert run.conf.read_text() == before, "nothing was written"
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_same_settings_continue_a_run(run: RunDirectory) -> None:
    assert take(run, settings())
    start(run)
    assert not take(run, settings())
    assert (run.path / ".stages" / "extract.json").exists()


def test_other_settings_are_named_and_force_replaces(run: RunDirectory) -> None:
    take(run, settings())
    start(run)
    message = refusal(run, settings(run={"seed": 8}, windows={"length": 9}))
    assert "a run of other settings; these differ: run.seed, windows.length" in message
    assert "--force" in message
    assert take(run, settings(run={"seed": 8}), force=True)
    assert not run.started


def test_other_settings_replace_a_run_that_never_began(run: RunDirectory) -> None:
    take(run, settings())
    assert take(run, settings(run={"seed": 8}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda conf: conf["scoring"].pop("errors"), "scoring.errors"),
        (lambda conf: conf.pop("calibration"), "calibration"),
        (lambda conf: conf["model"].update(name="oracle"), "model.name"),
        (lambda conf: conf["windows"].update(overlap=3), "windows.overlap"),
    ],
)
def test_a_run_of_another_version_says_so_and_what_to_do(
    run: RunDirectory, change: Any, named: str
) -> None:
    take(run, settings())
    start(run)
    rewrite(run, change)
    message = refusal(run, settings())
    assert "a run of another version of Foreshock" in message
    assert named in message
    assert "Finish it with the version that began it" in message
    assert "--force" in message


@pytest.mark.parametrize("text", ["run: {name: mine}", "[1]", "a: [", "settings: 5"])
def test_a_conf_that_no_run_wrote_is_left_alone(run: RunDirectory, text: str) -> None:
    run.conf.write_text(text)
    assert "no run of ours wrote" in refusal(run, settings())


def test_a_folder_with_foreign_results_is_left_alone(run: RunDirectory) -> None:
    run.model.mkdir()
    with pytest.raises(SettingsError, match="holds model, and no run of ours"):
        take(run, settings())
