"""The output of a container, however much there is of it and whoever reads it; and many containers at once."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rompy_core import ModelRun, RunHandle, RunReport, read_report

Containers = Callable[[], list[dict[str, Any]]]
Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
MB = 2**20


def test_both_streams_are_kept_apart_byte_for_byte(run: Run, images: Any) -> None:
    source = "import sys; b = bytes(range(256)) * 4096; sys.stdout.buffer.write(b); sys.stderr.buffer.write(b[::-1])"
    noise = bytes(range(256)) * 4096

    report = run(["python3", "-c", source], image=images.python)

    assert report.stdout_path is not None
    assert report.stderr_path is not None
    assert report.stdout_path.read_bytes() == noise
    assert report.stderr_path.read_bytes() == noise[::-1]


def test_much_output_is_whole_and_takes_little_memory(run: Run, images: Any) -> None:
    source = "import os; [os.write(1, bytes([n % 251]) * 65536) for n in range(800)]"
    expected = hashlib.sha256(b"".join(bytes([n % 251]) * 65536 for n in range(800))).hexdigest()
    run("true")  # what is imported once is no matter of this run
    before = psutil.Process().memory_info().rss

    with _peak_of_this_process() as peak:
        report = run(["python3", "-c", source], image=images.python)

    assert report.stdout_path is not None
    assert report.stdout_path.stat().st_size == 800 * 65536
    with report.stdout_path.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == expected
    assert peak() - before <= 10 * MB


def test_a_slow_logger_never_stalls_the_model(run: Run, images: Any) -> None:
    # The logger is given what it can follow, 64 KiB at once: lines that are long, so that it does not take the day.
    source = "import time; t = time.time(); [print('x' * 8000) for _ in range(2000)]; print('took', time.time() - t)"
    slow = _Slow()
    logging.getLogger("rompy_docker").addHandler(slow)
    logging.getLogger("rompy_docker").setLevel(logging.INFO)
    try:
        report = run(["python3", "-c", source], image=images.python, stream_output=True)
    finally:
        logging.getLogger("rompy_docker").setLevel(logging.NOTSET)
        logging.getLogger("rompy_docker").removeHandler(slow)

    assert report.ok
    assert report.stdout_path is not None
    lines = report.stdout_path.read_text().splitlines()
    assert len(lines) == 2001
    assert float(lines[-1].split()[1]) < 3
    assert 0 < len(slow.seen) < 1000
    assert any("skipped" in message for message in slow.seen)


def test_lines_go_to_the_logger_as_they_come(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    run(["sh", "-c", "echo out; echo err >&2"], stream_output=True)

    lines = {(record.getMessage(), getattr(record, "stream", None)) for record in caplog.records}
    assert {("out", "stdout"), ("err", "stderr")} <= lines


def test_every_record_of_the_log_says_which_run(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    run("false", stream_output=True)

    ours = [record for record in caplog.records if record.name.startswith("rompy_")]
    assert ours
    assert {(record.run_id, record.backend) for record in ours} == {("case", "docker")}


def test_output_can_be_read_while_the_container_runs(submit: Submit, until: Callable[..., None]) -> None:
    with submit(["sh", "-c", "echo first; sleep 60"]) as handle:
        until(lambda: (handle.record_dir / "stdout.log").read_text() == "first\n")
        handle.cancel()
        handle.wait(20)


def test_a_command_that_closes_its_output_runs_on(run: Run, model_run: ModelRun) -> None:
    report = run(["sh", "-c", "echo first; exec >&- 2>&-; sleep 1.5; echo x > late"])

    assert report.ok, report
    assert (model_run.workspace_dir / "late").exists()
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "first\n"


def test_progress_is_seen_while_the_container_runs(submit: Submit, until: Callable[..., None]) -> None:
    rules = {"progress": r"(?P<percent>\d+) %"}

    with submit(["sh", "-c", "echo 40 %; sleep 60"], rules=rules) as handle:
        until(lambda: handle.progress is not None and handle.progress.fraction == 0.4)
        handle.cancel()
        handle.wait(20)


def test_a_full_disk_is_named_as_the_cause(
    full: Path, engine_options: dict[str, Any], images: Any, containers: Containers
) -> None:
    model = ModelRun(run_id="case", output_dir=full)
    words = ["sh", "-c", "head -c 3000000 /dev/zero"]

    # Copied, for an engine need not see what is mounted here.
    verdict = model.run("docker", image=images.busybox, executable=words, transfer="copy", timeout=60, **engine_options)

    assert verdict is False
    assert model.report is not None
    assert "No space left on device" in model.report.reason
    assert model.report.exit_code == 0


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_twenty_runs_at_once_from_one_process(
    tmp_path: Path, engine_options: dict[str, Any], images: Any, containers: Containers
) -> None:
    verdicts: dict[int, bool] = {}

    def one(number: int) -> None:
        words = ["sh", "-c", f"echo {number}; echo {number} > mine; exit {number % 3}"]
        run = ModelRun(run_id=f"run{number}", output_dir=tmp_path)
        verdicts[number] = run.run("docker", image=images.busybox, executable=words, **engine_options)

    threads = [threading.Thread(target=one, args=[number]) for number in range(20)]
    files = psutil.Process().num_fds()
    children = psutil.Process().children()  # such as the registry of other tests
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files_after = psutil.Process().num_fds()

    assert verdicts == {number: number % 3 == 0 for number in range(20)}
    for number in range(20):
        report = read_report(tmp_path / f"run{number}")
        assert report.exit_code == number % 3, report
        assert report.stdout_path is not None
        assert report.stdout_path.read_text() == (tmp_path / f"run{number}" / "mine").read_text() == f"{number}\n"
    assert containers() == []
    assert set(psutil.Process().children()) <= set(children)
    assert files_after <= files
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("rompy")] == []


class _Slow(logging.Handler):
    """A handler that takes a tenth of a second for a record."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())
        time.sleep(0.1)


class _peak_of_this_process:  # noqa: N801 - a context manager
    """Watch the memory of this process; gives a function that says the most that there was."""

    def __enter__(self) -> Callable[[], int]:
        self._most = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return lambda: self._most

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._is_over.wait(0.02):
            self._most = max(self._most, process.memory_info().rss)
