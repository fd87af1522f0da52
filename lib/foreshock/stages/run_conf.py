"""Whose run a directory holds: conf.yaml against the settings of the command."""

from __future__ import annotations

from foreshock.errors import SettingsError
from foreshock.platform.files import write_text
from foreshock.platform.run_directory import RunDirectory
from foreshock.settings.conf_yaml import YamlError, format_yaml, parse_yaml
from foreshock.settings.identity import as_mapping, differing_keys, sha256
from foreshock.settings.load import build_settings
from foreshock.settings.root import Settings
from foreshock.settings.section import RawMapping


def claim(run: RunDirectory, settings: Settings, *, force: bool, replace_all: bool) -> bool:
    """Make a locked directory that of a run with these settings; returns whether it is a new run.

    `force` replaces a run of other settings, with `replace_all` every run. Raises SettingsError,
    nothing written, if the directory holds a run of other settings or files that are no run's.
    """
    if foreign := run.foreign:
        raise SettingsError(
            f"--run-dir {run.path} holds {', '.join(foreign)}, and no run of ours (there is no "
            "conf.yaml). Nothing was written. Use a folder of its own."
        )
    wanted_settings = as_mapping(settings)
    is_replaced = force and replace_all
    if run.conf.exists():
        earlier_settings = _read_settings(run)
        differing = differing_keys(earlier_settings, wanted_settings)
        # Until a stage is published, starting anew loses nothing.
        if differing and run.started and not force:
            raise _other_run(run, earlier_settings, differing)
        is_replaced = is_replaced or bool(differing)
    if is_replaced:
        run.clear()
    is_new = not run.conf.exists()
    if is_new:
        content = {"settings_sha256": sha256(settings), "settings": wanted_settings}
        write_text(run.conf, format_yaml(content))
    return is_new


def _read_settings(run: RunDirectory) -> RawMapping:
    """The settings in conf.yaml. Raises SettingsError for a conf.yaml that no run wrote."""
    try:
        content = parse_yaml(run.conf.read_text(encoding="utf-8"))
    except (YamlError, ValueError):
        content = None
    is_ours = isinstance(content, dict) and "settings_sha256" in content
    if not is_ours or not isinstance(content.get("settings"), dict):
        raise SettingsError(
            f"--run-dir {run.path} holds a conf.yaml that no run of ours wrote. Nothing was "
            "written. Use a folder of its own."
        )
    return dict(content["settings"])


def _other_run(run: RunDirectory, settings: RawMapping, differing: list[str]) -> SettingsError:
    # What a version added would look like a change that the user made.
    changed = _keys_of_another_version(settings)
    if changed:
        return SettingsError(
            f"--run-dir {run.path} holds a run of another version of Foreshock, which this version "
            f"cannot continue; settings that only one of them has: {', '.join(changed)}. Nothing "
            "was written. Finish it with the version that began it, use another run directory, "
            "or --force to replace it."
        )
    return SettingsError(
        f"--run-dir {run.path} holds a run of other settings; these differ: "
        f"{', '.join(differing)}. Nothing was written. Use another run directory, or --force to "
        "replace it."
    )


def _keys_of_another_version(settings: RawMapping) -> list[str]:
    """The keys that this version would have written, or refuses, in a conf.yaml; else none."""
    try:
        rewritten = as_mapping(build_settings(settings))
    except SettingsError as error:
        return [str(error).removeprefix("settings: ").rstrip(".")]
    return differing_keys(settings, rewritten)
