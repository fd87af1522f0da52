"""The command line: flags and exit codes, and how little is loaded before there is work."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from foreshock.stages.command import COMMANDS, main, run_job

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "conf" / "demo.yaml")
# Prints the packages that a command line loaded, but those of the standard library, and its code.
LOADED = """
import json, sys
from foreshock.stages.command import main
code = main(json.loads(sys.argv[1]))
packages = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(json.dumps([code, sorted(name for name in packages if not name.startswith("_"))]))
"""


def loaded(*arguments: str) -> tuple[int, set[str], str]:
    """The exit code, the packages that were loaded and what stood on standard error."""
    command = [sys.executable, "-c", LOADED, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, packages = json.loads(done.stdout.splitlines()[-1])
    # What a site's .pth files load is there before the first line of ours.
    return code, set(packages) - {"sitecustomize", "usercustomize", "distutils"}, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], [], ["run"], ["run", "--conf", "x"]]
)
def test_arguments_need_argparse_alone(arguments: list[str]) -> None:
    code, packages, errors = loaded(*arguments)
    assert packages == {"foreshock"}
    is_help = bool({"--help", "--version"} & set(arguments))
    assert code == (0 if is_help else 2), errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--conf", DEMO, "--set", "run.sed=8"], "`run.sed`: unknown key; allowed: name, seed"),
        (["--conf", DEMO, "--set", "windows.length=0"], "`windows.length`"),
        (["--conf", "/no/such/file.yaml"], "there is no such file"),
    ],
)
def test_a_mistake_in_the_conf_needs_pydantic_and_yaml_alone(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    code, packages, errors = loaded("run", "--run-dir", str(tmp_path / "run"), *arguments)
    assert code == 2
    assert said in errors
    assert errors.startswith("foreshock run: ")
    assert not (tmp_path / "run").exists()
    pydantic = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions"}
    assert packages <= {"foreshock", "yaml", "cython_runtime", "typing_inspection", *pydantic}


def test_public_names_are_there_when_asked_for() -> None:
    code = (
        "import sys, foreshock; assert 'pydantic' not in sys.modules; "
        "print([getattr(foreshock, name).__name__ for name in foreshock.__all__])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'load_settings'" in done.stdout
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        import_module("foreshock").nothing  # noqa: B018


def test_the_console_script_is_the_command_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["foreshock"].partition(":")
    assert getattr(import_module(module), function) is main


def test_every_command_has_a_job_and_both_describe_themselves_alike(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {command.job for command in COMMANDS} == {job.stem for job in ROOT.glob("jobs/*.py")}
    for command in COMMANDS:
        assert run_job(command.job, ["--help"]) == 0
        of_job = capsys.readouterr().out.split("\n\n")[1:]
        assert main([command.name, "--help"]) == 0
        of_command = capsys.readouterr().out.split("\n\n")[1:]
        assert of_job[0] == of_command[0]
        assert ("--partitions" in of_job[1]) == (command.name in ("extract", "score"))
        for flag in ("--conf", "--run-dir", "--set", "--force", "--debug"):
            assert flag in of_job[1] and flag in of_command[1]


@pytest.mark.parametrize("arguments", [["walk"], ["run", "--partitions", "a"], ["run", "--nope"]])
def test_wrong_arguments_exit_2_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--conf", DEMO, "--run-dir", "r"] if arguments[0] == "run" else []
    assert main([*arguments[:1], *flags, *arguments[1:]]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("foreshock")
    assert errors.endswith("See --help.\n") and errors.count("\n") == 1


def test_partitions_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--conf", DEMO, "--run-dir", "r", "--partitions", " , "]) == 2
    assert "names of partitions are wanted" in capsys.readouterr().err
