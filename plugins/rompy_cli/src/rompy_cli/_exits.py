"""How the command ends: the one place that defines the exit codes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rompy_core import RunState


class ExitCode(enum.IntEnum):
    """What ``rompyrun`` ends with. Numbers keep their meaning from version to version."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    TIMED_OUT = 3
    CANCELLED = 4
    NOT_STARTED = 5
    NO_SUCH_RUN = 6
    ALREADY_ENDED = 7
    NOT_CANCELLED = 8
    FAULT = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS: Final = {
    ExitCode.SUCCESS: "what was asked for is done; of a run: its verdict is success",
    ExitCode.FAILED: "the run, or a stage of the pipeline, failed; plugins --check found a problem",
    ExitCode.USAGE: "the command line, the file, a plugin's name or an option is wrong; nothing was written",
    ExitCode.TIMED_OUT: "the run was ended at its wall-clock limit",
    ExitCode.CANCELLED: "the run was cancelled by somebody else",
    ExitCode.NOT_STARTED: "the run could not be started, or its inputs could not be made",
    ExitCode.NO_SUCH_RUN: "RUN names no run, or several; or a record cannot be read",
    ExitCode.ALREADY_ENDED: "cancel: the run had ended before, and is left as it was",
    ExitCode.NOT_CANCELLED: "cancel: the run cannot be cancelled, or had not ended in time",
    ExitCode.FAULT: "a fault of rompyrun itself, or output that cannot be written",
    ExitCode.INTERRUPTED: "Ctrl-C; a run that was under way has been ended",
    ExitCode.BROKEN_PIPE: "whoever read the output went away",
}
"""What each code says, for people."""

_OF_STATES: Final = {
    "COMPLETED": ExitCode.SUCCESS,
    "TIMED_OUT": ExitCode.TIMED_OUT,
    "CANCELLED": ExitCode.CANCELLED,
    "NOT_STARTED": ExitCode.NOT_STARTED,
}


class Refusal(Exception):  # noqa: N818 - what a command cannot do, said on purpose
    """A command ends without having done what was asked.

    Attributes:
        code: What ``rompyrun`` ends with.
        message: What was asked, what was found, what to do.
        problems: Every single problem, where there may be several.
    """

    def __init__(self, code: ExitCode, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(code, message, problems)
        self.code = code
        self.message = message
        self.problems = tuple(problems)


def code_of_state(state: RunState) -> ExitCode:
    """Give the exit code for a run that ended so."""
    return _OF_STATES.get(state, ExitCode.FAILED)


def refusal_of(exc: Exception) -> Refusal | None:
    """Give what an error of the packages, or of the system, means for the command; ``None`` for any other."""
    import rompy_core

    if isinstance(exc, rompy_core.ConfigError):
        return Refusal(ExitCode.USAGE, str(exc), exc.problems)
    if isinstance(exc, rompy_core.PluginError | rompy_core.ModelRunError):
        return Refusal(ExitCode.USAGE, str(exc))
    if isinstance(exc, rompy_core.RecordError):
        return Refusal(ExitCode.NO_SUCH_RUN, str(exc))
    if isinstance(exc, rompy_core.RompyError):
        return Refusal(ExitCode.NOT_STARTED, str(exc))
    if isinstance(exc, OSError):
        code = ExitCode.NO_SUCH_RUN if exc.filename is not None else ExitCode.FAULT  # such as a full disk
        return Refusal(code, str(exc))
    return None
