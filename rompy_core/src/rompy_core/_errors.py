"""Every exception that the packages raise on purpose.

Facts are attributes and the sentence is built in ``__str__``. All facts are positional arguments of the exception,
so that pickling, which calls the class with ``args``, gives an equal exception back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from rompy_core._reports import RunReport


class RompyError(Exception):
    """Root of all errors that these packages raise on purpose."""


class PluginError(RompyError, ValueError):
    """A plugin was asked for and cannot be used.

    Attributes:
        group: The entry-point group, such as ``rompy.run``.
        name: The plugin's name as it was asked for.
        detail: What was found, and what to do about it.
    """

    def __init__(self, group: str, name: str, detail: str) -> None:
        super().__init__(group, name, detail)
        self.group = group
        self.name = name
        self.detail = detail

    def __str__(self) -> str:
        return f"plugin {self.name!r} of group {self.group!r}: {self.detail}"


class PluginNotFoundError(PluginError, LookupError):
    """No installed distribution advertises the name."""


class PluginConflictError(PluginError):
    """Several distributions advertise the name, and none has precedence."""


class PluginLoadError(PluginError):
    """The plugin's code failed when it was imported or made."""


class PluginContractError(PluginError, TypeError):
    """The plugin lacks a member of its Protocol, or gave back what the Protocol does not allow."""


class ConfigError(RompyError, ValueError):
    """Options, a config or a file of options are wrong.

    Attributes:
        subject: What was being read: a config class or a file.
        problems: Every problem that was found, each with the path of the option, such as
            ``rules.fatal[0].regex: ...``.
    """

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(subject, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.subject}: {self.problems[0]}"
        return f"{self.subject}: {len(self.problems)} problems\n" + "\n".join(f"  - {line}" for line in self.problems)


class ModelRunError(RompyError, ValueError):
    """An object that was given as a model run is not one.

    Attributes:
        detail: What was asked of it and what was found.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class WorkspaceError(RompyError, ValueError):
    """A directory must not be used as a workspace, or must not be removed.

    Attributes:
        path: The directory.
        detail: Why it is refused, and what to do.
    """

    def __init__(self, path: Path | str, detail: str) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"{str(self.path)!r}: {self.detail}"


class RecordError(RompyError, ValueError):
    """A file that should hold a run's report cannot be read as one.

    Attributes:
        path: The file or directory that was asked for.
        detail: What was found there.
    """

    def __init__(self, path: str | os.PathLike[str], detail: str) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"{str(self.path)!r}: {self.detail}"


class StartError(RompyError):
    """A run could not be started at all.

    Attributes:
        reason: One sentence: what was tried, and what stood against it.
        report: The report of the run that never was; its state is ``NOT_STARTED``.
    """

    def __init__(self, reason: str, report: RunReport) -> None:
        super().__init__(reason, report)
        self.reason = reason
        self.report = report

    def __str__(self) -> str:
        return self.reason


class TemplateError(RompyError, ValueError):
    """A template of a model's input cannot be rendered.

    Attributes:
        path: The template, relative to the directory of templates.
        line: The line in it, counted from 1; 0 where it is not known.
        detail: What is wrong there.
    """

    def __init__(self, path: str, line: int, detail: str) -> None:
        super().__init__(path, line, detail)
        self.path = path
        self.line = line
        self.detail = detail

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line else ""
        return f"template {self.path}{line}: {self.detail}"
