"""What a container of ours says about itself: whose it is, and where its record is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from rompy_core import ConfigError, ProcessIdentity, RunRecord, identify, is_alive, structure_config, unstructure_config

CALLER: Final = "rompy.caller"
_WATCHDOG: Final = "rompy.watchdog"
_RUN_ID: Final = "rompy.run_id"
_RECORD: Final = "rompy.record"
_KEEP: Final = "rompy.keep"
KEPT: Final = "-kept"
"""How the name of a container ends that is kept because it alone has what its run wrote."""
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_.-]+")


@attrs.frozen(kw_only=True)
class Owner:
    """Who has to end a container.

    Attributes:
        caller: The process that started it.
        watchdog: The process that ends it if the caller dies.
        record_dir: The folder of its record.
        is_kept: Whether it was asked for that it stays when it has ended.
    """

    caller: ProcessIdentity
    watchdog: ProcessIdentity
    record_dir: Path
    is_kept: bool

    @property
    def is_gone(self) -> bool:
        """Whether nobody is left to end it, as far as that can be known here."""
        return is_alive(self.caller) is False and is_alive(self.watchdog) is False

    @property
    def is_this_process(self) -> bool:
        """Whether this very process started it."""
        return self.caller == identify()


def container_name(record: RunRecord) -> str:
    """Name a container after its run and its record, in the characters that engines take."""
    letters = record.directory.name.rpartition("-")[2]
    run_id = _NOT_IN_A_NAME.sub("-", record.report.run_id)[:40]
    return f"rompy-{run_id}-{letters}"


def labels_for(record: RunRecord, watchdog: ProcessIdentity, *, is_kept: bool) -> dict[str, str]:
    """Give the labels of a container."""
    return {
        CALLER: json.dumps(unstructure_config(identify())),
        _WATCHDOG: json.dumps(unstructure_config(watchdog)),
        _RUN_ID: record.report.run_id,
        _RECORD: str(record.directory).encode("utf-8", "backslashreplace").decode("utf-8"),
        _KEEP: "true" if is_kept else "false",
    }


def owner_of(labels: Mapping[str, Any]) -> Owner | None:
    """Read the labels of a container; ``None`` where they are not ours, or not whole."""
    try:
        return Owner(
            caller=structure_config(json.loads(labels[CALLER]), ProcessIdentity),
            watchdog=structure_config(json.loads(labels[_WATCHDOG]), ProcessIdentity),
            record_dir=Path(labels[_RECORD]),
            is_kept=labels.get(_KEEP) == "true",
        )
    except (KeyError, ValueError, TypeError, ConfigError):
        return None
