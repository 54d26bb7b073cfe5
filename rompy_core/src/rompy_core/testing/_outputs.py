"""The output of a run."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import pytest

from rompy_core.testing._bench import RunBench
from rompy_core.testing._claims import claim, content_of
from rompy_core.testing._run_suite import RunSuite


class OutputClaims(RunSuite):
    """The output of a run."""

    @claim
    def test_much_output_does_not_block(self, bench: RunBench) -> None:
        """Megabytes on both streams at once neither block the run nor get lost."""
        source = "import os\nfor _ in range(64): os.write(1, b'o' * 65536), os.write(2, b'e' * 65536)"
        report = bench.report_of(bench.config_for(source, timeout=self.patience_s / 2))

        assert report.ok, f"the state is {report.state}: {report.reason}"
        sizes = len(_captured(report.stdout_path)), len(_captured(report.stderr_path))
        assert sizes == (2**22, 2**22), f"{sizes} bytes of {2**22} each were captured"

    @claim
    def test_output_is_kept_byte_for_byte(self, bench: RunBench) -> None:
        """Output is kept byte for byte, each stream in its own file, also where it is not UTF-8."""
        source = "import os; os.write(1, bytes(range(256)) * 4); os.write(2, b'\\xff\\r\\n\\x00\\xfe')"
        report = bench.report_of(bench.config_for(source))

        assert _captured(report.stdout_path) == bytes(range(256)) * 4, "standard output differs"
        assert _captured(report.stderr_path) == b"\xff\r\n\x00\xfe", "standard error differs"

    @claim
    def test_output_can_be_streamed(self, bench: RunBench, caplog: pytest.LogCaptureFixture) -> None:
        """With stream_output, each line of output is also a log record, with the run_id."""
        caplog.set_level(logging.INFO)

        bench.report_of(bench.config_for("print('depth 1'); print('depth 2')", stream_output=True))

        lines = [record for record in caplog.records if record.getMessage().startswith("depth")]
        assert [record.getMessage() for record in lines] == ["depth 1", "depth 2"], f"found {lines}"
        assert {getattr(record, "run_id", None) for record in lines} == {"contract"}, "the records lack the run_id"

    @claim
    def test_two_runs_do_not_mix(self, bench: RunBench) -> None:
        """Two runs at once, in two workspaces, each have their own output, files, record and verdict."""
        codes = {"left": 3, "right": 5}
        then = "print('{0}'); open('mine-{0}', 'w'); sys.exit({1})"

        with contextlib.ExitStack() as stack:
            handles = {
                name: stack.enter_context(bench.started(bench.staying(then=then.format(name, code)), name))
                for name, code in codes.items()
            }
            for name in codes:
                bench.wait_for(name=name)
            for name in codes:
                bench.release(name)
            reports = {name: handle.wait(self.patience_s) for name, handle in handles.items()}

        for name, report in reports.items():
            assert report.workspace_dir == bench.workspace(name), f"{name!r} got that of {report.workspace_dir}"
            assert report.exit_code == codes[name], f"exit_code of {name!r} is {report.exit_code}"
            output = _captured(report.stdout_path)
            assert output.split() == [name.encode()], f"output of {name!r} is {output!r}"
            files = [file.name for file in bench.workspace(name).glob("mine-*")]
            assert files == [f"mine-{name}"], f"files of {name!r} are {files}"


def _captured(path: Path | None) -> bytes:
    content = content_of(path) if path else None
    assert content is not None, f"no output was captured: {path}"
    return content
