"""What every config of a backend, a postprocessor or a pipeline has in common.

Validated by value alone, never against the disk, the clock or the environment: a config that was made on one machine
loads on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import attrs

from rompy_core import fields
from rompy_core._rules import OutputRules, as_rules


@attrs.frozen(kw_only=True)
class BackendConfig(fields.Checked):
    """The options that every run backend understands. Times are seconds, sizes are bytes.

    Attributes:
        timeout: Wall-clock limit of the run, or ``None`` for no limit.
        grace_s: How long the run may take to end after it was asked (TERM), before it is made to (KILL).
        env_vars: Added to the environment. Values appear in no ``repr``, log, record or error.
        working_dir: Where the command starts; relative to the workspace; ``None`` for the workspace.
        stall_timeout: End the run when neither its output nor a file of the workspace grew for so long.
        memory: Limit for the whole process tree or container: bytes, or text such as ``"4g"``.
        rules: What success, failure and progress look like: rules, a table of them, or a preset's name.
        leftovers: What happens to processes that outlive the command.
        log_size_limit: Limit for the captured output, both streams together: bytes, or text such as ``"2g"``.
        require: Names of guarantees that this run demands, as ``capabilities()`` of the backend names them.
        stream_output: Also send each line of output to the logger, as it comes.
    """

    backend: ClassVar[str]
    """The plugin that takes this config, as ``name@distribution``."""

    timeout: float | None = attrs.field(
        default=cast("float | None", 3600.0),  # mypy takes the default's type for that of the field
        converter=fields.to_float,
        validator=attrs.validators.optional(fields.positive),
    )
    grace_s: float = attrs.field(default=10.0, converter=fields.to_float, validator=fields.not_negative)
    env_vars: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=fields.to_table,
        validator=fields.environment,
        repr=fields.names_only,
        metadata={"secret": True},
    )
    working_dir: Path | None = attrs.field(
        default=None, converter=fields.to_path, validator=attrs.validators.optional(fields.path)
    )
    stall_timeout: float | None = attrs.field(
        default=None, converter=fields.to_float, validator=attrs.validators.optional(fields.positive)
    )
    memory: int | None = attrs.field(
        default=None, converter=fields.to_bytes, validator=attrs.validators.optional(fields.positive_whole)
    )
    rules: OutputRules = attrs.field(factory=OutputRules, converter=as_rules)
    leftovers: Literal["kill", "wait", "leave"] = attrs.field(
        default="kill", validator=fields.one_of("kill", "wait", "leave")
    )
    log_size_limit: int | None = attrs.field(
        default=None, converter=fields.to_bytes, validator=attrs.validators.optional(fields.positive_whole)
    )
    require: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=fields.names)
    stream_output: bool = attrs.field(default=False, validator=fields.flag)


@attrs.frozen(kw_only=True)
class PostprocessorConfig(fields.Checked):
    """Base for the config of a postprocessor: no options of its own."""


@attrs.frozen(kw_only=True)
class PipelineConfig(fields.Checked):
    """Base for the config of a pipeline backend: no options of its own."""
