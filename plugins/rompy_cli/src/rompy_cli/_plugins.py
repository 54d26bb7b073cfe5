"""``plugins`` and ``schema``: what is installed, and what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

import rompy_core
from rompy_cli._exits import ExitCode, Refusal
from rompy_cli._options import GROUPS, PLUGIN, common
from rompy_cli._output import print_json, print_table

if TYPE_CHECKING:
    from rompy_core import PluginInfo

_COLUMNS: Final = ("NAME", "GROUP", "DISTRIBUTION", "VERSION", "PROBLEM")
_group = click.option("--group", type=click.Choice(list(GROUPS)), help="One kind of plugin.")


@click.command
@_group
@click.option("--check", "is_checked", is_flag=True, help="Import and make each one; exit with 1 where one cannot.")
@common
def plugins(group: str | None, *, is_checked: bool, is_json: bool) -> ExitCode:
    """List the plugins that are installed. Without --check, none of them is imported."""
    infos = rompy_core.list_plugins(GROUPS[group] if group else None)
    problems = [_problem_with(info, infos, is_checked=is_checked) for info in infos]
    if is_json:
        rows = [_document_of(info, problem) for info, problem in zip(infos, problems, strict=True)]
        print_json({"plugins": rows, "is_checked": is_checked})
    else:
        print_table(
            _COLUMNS,
            [
                (info.ask_for, info.group, info.distribution, info.version, problem or "")
                for info, problem in zip(infos, problems, strict=True)
            ],
        )
    return ExitCode.FAILED if is_checked and any(problems) else ExitCode.SUCCESS


@click.command
@PLUGIN
@_group
@common
def schema(plugin: str, group: str | None, *, is_json: bool) -> ExitCode:  # noqa: ARG001 - it is JSON in any case
    """Print the JSON Schema of the options of PLUGIN.

    A name that several kinds of plugin have is that of a run backend, unless --group says otherwise.
    """
    config_type = _config_type_of(plugin, GROUPS[group] if group else _group_of(plugin))
    print_json(rompy_core.config_schema(config_type))
    return ExitCode.SUCCESS


def _problem_with(info: PluginInfo, infos: Sequence[PluginInfo], *, is_checked: bool) -> str | None:
    same = [other for other in infos if (other.group, other.name) == (info.group, info.name)]
    if not any(other.ask_for == info.name for other in same):
        choice = ", ".join(other.ask_for for other in same)
        return f"several distributions advertise it; ask for one of {choice}"
    return _broken(info) if is_checked else None


def _broken(info: PluginInfo) -> str | None:
    try:
        rompy_core.load_plugin(info.group, f"{info.name}@{info.distribution}")
    except rompy_core.PluginLoadError as exc:
        # Without a cause, no code of the plugin failed: its class needs options to be made.
        return exc.detail if exc.__cause__ is not None else None
    except rompy_core.PluginError as exc:
        return exc.detail
    return None


def _document_of(info: PluginInfo, problem: str | None) -> dict[str, Any]:
    return rompy_core.unstructure_config(info) | {"problem": problem}


def _group_of(plugin: str) -> str:
    bare = plugin.rpartition("@")[0] or plugin
    groups = {info.group for info in rompy_core.list_plugins() if info.name in (bare, plugin)}
    return next((group for group in GROUPS.values() if group in groups), GROUPS["run"])


def _config_type_of(name: str, group: str) -> type[Any]:
    plugin: object = rompy_core.load_plugin(group, name)
    config_type: object = getattr(plugin, "config_type", None)
    if not isinstance(config_type, type):
        detail = f"plugin {name!r} of group {group!r} takes plain options: it has no config_type to make a schema of"
        raise Refusal(ExitCode.USAGE, detail)
    return config_type
