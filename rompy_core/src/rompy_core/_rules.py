"""Verdict and progress from a model's own output: what to look for, and what follows from what was found.

Ocean models often exit 0 after an abort, so the exit code alone is no verdict. ``_watch`` does the looking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, cast

import attrs

from rompy_core import fields
from rompy_core._errors import ConfigError
from rompy_core._problems import nearest, shown
from rompy_core._structure import structure_config

PROGRESS_GROUPS: Final = ("percent", "current", "date")


@fields.accepts({"type": "string", "minLength": 1}, "rompy-regex")
def _regex(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a regular expression, found {shown(value)}")
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as exc:
        raise ValueError(f"is no regular expression: {exc} in {value!r}") from None


@fields.accepts({"type": "string", "minLength": 1}, "rompy-progress")
def _progress_regex(self: Any, field: attrs.Attribute[Any], value: object) -> None:
    _regex(self, field, value)
    if not set(re.compile(cast("str", value)).groupindex) & set(PROGRESS_GROUPS):
        raise ValueError(f"must have a named group 'percent', 'current' or 'date': {value!r}")


@attrs.frozen(kw_only=True)
class OutputPattern(fields.Checked):
    """A regular expression to look for, line by line.

    Attributes:
        regex: As Python's ``re`` has it; ``^`` and ``$`` are the ends of a line.
        file: A glob of files in the workspace, or ``None`` for standard output and standard error.
    """

    regex: str = attrs.field(validator=_regex)
    file: str | None = attrs.field(default=None, validator=attrs.validators.optional(fields.glob))


@fields.accepts({"type": "string", "minLength": 1}, "rompy-date-format")
def _date_format(self: Any, field: attrs.Attribute[Any], value: object) -> None:
    fields.text(self, field, value)
    if not any(directive in cast("str", value).replace("%%", "") for directive in ("%Y", "%y", "%G", "%c", "%x")):
        raise ValueError(f"must tell the year (%Y), or no date can be placed between two others; found {value!r}")


@attrs.frozen(kw_only=True)
class ProgressPattern(fields.Checked):
    """A regular expression that tells how far the run is.

    The fraction is ``percent`` / 100, or ``current`` / total, or where ``date`` lies between start and end. The total
    is the group ``total`` (on the same line, or on a line of its own that the expression matches too), else the field,
    else the length of the model run's period. A fraction never goes back and never passes 1.

    Attributes:
        regex: With a group ``percent``, ``current`` (and maybe ``total``), or ``date``.
        file: A glob of files in the workspace, or ``None`` for standard output and standard error.
        total: What ``current`` counts up to, in the same unit.
        date_format: How ``date`` is written, as ``datetime.strptime`` reads it, with the year; ``None`` for ISO 8601.
        start: The date at fraction 0; ``None`` for the start of the model run's period.
        end: The date at fraction 1; ``None`` for the end of the model run's period.
    """

    regex: str = attrs.field(validator=_progress_regex)
    file: str | None = attrs.field(default=None, validator=attrs.validators.optional(fields.glob))
    total: float | None = attrs.field(
        default=None, converter=fields.to_float, validator=attrs.validators.optional(fields.positive)
    )
    date_format: str | None = attrs.field(default=None, validator=attrs.validators.optional(_date_format))
    start: datetime | None = attrs.field(
        default=None, converter=fields.to_datetime, validator=attrs.validators.optional(fields.date_time)
    )
    end: datetime | None = attrs.field(
        default=None, converter=fields.to_datetime, validator=attrs.validators.optional(fields.date_time)
    )


def _to_globs(value: object) -> tuple[str, ...]:
    globs = _as_list(value)
    problems: list[str] = []
    for n, item in enumerate(globs):
        try:
            fields.glob(None, cast("Any", None), item)
        except ValueError as exc:
            problems.append(f"[{n}]: {exc}")
    if problems:
        raise ConfigError("globs", problems)
    return cast("tuple[str, ...]", globs)


fields.accepts({"anyOf": [fields.glob, {"type": "array", "items": fields.glob}]})(_to_globs)


def _to_patterns(value: object) -> tuple[OutputPattern, ...]:
    return structure_config([_as_table(item) for item in _as_list(value)], tuple[OutputPattern, ...])


fields.accepts({"anyOf": [_regex, OutputPattern, {"type": "array", "items": {"anyOf": [_regex, OutputPattern]}}]})(
    _to_patterns
)


def _to_progress(value: object) -> ProgressPattern | None:
    return None if value is None else structure_config(_as_table(value), ProgressPattern)


fields.accepts({"anyOf": [_progress_regex, ProgressPattern, {"type": "null"}]})(_to_progress)


def _as_table(value: object) -> object:
    """Take text for the table of a pattern that has nothing but its expression."""
    return {"regex": value} if isinstance(value, str) else value


def _as_list(value: object) -> tuple[object, ...]:
    """Take one item for a list of it: a single file or expression is the common case."""
    if isinstance(value, str | OutputPattern | Mapping):
        return (cast("object", value),)
    if isinstance(value, Sequence):
        return tuple(cast("Sequence[object]", value))
    raise ValueError(f"must be a list, found {shown(value)}")


@attrs.frozen(kw_only=True)
class OutputRules(fields.Checked):
    """What success, failure and progress of a model look like. Without rules the exit code alone decides.

    Attributes:
        required_files: Globs in the workspace; each must match a file that was written since the start.
        forbidden_files: Globs in the workspace; none may match a file that was written since the start.
        fatal: A line that matches one of these makes the run a failure.
        success: Each of these must match a line.
        progress: How far the run is.
        on_fatal: ``stop`` ends the run at a fatal line, or half a second later, so that a model which ends by itself
            then keeps its exit code and its last words; ``fail`` lets it take its time.
        ignore_exit_code: Judge by the rules alone.
    """

    required_files: tuple[str, ...] = attrs.field(default=(), converter=_to_globs)
    forbidden_files: tuple[str, ...] = attrs.field(default=(), converter=_to_globs)
    fatal: tuple[OutputPattern, ...] = attrs.field(default=(), converter=_to_patterns)
    success: tuple[OutputPattern, ...] = attrs.field(default=(), converter=_to_patterns)
    progress: ProgressPattern | None = attrs.field(default=None, converter=_to_progress)
    on_fatal: Literal["stop", "fail"] = attrs.field(default="stop", validator=fields.one_of("stop", "fail"))
    ignore_exit_code: bool = attrs.field(default=False, validator=fields.flag)


def as_rules(value: object) -> OutputRules:
    """Read rules from what a config may give for them.

    Args:
        value: Rules, a table of their fields, the name of a preset, or ``None`` for no rules.

    Raises:
        ConfigError: With every problem.
        ValueError: There is no such preset; names those that there are.
    """
    if value is None:
        return OutputRules()
    if isinstance(value, str):
        from rompy_core._presets import PRESETS

        if value not in PRESETS:
            known = ", ".join(sorted(PRESETS))
            raise ValueError(f"no preset is called {value!r}{nearest(value, PRESETS)}; known: {known}")
        return structure_config(PRESETS[value], OutputRules)
    return structure_config(value, OutputRules)


def _rules_schema() -> Mapping[str, Any]:
    from rompy_core._presets import PRESETS

    return {"anyOf": [{"enum": sorted(PRESETS)}, OutputRules, {"type": "null"}]}


fields.accepts(_rules_schema)(as_rules)
