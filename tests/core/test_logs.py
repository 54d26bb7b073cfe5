from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from rompy_core import RunLogger

LOGGER = logging.getLogger("rompy_core.tests")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> RunLogger:
    caplog.set_level(logging.DEBUG, "rompy_core")
    return RunLogger(LOGGER, "case", "local")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_each_record_says_which_run_it_is_about(log: RunLogger, caplog: pytest.LogCaptureFixture, level: str) -> None:
    getattr(log, level)("run %s", "started")

    [record] = caplog.records
    assert record.getMessage() == "run started"
    assert record.levelname == level.upper()
    assert (record.run_id, record.backend) == ("case", "local")  # type: ignore[attr-defined]


def test_what_a_call_adds_is_kept_beside_it(log: RunLogger, caplog: pytest.LogCaptureFixture) -> None:
    extra: dict[str, Any] = {"wall_time_s": 3.5}

    log.info("run ended", extra=extra)
    log.info("run ended", extra=None)

    first, second = caplog.records
    assert (first.run_id, first.backend, first.wall_time_s) == ("case", "local", 3.5)  # type: ignore[attr-defined]
    assert (second.run_id, second.backend) == ("case", "local")  # type: ignore[attr-defined]
    assert not hasattr(second, "wall_time_s")
    assert extra == {"wall_time_s": 3.5}


def test_an_exception_is_logged_with_its_traceback(log: RunLogger, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        log.exception("run failed")

    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert record.run_id == "case"  # type: ignore[attr-defined]


def test_two_runs_on_one_logger_do_not_mix(log: RunLogger, caplog: pytest.LogCaptureFixture) -> None:
    other = RunLogger(LOGGER, "other", "docker")

    log.info("one")
    other.info("two")
    log.info("three")

    assert [record.run_id for record in caplog.records] == ["case", "other", "case"]  # type: ignore[attr-defined]


def test_nothing_is_configured_by_importing_and_using_it(run_python: Callable[..., str]) -> None:
    source = (
        "import logging, rompy_core, rompy_local\n"
        "from rompy_core import RunLogger\n"
        "RunLogger(logging.getLogger('rompy_core'), 'case', 'local').info('not shown')\n"
        "for name in ('', 'rompy_core', 'rompy_local'):\n"
        "    logger = logging.getLogger(name)\n"
        "    print(logger.handlers, logger.filters, logger.propagate, logger.level, sep=';')\n"
    )

    assert run_python(source).splitlines() == ["[];[];True;30", "[];[];True;0", "[];[];True;0"]
