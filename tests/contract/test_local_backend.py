from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rompy_core import ModelRun, RunState, read_report
from rompy_core.testing import RunBackendContract
from rompy_local import LocalConfig, LocalRunBackend


class TestLocal(RunBackendContract):
    @pytest.fixture
    def backend(self) -> LocalRunBackend:
        return LocalRunBackend()

    @pytest.fixture
    def config_for(self) -> Callable[..., LocalConfig]:
        return lambda source, **options: LocalConfig(command=(sys.executable, "-c", source), **options)


class Interrupting(logging.Handler):
    """Interrupts the main thread when a run has just been started."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "run started":
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # interrupted between open() and its "with"
def test_an_interrupt_between_the_start_and_the_handle_ends_the_run(tmp_path: Path) -> None:
    config = LocalConfig(command="sleep 20", timeout=20)
    logger, handler = logging.getLogger("rompy_local"), Interrupting()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    try:
        with pytest.raises(KeyboardInterrupt):
            LocalRunBackend().run(ModelRun(run_id="a", output_dir=tmp_path), config, tmp_path)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)

    assert read_report(tmp_path).state is RunState.CANCELLED
