from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import (
    ConfigError,
    FilesConfig,
    ModelConfig,
    ModelRun,
    TemplateConfig,
    TemplateError,
    WorkspaceError,
    structure_config,
    unstructure_config,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def templates(tmp_path: Path) -> Callable[..., Path]:
    """Write a directory of templates."""

    def write(files: Mapping[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "templates" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "templates"

    return write


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _run() -> ModelRun:
    return ModelRun(run_id="case")


# Files.


def test_both_are_model_configs() -> None:
    assert isinstance(FilesConfig(), ModelConfig)
    assert isinstance(TemplateConfig(template_dir="templates"), ModelConfig)


def test_files_are_written_as_they_were_given(workspace: Path) -> None:
    config = FilesConfig(files={"INPUT": "Tiefe 3 Fuß\r\n", "grid/bottom.dat": b"\x00\xff"}, command="swan.exe")

    config.generate(workspace, _run())

    assert _contents(workspace) == {"INPUT": "Tiefe 3 Fuß\r\n".encode(), "grid/bottom.dat": b"\x00\xff"}


def test_files_are_written_again_over_what_was_there(workspace: Path) -> None:
    FilesConfig(files={"INPUT": "a long text"}).generate(workspace, _run())

    FilesConfig(files={"INPUT": "b"}).generate(workspace, _run())

    assert _contents(workspace) == {"INPUT": b"b"}


def test_a_file_that_cannot_be_written_is_named(workspace: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be written: ") as caught:
        FilesConfig(files={"grid": "a", "grid/bottom.dat": "b"}).generate(workspace, _run())

    assert caught.value.path == workspace / "grid" / "bottom.dat"


@pytest.mark.parametrize(
    "name", ["", ".", "/etc/passwd", "../up", "a/../../up", "nul\0", ".rompy/x", "./.rompy/x", "\ud800", 3, None]
)
def test_a_name_outside_the_workspace_or_in_its_records_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        FilesConfig(files={name: "a"})

    assert len(caught.value.problems) == 1
    assert "must name a file below the workspace, found " in caught.value.problems[0]


@pytest.mark.parametrize(("content", "found"), [(3, "found int"), (None, "found None"), ("\ud800", "surrogates")])
def test_what_cannot_be_written_is_refused_before_anything_is(content: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        FilesConfig(files={"fine": "a", "wrong": content})


def test_every_problem_of_the_files_is_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        FilesConfig(files={"../up": "a", "my file": 3}, command="")

    assert caught.value.problems == (
        "files['../up']: must name a file below the workspace, found '../up'",
        "files['my file']: must be text or bytes, found int",
        "command: must be a shell command line or a list of words, found ''",
    )
    with pytest.raises(ConfigError, match="files: must be a table of file names and texts, found 'INPUT'"):
        FilesConfig(files="INPUT")  # type: ignore[arg-type]


@pytest.mark.parametrize("command", [" ", [], ["", "a"], [1], "nul\0", ["a", "nul\0"], 3])
def test_a_command_that_cannot_be_run_is_refused(command: Any) -> None:
    with pytest.raises(ConfigError, match="command: must be a shell command line or a list of words"):
        FilesConfig(command=command)


@pytest.mark.parametrize("command", ["swan.exe < INPUT", ["swan.exe", ""], None])
def test_a_config_of_files_survives_its_plain_data(command: Any) -> None:
    config = FilesConfig(files={"a": "b", "c": b"\0"}, command=command)

    assert structure_config(unstructure_config(config), FilesConfig) == config


# Templates.


def test_templates_are_rendered_with_their_names_and_lose_their_ending(
    templates: Callable[..., Path], workspace: Path
) -> None:
    folder = templates(
        {
            "INPUT.j2": "PROJ '{{ run.run_id }}'\n{% for d in depths %}{{ d }}\n{% endfor %}",
            "{{ run.run_id }}/{{ name }}.swn": "no & <escaping> of {{ name }}\n\n",
            "plain.txt": "größer",
            "folder.j2/a.j2": "{# nothing #}",
        }
    )

    TemplateConfig(template_dir=folder, values={"depths": [1, 2], "name": "<b&w>"}).generate(workspace, _run())

    assert _contents(workspace) == {
        "INPUT": b"PROJ 'case'\n1\n2\n",
        "case/<b&w>.swn": b"no & <escaping> of <b&w>\n\n",
        "plain.txt": "größer".encode(),
        "folder.j2/a": b"",
    }


def test_what_is_no_text_is_copied_as_it_is(templates: Callable[..., Path], workspace: Path) -> None:
    raw = b"\x89HDF\r\n\x1a\n\x00{{ not.a.template }}\xff"

    TemplateConfig(template_dir=templates({"grid.nc": raw})).generate(workspace, _run())

    assert _contents(workspace) == {"grid.nc": raw}


@pytest.mark.parametrize(
    ("source", "line", "detail"),
    [
        ("a\nb\n{{ depht }}\n", 3, "'depht' is undefined"),
        ("{{ grid.nz }}", 1, "'dict object' has no attribute 'nz'"),
        ("a\n{{ 1 / zero }}", 2, "ZeroDivisionError: division by zero"),
        ("a\n{% if depth %}\nb\n", 2, "Unexpected end of template. Jinja was looking for the following tags"),
        ("\n\n{{ depth | nofilter }}", 3, "No filter named 'nofilter'"),
        ("a\n\n\n{{ depth ", 4, "unexpected end of template, expected 'end of print statement'"),
        ("\n{% include 'nothere' %}", 2, "TemplateNotFound: 'nothere' not found"),
        ("\n{% for x in depth %}\n{% endfor %}", 2, "TypeError: 'int' object is not iterable"),
        ("\n{% set x = depth %}\n{{ fails() }}", 3, "OSError: no GPU"),
    ],
)
def test_a_template_that_fails_names_its_file_and_line(
    source: str, line: int, detail: str, templates: Callable[..., Path], workspace: Path
) -> None:
    def fails() -> None:
        raise OSError("no GPU")

    folder = templates({"aaa.txt": "fine", "sub/INPUT.j2": source})
    values = {"depth": 3, "grid": {}, "zero": 0, "fails": fails}

    with pytest.raises(TemplateError) as caught:
        TemplateConfig(template_dir=folder, values=values).generate(workspace, _run())

    assert (caught.value.path, caught.value.line) == ("sub/INPUT.j2", line)
    assert caught.value.detail.startswith(detail)
    assert _contents(workspace) == {}


@pytest.mark.parametrize(
    ("included", "line"), [("{{ depth }}\n\n{{ depht }}", 3), ("{{ depth }}\n{% if %}", 2), ("\n\n\n{{ 1 / 0 }}", 4)]
)
@pytest.mark.parametrize(
    "outer", ["a\nb\nc\nd\ne\n{% include 'parts/x.j2' %}", "\n\n\n\n\n{% import 'parts/x.j2' as parts with context %}"]
)
def test_an_error_in_an_included_template_names_that_one(
    outer: str, included: str, line: int, templates: Callable[..., Path], workspace: Path
) -> None:
    folder = templates({"INPUT.j2": outer, "parts/x.j2": included})

    with pytest.raises(TemplateError) as caught:
        TemplateConfig(template_dir=folder, values={"depth": 3}).generate(workspace, _run())

    assert (caught.value.path, caught.value.line) == ("parts/x.j2", line)


def test_an_error_in_a_block_of_a_child_names_the_child(templates: Callable[..., Path], workspace: Path) -> None:
    child = "{% extends 'base.j2' %}\n{% block a %}\n{{ depht }}{% endblock %}"
    folder = templates({"base.j2": "\n\n\n\n{% block a %}{% endblock %}", "child.j2": child})

    with pytest.raises(TemplateError) as caught:
        TemplateConfig(template_dir=folder).generate(workspace, _run())

    assert (caught.value.path, caught.value.line) == ("child.j2", 3)


def test_the_place_is_found_where_the_directory_is_relative(
    templates: Callable[..., Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(templates({"INPUT": "\n{{ depht }}"}))

    with pytest.raises(TemplateError) as caught:
        TemplateConfig(template_dir=".").generate(workspace, _run())

    assert (caught.value.path, caught.value.line) == ("INPUT", 2)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("{{ nothing }}.txt", "'nothing' is undefined"),
        ("{{ up }}", "must name a file below the workspace, found '../../up'"),
        ("{{ absolute }}", "must name a file below the workspace, found '/tmp/x'"),
        ("{{ records }}", "must name a file below the workspace, found '.rompy/report.json'"),
        ("{{ 1 // 0 }}", None),
        ("{{ zero }}", "division by zero"),
        ("{{", "unexpected 'end of template'"),
        (".j2", "must name a file below the workspace, found ''"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    name: str, detail: str | None, templates: Callable[..., Path], workspace: Path
) -> None:
    class Zero:
        def __str__(self) -> str:
            raise ZeroDivisionError("division by zero")

    values = {"up": "../../up", "absolute": "/tmp/x", "records": ".rompy/report.json", "zero": Zero()}
    folder = templates({"aaa": "fine", name: "a"})

    with pytest.raises(TemplateError) as caught:
        TemplateConfig(template_dir=folder, values=values).generate(workspace, _run())

    if detail is not None:
        assert (caught.value.path, caught.value.line) == (name, 0)
        assert caught.value.detail == f"its name cannot be used: {detail}"
    assert _contents(workspace) == {}


@pytest.mark.parametrize("names", [("a", "a.j2"), ("{{ x }}", "a"), ("{{ x }}/b", "a/{{ '/' }}b")])
def test_two_templates_for_one_file_are_refused(
    names: tuple[str, str], templates: Callable[..., Path], workspace: Path
) -> None:
    folder = templates(dict.fromkeys(names, "text"))

    with pytest.raises(TemplateError, match=r"would be written to '.+', and so would "):
        TemplateConfig(template_dir=folder, values={"x": "a"}).generate(workspace, _run())

    assert _contents(workspace) == {}


def test_text_in_another_encoding_is_refused_by_name(templates: Callable[..., Path], workspace: Path) -> None:
    folder = templates({"INPUT": "Tiefe 3 Fuß".encode("latin-1")})

    with pytest.raises(TemplateError, match="template INPUT: UnicodeDecodeError: 'utf-8' codec"):
        TemplateConfig(template_dir=folder).generate(workspace, _run())


def test_a_template_that_cannot_be_read_is_named(templates: Callable[..., Path], workspace: Path) -> None:
    folder = templates({"aaa": "fine"})
    (folder / "INPUT").symlink_to(folder / "nowhere")

    with pytest.raises(TemplateError, match="template INPUT: FileNotFoundError: "):
        TemplateConfig(template_dir=folder).generate(workspace, _run())

    assert _contents(workspace) == {}


def test_a_directory_that_is_none_is_a_workspace_error(tmp_path: Path, workspace: Path) -> None:
    with pytest.raises(WorkspaceError, match="template_dir is no directory") as caught:
        TemplateConfig(template_dir=tmp_path / "nowhere").generate(workspace, _run())

    assert caught.value.path == tmp_path / "nowhere"


def test_a_directory_that_cannot_be_listed_is_not_skipped(
    templates: Callable[..., Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = templates({"aaa": "fine", "closed/INPUT": "a"})
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(WorkspaceError, match="closed': cannot be read: Permission denied"):
        TemplateConfig(template_dir=folder).generate(workspace, _run())

    assert _contents(workspace) == {}


def test_without_jinja2_the_error_has_the_command_to_install_it(
    templates: Callable[..., Path], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TemplateConfig(template_dir=templates({"a": "b"}))
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(ConfigError, match=r'needs Jinja2; install it with: pip install "rompy-core\[templates\]"'):
        config.generate(workspace, _run())


def test_what_a_template_may_use_has_names() -> None:
    with pytest.raises(ConfigError) as caught:
        TemplateConfig(template_dir="", values={"run": 1, 3: 4})  # type: ignore[dict-item]

    assert caught.value.problems == (
        "template_dir: must be a path, found ''",
        "values['run']: must be a name other than 'run', the model run",
        "values[3]: must be a name other than 'run', the model run",
    )
    with pytest.raises(ConfigError, match="values: must be a table of names and values, found 'depth=3'"):
        TemplateConfig(template_dir="a", values="depth=3")  # type: ignore[arg-type]


def test_a_config_of_templates_survives_its_plain_data() -> None:
    config = TemplateConfig(template_dir="templates", values={"depth": 3, "names": ["a"]}, command=["swan.exe"])

    assert structure_config(unstructure_config(config), TemplateConfig) == config


# Whatever comes.

_PARTS = ["..", ".", "", "a", ".rompy", " ", "~", "\\", "\n", "C:", "x" * 300, "\udc80", "{{", "}}"]
_NAMES = st.text(st.characters(), max_size=12) | st.lists(st.sampled_from(_PARTS), max_size=5).map("/".join)


def _generate_into(outside: Path, config: ModelConfig) -> None:
    """Generate into a directory that has neighbours to hit."""
    (outside / "deep" / "workspace").mkdir(parents=True)

    try:
        config.generate(outside / "deep" / "workspace", _run())
    except (TemplateError, WorkspaceError):  # too long for the file system, or no name at all
        written = 0
    else:
        written = 1

    assert [path.name for path in outside.iterdir()] == ["deep"]
    assert [path.name for path in (outside / "deep").iterdir()] == ["workspace"]
    assert len(_contents(outside / "deep" / "workspace")) == written
    assert not (outside / "deep" / "workspace" / ".rompy").exists()


@settings(max_examples=100, deadline=None)
@given(name=_NAMES)
def test_no_name_of_a_file_leads_out_of_the_workspace(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    try:
        config = FilesConfig(files={name: "text"})
    except ConfigError:
        return

    _generate_into(tmp_path_factory.mktemp("outside"), config)


@settings(max_examples=100, deadline=None)
@given(name=_NAMES)
def test_no_name_of_a_template_leads_out_of_the_workspace(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    template_dir = tmp_path_factory.mktemp("templates")
    (template_dir / "{{ name }}").write_text("text")

    _generate_into(tmp_path_factory.mktemp("outside"), TemplateConfig(template_dir=template_dir, values={"name": name}))
