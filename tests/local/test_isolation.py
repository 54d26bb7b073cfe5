"""Isolation by bubblewrap, with the system's own program."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rompy_core import ConfigError, ModelRun, RunHandle, RunReport, RunState, StartError
from rompy_local import LocalConfig, _isolation, capabilities

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Living = Callable[[], list[str]]

HAS_BUBBLEWRAP = bool(capabilities()["bubblewrap"])
needs_bubblewrap = pytest.mark.skipif(
    not HAS_BUBBLEWRAP and "CI" not in os.environ, reason=str(capabilities()["bubblewrap"].detail)
)


def stdout(report: RunReport) -> str:
    assert report.stdout_path is not None
    return report.stdout_path.read_text()


@needs_bubblewrap
def test_the_workspace_is_writable_and_the_rest_is_not(run: Run, model_run: ModelRun) -> None:
    elsewhere = Path(f"/var/tmp/rompy-isolation-{os.getpid()}")

    report = run(f"echo in > here; echo out > {elsewhere}", isolation="bwrap")

    assert (model_run.workspace_dir / "here").read_text() == "in\n"
    assert not elsewhere.exists()
    assert report.stderr_path is not None
    assert "Read-only file system" in report.stderr_path.read_text()
    assert not report.ok


@needs_bubblewrap
def test_tmp_is_private(run: Run) -> None:
    marker = f"/tmp/rompy-isolation-{os.getpid()}"

    report = run(f"touch {marker} $TMPDIR/mine && ls /tmp", isolation="bwrap")

    assert report.ok
    assert not Path(marker).exists()
    assert "mine" in stdout(report).split()


@needs_bubblewrap
def test_named_paths_are_writable_or_read_only(run: Run, model_run: ModelRun, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (model_run.generate() / "inputs").mkdir()

    report = run(
        f"echo a > {tmp_path}/shared/a; echo b > inputs/b; true",
        isolation="bwrap",
        writable=[str(tmp_path / "shared")],
        read_only=["inputs"],
    )

    assert report.ok
    assert (tmp_path / "shared" / "a").exists()
    assert not (model_run.workspace_dir / "inputs" / "b").exists()


@needs_bubblewrap
def test_the_network_can_be_off(run: Run) -> None:
    interfaces = "import os; print(sorted(os.listdir('/proc/self/net/dev_snmp6')) or open('/proc/net/dev').read())"
    words = [sys.executable, "-c", interfaces]

    report = run(words, isolation="bwrap", network=False, read_only=[sys.prefix])

    assert "lo" in stdout(report)
    assert "eth0" not in stdout(report)


@needs_bubblewrap
def test_exit_codes_come_through(run: Run) -> None:
    assert run("exit 7", isolation="bwrap").exit_code == 7


@needs_bubblewrap
def test_a_timeout_is_polite_and_leaves_nothing(run: Run, living: Living) -> None:
    report = run("trap 'echo asked; exit 3' TERM; setsid sleep 300 & sleep 300 & wait", isolation="bwrap", timeout=0.7)

    assert report.state is RunState.TIMED_OUT
    assert stdout(report) == "asked\n"
    assert living() == []


@needs_bubblewrap
def test_daemons_end_with_the_command(run: Run, living: Living) -> None:
    assert run("setsid sleep 300 & exit 0", isolation="bwrap").ok
    assert living() == []


@needs_bubblewrap
def test_a_killed_supervisor_leaves_nothing(submit: Submit, living: Living, until: Callable[..., None]) -> None:
    handle = submit("sleep 300 & sleep 300", isolation="bwrap")
    until(lambda: len(living()) >= 3)

    os.kill(handle._record.report.supervisor.pid, 9)

    assert handle.wait(15).state is RunState.LOST
    until(lambda: living() == [])


@needs_bubblewrap
def test_a_command_that_does_not_exist_is_a_start_error(submit: Submit) -> None:
    with pytest.raises(StartError, match="No such file"):
        submit(["no-such-program"], isolation="bwrap")


@needs_bubblewrap
def test_a_command_that_the_private_tmp_would_hide_is_a_start_error(submit: Submit) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        program = Path(folder, "program")
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)

        with pytest.raises(StartError, match="name its directory in read_only"):
            submit([str(program)], isolation="bwrap")
        assert submit([str(program)], isolation="bwrap", read_only=[folder]).wait(15).ok


@needs_bubblewrap
def test_config_run_works_in_isolation(tmp_path: Path) -> None:
    import cloudpickle

    class Model:
        def generate(self, workspace_dir: Path, model_run: ModelRun) -> None:
            pass

        def run(self, model_run: ModelRun) -> None:
            Path("written").write_text(model_run.run_id)

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=Model())

    assert model_run.run("local", isolation="bwrap") is True
    assert (model_run.workspace_dir / "written").read_text() == "case"


def test_missing_bubblewrap_is_refused_before_anything_is_written(
    model_run: ModelRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    _isolation.problem.cache_clear()

    with pytest.raises(ConfigError, match="install the system's package bubblewrap"):
        model_run.submit("local", command="true", isolation="bwrap")

    _isolation.problem.cache_clear()
    assert not model_run.output_dir.exists()


@pytest.mark.parametrize(
    "options",
    [{"writable": ["/data"]}, {"read_only": ["a"]}, {"network": False}, {"isolation": "bwrap", "leftovers": "wait"}],
)
def test_options_that_need_isolation_are_refused_without_it(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="isolation"):
        LocalConfig(command="true", **options)
