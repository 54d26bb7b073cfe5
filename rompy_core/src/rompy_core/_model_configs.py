"""Two model configs that need no code: given files, and a directory of templates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from rompy_core import fields
from rompy_core._errors import ConfigError, TemplateError, WorkspaceError
from rompy_core._plugins import load_object
from rompy_core._problems import shown
from rompy_core._reports import RECORDS
from rompy_core._structure import structure_config

if TYPE_CHECKING:
    from jinja2 import Environment

GROUP: Final = "rompy.config"


def _relative_file(name: object) -> None:
    parsed = PurePosixPath(name) if isinstance(name, str) and fields.is_os_text(name) else None
    if parsed is None or not parsed.parts or parsed.is_absolute() or ".." in parsed.parts or parsed.parts[0] == RECORDS:
        raise ValueError(f"must name a file below the workspace, found {name!r}")


@fields.accepts(
    {
        "type": "object",
        "propertyNames": {"format": fields.Format("rompy-file-name", _relative_file)},
        "additionalProperties": {"type": "string"},
    }
)
def _file_table(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of file names and texts, found {shown(value)}")  # noqa: TRY004
    problems: list[str] = []
    for name, content in cast("Mapping[object, object]", value).items():
        try:
            _relative_file(name)
            _bytes(content)
        except ValueError as exc:
            problems.append(f"[{name!r}]: {exc}")
    if problems:
        raise ConfigError("files", problems)


def _bytes(content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    if not isinstance(content, str):
        raise ValueError(f"must be text or bytes, found {type(content).__name__}")  # noqa: TRY004 - as other options
    return content.encode("utf-8")


@fields.accepts({"type": "object", "propertyNames": {"not": {"const": "run"}}})
def _values(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of names and values, found {shown(value)}")  # noqa: TRY004
    wrong = [name for name in cast("Mapping[object, object]", value) if not isinstance(name, str) or name == "run"]
    if wrong:
        raise ConfigError("values", [f"[{name!r}]: must be a name other than 'run', the model run" for name in wrong])


@attrs.frozen(kw_only=True)
class FilesConfig(fields.Checked):
    """A model whose input files are given.

    Attributes:
        files: Contents by name below the workspace: text (written as UTF-8) or bytes.
        command: What a backend runs where it is given no command.
    """

    files: Mapping[str, str | bytes] = attrs.field(
        factory=dict[str, "str | bytes"], converter=fields.to_table, validator=_file_table
    )
    command: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(fields.command)
    )

    def generate(self, workspace_dir: Path, model_run: object) -> None:  # noqa: ARG002 - the Protocol's signature
        """Write the files.

        Raises:
            WorkspaceError: A file cannot be written.
        """
        for name, content in self.files.items():
            _write(workspace_dir / name, _bytes(content))


@attrs.frozen(kw_only=True)
class TemplateConfig(fields.Checked):
    """A model whose input files are rendered from a directory of Jinja2 templates.

    Every file below ``template_dir`` is rendered, and so is its name; one that ends in ``.j2`` loses that ending. In
    the templates, ``values`` are there by their names, and ``run`` is the model run. An undefined name is an error.
    Files that are no text (a NUL byte in them) are copied as they are. Linked directories are not entered.

    Attributes:
        template_dir: The directory; relative to the caller's.
        values: What the templates may use.
        command: What a backend runs where it is given no command.
    """

    template_dir: Path = attrs.field(converter=fields.to_path, validator=fields.path)
    values: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any],
        converter=fields.to_table,
        validator=_values,
    )
    command: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(fields.command)
    )

    def generate(self, workspace_dir: Path, model_run: object) -> None:
        """Render the templates; nothing is written unless all of them render.

        Raises:
            TemplateError: A template uses an undefined name, is malformed or cannot be read; says which, and where.
            WorkspaceError: There is no such directory, or a file cannot be written.
        """
        environment = self._environment()
        names = {**self.values, "run": model_run}
        sources: dict[str, str] = {}
        rendered: dict[str, bytes] = {}
        for source in _files_below(self.template_dir):
            name = _target(environment, source, names)
            if name in sources:
                raise TemplateError(source, 0, f"would be written to {name!r}, and so would {sources[name]!r}")
            sources[name] = source
            rendered[name] = _rendered(environment, self.template_dir, source, names)
        for name, content in rendered.items():
            _write(workspace_dir / name, content)

    def _environment(self) -> Environment:
        try:
            import jinja2
        except ImportError:
            hint = 'rendering templates needs Jinja2; install it with: pip install "rompy-core[templates]"'
            raise ConfigError("TemplateConfig", [hint]) from None
        if not self.template_dir.is_dir():
            raise WorkspaceError(self.template_dir, "template_dir is no directory")
        return jinja2.Environment(
            loader=jinja2.FileSystemLoader(self.template_dir),
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # noqa: S701 - inputs of models, no web pages
            keep_trailing_newline=True,
        )


SHIPPED: Final[Mapping[str, type[Any]]] = {"files": FilesConfig, "templates": TemplateConfig}
"""By ``model_type``. They are no entry points: upstream's ``rompy`` loads all of ``rompy.config`` at import, as
pydantic models, and these are none."""


def config_from_mapping(data: Mapping[str, Any]) -> Any:
    """Make a model config from a table with ``model_type``.

    Raises:
        ConfigError: The table names no class, or an option is wrong.
        PluginError: The class cannot be used.
    """
    values = dict(data)
    name = values.pop("model_type", None)
    if not isinstance(name, str):
        known = ", ".join(map(repr, SHIPPED))
        line = f"model_type: must be {known}, or a name from the group {GROUP!r}, found {name!r}"
        raise ConfigError("config", [line])
    config_type = SHIPPED.get(name) or load_object(GROUP, name, SHIPPED)
    # A class of other hands may tell its own kinds apart by the same key.
    keeps = name not in SHIPPED and "model_type" in getattr(config_type, "model_fields", {})
    return structure_config(data if keeps else values, config_type)


def _files_below(directory: Path) -> Iterator[str]:
    for folder, subfolders, files in os.walk(directory, onerror=_refuse):
        subfolders.sort()
        for name in sorted(files):
            yield Path(folder, name).relative_to(directory).as_posix()


def _refuse(exc: OSError) -> None:
    raise WorkspaceError(str(exc.filename), f"cannot be read: {exc.strerror or exc}") from exc


def _target(environment: Environment, source: str, names: Mapping[str, Any]) -> str:
    try:
        target = environment.from_string(source.removesuffix(".j2")).render(names)
        _relative_file(target)
    except Exception as exc:
        # An expression of a template may raise anything.
        raise TemplateError(source, 0, f"its name cannot be used: {exc}") from exc
    return PurePosixPath(target).as_posix()


def _rendered(environment: Environment, directory: Path, source: str, names: Mapping[str, Any]) -> bytes:
    import jinja2

    try:
        raw = (directory / source).read_bytes()
        return raw if b"\0" in raw else environment.get_template(source).render(names).encode("utf-8")
    except jinja2.TemplateSyntaxError as exc:
        raise TemplateError(exc.name or source, exc.lineno, exc.message or "syntax error") from exc
    except Exception as exc:
        # An expression of a template may raise anything.
        kind = "" if isinstance(exc, jinja2.UndefinedError) else f"{type(exc).__name__}: "
        raise TemplateError(*_place_of(exc, directory, source), f"{kind}{exc}") from exc


def _place_of(exc: BaseException, directory: Path, source: str) -> tuple[str, int]:
    """Find the innermost template in the traceback, where Jinja2 puts templates in place of its own code."""
    place, traceback = (source, 0), exc.__traceback__
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        if path.is_relative_to(directory) and path.is_file():
            place = path.relative_to(directory).as_posix(), traceback.tb_lineno
        traceback = traceback.tb_next
    return place


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
            path.unlink()  # what it is linked to is not of this workspace
        path.write_bytes(content)
    except OSError as exc:
        raise WorkspaceError(path, f"cannot be written: {exc.strerror or exc}") from exc
