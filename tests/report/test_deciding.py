"""Whether a report is to be made is decided without what making it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from foreshock.errors import SettingsError
from foreshock.platform.run_directory import RunDirectory
from foreshock.stages.report import report_fingerprint, report_is_done

HEAVY = ("pyspark", "matplotlib", "jinja2", "tensorflow", "pyarrow.dataset")


@pytest.fixture
def scored_run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(str(tmp_path))
    (tmp_path / "scores.txt").write_text("scores")
    staged = tmp_path / "staged.txt"
    staged.write_text("scores")
    run.publish("score", "scored", {staged: tmp_path / "scores.txt"})
    return run


def write_page(run: RunDirectory, fingerprint: str) -> None:
    staged = run.path / "staged.html"
    staged.write_text("page")
    run.publish("report", fingerprint, {staged: run / "report.html"})


def test_a_report_is_done_for_its_settings_and_scores_alone(scored_run: RunDirectory) -> None:
    assert not report_is_done(scored_run, "settings")
    write_page(scored_run, report_fingerprint(scored_run, "settings"))
    assert report_is_done(scored_run, "settings")
    assert not report_is_done(scored_run, "other settings")
    (scored_run / "report.html").unlink()
    assert not report_is_done(scored_run, "settings")


def test_a_run_without_scores_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing is scored there. Run jobs/score.py first"):
        report_is_done(RunDirectory(str(tmp_path)), "settings")


def test_deciding_loads_neither_spark_nor_the_pages_libraries(scored_run: RunDirectory) -> None:
    write_page(scored_run, report_fingerprint(scored_run, "settings"))
    code = (
        "import sys\n"
        "from foreshock.platform.run_directory import RunDirectory\n"
        "from foreshock.stages.report import report_is_done\n"
        f"assert report_is_done(RunDirectory({str(scored_run.path)!r}), 'settings')\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
