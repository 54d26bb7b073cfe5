"""What the job, and a later process, must know of a run: its options without secrets, and the model run's period."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final

from rompy_core import RunReport, fields, structure_config
from rompy_slurm import _files
from rompy_slurm._config import SlurmConfig

_ENDS: Final = ("start", "end")


def plain_period(period: object) -> Mapping[str, str]:
    """Give *period* as what JSON can hold, as far as it is one."""
    dates = {name: getattr(period, name, None) for name in _ENDS}
    return {name: date.isoformat() for name, date in dates.items() if isinstance(date, datetime)}


def config_of(report: RunReport) -> SlurmConfig:
    """Read the options of a run from its report, which has all of them but the values of the variables.

    Raises:
        ConfigError: What is there are no options of this backend.
    """
    return structure_config({name: value for name, value in report.options.items() if name != "env_vars"}, SlurmConfig)


def period_of(report: RunReport) -> object:
    """Give the period of the run, or ``None`` where there is none on record."""
    noted: dict[str, Any] = _files.read_json(report.record_dir / _files.JOB) if report.record_dir else {}
    dates = {name: fields.to_datetime(value) for name, value in noted.get("period", {}).items()}
    return SimpleNamespace(**dates) if dates.keys() == set(_ENDS) else None
